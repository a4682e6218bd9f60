mod consumer;
mod faults;
mod positions;
mod rewind;
mod scale;

use std::{
    pin::pin,
    sync::Mutex,
    task::{Context, Poll, Wake},
};

use topicmill_broker::{ApiKey, Broker, Fault, FaultAction};
use topicmill_mill::{
    batch::{PartitionBatch, TopicPartition},
    budget::Permit,
    engine::{Assignment, Gap, GapReason, OffsetReset, Place, Sink, Troubles},
};

use super::*;
use crate::{
    NativeSink,
    testing::{batch, embedded, source_settings},
};

/// The only member of a new group, whose coordinator has a fault.
async fn joining(properties: &[(&str, &str)], fault: Fault) -> (Broker, Client, NativeSource) {
    let (broker, mut settings) = embedded().await;
    broker.create_topic("t", 1, &[]).unwrap();
    let own = properties.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    settings.properties.extend(own);
    let client = Client::connect(&settings).await.unwrap();
    broker.inject(fault);
    let source = NativeSource::new(&client, &settings, source_settings()).await.unwrap();
    (broker, client, source)
}

/// A topic `t`, a group that reads it, and what goes wrong.
struct Scene {
    broker: Broker,
    settings: ClientSettings,
    client: Client,
    troubles: Troubles,
}

impl Scene {
    async fn new(partitions: i32) -> Scene {
        let (broker, settings) = embedded().await;
        broker.create_topic("t", partitions, &[]).unwrap();
        let client = Client::connect(&settings).await.unwrap();
        Scene { broker, settings, client, troubles: Troubles::default() }
    }

    /// A member of the group in a process of its own.
    async fn source(&self, reset: OffsetReset, properties: &[(&str, &str)]) -> NativeSource {
        let client = Client::connect(&self.with(properties)).await.unwrap();
        self.source_of(&client, reset, properties).await
    }

    async fn source_of(
        &self,
        client: &Client,
        reset: OffsetReset,
        properties: &[(&str, &str)],
    ) -> NativeSource {
        let mut of = source_settings();
        (of.offset_reset, of.troubles) = (reset, self.troubles.clone());
        NativeSource::new(client, &self.with(properties), of).await.unwrap()
    }

    fn with(&self, properties: &[(&str, &str)]) -> ClientSettings {
        let mut settings = self.settings.clone();
        let own = properties.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        settings.properties.extend(own);
        settings
    }

    /// Writes records to a partition, two to a batch.
    async fn produce(&self, partition: i32, records: usize) {
        let mut sink = NativeSink::new(&self.client, &self.settings, Troubles::default()).await.unwrap();
        for from in (0..records).step_by(2) {
            let some = batch(&place(partition), 2.min(records - from), from);
            sink.send(some).await.unwrap();
        }
        sink.close().await;
    }

    /// Waits until there is such a failure, or none any more.
    async fn troubled(&self, place: Place, expected: bool) {
        let until = async {
            while self.troubles.now().iter().any(|(at, _)| *at == place) != expected {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(LIMIT, until).await.unwrap_or_else(|_| panic!("{place:?}: {:?}", self.troubles.now()));
    }
}

/// Nothing here takes nearly as long; whatever does is stuck.
const LIMIT: Duration = Duration::from_secs(30);

fn place(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

async fn next(source: &mut NativeSource) -> SourceEvent {
    next_in(source, &Room::open()).await
}

async fn next_in(source: &mut NativeSource, room: &Room) -> SourceEvent {
    timeout(LIMIT, source.next(room)).await.expect("something is told").unwrap()
}

/// The next event, which is an assignment.
async fn assigned(source: &mut NativeSource) -> Vec<Assignment> {
    match next(source).await {
        SourceEvent::Assigned(assigned) => assigned,
        other => panic!("{other:?}"),
    }
}

/// Takes batches up to the offset `end` of a partition, which all are of `assignment`.
async fn read_to(source: &mut NativeSource, assignment: &Assignment, end: i64) -> PartitionBatch {
    loop {
        match next(source).await {
            SourceEvent::Batch(batch, _) => {
                assert_eq!((&batch.origin, batch.assignment), (&assignment.partition, assignment.id));
                if batch.next_offset >= end {
                    return batch;
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Commits for an assignment.
async fn commit(source: &NativeSource, assignment: &Assignment, next: i64) {
    let (partition, assignment) = (assignment.partition.clone(), assignment.id);
    source.commit(vec![Offset { partition, assignment, next, leader_epoch: -1 }]).await.unwrap();
}

/// Calls its closure when nobody waits through it any more.
struct OnDrop(Mutex<Box<dyn FnMut() + Send>>);

impl Wake for OnDrop {
    fn wake(self: Arc<Self>) {}
}

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.get_mut().unwrap()();
    }
}

#[tokio::test]
async fn an_assignment_comes_before_its_batches_however_late_it_comes() {
    let (broker, settings) = embedded().await;
    broker.create_topic("t", 1, &[]).unwrap();
    let client = Client::connect(&settings).await.unwrap();
    let mut source = NativeSource::new(&client, &settings, source_settings()).await.unwrap();
    let (event, events) = mpsc::channel(1);
    let (batch, batches) = mpsc::channel(1);
    let _open = event.clone();
    (source.events, source.batches, source.assignments) = (events, batches, Arc::default());

    let partition = TopicPartition::new("t", 0);
    let assignment = source.assignments.hold(&partition);
    // Both come between a look at the events and one at the batches: that drops the last waker.
    let both = move || {
        let position = 0;
        let assigned = Assignment {
            partition: partition.clone(),
            id: assignment,
            position,
            is_committed: true,
            is_late: false,
        };
        event.try_send(Ok(SourceEvent::Assigned(vec![assigned]))).unwrap();
        let read = PartitionBatch {
            origin: partition.clone(),
            assignment,
            next_offset: 1,
            ..PartitionBatch::default()
        };
        batch.try_send(Delivered::Batch(read, Permit::none(), Permit::none())).unwrap();
    };
    {
        let room = Room::open();
        let mut next = pin!(source.next(&room));
        let waker = Arc::new(OnDrop(Mutex::new(Box::new(both)))).into();
        assert!(next.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        drop(waker);
        let other = Arc::new(OnDrop(Mutex::new(Box::new(|| {})))).into();
        let first = next.as_mut().poll(&mut Context::from_waker(&other));
        assert!(matches!(first, Poll::Ready(Ok(SourceEvent::Assigned(_)))), "{first:?}");
    }
    assert!(matches!(source.next(&Room::open()).await, Ok(SourceEvent::Batch(..))));
}

#[tokio::test]
async fn an_old_generation_leaves_no_ghost_in_the_group() {
    const ILLEGAL_GENERATION: i16 = 22;
    let fault = Fault::once(ApiKey::SyncGroup, FaultAction::Error(ILLEGAL_GENERATION));
    let (broker, client, mut source) = joining(&[("heartbeat.interval.ms", "50")], fault).await;
    let limit = Duration::from_secs(20);
    let assigned = timeout(limit, source.next(&Room::open())).await.expect("no ghost is waited for");
    assert!(matches!(assigned, Ok(SourceEvent::Assigned(_))), "{assigned:?}");
    let before = client.group("g").await.unwrap().members;

    broker.inject(Fault::once(ApiKey::Heartbeat, FaultAction::Error(ILLEGAL_GENERATION)));
    let lost = timeout(limit, source.next(&Room::open())).await.unwrap();
    assert!(matches!(lost, Ok(SourceEvent::Lost(_))), "{lost:?}");
    let again = timeout(limit, source.next(&Room::open())).await.expect("no ghost is waited for");
    assert!(matches!(again, Ok(SourceEvent::Assigned(_))), "{again:?}");
    assert_eq!(client.group("g").await.unwrap().members, before);
    assert_eq!(before.len(), 1);
}

#[tokio::test]
async fn a_member_that_the_group_forgot_joins_as_a_new_one() {
    const UNKNOWN_MEMBER_ID: i16 = 25;
    let fault = Fault::once(ApiKey::JoinGroup, FaultAction::Error(UNKNOWN_MEMBER_ID)).after(1);
    // The broker waits for a session for the member that it had admitted.
    let properties = [("heartbeat.interval.ms", "50"), ("session.timeout.ms", "1000")];
    let (_broker, _client, mut source) = joining(&properties, fault).await;
    let assigned = timeout(Duration::from_secs(20), source.next(&Room::open())).await.unwrap();
    assert!(matches!(assigned, Ok(SourceEvent::Assigned(_))), "{assigned:?}");
}
