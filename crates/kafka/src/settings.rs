//! The properties as typed settings; each field names its property.

use std::{fmt, path::PathBuf, time::Duration};

use topicmill_mill::{backoff::Backoff, engine::OffsetReset};
use topicmill_records::{Codec, Compression};

/// What the properties of `[kafka]` and `-X` ask of the native engine.
#[derive(Clone, Debug)]
pub struct NativeSettings {
    /// `client.id`.
    pub client_id: String,
    /// `socket.connection.setup.timeout.ms`: the limit of connecting, negotiating and
    /// authenticating.
    pub connection_timeout: Duration,
    /// `request.timeout.ms`: the limit of a request.
    pub request_timeout: Duration,
    /// `default.api.timeout.ms`: the limit of an administrative call, retries included.
    pub api_timeout: Duration,
    /// `retry.backoff.ms` and `retry.backoff.max.ms`.
    pub retry: Backoff,
    /// `reconnect.backoff.ms` and `reconnect.backoff.max.ms`.
    pub reconnect: Backoff,
    /// `metadata.max.age.ms`: metadata is refreshed after this time in any case.
    pub metadata_max_age: Duration,
    /// `connections.max.idle.ms`: a connection that nothing is asked on for this long is closed,
    /// before the broker or a gateway does it without a word; zero keeps it.
    pub connections_max_idle: Duration,
    /// `broker.address.family`: which of a name's addresses are tried.
    pub family: Family,
    /// `security.protocol`, `ssl.*` and `sasl.*`.
    pub security: SecuritySettings,
    /// How records are written.
    pub produce: ProduceSettings,
    /// How records are read.
    pub fetch: FetchSettings,
    /// How a consumer group is joined.
    pub group: GroupSettings,
}

/// `broker.address.family`: which of a name's addresses are tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// All.
    #[default]
    Any,
    /// Those of IPv4.
    V4,
    /// Those of IPv6.
    V6,
}

/// How records are written.
#[derive(Clone, Debug)]
pub struct ProduceSettings {
    /// `compression.type`.
    pub compression: ProduceCompression,
    /// `compression.level`, for a [fixed](ProduceCompression::Fixed) compression only.
    pub compression_level: Option<i32>,
    /// `linger.ms`: how long a batch below `batch.size` waits for more; 0 writes at once.
    pub linger: Duration,
    /// `batch.size` in bytes: output is cut into batches of at most this size, and smaller ones
    /// are joined up to it while they wait. Half a megabyte unless set: a broker in Java keeps
    /// larger requests apart from its other memory (G1's humongous objects), at a price.
    pub batch_size: usize,
    /// `max.request.size` in bytes: no batch is larger, unless a single record is.
    pub max_request_size: usize,
    /// `delivery.timeout.ms`: the limit of writing a batch, retries included. A batch that may be in
    /// the log already is sent on past it: read again, its records would be written twice.
    pub delivery_timeout: Duration,
    /// `max.in.flight.requests.per.connection`: here per partition, 1 to 5 (KIP-98).
    pub in_flight: usize,
    /// `transactional.id`: what the ids of the transactional producers begin with; the group unless set.
    pub transactional_id: Option<String>,
    /// `transaction.timeout.ms`: for how long a transaction that nobody ends holds up readers of committed
    /// records.
    pub transaction_timeout: Duration,
}

/// How output is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProduceCompression {
    /// As its source arrived, so that a copy is not larger than its source.
    #[default]
    Source,
    /// In a fixed way.
    Fixed(Compression),
}

impl ProduceSettings {
    /// How to compress output of records that arrived compressed by `source`.
    pub fn codec(&self, source: Compression) -> Codec {
        let compression = match self.compression {
            ProduceCompression::Source => source,
            ProduceCompression::Fixed(compression) => compression,
        };
        Codec { compression, level: self.compression_level }
    }

    /// `batch.size`, within `max.request.size`.
    pub fn batch_size(&self) -> usize {
        self.batch_size.min(self.max_request_size)
    }
}

/// How records are read.
#[derive(Clone, Debug)]
pub struct FetchSettings {
    /// `fetch.min.bytes`: a broker waits until it has as many.
    pub min_bytes: i32,
    /// `fetch.max.bytes` of a response.
    pub max_bytes: i32,
    /// `fetch.max.wait.ms`: a broker waits no longer than this.
    pub max_wait: Duration,
    /// `max.partition.fetch.bytes` of a response. By default several times the usual limit of a
    /// batch: a broker truncates the last batch, and those bytes are sent again.
    pub max_partition_bytes: i32,
    /// `isolation.level`; unset leaves it to the command.
    pub isolation: Option<Isolation>,
}

/// Which records of transactions are read (KIP-98).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// Also those of transactions that are open or aborted.
    ReadUncommitted,
    /// Only those of committed transactions.
    #[default]
    ReadCommitted,
}

/// How a consumer group is joined.
#[derive(Clone, Debug)]
pub struct GroupSettings {
    /// `group.protocol`; `classic` unless set.
    pub protocol: GroupProtocol,
    /// `partition.assignment.strategy` of the classic protocol, preferred first.
    pub assignors: Vec<Assignor>,
    /// `group.instance.id`: static membership (KIP-345).
    pub instance_id: Option<String>,
    /// `session.timeout.ms` of the classic protocol.
    pub session_timeout: Duration,
    /// `heartbeat.interval.ms` of the classic protocol.
    pub heartbeat_interval: Duration,
    /// `max.poll.interval.ms`: the limit of a rebalance.
    pub max_poll_interval: Duration,
    /// `auto.offset.reset`; unset leaves it to the source's settings.
    pub offset_reset: Option<OffsetReset>,
}

/// `group.protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupProtocol {
    /// The members assign; every broker speaks it.
    Classic,
    /// The coordinator assigns (KIP-848).
    Consumer,
}

/// How partitions are shared out, by its name in `partition.assignment.strategy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignor {
    /// Each topic's partitions in contiguous runs.
    Range,
    /// All partitions dealt in turn.
    RoundRobin,
    /// Balanced with as few moves as possible, and a partition that moves is free for one
    /// rebalance in between (KIP-429).
    CooperativeSticky,
}

impl Assignor {
    /// The assignor of that name.
    pub fn named(name: &str) -> Option<Assignor> {
        [Assignor::Range, Assignor::RoundRobin, Assignor::CooperativeSticky]
            .into_iter()
            .find(|assignor| assignor.name() == name)
    }

    /// The name in the group protocol and in the properties.
    pub fn name(self) -> &'static str {
        match self {
            Assignor::Range => "range",
            Assignor::RoundRobin => "roundrobin",
            Assignor::CooperativeSticky => "cooperative-sticky",
        }
    }
}

impl fmt::Display for Assignor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How connections are protected.
#[derive(Clone, Debug, Default)]
pub struct SecuritySettings {
    /// `security.protocol` `SSL` or `SASL_SSL`.
    pub tls: Option<TlsSettings>,
    /// `security.protocol` `SASL_PLAINTEXT` or `SASL_SSL`.
    pub sasl: Option<SaslSettings>,
}

/// `ssl.*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// `ssl.ca.location` or `ssl.ca.pem`; unset trusts the system's authorities.
    pub ca: Option<Pem>,
    /// `ssl.certificate.location` or `.pem` with `ssl.key.location` or `.pem`: mutual TLS.
    pub identity: Option<(Pem, Pem)>,
    /// `enable.ssl.certificate.verification`.
    pub verify: bool,
    /// `ssl.endpoint.identification.algorithm` other than `none`.
    pub verify_host: bool,
}

/// PEM text, or the file that holds it.
#[derive(Clone, PartialEq, Eq)]
pub enum Pem {
    /// In a file.
    File(PathBuf),
    /// Given directly.
    Text(String),
}

/// `sasl.*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaslSettings {
    /// `sasl.mechanism`.
    pub mechanism: Mechanism,
    /// `sasl.username`; OAUTHBEARER has none.
    pub username: String,
    /// `sasl.password`; OAUTHBEARER has none.
    pub password: Password,
    /// `sasl.oauthbearer.token…`, for OAUTHBEARER.
    pub token: Option<TokenSource>,
}

/// Where the password comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Password {
    /// `sasl.password`.
    Text(Secret),
    /// `sasl.password_file`, which is read at each login.
    File(PathBuf),
}

impl Password {
    /// The current password; that of a file without the end of its last line.
    ///
    /// # Errors
    /// When the file cannot be read; it may be in the middle of being replaced.
    pub async fn read(&self) -> Result<Secret, String> {
        let path = match self {
            Password::Text(secret) => return Ok(secret.clone()),
            Password::File(path) => path.clone(),
        };
        let read = tokio::task::spawn_blocking({
            let path = path.clone();
            move || std::fs::read_to_string(path)
        });
        let failed =
            |error: &dyn fmt::Display| format!("sasl.password_file: cannot read {}: {error}", path.display());
        let text = read.await.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
        Ok(Secret::in_file(&text))
    }
}

/// `sasl.mechanism`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// The password as it is (RFC 4616); for use over TLS.
    Plain,
    /// RFC 5802 and RFC 7677.
    ScramSha256,
    /// RFC 5802 with SHA-512.
    ScramSha512,
    /// A token (RFC 7628, KIP-255); for use over TLS.
    OAuthBearer,
}

impl Mechanism {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
            Mechanism::OAuthBearer => "OAUTHBEARER",
        }
    }
}

/// Where an OAUTHBEARER token comes from. It is asked for at each authentication, so that one
/// that expires is replaced.
#[derive(Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// `sasl.oauthbearer.token`.
    Text(Secret),
    /// `sasl.oauthbearer.token_file`.
    File(PathBuf),
    /// `sasl.oauthbearer.token.command`: what a shell command prints.
    Command(String),
}

impl fmt::Debug for TokenSource {
    /// A command may have a secret among its words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl TokenSource {
    /// The property.
    pub(super) fn name(&self) -> &'static str {
        match self {
            TokenSource::Text(_) => "sasl.oauthbearer.token",
            TokenSource::File(_) => "sasl.oauthbearer.token_file",
            TokenSource::Command(_) => "sasl.oauthbearer.token.command",
        }
    }
}

/// Text that is never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(pub String);

impl Secret {
    /// The secret in a file, without the newline that editors put at its end.
    pub fn in_file(text: &str) -> Secret {
        let line = text.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
        Secret(line.unwrap_or(text).to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pem::File(path) => path.fmt(f),
            Pem::Text(_) => f.write_str("(PEM text)"),
        }
    }
}

impl Default for NativeSettings {
    fn default() -> NativeSettings {
        NativeSettings {
            client_id: "topicmill".to_owned(),
            connection_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            api_timeout: Duration::from_secs(60),
            retry: Backoff { first: Duration::from_millis(100), most: Duration::from_secs(1) },
            reconnect: Backoff { first: Duration::from_millis(50), most: Duration::from_secs(1) },
            metadata_max_age: Duration::from_secs(300),
            connections_max_idle: Duration::from_secs(540),
            family: Family::Any,
            security: SecuritySettings::default(),
            produce: ProduceSettings {
                compression: ProduceCompression::Source,
                compression_level: None,
                linger: Duration::ZERO,
                batch_size: 500_000,
                max_request_size: 1 << 20,
                delivery_timeout: Duration::from_secs(120),
                in_flight: 5,
                transactional_id: None,
                transaction_timeout: Duration::from_secs(10),
            },
            fetch: FetchSettings {
                min_bytes: 1,
                max_bytes: 8 << 20,
                max_wait: Duration::from_millis(500),
                max_partition_bytes: 4 << 20,
                isolation: None,
            },
            group: GroupSettings {
                protocol: GroupProtocol::Classic,
                assignors: vec![Assignor::Range, Assignor::CooperativeSticky],
                instance_id: None,
                session_timeout: Duration::from_secs(45),
                heartbeat_interval: Duration::from_secs(3),
                max_poll_interval: Duration::from_secs(300),
                offset_reset: None,
            },
        }
    }
}
