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
) -> Result<BTreeMap<TopicPartition, i64>, EngineError> {
    let settings = &client.cluster().settings;
    let deadline = Instant::now() + settings.api_timeout;
    for failures in 1.. {
        let attempt = async {
            let mut positions = committed(coordinator, partitions).await?;
            let without: BTreeSet<_> =
                partitions.iter().filter(|partition| !positions.contains_key(*partition)).cloned().collect();
            for (partition, position) in reset_positions(client, &without, reset).await? {
                tracing::info!(%partition, position, "no committed offset, starting by policy");
                positions.insert(partition, position);
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
) -> Result<BTreeMap<TopicPartition, i64>, Refusal> {
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
                committed.insert(place, partition.committed_offset);
            }
        }
    }
    Ok(committed)
}
