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
    /// Distinguishes the topic from an earlier or later one of the same name (KIP-516); `None`
    /// where the broker does not report it.
    pub id: Option<Uuid>,
    /// Who leads each partition.
    pub partitions: BTreeMap<i32, Leader>,
    /// The replicas of a partition.
    pub replication: usize,
    /// How many answers in a row had older leaders than were known.
    older_answers: u32,
}

/// Who leads a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leader {
    /// The leading broker; -1 while there is none.
    pub broker: i32,
    /// The leader's epoch (KIP-320); -1 where the broker does not report it.
    pub epoch: i32,
}

/// Without topic ids, an older leader epoch is believed once this many answers in a row have it:
/// the topic was deleted and created again.
const OLDER_ANSWERS_MAX: u32 = 5;

impl Metadata {
    /// A cluster of which nothing is known.
    pub fn empty() -> Metadata {
        let (brokers, topics) = (HashMap::new(), HashMap::new());
        Metadata { brokers, controller: -1, topics, taken: Instant::now() }
    }

    /// This snapshot after `before`, without what is older in it: a broker that is cut off from the
    /// others keeps naming the leaders of its time (KIP-320).
    pub fn after(mut self, before: &Metadata) -> Metadata {
        for (name, topic) in &mut self.topics {
            if let (Ok(topic), Some(Ok(before))) = (topic, before.topics.get(name)) {
                topic.keep_newer(before);
            }
        }
        self
    }

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

impl Topic {
    /// Keeps the leaders of `before` that have a greater epoch, if it is the same topic.
    fn keep_newer(&mut self, before: &Topic) {
        let is_older = |(partition, leader): (&i32, &Leader)| {
            let before = before.partitions.get(partition);
            before.is_some_and(|before| leader.epoch >= 0 && leader.epoch < before.epoch)
        };
        if (self.id.is_some() && self.id != before.id) || !self.partitions.iter().any(is_older) {
            return;
        }
        if self.id.is_none() && before.older_answers >= OLDER_ANSWERS_MAX {
            return;
        }
        self.older_answers = before.older_answers + 1;
        for (partition, leader) in &mut self.partitions {
            if let Some(before) =
                before.partitions.get(partition).filter(|before| before.epoch > leader.epoch)
                && leader.epoch >= 0
            {
                *leader = *before;
            }
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
        older_answers: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(id: Option<u128>, leaders: &[(i32, i32)]) -> Metadata {
        let leaders = leaders.iter().map(|(broker, epoch)| Leader { broker: *broker, epoch: *epoch });
        let topic = Topic {
            id: id.map(Uuid::from_u128),
            partitions: (0..).zip(leaders).collect(),
            replication: 1,
            older_answers: 0,
        };
        Metadata { topics: HashMap::from([("t".into(), Ok(topic))]), ..Metadata::empty() }
    }

    fn leaders(metadata: &Metadata) -> Vec<(i32, i32)> {
        let topic = metadata.topics["t"].as_ref().unwrap();
        topic.partitions.values().map(|leader| (leader.broker, leader.epoch)).collect()
    }

    #[test]
    fn an_older_leader_is_not_believed() {
        let known = snapshot(Some(1), &[(1, 5), (1, 5), (1, 5)]);
        let told = snapshot(Some(1), &[(2, 4), (2, 6), (-1, 5)]).after(&known);
        assert_eq!(leaders(&told), [(1, 5), (2, 6), (-1, 5)]);
        // However often it is repeated.
        let again =
            (0..20).fold(told, |known, _| snapshot(Some(1), &[(2, 4), (2, 6), (-1, 5)]).after(&known));
        assert_eq!(leaders(&again), [(1, 5), (2, 6), (-1, 5)]);
        // Brokers before KIP-320 report none.
        assert_eq!(leaders(&snapshot(Some(1), &[(2, -1)]).after(&known)), [(2, -1)]);
    }

    #[test]
    fn a_topic_made_anew_begins_with_an_older_epoch() {
        let known = snapshot(Some(1), &[(1, 5)]);
        assert_eq!(leaders(&snapshot(Some(2), &[(2, 0)]).after(&known)), [(2, 0)]);
        // Without ids that shows only in time.
        let mut known = snapshot(None, &[(1, 5)]);
        for _ in 0..OLDER_ANSWERS_MAX {
            known = snapshot(None, &[(2, 0)]).after(&known);
            assert_eq!(leaders(&known), [(1, 5)]);
        }
        assert_eq!(leaders(&snapshot(None, &[(2, 0)]).after(&known)), [(2, 0)]);
    }
}
