//! What is known of a cluster: who its brokers are, and who leads each partition.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use kafka_protocol::messages::{MetadataResponse, metadata_response::MetadataResponseTopic};
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    error::{KafkaError, check},
    transport::Address,
};

/// A snapshot of the cluster.
#[derive(Clone, Debug)]
pub struct Metadata {
    /// Where each broker listens.
    pub brokers: HashMap<i32, Address>,
    /// The broker that creates and deletes topics; -1 when there is none.
    pub controller: i32,
    /// The topics that were asked for.
    pub topics: HashMap<Arc<str>, Result<Topic, KafkaError>>,
    /// When the answer came.
    pub taken: Instant,
}

/// A topic's partitions.
#[derive(Clone, Debug)]
pub struct Topic {
    /// What tells the topic from an earlier or later one of the same name (KIP-516); `None` where
    /// the broker does not tell.
    pub id: Option<Uuid>,
    /// Who leads each partition.
    pub partitions: BTreeMap<i32, Leader>,
    /// The replicas of a partition.
    pub replication: usize,
}

/// Who leads a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leader {
    /// The leading broker; -1 while there is none.
    pub broker: i32,
    /// The leader's epoch (KIP-320); -1 where the broker does not tell.
    pub epoch: i32,
}

impl Metadata {
    /// What a broker's answer says.
    pub fn new(response: &MetadataResponse) -> Metadata {
        let brokers = response.brokers.iter().filter_map(|broker| {
            let port = u16::try_from(broker.port).ok()?;
            Some((broker.node_id.0, Address { host: broker.host.to_string(), port }))
        });
        let topics = response.topics.iter().filter_map(|topic| {
            let name = topic.name.as_ref()?;
            Some((Arc::from(name.as_str()), topic_of(topic)))
        });
        Metadata {
            brokers: brokers.collect(),
            controller: response.controller_id.0,
            topics: topics.collect(),
            taken: Instant::now(),
        }
    }
}

fn topic_of(topic: &MetadataResponseTopic) -> Result<Topic, KafkaError> {
    check(topic.error_code)?;
    let leader = |p: &kafka_protocol::messages::metadata_response::MetadataResponsePartition| Leader {
        broker: p.leader_id.0,
        epoch: p.leader_epoch,
    };
    Ok(Topic {
        id: Some(topic.topic_id).filter(|id| !id.is_nil()),
        partitions: topic.partitions.iter().map(|p| (p.partition_index, leader(p))).collect(),
        replication: topic.partitions.first().map_or(0, |p| p.replica_nodes.len()),
    })
}
