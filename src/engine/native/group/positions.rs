//! Where to start reading: the committed offsets, or what `auto.offset.reset` says.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::messages::{
    OffsetFetchRequest, TopicName, offset_fetch_request::OffsetFetchRequestTopic,
};
use tokio::time::{Instant, sleep};

use super::{
    coordinator::{Coordinator, Refusal},
    protocol::by_topic,
};
use crate::{
    batch::TopicPartition,
    engine::{
        EngineError, ErrorKind, OffsetReset,
        native::{Client, OffsetAt, cluster::Lane},
    },
};

/// Where to read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub offset: i64,
    /// The leader epoch of the record before the offset; -1 when unknown (KIP-320).
    pub leader_epoch: i32,
    /// Whether the group has committed it; otherwise it was chosen by policy.
    pub is_committed: bool,
}

/// The position of each partition.
///
/// # Errors
/// `Fatal` when one has no committed offset and the policy is `none`; otherwise when the cluster
/// refuses or does not answer in time.
pub(super) async fn positions(
    client: &Client,
    coordinator: &Coordinator,
    partitions: &BTreeSet<TopicPartition>,
    reset: OffsetReset,
) -> Result<BTreeMap<TopicPartition, Position>, EngineError> {
    let settings = &client.cluster().settings;
    let deadline = Instant::now() + settings.api_timeout;
    for failures in 1.. {
        let attempt = async {
            let mut positions = committed(coordinator, partitions).await?;
            let without: BTreeSet<_> =
                partitions.iter().filter(|partition| !positions.contains_key(*partition)).cloned().collect();
            for (partition, offset) in reset_positions(client, &without, reset).await? {
                tracing::info!(%partition, position = offset, "no committed offset, starting by policy");
                positions.insert(partition, Position { offset, leader_epoch: -1, is_committed: false });
            }
            Ok(positions)
        };
        let error = match attempt.await {
            Ok(positions) => return Ok(positions),
            Err(Refusal::Fatal(error)) => return Err(error),
            Err(Refusal::Again(error) | Refusal::Over(error)) => error,
            Err(Refusal::Rebalance | Refusal::JoinAs(_)) => {
                EngineError::new(ErrorKind::Retriable, "the group is rebalancing")
            }
        };
        let pause = settings.retry.pause(failures);
        if Instant::now() + pause >= deadline {
            return Err(error);
        }
        sleep(pause).await;
    }
    unreachable!("the loop ends by returning")
}

/// Where the policy starts a partition without a usable offset.
pub(in crate::engine::native) async fn reset_position(
    client: &Client,
    partition: &TopicPartition,
    reset: OffsetReset,
) -> Result<i64, EngineError> {
    let found = reset_positions(client, &BTreeSet::from([partition.clone()]), reset).await?;
    Ok(found[partition])
}

/// Where the policy starts partitions without a usable offset. The leaders of others are not asked.
async fn reset_positions(
    client: &Client,
    partitions: &BTreeSet<TopicPartition>,
    reset: OffsetReset,
) -> Result<BTreeMap<TopicPartition, i64>, EngineError> {
    let Some(first) = partitions.first() else { return Ok(BTreeMap::new()) };
    let at = match reset {
        OffsetReset::Earliest => OffsetAt::Earliest,
        OffsetReset::Latest => OffsetAt::Latest,
        OffsetReset::None => {
            let text = "there is no usable committed offset, and auto.offset.reset is none";
            return Err(EngineError::new(ErrorKind::Fatal, text).at(first));
        }
    };
    // A group's member reads one topic.
    let numbers = partitions.iter().map(|partition| partition.partition).collect();
    let offsets = client.offsets_of(&first.topic, &numbers, at).await?;
    let position = |partition: &TopicPartition| match offsets.get(&partition.partition) {
        Some(offset) => Ok((partition.clone(), *offset)),
        None => {
            let text = "the cluster does not know the partition";
            Err(EngineError::new(ErrorKind::Retriable, text).at(partition))
        }
    };
    partitions.iter().map(position).collect()
}

/// The committed offsets; waits for transactions that are about to commit some (KIP-447).
async fn committed(
    coordinator: &Coordinator,
    partitions: &BTreeSet<TopicPartition>,
) -> Result<BTreeMap<TopicPartition, Position>, Refusal> {
    let topic = |(name, partitions): (TopicName, Vec<i32>)| {
        OffsetFetchRequestTopic::default().with_name(name).with_partition_indexes(partitions)
    };
    let request = OffsetFetchRequest::default()
        .with_group_id(coordinator.group_id())
        .with_topics(Some(by_topic(partitions).into_iter().map(topic).collect()))
        .with_require_stable(true);
    let limit = coordinator.cluster.settings.request_timeout;
    let response = coordinator.call(Lane::Control, request, limit).await?;
    let what = "fetching committed offsets";
    coordinator.agreed(response.error_code, what)?;
    let mut committed = BTreeMap::new();
    for topic in response.topics {
        for partition in topic.partitions {
            coordinator.agreed(partition.error_code, what)?;
            if partition.committed_offset >= 0 {
                let place = TopicPartition::new(topic.name.as_str(), partition.partition_index);
                let position = Position {
                    offset: partition.committed_offset,
                    leader_epoch: partition.committed_leader_epoch,
                    is_committed: true,
                };
                committed.insert(place, position);
            }
        }
    }
    Ok(committed)
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use tokio::time::timeout;

    use super::*;
    use crate::{
        batch::{AssignmentId, PartitionBatch},
        broker::Broker,
        engine::{
            ClientSettings, Offset, Room, Sink, Source, SourceEvent, Troubles,
            native::{
                NativeSink, NativeSource,
                group::Identity,
                testing::{batch, embedded, source_settings},
            },
        },
    };

    /// A topic of one partition, and the group that reads it.
    struct Group {
        _broker: Broker,
        settings: ClientSettings,
        client: Client,
        coordinator: Coordinator,
        partition: TopicPartition,
    }

    impl Group {
        async fn new() -> Group {
            let (broker, settings) = embedded().await;
            broker.create_topic("t", 1, &[]).unwrap();
            let client = Client::connect(&settings).await.unwrap();
            let cluster = Arc::clone(client.cluster());
            let coordinator = Coordinator { cluster, group: "g".to_owned(), instance: None };
            let partition = TopicPartition::new("t", 0);
            Group { _broker: broker, settings, client, coordinator, partition }
        }

        async fn commit(&self, next: i64, leader_epoch: i32) {
            let (partition, assignment) = (self.partition.clone(), AssignmentId::default());
            let offset = Offset { partition, assignment, next, leader_epoch };
            self.coordinator.commit(&Identity::default(), &[offset]).await.unwrap();
        }

        async fn position(&self) -> (i64, i32) {
            let all = BTreeSet::from([self.partition.clone()]);
            let found = positions(&self.client, &self.coordinator, &all, OffsetReset::Earliest).await;
            let found = found.unwrap()[&self.partition];
            (found.offset, found.leader_epoch)
        }

        async fn source(&self) -> NativeSource {
            NativeSource::new(&self.client, &self.settings, source_settings()).await.unwrap()
        }
    }

    async fn next(source: &mut NativeSource) -> SourceEvent {
        timeout(Duration::from_secs(20), source.next(&Room::open()))
            .await
            .expect("something is told")
            .unwrap()
    }

    #[tokio::test]
    async fn a_committed_offset_comes_back_with_its_leader_epoch() {
        let group = Group::new().await;
        assert_eq!(group.position().await, (0, -1));
        group.commit(5, 3).await;
        assert_eq!(group.position().await, (5, 3));
    }

    #[tokio::test]
    async fn what_was_read_is_committed_with_the_epoch_of_its_batch() {
        let group = Group::new().await;
        let mut sink = NativeSink::new(&group.client, &group.settings, Troubles::default()).await.unwrap();
        sink.send(batch(&group.partition, 3, 0)).await.unwrap();
        let mut source = group.source().await;
        assert!(matches!(next(&mut source).await, SourceEvent::Assigned(_)));
        let SourceEvent::Batch(read, _) = next(&mut source).await else { panic!() };
        let PartitionBatch { origin, assignment, next_offset, leader_epoch, .. } = read;
        let offset = Offset { partition: origin, assignment, next: next_offset, leader_epoch };
        source.commit(vec![offset]).await.unwrap();
        assert_eq!(group.position().await, (3, 0));
    }

    #[tokio::test]
    async fn a_truncation_while_nobody_read_is_noticed() {
        let group = Group::new().await;
        // The log has no records of such an epoch.
        group.commit(3, 7).await;
        let mut source = group.source().await;
        let SourceEvent::Assigned(first) = next(&mut source).await else { panic!() };
        assert!(matches!(next(&mut source).await, SourceEvent::Lost(_)));
        let SourceEvent::Assigned(second) = next(&mut source).await else { panic!() };
        assert_eq!((first[0].position, second[0].position), (3, 0));
    }
}
