//! Reads the dotted properties that Kafka users know. Pure, so that a configuration can be checked
//! without a broker.

use std::{collections::BTreeMap, path::PathBuf, str::FromStr, time::Duration};

use super::{
    Isolation,
    settings::{
        Assignor, Family, GroupProtocol, Mechanism, NativeSettings, Password, Pem, ProduceCompression,
        SaslSettings, Secret, TlsSettings, TokenSource,
    },
};
use crate::engine::{OffsetReset, PropertyError};

impl NativeSettings {
    /// Reads the properties; opens no file.
    ///
    /// # Errors
    /// For a property that is unknown or not supported, and for an invalid value.
    pub fn from_properties(properties: &BTreeMap<String, String>) -> Result<NativeSettings, PropertyError> {
        let mut settings = NativeSettings::default();
        let mut security = Security::default();
        for (key, value) in properties {
            let value = Value { key, text: if is_secret(key) { value } else { value.trim() } };
            if !security.set(&value)? && !settings.set(&value)? {
                return Err(PropertyError::new(key, unsupported(key)));
            }
        }
        let both = |key: &str, message: &str| Err(PropertyError::new(key, message));
        if settings.produce.delivery_timeout < settings.request_timeout {
            return both("delivery.timeout.ms", "must not be less than request.timeout.ms");
        }
        if settings.group.heartbeat_interval >= settings.group.session_timeout {
            return both("heartbeat.interval.ms", "must be less than session.timeout.ms");
        }
        const CLASSIC: [&str; 3] =
            ["session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy"];
        if settings.group.protocol == GroupProtocol::Consumer
            && let Some(key) = CLASSIC.into_iter().find(|key| properties.contains_key(*key))
        {
            return both(key, "is the broker's to decide with group.protocol=consumer");
        }
        if let Some(level) = settings.produce.compression_level {
            let levels = match settings.produce.compression {
                ProduceCompression::Source => {
                    return both("compression.level", "needs compression.type: each has levels of its own");
                }
                ProduceCompression::Fixed(codec) => codec.levels().map(|levels| (levels, codec)),
            };
            if let Some((levels, codec)) = levels.filter(|(levels, _)| !levels.contains(&level)) {
                let (least, most) = (levels.start(), levels.end());
                let message = format!("{level} is not in {least} to {most}, the levels of {codec}");
                return both("compression.level", &message);
            }
        }
        security.finish(&mut settings)?;
        Ok(settings)
    }

    /// The properties that this engine accepts out of those written for librdkafka: with that
    /// engine, too, it prepares the topics and reads the offsets. Properties that protect the
    /// connection are never left out.
    pub fn taken(properties: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut taken = properties.clone();
        while let Err(error) = NativeSettings::from_properties(&taken) {
            if protects(&error.key) || taken.remove(&error.key).is_none() {
                break;
            }
        }
        taken
    }

    /// Whether a property is one of those that protect a connection and this engine has none of that name.
    pub fn lacks_protection(key: &str) -> bool {
        protects(key) && matches!(Security::default().set(&Value { key, text: "" }), Ok(false))
    }

    /// Takes one property; `false` when there is none of that name.
    fn set(&mut self, value: &Value<'_>) -> Result<bool, PropertyError> {
        let (produce, fetch, group) = (&mut self.produce, &mut self.fetch, &mut self.group);
        match value.key {
            "client.id" => self.client_id = value.some()?,
            "socket.connection.setup.timeout.ms" => self.connection_timeout = value.millis(1)?,
            "request.timeout.ms" | "socket.timeout.ms" => self.request_timeout = value.millis(1)?,
            "default.api.timeout.ms" => self.api_timeout = value.millis(1)?,
            "retry.backoff.ms" => self.retry.first = value.millis(1)?,
            "retry.backoff.max.ms" => self.retry.most = value.millis(1)?,
            "reconnect.backoff.ms" => self.reconnect.first = value.millis(1)?,
            "reconnect.backoff.max.ms" => self.reconnect.most = value.millis(1)?,
            "metadata.max.age.ms" | "topic.metadata.refresh.interval.ms" => {
                self.metadata_max_age = value.millis(1000)?;
            }
            "broker.address.family" => {
                self.family =
                    value.one_of(&[("any", Family::Any), ("v4", Family::V4), ("v6", Family::V6)])?;
            }
            "socket.nagle.disable" => value.must("true")?,
            "allow.auto.create.topics" => value.must("false")?,

            "compression.type" | "compression.codec" if value.text.eq_ignore_ascii_case("source") => {
                produce.compression = ProduceCompression::Source;
            }
            "compression.type" | "compression.codec" => {
                produce.compression = ProduceCompression::Fixed(value.parse()?);
            }
            "compression.level" | "compression.gzip.level" | "compression.zstd.level" => {
                produce.compression_level = Some(value.parse()?);
            }
            "linger.ms" | "queue.buffering.max.ms" => produce.linger = value.millis(0)?,
            "batch.size" => produce.batch_size = value.within(1, 512 << 20)?,
            "max.request.size" | "message.max.bytes" => {
                produce.max_request_size = value.within(1024, 512 << 20)?;
            }
            "delivery.timeout.ms" | "message.timeout.ms" => produce.delivery_timeout = value.millis(1)?,
            "max.in.flight.requests.per.connection" | "max.in.flight" => {
                produce.in_flight = value.within(1, 5)?;
            }
            "acks" | "request.required.acks" if matches!(value.text, "all" | "-1") => {}
            "acks" | "request.required.acks" => value.must("all")?,
            "enable.idempotence" => value.must("true")?,

            "fetch.min.bytes" => fetch.min_bytes = value.within(1, i32::MAX)?,
            "fetch.max.bytes" => fetch.max_bytes = value.within(1024, 512 << 20)?,
            "fetch.max.wait.ms" | "fetch.wait.max.ms" => fetch.max_wait = value.millis(0)?,
            "max.partition.fetch.bytes" | "fetch.message.max.bytes" => {
                fetch.max_partition_bytes = value.within(1024, 512 << 20)?;
            }
            "isolation.level" => {
                fetch.isolation = Some(value.one_of(&[
                    ("read_committed", Isolation::ReadCommitted),
                    ("read_uncommitted", Isolation::ReadUncommitted),
                ])?);
            }
            "check.crcs" => value.must("true")?,

            "group.protocol" => {
                group.protocol = value
                    .one_of(&[("classic", GroupProtocol::Classic), ("consumer", GroupProtocol::Consumer)])?;
            }
            "partition.assignment.strategy" => group.assignors = value.assignors()?,
            "group.instance.id" => group.instance_id = Some(value.some()?),
            "session.timeout.ms" => group.session_timeout = value.millis(1)?,
            "heartbeat.interval.ms" => group.heartbeat_interval = value.millis(1)?,
            "max.poll.interval.ms" => group.max_poll_interval = value.millis(1)?,
            "auto.offset.reset" => {
                group.offset_reset = Some(value.one_of(&[
                    ("earliest", OffsetReset::Earliest),
                    ("latest", OffsetReset::Latest),
                    ("none", OffsetReset::None),
                ])?);
            }
            "enable.auto.commit" | "enable.auto.offset.store" => value.must("false")?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// Whether a property says how connections are protected.
fn protects(key: &str) -> bool {
    ["security.", "sasl.", "ssl.", "enable.ssl."].iter().any(|prefix| key.starts_with(prefix))
}

/// Whether a property is taken as it is, blanks at its ends included.
fn is_secret(key: &str) -> bool {
    matches!(key, "sasl.password" | "sasl.oauthbearer.token" | "ssl.key.pem" | "ssl.key.password")
}

/// The message for a property that is not accepted.
fn unsupported(key: &str) -> String {
    match key {
        "bootstrap.servers" | "metadata.broker.list" => "is set by `brokers`".to_owned(),
        "group.id" => "is set by `group`".to_owned(),
        "transactional.id" | "transaction.timeout.ms" => "is set by `delivery = \"exactly-once\"`".to_owned(),
        "sasl.jaas.config" => "is for Java only; set sasl.username and sasl.password".to_owned(),
        "retries" | "message.send.max.retries" => {
            "writing is tried until delivery.timeout.ms; set that instead".to_owned()
        }
        _ if key.starts_with("ssl.truststore") || key.starts_with("ssl.keystore") => {
            "is for Java only; set ssl.ca.location, ssl.certificate.location and ssl.key.location".to_owned()
        }
        _ => format!(
            "`{key}` is not supported by the native engine; build with `--features librdkafka` and use \
             `--engine librdkafka`"
        ),
    }
}

/// The security properties, before it is known how they fit.
#[derive(Default)]
struct Security {
    tls: bool,
    sasl: bool,
    ca: Option<Pem>,
    certificate: Option<Pem>,
    key: Option<Pem>,
    skip_verification: bool,
    skip_host: bool,
    mechanism: Option<Mechanism>,
    username: String,
    password: Secret,
    password_file: Option<PathBuf>,
    token: Option<TokenSource>,
}

impl Security {
    fn set(&mut self, value: &Value<'_>) -> Result<bool, PropertyError> {
        match value.key {
            "security.protocol" => {
                (self.tls, self.sasl) = value.one_of(&[
                    ("PLAINTEXT", (false, false)),
                    ("SSL", (true, false)),
                    ("SASL_PLAINTEXT", (false, true)),
                    ("SASL_SSL", (true, true)),
                ])?;
            }
            "ssl.ca.location" => self.ca = Some(value.file()?),
            "ssl.ca.pem" => self.ca = Some(Pem::Text(value.some()?)),
            "ssl.certificate.location" => self.certificate = Some(value.file()?),
            "ssl.certificate.pem" => self.certificate = Some(Pem::Text(value.some()?)),
            "ssl.key.location" => self.key = Some(value.file()?),
            "ssl.key.pem" => self.key = Some(Pem::Text(value.some()?)),
            "ssl.endpoint.identification.algorithm" => {
                self.skip_host = value.one_of(&[("https", false), ("none", true), ("", true)])?;
            }
            "enable.ssl.certificate.verification" => {
                self.skip_verification = !value.parse::<bool>()?;
            }
            "sasl.mechanism" | "sasl.mechanisms" => {
                use Mechanism::{OAuthBearer, Plain, ScramSha256, ScramSha512};
                let all = [Plain, ScramSha256, ScramSha512, OAuthBearer];
                self.mechanism = Some(value.one_of(&all.map(|m| (m.as_str(), m)))?);
            }
            "sasl.username" => self.username = value.text.to_owned(),
            "sasl.password" => self.password = Secret(value.text.to_owned()),
            "sasl.password_file" => self.password_file = Some(PathBuf::from(value.some()?)),
            "sasl.oauthbearer.token" => self.token = Some(TokenSource::Text(Secret(value.some()?))),
            "sasl.oauthbearer.token_file" => {
                self.token = Some(TokenSource::File(PathBuf::from(value.some()?)));
            }
            "sasl.oauthbearer.token.command" => self.token = Some(TokenSource::Command(value.some()?)),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn finish(self, settings: &mut NativeSettings) -> Result<(), PropertyError> {
        if self.tls {
            let identity = match (self.certificate, self.key) {
                (Some(certificate), Some(key)) => Some((certificate, key)),
                (None, None) => None,
                (Some(_), None) => {
                    return Err(PropertyError::new("ssl.key.location", "the certificate needs its key"));
                }
                (None, Some(_)) => {
                    return Err(PropertyError::new(
                        "ssl.certificate.location",
                        "the key needs its certificate",
                    ));
                }
            };
            settings.security.tls = Some(TlsSettings {
                ca: self.ca,
                identity,
                verify: !self.skip_verification,
                verify_host: !self.skip_host,
            });
        }
        if self.sasl {
            let missing = |key| Err(PropertyError::new(key, "is needed by security.protocol SASL_*"));
            let Some(mechanism) = self.mechanism else { return missing("sasl.mechanism") };
            let by_token = mechanism == Mechanism::OAuthBearer;
            if by_token && self.token.is_none() {
                let message = "sasl.mechanism OAUTHBEARER needs this, sasl.oauthbearer.token_file or \
                               sasl.oauthbearer.token";
                return Err(PropertyError::new("sasl.oauthbearer.token.command", message));
            }
            if !by_token && self.username.is_empty() {
                return missing("sasl.username");
            }
            let username = self.username;
            let password = self.password_file.map_or(Password::Text(self.password), Password::File);
            let token = self.token.filter(|_| by_token);
            settings.security.sasl = Some(SaslSettings { mechanism, username, password, token });
        }
        Ok(())
    }
}

/// A property's text and how to read it.
struct Value<'a> {
    key: &'a str,
    text: &'a str,
}

impl Value<'_> {
    fn error(&self, message: String) -> PropertyError {
        PropertyError::new(self.key, message)
    }

    fn some(&self) -> Result<String, PropertyError> {
        if self.text.is_empty() { Err(self.error("is empty".to_owned())) } else { Ok(self.text.to_owned()) }
    }

    fn file(&self) -> Result<Pem, PropertyError> {
        self.some().map(|path| Pem::File(PathBuf::from(path)))
    }

    fn parse<T: FromStr<Err: std::fmt::Display>>(&self) -> Result<T, PropertyError> {
        self.text.parse().map_err(|e| self.error(format!("{:?}: {e}", self.text)))
    }

    fn within<T>(&self, least: T, most: T) -> Result<T, PropertyError>
    where
        T: FromStr<Err: std::fmt::Display> + PartialOrd + std::fmt::Display,
    {
        let number: T = self.parse()?;
        if number >= least && number <= most {
            Ok(number)
        } else {
            Err(self.error(format!("{number} is not in {least} to {most}")))
        }
    }

    fn millis(&self, least: u64) -> Result<Duration, PropertyError> {
        self.within(least, i32::MAX as u64).map(Duration::from_millis)
    }

    fn one_of<T: Copy>(&self, choices: &[(&str, T)]) -> Result<T, PropertyError> {
        let found = choices.iter().find(|(name, _)| name.eq_ignore_ascii_case(self.text));
        found.map(|(_, choice)| *choice).ok_or_else(|| {
            let names: Vec<_> = choices.iter().map(|(name, _)| *name).filter(|n| !n.is_empty()).collect();
            self.error(format!("{:?} is not one of {}", self.text, names.join(", ")))
        })
    }

    /// For what delivery without loss depends on.
    fn must(&self, only: &str) -> Result<(), PropertyError> {
        if self.text.eq_ignore_ascii_case(only) {
            Ok(())
        } else {
            Err(self.error(format!("{:?} cannot be; it is always {only}", self.text)))
        }
    }

    fn assignors(&self) -> Result<Vec<Assignor>, PropertyError> {
        let read = |name: &str| {
            let name = name.trim().trim_start_matches("org.apache.kafka.clients.consumer.");
            let name = match name {
                "RangeAssignor" => "range",
                "RoundRobinAssignor" => "roundrobin",
                "CooperativeStickyAssignor" => "cooperative-sticky",
                _ => name,
            };
            Assignor::named(name).ok_or_else(|| {
                self.error(format!("{name:?} is not one of range, roundrobin, cooperative-sticky"))
            })
        };
        self.text.split(',').map(read).collect()
    }
}

#[cfg(test)]
#[path = "properties_tests.rs"]
mod tests;
