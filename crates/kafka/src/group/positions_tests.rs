use std::time::Duration;

use kafka_protocol::{
    messages::{
        BrokerId, MetadataResponse,
        metadata_response::{MetadataResponsePartition, MetadataResponseTopic},
    },
    protocol::StrBytes,
};
use proptest::prelude::*;
use tokio::time::timeout;
use topicmill_broker::Broker;
use topicmill_mill::{
    batch::{AssignmentId, PartitionBatch},
    engine::{ClientSettings, Offset, Room, Sink, Source, SourceEvent, Troubles},
};

use super::*;
use crate::{
    Client, NativeSink, NativeSource,
    assignments::Identity,
    metadata::Metadata,
    testing::{batch, embedded, source_settings},
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
        let coordinator =
            Coordinator { cluster, group: "g".to_owned(), instance: None, troubles: Troubles::default() };
        let partition = TopicPartition::new("t", 0);
        Group { _broker: broker, settings, client, coordinator, partition }
    }

    async fn commit(&self, next: i64, leader_epoch: i32, note: Note) {
        let (partition, assignment) = (self.partition.clone(), AssignmentId::default());
        let offset = Offset { partition, assignment, next, leader_epoch };
        let offsets = [(offset, Arc::from(note.encode()))];
        self.coordinator.commit(&Identity::default(), &offsets).await.unwrap();
    }

    /// What is committed, and under which leader epoch.
    async fn committed(&self) -> Option<(i64, i32)> {
        let (memory, topic) = (Memory::default(), Arc::clone(&self.partition.topic));
        let only = BTreeSet::from([0]);
        let survey = survey(&self.coordinator, &memory, &topic, &only, OffsetReset::Earliest).await.unwrap();
        let committed = survey.committed.get(&0)?.as_ref().unwrap();
        Some((committed.offset, committed.leader_epoch))
    }

    async fn source(&self) -> NativeSource {
        NativeSource::new(&self.client, &self.settings, source_settings()).await.unwrap()
    }
}

async fn next(source: &mut NativeSource) -> SourceEvent {
    timeout(Duration::from_secs(20), source.next(&Room::open())).await.expect("something is told").unwrap()
}

#[tokio::test]
async fn a_committed_offset_comes_back_with_its_leader_epoch() {
    let group = Group::new().await;
    assert_eq!(group.committed().await, None);
    group.commit(5, 3, Note::default()).await;
    assert_eq!(group.committed().await, Some((5, 3)));
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
    assert_eq!(group.committed().await, Some((3, 0)));
}

#[tokio::test]
async fn a_truncation_while_nobody_read_is_noticed() {
    let group = Group::new().await;
    // The log has no records of such an epoch.
    group.commit(3, 7, Note::default()).await;
    let mut source = group.source().await;
    let SourceEvent::Assigned(first) = next(&mut source).await else { panic!() };
    assert!(matches!(next(&mut source).await, SourceEvent::Lost(_)));
    let SourceEvent::Assigned(second) = next(&mut source).await else { panic!() };
    assert_eq!((first[0].position, second[0].position), (3, 0));
}

#[tokio::test]
async fn what_was_committed_for_an_earlier_topic_of_the_name_does_not_count() {
    let group = Group::new().await;
    let mut sink = NativeSink::new(&group.client, &group.settings, Troubles::default()).await.unwrap();
    sink.send(batch(&group.partition, 9, 0)).await.unwrap();
    let earlier = Some(uuid::Uuid::from_u128(1));
    group.commit(5, 0, Note { topic: earlier, first: None }).await;
    let mut source = group.source().await;
    let SourceEvent::Assigned(assigned) = next(&mut source).await else { panic!() };
    assert_eq!((assigned[0].position, assigned[0].is_committed), (0, false));
    let offset = |next| Offset {
        partition: group.partition.clone(),
        assignment: assigned[0].id,
        next,
        leader_epoch: -1,
    };
    // Its own commits are of the topic that it reads.
    source.commit(vec![offset(7)]).await.unwrap();
    source.close().await;
    let mut source = group.source().await;
    let SourceEvent::Assigned(assigned) = next(&mut source).await else { panic!() };
    assert_eq!((assigned[0].position, assigned[0].is_committed), (7, true));
}

/// A topic of three partitions, for which this is committed.
fn surveyed(committed: &[(i32, Result<Committed, EngineError>)]) -> Survey {
    let partition = |number| {
        MetadataResponsePartition::default().with_partition_index(number).with_leader_id(BrokerId(1))
    };
    let described = MetadataResponseTopic::default()
        .with_name(Some(StrBytes::from_static_str("t").into()))
        .with_topic_id(uuid::Uuid::from_u128(2))
        .with_partitions((0..3).map(partition).collect());
    let mut metadata = Metadata::new(&MetadataResponse::default().with_topics(vec![described]));
    let topic = metadata.topics.remove("t").unwrap().unwrap();
    Survey { topic, committed: committed.iter().cloned().collect() }
}

fn at(offset: i64, note: Note) -> Result<Committed, EngineError> {
    Ok(Committed { offset, leader_epoch: 4, note })
}

#[test]
fn the_policy_is_for_a_topic_that_the_group_has_never_read() {
    let choose = |survey: &Survey, number, reset| survey.choose(number, reset, None, false).unwrap();
    let unread = surveyed(&[]);
    assert_eq!(choose(&unread, 0, OffsetReset::Earliest), Choice::Ask(OffsetAt::Earliest));
    assert_eq!(choose(&unread, 0, OffsetReset::Latest), Choice::First);
    assert_eq!(choose(&unread, 0, OffsetReset::None), Choice::Refuse);
    // A topic that was made anew is known, whatever became of what was committed.
    for reset in [OffsetReset::Latest, OffsetReset::None] {
        let choice = unread.choose(0, reset, None, true).unwrap();
        assert_eq!(choice, Choice::Ask(OffsetAt::Earliest));
    }
    let read = surveyed(&[(0, at(7, Note::default()))]);
    for reset in [OffsetReset::Earliest, OffsetReset::Latest, OffsetReset::None] {
        let expected = Position { offset: 7, leader_epoch: 4, is_committed: true };
        assert_eq!(choose(&read, 0, reset), Choice::At(expected));
        assert_eq!(choose(&read, 1, reset), Choice::Ask(OffsetAt::Earliest));
    }
}

#[test]
fn a_partition_that_the_group_saw_first_starts_at_its_end_as_the_others_did() {
    let note = Note { topic: None, first: Some(2) };
    let survey = surveyed(&[(0, at(7, note))]);
    let choose = |number, first| survey.choose(number, OffsetReset::Latest, first, false).unwrap();
    assert_eq!(choose(1, None), Choice::First);
    assert_eq!(choose(2, None), Choice::Ask(OffsetAt::Earliest), "it came later");
    let first = First { partitions: 2, ends: BTreeMap::from([(1, 30)]) };
    let expected = Position { offset: 30, leader_epoch: -1, is_committed: false };
    assert_eq!(choose(1, Some(&first)), Choice::At(expected));
    assert_eq!(choose(2, Some(&first)), Choice::Ask(OffsetAt::Earliest));
    let unknown = First { partitions: 2, ends: BTreeMap::new() };
    assert_eq!(choose(1, Some(&unknown)), Choice::First);
}

#[test]
fn what_cannot_be_told_now_concerns_only_its_partition() {
    let unstable = EngineError::new(ErrorKind::Retriable, "unstable");
    let survey = surveyed(&[(0, Err(unstable)), (1, at(3, Note::default()))]);
    let choose = |number| survey.choose(number, OffsetReset::Latest, None, false);
    assert!(choose(0).is_err());
    assert!(matches!(choose(1), Ok(Choice::At(Position { offset: 3, .. }))));
    assert!(matches!(choose(2), Ok(Choice::Ask(OffsetAt::Earliest))), "the group reads the topic");
}

proptest! {
    /// Whatever the policy and whoever else has committed what: a committed offset of this topic is
    /// gone on from.
    #[test]
    fn a_committed_offset_always_counts(
        offset in 0i64..100,
        reset in prop::sample::select(vec![OffsetReset::Earliest, OffsetReset::Latest, OffsetReset::None]),
        first in prop::option::of(0..4i32),
        is_anew in any::<bool>(),
    ) {
        let survey = surveyed(&[(1, at(offset, Note { topic: None, first }))]);
        let first = first.map(|partitions| First { partitions, ends: BTreeMap::from([(1, 50)]) });
        let choice = survey.choose(1, reset, first.as_ref(), is_anew).unwrap();
        prop_assert_eq!(choice, Choice::At(Position { offset, leader_epoch: 4, is_committed: true }));
    }
}
