//! Corrects a position that the log does not have, or no longer has (KIP-320).

use kafka_protocol::{
    messages::{
        ApiKey, BrokerId, OffsetForLeaderEpochRequest,
        offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic},
    },
    protocol::VersionRange,
};
use topicmill_mill::{
    batch::{AssignmentId, TopicPartition},
    engine::{Assignment, EngineError, ErrorKind, SourceEvent},
};

use super::FetchShared;
use crate::{
    OffsetAt,
    ask::Whom,
    cluster::{Cluster, Lane},
    error::check,
    metadata::Leader,
    text::topic_name,
};

/// A position in question.
#[derive(Clone, Debug)]
pub(super) struct Doubt {
    pub partition: TopicPartition,
    pub position: i64,
    /// The leader epoch of the record before it; -1 when unknown.
    pub epoch: i32,
    pub leader: Leader,
}

/// Where to continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PositionVerdict {
    /// The position is good.
    Stay,
    /// The position is good, but the leader does not know it yet: later.
    Later,
    /// Further on: what lies in between is gone.
    Forward(i64),
    /// Further back: what was read from there on is no longer in the log.
    Back(i64),
}

/// Where to continue when a leader has no record at the position: at the log's start when retention
/// was faster, where the epoch last read ends in the leader's log when that was truncated. The
/// reset policy does not apply: it is for a group that has never read the topic.
pub(super) async fn out_of_range(
    shared: &FetchShared,
    doubt: &Doubt,
) -> Result<PositionVerdict, EngineError> {
    let Doubt { partition, position, epoch, leader } = doubt;
    let start = offset(shared, partition, OffsetAt::Earliest).await?;
    if *position < start {
        // The mill decides what to do about it, and reports it.
        tracing::debug!(%partition, position, start, "the log begins after the offset to read");
        return Ok(PositionVerdict::Forward(start));
    }
    let end = match *epoch {
        0.. => end_of_epoch(shared.client.cluster(), partition, *epoch, *leader).await?,
        _ => EpochEnd::Unasked,
    };
    let back = match end {
        EpochEnd::At(end) => end.max(start),
        // It is unknown what was read of this log.
        EpochEnd::Unknown => start,
        EpochEnd::Unasked if offset(shared, partition, OffsetAt::HighWatermark).await? < *position => start,
        EpochEnd::Unasked => *position,
    };
    if back >= *position {
        return Ok(PositionVerdict::Later);
    }
    tracing::error!(%partition, position, back, "the log ends before the offset to read: it was truncated; reading on from where it is known");
    Ok(PositionVerdict::Back(back))
}

/// Whether a new leader's log ends, for the epoch last read, before the position: then an unclean
/// election has lost records that were already read.
pub(super) async fn truncated(shared: &FetchShared, doubt: &Doubt) -> Result<PositionVerdict, EngineError> {
    let Doubt { partition, position, epoch, leader } = doubt;
    match end_of_epoch(shared.client.cluster(), partition, *epoch, *leader).await? {
        EpochEnd::At(end) if end < *position => {
            tracing::error!(%partition, position, end, "the log was truncated by an unclean leader election; reading on from there");
            Ok(PositionVerdict::Back(end))
        }
        EpochEnd::At(_) | EpochEnd::Unasked => Ok(PositionVerdict::Stay),
        EpochEnd::Unknown => out_of_range(shared, doubt).await,
    }
}

/// Where the log begins or ends.
async fn offset(shared: &FetchShared, partition: &TopicPartition, at: OffsetAt) -> Result<i64, EngineError> {
    let only = [partition.partition].into();
    let answers = shared.client.ask_offsets(&partition.topic, &only, at).await?;
    let unknown = || Err(EngineError::new(ErrorKind::Retriable, "the cluster does not know the partition"));
    answers.into_values().next().unwrap_or_else(unknown)
}

/// Where an epoch ends in a leader's log.
enum EpochEnd {
    /// At this offset.
    At(i64),
    /// The log has nothing of this epoch.
    Unknown,
    /// The broker does not let clients ask.
    Unasked,
}

/// The end of `epoch` in the leader's log.
async fn end_of_epoch(
    cluster: &Cluster,
    partition: &TopicPartition,
    epoch: i32,
    leader: Leader,
) -> Result<EpochEnd, EngineError> {
    let asked = OffsetForLeaderPartition::default()
        .with_partition(partition.partition)
        .with_current_leader_epoch(leader.epoch)
        .with_leader_epoch(epoch);
    let topic =
        OffsetForLeaderTopic::default().with_topic(topic_name(&partition.topic)).with_partitions(vec![asked]);
    let request =
        OffsetForLeaderEpochRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
    let connection = cluster.connection(leader.broker, Lane::Control).await?;
    if !lets_clients_ask(connection.offered(ApiKey::OffsetForLeaderEpoch)) {
        return Ok(EpochEnd::Unasked);
    }
    let limit = cluster.settings.request_timeout;
    let response = cluster.ask(Whom::Broker(leader.broker), &request, limit).await?;
    let what = "asking for the end of a leader's epoch";
    let answer = response.topics.first().and_then(|topic| topic.partitions.first());
    let answer = answer.ok_or_else(|| {
        EngineError::new(ErrorKind::Retriable, format!("{what}: the answer is empty")).at(partition)
    })?;
    check(answer.error_code).map_err(|error| cluster.failed(error, what, None).at(partition))?;
    Ok(if answer.end_offset >= 0 { EpochEnd::At(answer.end_offset) } else { EpochEnd::Unknown })
}

/// Before version 3 of the request, only brokers may ask (KIP-320).
fn lets_clients_ask(offered: Option<VersionRange>) -> bool {
    offered.is_some_and(|versions| versions.max >= 3)
}

/// Ends an assignment whose records are gone and begins a new one, so that offsets ascend again;
/// `None` when the partition is being taken away anyway.
pub(super) async fn begin_again(
    shared: &FetchShared,
    partition: &TopicPartition,
    assignment: AssignmentId,
    position: i64,
) -> Option<AssignmentId> {
    // Meanwhile the member may revoke the partition: it stops the reading, then sends `Revoked`. Were
    // the new assignment made first and room for its events waited for after that, this could happen:
    //   1. the partition gets its new assignment here, and the channel is full;
    //   2. the member stops the reading of the new assignment and sends `Revoked`, which gets the room;
    //   3. `Lost` and `Assigned` follow: whoever let go of the partition is told that it is there.
    // With room for both events first, they are sent under the lock that the new assignment is made
    // under, and the member's stop needs the same lock. Either it comes first, and `renew` finds that
    // nothing is being read, or both events are in the channel before `Revoked` is sent.
    let mut room = shared.events.reserve_many(2).await.ok()?;
    let mut tell = |event| room.next().expect("there is room for two").send(Ok(event));
    shared.assignments.renew(partition, assignment, |assignment| {
        let partition = partition.clone();
        tell(SourceEvent::Lost(vec![partition.clone()]));
        tell(SourceEvent::Assigned(vec![Assignment {
            partition,
            id: assignment,
            position,
            is_committed: false,
            is_late: false,
        }]));
    })
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, future::ready, pin::pin, sync::Arc};

    use tokio::sync::mpsc::{Receiver, channel};
    use topicmill_broker::Broker;
    use topicmill_mill::{budget::Budget, engine::Troubles};

    use super::*;
    use crate::{Client, Isolation, NativeSettings, fetch::FetchShape, memory::Memory, testing::embedded};

    /// A partition `t-0` that is being read, and the events for the consumer.
    struct Reading {
        _broker: Broker,
        shared: FetchShared,
        told: Receiver<Result<SourceEvent, EngineError>>,
        partition: TopicPartition,
        assignment: AssignmentId,
    }

    async fn reading() -> Reading {
        let (broker, settings) = embedded().await;
        broker.create_topic("t", 1, &[]).unwrap();
        let (events, told) = channel(2);
        let shared = FetchShared {
            client: Client::connect(&settings).await.unwrap(),
            shape: FetchShape::new(&NativeSettings::default().fetch, Isolation::ReadCommitted),
            memory: Memory::default(),
            topic: "t".into(),
            troubles: Troubles::default(),
            budget: Budget::new(1 << 20),
            assignments: Arc::default(),
            events,
        };
        let partition = TopicPartition::new("t", 0);
        let assignment = shared.assignments.hold(&partition);
        Reading { _broker: broker, shared, told, partition, assignment }
    }

    #[tokio::test]
    async fn an_assignment_ends_before_it_begins_again() {
        let mut reading = reading().await;
        let renewed = begin_again(&reading.shared, &reading.partition, reading.assignment, 5).await.unwrap();
        assert!(reading.shared.assignments.is_reading(&reading.partition, renewed));
        assert!(matches!(reading.told.recv().await, Some(Ok(SourceEvent::Lost(_)))));
        let Some(Ok(SourceEvent::Assigned(assigned))) = reading.told.recv().await else { panic!() };
        assert_eq!((assigned[0].id, assigned[0].position), (renewed, 5));
    }

    #[tokio::test]
    async fn what_is_revoked_before_it_can_be_told_does_not_begin_again() {
        let Reading { _broker, shared, mut told, partition, assignment } = reading().await;
        for _ in 0..2 {
            shared.events.try_send(Ok(SourceEvent::Assigned(Vec::new()))).unwrap();
        }
        let mut renewed = pin!(begin_again(&shared, &partition, assignment, 5));
        tokio::select! {
            biased;
            _ = &mut renewed => panic!("there is no room to tell anything"),
            () = ready(()) => {}
        }
        shared.assignments.stop_reading(&BTreeSet::from([partition.clone()]));
        assert!(told.recv().await.is_some() && told.recv().await.is_some());
        assert_eq!(renewed.await, None);
        assert!(told.try_recv().is_err(), "whoever is told to let go is told nothing after it");
    }

    #[test]
    fn a_broker_that_does_not_let_clients_ask_is_not_asked() {
        let offered = |max| lets_clients_ask(Some(VersionRange { min: 0, max }));
        assert_eq!((offered(2), offered(3), offered(4)), (false, true, true));
        assert!(!lets_clients_ask(None));
    }

    #[tokio::test]
    async fn an_epoch_that_the_leader_does_not_know_starts_at_the_beginning() {
        let reading = reading().await;
        let partition = reading.partition.clone();
        let leader = reading.shared.client.cluster().leader(&partition).await.unwrap();
        let doubt = |position, epoch| Doubt { partition: partition.clone(), position, epoch, leader };
        let verdict = truncated(&reading.shared, &doubt(3, leader.epoch + 7)).await;
        assert_eq!(verdict.unwrap(), PositionVerdict::Back(0));
        let verdict = truncated(&reading.shared, &doubt(0, leader.epoch)).await;
        assert_eq!(verdict.unwrap(), PositionVerdict::Stay);
    }

    #[tokio::test]
    async fn a_leader_that_does_not_know_a_good_position_is_asked_later() {
        let reading = reading().await;
        let partition = reading.partition.clone();
        let leader = reading.shared.client.cluster().leader(&partition).await.unwrap();
        let doubt = |position, epoch| Doubt { partition: partition.clone(), position, epoch, leader };
        // The log is empty, and so everything that was read of it is gone.
        for epoch in [-1, leader.epoch] {
            let verdict = out_of_range(&reading.shared, &doubt(0, epoch)).await;
            assert_eq!(verdict.unwrap(), PositionVerdict::Later);
        }
        let verdict = out_of_range(&reading.shared, &doubt(4, -1)).await;
        assert_eq!(verdict.unwrap(), PositionVerdict::Back(0));
    }
}
