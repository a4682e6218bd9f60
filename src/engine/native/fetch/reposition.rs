//! Puts a position right that the log does not have, or no longer has (KIP-320).

use std::collections::BTreeSet;

use kafka_protocol::{
    messages::{
        BrokerId, OffsetForLeaderEpochRequest,
        offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic},
    },
    protocol::StrBytes,
};

use super::Shared;
use crate::{
    batch::{Generation, TopicPartition},
    engine::{
        Assignment, EngineError, ErrorKind, OffsetReset, SourceEvent,
        native::{
            cluster::{Cluster, Lane},
            error::check,
            group::reset_position,
            metadata::Leader,
        },
    },
};

/// Where to read on.
#[derive(Debug)]
pub(super) enum Verdict {
    /// The position is good.
    Stay,
    /// Further on: what lies between is gone.
    Forward(i64),
    /// Further back: what was read from there on is not in the log any more.
    Back(i64),
}

/// What the policy says when a leader has no record at `position`.
pub(super) async fn out_of_range(
    shared: &Shared,
    partition: &TopicPartition,
    position: i64,
) -> Result<Verdict, EngineError> {
    if shared.offset_reset == OffsetReset::None {
        let text = "the log does not have this offset, and auto.offset.reset is none";
        return Err(EngineError::new(ErrorKind::Fatal, text).at_offset(partition, position));
    }
    let reset = reset_position(&shared.client, partition, shared.offset_reset).await?;
    tracing::error!(
        %partition, position, reset,
        "the log does not have the offset to read (retention or a truncation was faster); \
         reading on where auto.offset.reset says: records may be missing"
    );
    Ok(if reset >= position { Verdict::Forward(reset) } else { Verdict::Back(reset) })
}

/// Whether a new leader's log ends, for the epoch last read, before `position`: an unclean
/// election has then lost records that were read already.
pub(super) async fn truncated(
    shared: &Shared,
    partition: &TopicPartition,
    position: i64,
    epoch: i32,
    leader: Leader,
) -> Result<Verdict, EngineError> {
    let Some(end) = end_of_epoch(shared.client.cluster(), partition, epoch, leader).await? else {
        return Ok(Verdict::Stay);
    };
    if end >= position {
        return Ok(Verdict::Stay);
    }
    let text = format!("the log was truncated to offset {end} by an unclean leader election");
    if shared.offset_reset == OffsetReset::None {
        return Err(EngineError::new(ErrorKind::Fatal, text).at_offset(partition, position));
    }
    tracing::error!(%partition, position, end, "{text}; reading on from there");
    Ok(Verdict::Back(end))
}

/// The end offset of `epoch` in the leader's log; `None` where the broker cannot tell.
async fn end_of_epoch(
    cluster: &Cluster,
    partition: &TopicPartition,
    epoch: i32,
    leader: Leader,
) -> Result<Option<i64>, EngineError> {
    let asked = OffsetForLeaderPartition::default()
        .with_partition(partition.partition)
        .with_current_leader_epoch(leader.epoch)
        .with_leader_epoch(epoch);
    let topic = OffsetForLeaderTopic::default()
        .with_topic(StrBytes::from_string(partition.topic.to_string()).into())
        .with_partitions(vec![asked]);
    let request =
        OffsetForLeaderEpochRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
    let connection = cluster.connection(leader.broker, Lane::Control).await?;
    let response = connection.call(request).await?;
    let Some(answer) = response.topics.first().and_then(|topic| topic.partitions.first()) else {
        return Ok(None);
    };
    let what = "asking for the end of a leader's epoch";
    check(answer.error_code).map_err(|error| cluster.failed(error, what, None).at(partition))?;
    Ok((answer.end_offset >= 0).then_some(answer.end_offset))
}

/// Ends an assignment whose records are gone and begins a new one, so that what follows has
/// ascending offsets again; `None` when the partition is being taken away anyway.
pub(super) async fn begin_again(
    shared: &Shared,
    partition: &TopicPartition,
    generation: Generation,
    position: i64,
) -> Option<Generation> {
    let renewed = shared.assignments.renew(partition, generation)?;
    let lost = BTreeSet::from([partition.clone()]);
    let _ = shared.events.send(Ok(SourceEvent::Lost(lost.into_iter().collect()))).await;
    let assignment = Assignment { partition: partition.clone(), generation: renewed, position };
    let _ = shared.events.send(Ok(SourceEvent::Assigned(vec![assignment]))).await;
    Some(renewed)
}
