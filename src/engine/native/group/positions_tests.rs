use std::{sync::Arc, time::Duration};

use tokio::time::timeout;

use super::*;
use crate::{
    batch::{AssignmentId, PartitionBatch},
    broker::Broker,
    engine::{
        ClientSettings, Offset, Room, Sink, Source, SourceEvent,
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
    let mut sink = NativeSink::new(&group.client, &group.settings).await.unwrap();
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
