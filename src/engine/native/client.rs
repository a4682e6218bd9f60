//! A cluster: its brokers, topics, groups and offsets.

use std::{collections::BTreeMap, sync::Arc};

use tokio::time::Instant;

use super::{
    cluster::Cluster, handshake::Dial, properties::NativeSettings, security::Security, transport::Address,
};
use crate::engine::{ClientSettings, EngineError, ErrorKind};

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
    /// Its state, such as `Stable` or `Empty`.
    pub state: String,
    /// Its members.
    pub members: Vec<MemberInfo>,
}

/// A member of a consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberInfo {
    /// The member's id.
    pub member: String,
    /// The client's id.
    pub client: String,
    /// The client's host.
    pub host: String,
}

/// A place in a partition's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetAt {
    /// The first record that is still there.
    Earliest,
    /// After the last record (with open transactions: after the last stable one).
    Latest,
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
        let dial = Dial {
            client_id: native.client_id.clone(),
            connect_timeout: native.connection_timeout.min(settings.connect_timeout),
            request_timeout: native.request_timeout,
            security: Security::default(),
        };
        let address = |text: &String| {
            Address::parse(text).ok_or_else(|| fatal(format!("broker {text:?} is not host:port")))
        };
        let bootstrap = settings.brokers.iter().map(address).collect::<Result<Vec<_>, _>>()?;
        let deadline = Instant::now() + settings.connect_timeout;
        let cluster = Cluster::connect(bootstrap, native, dial, deadline).await?;
        Ok(Client { cluster: Arc::new(cluster) })
    }

    /// What the other parts of the engine share of the cluster.
    pub(super) fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// Describes a topic; `None` when there is none of that name.
    ///
    /// # Errors
    /// When the cluster does not answer in time or refuses to.
    pub async fn topic(&self, name: &str) -> Result<Option<TopicInfo>, EngineError> {
        let _ = name;
        todo!()
    }

    /// Creates a topic and waits until its partitions have leaders. An existing one is left as it
    /// is. `replication` `None` takes the broker's default.
    ///
    /// # Errors
    /// When the cluster refuses or does not answer in time.
    pub async fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        replication: Option<i16>,
        config: &[(&str, &str)],
    ) -> Result<(), EngineError> {
        let _ = (name, partitions, replication, config);
        todo!()
    }

    /// Deletes a topic and waits until it is gone; a missing one is no error.
    ///
    /// # Errors
    /// When the cluster refuses or does not answer in time.
    pub async fn delete_topic(&self, name: &str) -> Result<(), EngineError> {
        let _ = name;
        todo!()
    }

    /// The configuration of a topic, defaults included, such as `max.message.bytes`.
    ///
    /// # Errors
    /// When the cluster refuses or does not answer in time.
    pub async fn topic_config(&self, name: &str) -> Result<BTreeMap<String, String>, EngineError> {
        let _ = name;
        todo!()
    }

    /// The offset of a place in each partition of a topic.
    ///
    /// # Errors
    /// When the topic is missing or the cluster does not answer in time.
    pub async fn offsets(&self, topic: &str, at: OffsetAt) -> Result<BTreeMap<i32, i64>, EngineError> {
        let _ = (topic, at);
        todo!()
    }

    /// The offsets that a group has committed for a topic; partitions without one are left out.
    ///
    /// # Errors
    /// When the coordinator refuses or does not answer in time.
    pub async fn committed(&self, group: &str, topic: &str) -> Result<BTreeMap<i32, i64>, EngineError> {
        let _ = (group, topic);
        todo!()
    }

    /// Describes a consumer group; one that does not exist has the state `Dead` and no members.
    ///
    /// # Errors
    /// When the coordinator refuses or does not answer in time.
    pub async fn group(&self, group: &str) -> Result<GroupInfo, EngineError> {
        let _ = group;
        todo!()
    }
}
