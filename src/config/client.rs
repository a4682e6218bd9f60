//! How to reach the cluster: the properties of `[kafka]`, checked against what the engines take.

use std::collections::{BTreeMap, BTreeSet};

use tracing::warn;

use super::{
    keys::{self, Section, variable},
    rules,
    settings::{Setting, Settings, Value, default},
};
use crate::engine::{
    ClientSettings, EngineKind,
    native::{
        self, NativeSettings,
        properties::{self, Takes, protects},
    },
};

const KAFKA: Section = Section::Kafka;

/// How a command without an engine choice reaches the cluster: by the native engine. Where the
/// configuration is for librdkafka, properties that only librdkafka knows are left out.
pub(super) fn native_client(settings: &mut Settings) -> ClientSettings {
    let engine = settings.choice(&keys::ENGINE);
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

/// How to reach the cluster by `engine`, which must accept every property.
pub(super) fn client(settings: &mut Settings, engine: EngineKind) -> ClientSettings {
    let brokers = settings.parsed(&keys::BROKERS, rules::parse_brokers);
    let mut properties = BTreeMap::new();
    let mut refused = BTreeSet::new();
    for (name, setting) in settings.section(KAFKA) {
        if name == keys::BROKERS.name {
            continue;
        }
        match check(&name, &setting, engine) {
            Ok(value) => {
                // The native engine reads it again at each login: it may be replaced meanwhile.
                if let (EngineKind::Native, Value::ContentOf(path)) = (engine, &setting.value)
                    && let Some(property) = properties::find(&name).filter(|known| known.has_native_file())
                {
                    properties.insert(property.file_name(), path.display().to_string());
                }
                properties.insert(name, value);
            }
            Err(message) => {
                settings.reject_named(KAFKA, &name, message);
                refused.insert(name);
            }
        }
    }
    // While part of a login is refused, it is unknown whether it is complete.
    if !refused.iter().any(|name| protects(name)) {
        check_sasl(&properties, settings);
        warn_of_exposure(&properties);
    }
    check_by_engines(&properties, &refused, engine, settings);
    ClientSettings {
        brokers: brokers.unwrap_or_else(|| default(&keys::BROKERS, rules::parse_brokers)),
        properties,
        connect_timeout: rules::bounded(settings, &keys::CONNECT_TIMEOUT),
    }
}

/// Problems that would show only when the broker refuses: a missing password, and one that is never
/// sent.
fn check_sasl(properties: &BTreeMap<String, String>, settings: &mut Settings) {
    const PASSWORD: &str = "sasl.password";
    let sasl = properties.get("security.protocol").is_some_and(|protocol| protocol.starts_with("sasl_"));
    if !sasl {
        for key in ["sasl.mechanism", PASSWORD] {
            // A layer of higher precedence may turn off what the file says, to try something.
            if settings.outweighs((KAFKA, key), (KAFKA, "security.protocol")) {
                let message =
                    "needs security.protocol `sasl_ssl` or `sasl_plaintext`; without, nobody logs in";
                settings.reject_named(KAFKA, key, message);
            }
        }
        return;
    }
    let Some(mechanism) = properties.get("sasl.mechanism") else { return };
    let by_password = mechanism == "PLAIN" || mechanism.starts_with("SCRAM-");
    if by_password && !properties.contains_key(PASSWORD) {
        let message = format!("is missing; set {} or `{PASSWORD}_file`", variable(KAFKA, PASSWORD));
        settings.reject_named(KAFKA, PASSWORD, message);
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

/// Asks the engine, and beside librdkafka the native one, which prepares topics and reads offsets
/// for it: whatever it refuses about protecting connections is refused.
fn check_by_engines(
    properties: &BTreeMap<String, String>,
    refused: &BTreeSet<String>,
    engine: EngineKind,
    settings: &mut Settings,
) {
    let mut problems = Vec::new();
    let (native, by_native) = NativeSettings::read(properties, refused);
    match engine {
        EngineKind::Native => problems = by_native,
        EngineKind::Librdkafka => {
            #[cfg(feature = "librdkafka")]
            problems.extend(crate::engine::librdkafka::problems(properties));
            for mut problem in by_native.into_iter().filter(|problem| protects(&problem.key)) {
                if NativeSettings::lacks_protection(&problem.key) {
                    "is not supported by the native engine, which prepares the topics and reads the offsets \
                     for this one too"
                        .clone_into(&mut problem.message);
                }
                if problems.iter().all(|known| known.key != problem.key) {
                    problems.push(problem);
                }
            }
        }
    }
    if !problems.iter().any(|problem| protects(&problem.key)) {
        problems.extend(native.check_files());
    }
    for problem in problems {
        settings.reject_named(KAFKA, &problem.key, problem.message);
    }
}

/// The value of a property as text, or what is wrong with it.
fn check(name: &str, setting: &Setting, engine: EngineKind) -> Result<String, String> {
    let takes = match (properties::find(name), engine) {
        (Some(property), _) => property.takes,
        // librdkafka has more properties than are worth repeating; it refuses what it lacks.
        (None, EngineKind::Librdkafka) => Takes::Text,
        (None, EngineKind::Native) => return Err(keys::unknown("property", name, properties::names())),
    };
    let text = match &setting.value {
        // A password may begin and end with blanks.
        Value::Raw(text) | Value::Text(text) if properties::is_secret(name) => text.clone(),
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
    if text.is_empty() { Err("must not be empty".into()) } else { takes.read(&text) }
}
