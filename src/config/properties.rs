//! The dotted properties of `[kafka]` that Kafka users know.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use tracing::warn;

use super::{
    Origin, environment,
    keys::{self, Section},
    rules,
    settings::{Setting, Settings, Value},
};
use crate::engine::{
    ClientSettings, EngineKind,
    native::{self, NativeSettings},
};

const KAFKA: Section = Section::Kafka;
const BROKERS: &str = "bootstrap.servers";

/// What a property takes.
#[derive(Clone, Copy)]
enum Takes {
    Text,
    Integer,
    Boolean,
    /// One of these, whatever the case.
    OneOf(&'static [&'static str]),
    /// A text that is never printed, and never comes from an argument or stands in the file.
    Secret,
}
use Takes::{Boolean, Integer, OneOf, Secret, Text};

const KNOWN: &[(&str, Takes)] = &[
    (BROKERS, Text),
    ("client.id", Text),
    ("client.rack", Text),
    ("broker.address.family", OneOf(&["any", "v4", "v6"])),
    // Security.
    ("security.protocol", OneOf(&["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"])),
    ("sasl.mechanism", OneOf(&["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"])),
    ("sasl.username", Text),
    ("sasl.password", Secret),
    ("sasl.oauthbearer.token", Secret),
    ("sasl.oauthbearer.token_file", Text),
    ("sasl.oauthbearer.token.command", Text),
    ("sasl.oauthbearer.method", OneOf(&["default", "oidc"])),
    ("sasl.oauthbearer.token.endpoint.url", Text),
    ("sasl.oauthbearer.client.id", Text),
    ("sasl.oauthbearer.client.secret", Secret),
    ("sasl.oauthbearer.scope", Text),
    ("sasl.oauthbearer.extensions", Text),
    ("ssl.ca.location", Text),
    ("ssl.ca.pem", Text),
    ("ssl.certificate.location", Text),
    ("ssl.certificate.pem", Text),
    ("ssl.key.location", Text),
    ("ssl.key.pem", Secret),
    ("ssl.key.password", Secret),
    ("ssl.keystore.location", Text),
    ("ssl.keystore.password", Secret),
    ("ssl.endpoint.identification.algorithm", OneOf(&["https", "none"])),
    ("enable.ssl.certificate.verification", Boolean),
    // Connections and deadlines.
    ("connections.max.idle.ms", Integer),
    ("default.api.timeout.ms", Integer),
    ("metadata.max.age.ms", Integer),
    ("reconnect.backoff.ms", Integer),
    ("reconnect.backoff.max.ms", Integer),
    ("request.timeout.ms", Integer),
    ("retry.backoff.ms", Integer),
    ("retry.backoff.max.ms", Integer),
    ("topic.metadata.refresh.interval.ms", Integer),
    ("socket.connection.setup.timeout.ms", Integer),
    ("socket.timeout.ms", Integer),
    ("statistics.interval.ms", Integer),
    // Reading.
    ("check.crcs", Boolean),
    ("fetch.min.bytes", Integer),
    ("fetch.max.bytes", Integer),
    ("fetch.wait.max.ms", Integer),
    ("fetch.queue.backoff.ms", Integer),
    ("max.partition.fetch.bytes", Integer),
    ("isolation.level", OneOf(&["read_committed", "read_uncommitted"])),
    // Groups.
    ("group.instance.id", Text),
    ("group.protocol", OneOf(&["classic", "consumer"])),
    ("heartbeat.interval.ms", Integer),
    ("max.poll.interval.ms", Integer),
    ("partition.assignment.strategy", Text),
    ("session.timeout.ms", Integer),
    // Writing.
    ("acks", Text),
    ("batch.size", Integer),
    ("compression.type", OneOf(&["source", "none", "gzip", "snappy", "lz4", "zstd"])),
    ("compression.level", Integer),
    ("compression.gzip.level", Integer),
    ("compression.zstd.level", Integer),
    ("delivery.timeout.ms", Integer),
    ("enable.idempotence", Boolean),
    ("linger.ms", Integer),
    ("max.in.flight.requests.per.connection", Integer),
    ("max.request.size", Integer),
    ("transaction.timeout.ms", Integer),
    ("transactional.id", Text),
    // What other clients have, so that the engine can say what stands in its place.
    ("allow.auto.create.topics", Boolean),
    ("debug", Text),
    ("enable.auto.commit", Boolean),
    ("enable.auto.offset.store", Boolean),
    ("message.send.max.retries", Integer),
    ("retries", Integer),
    ("socket.nagle.disable", Boolean),
    ("sasl.jaas.config", Secret),
    ("ssl.truststore.location", Text),
    ("ssl.truststore.password", Secret),
];

/// Other names that librdkafka and older clients have for the same.
const ALIASES: &[(&str, &str)] = &[
    ("metadata.broker.list", BROKERS),
    ("sasl.mechanisms", "sasl.mechanism"),
    ("request.required.acks", "acks"),
    ("compression.codec", "compression.type"),
    ("queue.buffering.max.ms", "linger.ms"),
    ("message.timeout.ms", "delivery.timeout.ms"),
    ("message.max.bytes", "max.request.size"),
    ("fetch.max.wait.ms", "fetch.wait.max.ms"),
    ("fetch.message.max.bytes", "max.partition.fetch.bytes"),
    ("max.in.flight", "max.in.flight.requests.per.connection"),
];

/// Properties that have a key of their own in another section.
const ELSEWHERE: &[(&str, Section, &str)] =
    &[("group.id", Section::Source, "group"), ("auto.offset.reset", Section::Source, "auto_offset_reset")];

/// Every name that may stand in `[kafka]`.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let known = KNOWN.iter().map(|(name, _)| *name);
    let aliases = ALIASES.iter().map(|(name, _)| *name);
    known.chain(aliases).chain(ELSEWHERE.iter().map(|(name, ..)| *name))
}

/// Whether the value of a property is never to be printed; what merely sounds like it counts too.
pub(super) fn is_secret(name: &str) -> bool {
    let known = KNOWN.iter().find(|(known, _)| *known == name);
    let sounds = || ["password", "secret", "jaas", "key.pem"].iter().any(|word| name.contains(word));
    known.map_or_else(sounds, |(_, takes)| matches!(takes, Secret))
}

/// Puts a property, under the name and in the section that it has here.
pub(super) fn put(name: &str, value: Value, origin: Origin, settings: &mut Settings) {
    let name = name.to_ascii_lowercase();
    if let Some((_, section, key)) = ELSEWHERE.iter().find(|(known, ..)| *known == name) {
        return settings.put(*section, key, value, origin);
    }
    // A file that is a property of its own is read by the engine, each time that it needs it.
    let by_engine = KNOWN.iter().any(|(known, _)| *known == name);
    if let Some(secret) = name.strip_suffix("_file").filter(|secret| is_secret(secret) && !by_engine) {
        return match value {
            Value::Raw(path) | Value::Text(path) => {
                settings.put(KAFKA, secret, Value::ContentOf(PathBuf::from(path)), origin);
            }
            _ => settings.problem(keys::subject(KAFKA, &name), "must be the path of a file", origin),
        };
    }
    let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name.as_str(), |(_, name)| *name);
    if is_secret(name) && !matches!(origin, Origin::Environment(_)) {
        let variable = environment::variable(KAFKA, name);
        let message = format!("a secret comes from the environment ({variable}) or a file (`{name}_file`)");
        return settings.problem(keys::subject(KAFKA, name), message, origin);
    }
    settings.put(KAFKA, name, value, origin);
}

/// How a command reaches the cluster that has no engine of its own but the native one. Where the
/// configuration is one for librdkafka, what only that knows is left out.
pub(super) fn native_client(settings: &mut Settings) -> ClientSettings {
    let engine = settings.choice(Section::Run, "engine").unwrap_or_default();
    native(engine, client(settings, engine))
}

/// How the native engine reaches the cluster to prepare topics and read offsets beside `engine`.
pub(super) fn native(engine: EngineKind, client: ClientSettings) -> ClientSettings {
    match engine {
        EngineKind::Native => client,
        EngineKind::Librdkafka => {
            ClientSettings { properties: NativeSettings::taken(&client.properties), ..client }
        }
    }
}

/// How to reach the cluster by `engine`, which must take every property.
pub(super) fn client(settings: &mut Settings, engine: EngineKind) -> ClientSettings {
    let brokers = settings.parsed(KAFKA, BROKERS, rules::parse_brokers);
    let mut properties = BTreeMap::new();
    let mut sound = true;
    for (name, setting) in settings.section(KAFKA) {
        if name == BROKERS {
            continue;
        }
        match check(&name, &setting, engine) {
            Ok(value) => {
                // The native engine reads it again at each login: it may be replaced meanwhile.
                if let (EngineKind::Native, "sasl.password", Value::ContentOf(path)) =
                    (engine, name.as_str(), &setting.value)
                {
                    properties.insert("sasl.password_file".into(), path.display().to_string());
                }
                properties.insert(name, value);
            }
            Err(message) => {
                sound = false;
                settings.reject(KAFKA, &name, message);
            }
        }
    }
    // What was refused here would otherwise be reported as missing there.
    if sound {
        check_sasl(&properties, settings);
        warn_of_exposure(&properties);
        match engine {
            EngineKind::Native => check_native(properties.clone(), settings),
            EngineKind::Librdkafka => check_librdkafka(&properties, settings),
        }
    }
    ClientSettings {
        brokers: brokers.unwrap_or_else(|| vec!["localhost:19092".into()]),
        properties,
        connect_timeout: rules::timeout(settings, "connect_timeout", Duration::from_secs(10)),
    }
}

/// What would show only when the broker refuses: a password that is missing, and one that is never sent.
fn check_sasl(properties: &BTreeMap<String, String>, settings: &mut Settings) {
    let sasl = properties.get("security.protocol").is_some_and(|protocol| protocol.starts_with("sasl_"));
    if !sasl {
        for key in ["sasl.mechanism", "sasl.password"] {
            // A weightier layer may turn off what the file says, for a try.
            if rules::at_least(settings, (KAFKA, key), (KAFKA, "security.protocol")) {
                let message =
                    "needs security.protocol `sasl_ssl` or `sasl_plaintext`; without, nobody logs in";
                settings.reject(KAFKA, key, message);
            }
        }
        return;
    }
    let Some(mechanism) = properties.get("sasl.mechanism") else { return };
    let by_password = mechanism == "PLAIN" || mechanism.starts_with("SCRAM-");
    if by_password && !properties.contains_key("sasl.password") {
        let message = format!(
            "is missing; set {} or `sasl.password_file`",
            environment::variable(KAFKA, "sasl.password")
        );
        settings.reject(KAFKA, "sasl.password", message);
    }
}

/// Warns of what works and protects nothing.
fn warn_of_exposure(properties: &BTreeMap<String, String>) {
    let is = |key: &str, value: &str| properties.get(key).is_some_and(|set| set.eq_ignore_ascii_case(value));
    let secret = match properties.get("sasl.mechanism").map(String::as_str) {
        Some("PLAIN") => Some("the password"),
        Some("OAUTHBEARER") => Some("the token"),
        _ => None,
    };
    if let Some(secret) = secret.filter(|_| is("security.protocol", "sasl_plaintext")) {
        warn!(
            "[kafka] security.protocol: sasl_plaintext sends {secret} as it is, for everyone on the way to \
             read; sasl_ssl protects it"
        );
    }
    if is("enable.ssl.certificate.verification", "false") {
        warn!(
            "[kafka] enable.ssl.certificate.verification: false trusts whoever answers, with all that is \
             sent; ssl.ca.location names the authority to trust"
        );
    }
}

/// Asks the native engine again and again without what it refused, to find all that it refuses.
fn check_native(mut properties: BTreeMap<String, String>, settings: &mut Settings) {
    let native = loop {
        match NativeSettings::from_properties(&properties) {
            Ok(native) => break native,
            Err(error) => {
                settings.reject(KAFKA, &error.key, error.message);
                if properties.remove(&error.key).is_none() {
                    return;
                }
            }
        }
    };
    if let Err(error) = native.check_files() {
        settings.reject(KAFKA, &error.key, error.message);
    }
}

/// Asks librdkafka, and then the native engine, which prepares topics and reads offsets beside it.
fn check_librdkafka(properties: &BTreeMap<String, String>, settings: &mut Settings) {
    #[cfg(feature = "librdkafka")]
    if let Err(error) = crate::engine::librdkafka::validate(properties) {
        return settings.reject(KAFKA, &error.key, error.message);
    }
    let mut properties = properties.clone();
    properties.retain(|name, _| {
        let lacking = NativeSettings::lacks_protection(name);
        if lacking {
            let message = "is not supported by the native engine, which prepares the topics and reads the \
                           offsets for this one too";
            settings.reject(KAFKA, name, message);
        }
        !lacking
    });
    check_native(NativeSettings::taken(&properties), settings);
}

/// The value of a property as text, or what is wrong with it.
fn check(name: &str, setting: &Setting, engine: EngineKind) -> Result<String, String> {
    let takes = match (KNOWN.iter().find(|(known, _)| *known == name), engine) {
        (Some((_, takes)), _) => *takes,
        // librdkafka has more properties than anyone wants to repeat; it refuses what it lacks.
        (None, EngineKind::Librdkafka) => Text,
        (None, EngineKind::Native) => return Err(keys::unknown("property", name, names())),
    };
    let text = match &setting.value {
        // A password may begin and end with blanks.
        Value::Raw(text) | Value::Text(text) if is_secret(name) => text.clone(),
        Value::Raw(text) | Value::Text(text) => text.trim().to_owned(),
        Value::Integer(number) => number.to_string(),
        Value::Boolean(flag) => flag.to_string(),
        Value::Other(kind) => return Err(format!("must be a string, an integer or a boolean, not {kind}")),
        Value::ContentOf(path) => {
            let content = std::fs::read_to_string(path);
            let content = content.map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
            native::Secret::in_file(&content).0
        }
    };
    match (name, takes) {
        (_, _) if text.is_empty() => Err("must not be empty".into()),
        ("acks", _) if !["all", "-1"].contains(&text.as_str()) => {
            Err("must be `all`: anything less may lose records".into())
        }
        ("acks", _) => Ok("all".into()),
        ("enable.idempotence", _) if text != "true" => {
            Err("must be `true`: without it a retry may double or reorder records".into())
        }
        (_, Integer) if text.parse::<i64>().is_err() => Err("must be an integer".into()),
        (_, Boolean) if text.parse::<bool>().is_err() => Err("must be `true` or `false`".into()),
        (_, OneOf(choices)) => match choices.iter().find(|choice| choice.eq_ignore_ascii_case(&text)) {
            Some(choice) => Ok((*choice).into()),
            None => Err(format!("must be one of `{}`", choices.join("`, `"))),
        },
        (_, Text | Secret | Integer | Boolean) => Ok(text),
    }
}
