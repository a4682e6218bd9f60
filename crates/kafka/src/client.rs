//! A cluster: its brokers, topics, groups and offsets. The questions are in `topics` and `offsets`.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::time::Instant;
use topicmill_mill::{
    batch::TopicPartition,
    engine::{ClientSettings, EngineError, ErrorKind},
};
use uuid::Uuid;

use super::{
    cluster::Cluster,
    error::check,
    handshake::Dial,
    retry::retry,
    security::Security,
    settings::NativeSettings,
    transport::{Address, Sockets},
};

/// A connection to a cluster; clones share it.
#[derive(Clone, Debug)]
pub struct Client {
    cluster: Arc<Cluster>,
}

/// A topic as the cluster describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// The topic's name.
    pub name: String,
    /// Distinguishes it from an earlier or later topic of the same name (KIP-516); `None` where the
    /// broker does not report it.
    pub id: Option<Uuid>,
    /// The number of its partitions, which are numbered from 0.
    pub partitions: i32,
    /// The replicas of each partition.
    pub replication: i16,
}

/// A consumer group as its coordinator describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupInfo {
    /// The group's name.
    pub group: String,
    /// Its state, such as `Stable` or `Empty`; `Dead` when there is no such group.
    pub state: String,
    /// Its members.
    pub members: Vec<MemberInfo>,
}

impl GroupInfo {
    /// Whether there is such a group: it has members, or has committed offsets.
    pub fn exists(&self) -> bool {
        self.state != NO_GROUP
    }
}

/// The state of a group that does not exist.
pub(super) const NO_GROUP: &str = "Dead";

/// A member of a consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberInfo {
    /// The member's id.
    pub member: String,
    /// The client's id.
    pub client: String,
    /// The client's host.
    pub host: String,
    /// The topics that it subscribes to by name.
    pub topics: BTreeSet<String>,
    /// The partitions that it was given; in a classic group that rebalances, the coordinator leaves them out.
    pub assigned: BTreeSet<TopicPartition>,
}

/// A place in a partition's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetAt {
    /// The first record that is still there.
    Earliest,
    /// After the last record that readers of committed records may read: before the first open
    /// transaction (the last stable offset), or the high watermark when there is none.
    Latest,
    /// After the last record that is replicated, whether or not its transaction has ended.
    HighWatermark,
    /// The first record that is on the leader's own disk: what is before it is in remote storage
    /// (KIP-405).
    EarliestLocal,
    /// The first record whose timestamp in milliseconds is at least this.
    Timestamp(i64),
}

impl Client {
    /// Connects to the first broker that answers and learns the cluster from it.
    ///
    /// # Errors
    /// `Unreachable` when no broker answers within the connect timeout; `Fatal` for a property
    /// that is not supported or an authentication that fails.
    pub async fn connect(settings: &ClientSettings) -> Result<Client, EngineError> {
        let fatal = |message: String| EngineError::new(ErrorKind::Fatal, message);
        let native =
            NativeSettings::from_properties(&settings.properties).map_err(|e| fatal(e.to_string()))?;
        let security = Security::load(&native.security).map_err(|e| fatal(e.to_string()))?;
        let dial = Dial {
            client_id: native.client_id.clone(),
            connect_timeout: native.connection_timeout.min(settings.connect_timeout),
            max_idle: Some(native.connections_max_idle).filter(|limit| !limit.is_zero()),
            // Twice, as a broker whose quotas throttle this client reads nothing for a while.
            sockets: Sockets::new(native.family, 2 * native.request_timeout),
            security: Arc::new(security),
            logins: Arc::default(),
        };
        let address = |text: &String| {
            Address::parse(text).ok_or_else(|| fatal(format!("broker {text:?} is not host:port")))
        };
        let bootstrap = settings.brokers.iter().map(address).collect::<Result<Vec<_>, _>>()?;
        native.security.warn_of_what_is_open();
        let deadline = Instant::now() + settings.connect_timeout;
        let cluster = Cluster::connect(bootstrap, native, dial, deadline).await?;
        Ok(Client { cluster })
    }

    /// The preferred maximum size in bytes of a batch to write: `batch.size`, within
    /// `max.request.size`.
    pub fn batch_size(&self) -> usize {
        self.cluster.settings.produce.batch_size()
    }

    /// For how long a transaction that nobody ends holds up readers: `transaction.timeout.ms`.
    pub fn transaction_timeout(&self) -> Duration {
        self.cluster.settings.produce.transaction_timeout
    }

    /// What the other parts of the engine share of the cluster.
    pub(super) fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// Retries until `default.api.timeout.ms` has passed.
    pub(super) async fn retry<T, F: Future<Output = Result<T, EngineError>>>(
        &self,
        what: &str,
        attempt: impl FnMut() -> F,
    ) -> Result<T, EngineError> {
        let settings = &self.cluster.settings;
        retry(what, settings.retry, Instant::now() + settings.api_timeout, attempt).await
    }

    /// `Ok` for the error code 0; otherwise the engine's error, and what it shows to be out of date
    /// is forgotten.
    pub(super) fn checked(&self, code: i16, what: &str, message: Option<&str>) -> Result<(), EngineError> {
        check(code).map_err(|error| self.cluster.failed(error, what, message))
    }
}
