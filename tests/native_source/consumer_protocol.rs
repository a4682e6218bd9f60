//! `group.protocol=consumer` (KIP-848) on a Kafka that offers it.

use kafka_protocol::{
    messages::{ConsumerGroupHeartbeatRequest, GroupId},
    protocol::StrBytes,
};

use super::{ask::ask, *};

const CONSUMER: (&str, &str) = ("group.protocol", "consumer");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_of_the_consumer_protocol_come_and_go_too() {
    come_and_go(&Stage::kafka(4).await, &[CONSUMER]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_moves_only_once_it_is_released_and_committed() {
    let stage = Stage::kafka(2).await;
    stage.produce(0, 0..100).await;
    stage.produce(1, 0..100).await;
    let (mut first, mut of_first) = (stage.source(&[CONSUMER]).await, Seen::default());
    read(&mut first, &mut of_first, 200).await;
    let (mut second, mut of_second) = (stage.source(&[CONSUMER]).await, Seen::default());
    let (revoked, release) = loop {
        match next(&mut first).await {
            SourceEvent::Revoked { partitions, release } => break (partitions, release),
            event => of_first.take(&first, event).await,
        }
    };
    // What the second member hears meanwhile is that it has nothing yet.
    let early = tokio::time::timeout(Duration::from_secs(6), async {
        while of_second.held.is_empty() {
            let event = next(&mut second).await;
            of_second.take(&second, event).await;
        }
    });
    assert!(early.await.is_err(), "a partition has moved while its release was held");
    of_first.commit(&first).await.unwrap();
    of_first.held.retain(|partition, _| !revoked.contains(partition));
    drop(release);
    while of_second.held.is_empty() {
        tokio::select! {
            event = next(&mut first) => of_first.take(&first, event).await,
            event = next(&mut second) => of_second.take(&second, event).await,
        }
    }
    assert_eq!(of_second.held.keys().cloned().collect::<Vec<_>>(), revoked);
    assert!(of_second.held.values().all(|(_, position)| *position == 100), "{:?}", of_second.held);
    first.close().await;
    second.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_static_member_waits_for_the_one_before_it_and_resumes() {
    let stage = Stage::kafka(1).await;
    stage.produce(0, 0..100).await;
    let properties = [CONSUMER, ("group.instance.id", "one")];
    let (mut first, mut of_first) = (stage.source(&properties).await, Seen::default());
    read(&mut first, &mut of_first, 100).await;
    of_first.commit(&first).await.unwrap();
    let (mut second, mut of_second) = (stage.source(&properties).await, Seen::default());
    let early = tokio::time::timeout(Duration::from_secs(1), second.next(&Room::open())).await;
    assert!(early.is_err(), "the instance is still taken");
    first.close().await;
    stage.produce(0, 100..150).await;
    read(&mut second, &mut of_second, 50).await;
    assert!(of_second.read[&0].iter().copied().eq(100..150));
    second.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_does_not_offer_it_is_named() {
    let stage = Stage::embedded(1).await;
    let mut source = stage.source(&[CONSUMER]).await;
    let error = in_time("the error", source.next(&Room::open())).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Fatal);
    assert!(error.message.contains("group.protocol=consumer"), "{error}");
    source.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_made_anew_is_noticed_by_members_of_the_consumer_protocol_too() {
    made_anew(&Stage::kafka(1).await, &[CONSUMER]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rewind_costs_a_member_of_the_consumer_protocol_nothing() {
    let stage = Stage::kafka(1).await;
    stage.produce(0, 0..100).await;
    let (mut source, mut seen) = (stage.source(&[CONSUMER]).await, Seen::default());
    read(&mut source, &mut seen, 100).await;
    let before = stage.client.group(&stage.group).await.unwrap().members;
    source.rewind(vec![stage.partition(0)]).await;
    let mut again = Seen::default();
    read(&mut source, &mut again, 100).await;
    assert!(again.read[&0].iter().copied().eq(0..100));
    again.commit(&source).await.unwrap();
    assert_eq!(stage.client.group(&stage.group).await.unwrap().members, before);
    source.close().await;
}

/// Leaves the group in the name of one of its members; returns the error code.
fn dismiss(broker: &str, group: &str, member: &str) -> i16 {
    let request = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(GroupId(StrBytes::from_string(group.to_owned())))
        .with_member_id(StrBytes::from_string(member.to_owned()))
        .with_member_epoch(-1);
    ask(broker, 1, &request).error_code
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_the_coordinator_drops_commits_nothing_and_joins_again() {
    let stage = Stage::kafka(2).await;
    let (mut source, mut seen) = (stage.source(&[CONSUMER]).await, Seen::default());
    while seen.held.len() != 2 {
        let event = next(&mut source).await;
        seen.take(&source, event).await;
    }
    let before = seen.held.clone();
    let member = stage.client.group(&stage.group).await.unwrap().members.remove(0).member;
    // Only the coordinator agrees.
    assert!(stage.brokers.iter().any(|broker| dismiss(broker, &stage.group, &member) == 0));
    while !seen.held.is_empty() {
        let event = next(&mut source).await;
        assert!(!matches!(event, SourceEvent::Revoked { .. }), "there is no time to release");
        seen.take(&source, event).await;
    }
    while seen.held.len() != 2 {
        let event = next(&mut source).await;
        seen.take(&source, event).await;
    }
    let moved = |mut held: HashMap<_, (AssignmentId, i64)>| {
        held.values_mut().for_each(|(_, next)| *next = 7);
        Seen { held, ..Seen::default() }
    };
    moved(before).commit(&source).await.unwrap();
    assert_eq!(stage.client.committed(&stage.group, &stage.topic).await.unwrap(), BTreeMap::new());
    moved(seen.held).commit(&source).await.unwrap();
    let committed = stage.client.committed(&stage.group, &stage.topic).await.unwrap();
    assert_eq!(committed, BTreeMap::from([(0, 7), (1, 7)]));
    source.close().await;
    assert_eq!(stage.client.group(&stage.group).await.unwrap().members.len(), 0, "it has left");
}
