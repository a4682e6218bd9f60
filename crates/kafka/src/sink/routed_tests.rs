//! Records for topics that do not exist, or do not any more, and for partitions that several origins choose.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use futures_util::future::{BoxFuture, join_all};
use kafka_protocol::ResponseError;
use topicmill_broker::{ApiKey, Broker, Fault, FaultAction};
use topicmill_mill::{engine, transform::ErrorClass};

use super::{
    tests::{Setup, setup},
    transaction_tests::{Place, commit_with},
    *,
};
use crate::testing::{batch, embedded, fresh, read_all, value};

/// Makes topics with two partitions, if it may.
#[derive(Debug)]
struct Maker {
    client: Client,
    may: bool,
    made: AtomicUsize,
}

impl MakeTopic for Arc<Maker> {
    fn make(&self, topic: Arc<str>) -> BoxFuture<'static, Result<Made, EngineError>> {
        let maker = Arc::clone(self);
        Box::pin(async move {
            maker.made.fetch_add(1, Ordering::Relaxed);
            match maker.client.topic(&topic).await? {
                Some(info) => Ok(Made::There(info.partitions)),
                None if maker.may => match maker.client.create_topic(&topic, 2, None, &[]).await {
                    Ok(()) => Ok(Made::There(2)),
                    Err(error) if error.kind == ErrorKind::Fatal => Ok(Made::Refused(error.message)),
                    Err(error) => Err(error),
                },
                None => Ok(Made::Refused("it may not be made".to_owned())),
            }
        })
    }
}

struct Routes {
    setup: Setup,
    sink: NativeSink,
    maker: Arc<Maker>,
    troubles: Troubles,
}

/// A sink whose fixed topic is the one of the setup.
async fn routes(may: bool, properties: &[(&str, &str)]) -> Routes {
    let setup = setup(properties).await;
    let maker = Arc::new(Maker { client: setup.client.clone(), may, made: AtomicUsize::new(0) });
    let fixed = vec![Arc::clone(&setup.to.topic)];
    let routing = Routing { fixed, barred: Vec::new(), maker: Arc::new(Arc::clone(&maker)) };
    let troubles = Troubles::default();
    let sink = NativeSink::with_routing(&setup.client, &setup.settings, troubles.clone(), routing);
    let sink = sink.await.unwrap();
    Routes { setup, sink, maker, troubles }
}

/// A batch from a partition of the source, as it is read under an assignment.
fn from(origin: i32, assignment: u64, batch: OutputBatch) -> OutputBatch {
    let origin = TopicPartition::new("origin", origin);
    OutputBatch { origin, assignment: AssignmentId(assignment), ..batch }
}

const DENIED: FaultAction = FaultAction::Error(ResponseError::TopicAuthorizationFailed.code());

fn refused(receipt: Result<Receipt, EngineError>) -> Vec<usize> {
    let refused = receipt.unwrap().refused;
    assert!(refused.iter().all(|refusal| refusal.error.class == ErrorClass::Route), "{refused:?}");
    refused.iter().map(|refusal| refusal.index).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_is_made_once_while_its_records_wait_in_order() {
    let Routes { setup, mut sink, maker, troubles } = routes(true, &[]).await;
    let topic: Arc<str> = fresh("routed").into();
    let to = [0, 1].map(|partition| TopicPartition { topic: Arc::clone(&topic), partition });
    let mut receipts = Vec::new();
    for i in 0..50 {
        for to in &to {
            receipts.push(sink.send(batch(to, 2, i * 2)));
        }
    }
    for receipt in join_all(receipts).await {
        assert_eq!(refused(receipt), [0; 0]);
    }
    for to in &to {
        assert_eq!(read_all(&setup.client, to, 100).await, (0..100).map(value).collect::<Vec<_>>());
    }
    assert_eq!(maker.made.load(Ordering::Relaxed), 1, "one attempt for both writers");
    assert_eq!(setup.broker.seen(ApiKey::CreateTopics).requests, 2, "the setup's own is one of them");
    assert!(troubles.now().is_empty());
    // A partition beyond those that it has.
    let beyond = TopicPartition { topic: Arc::clone(&to[0].topic), partition: 2 };
    assert_eq!(refused(sink.send(batch(&beyond, 3, 0)).await), [0, 1, 2]);
    assert_eq!(refused(sink.send(batch(&to[1], 1, 100)).await), [0; 0]);
    sink.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_made_is_refused_and_the_others_go_on() {
    for case in ["off", "policy", "name", "partition"] {
        let Routes { setup, mut sink, maker, troubles } = routes(case != "off", &[]).await;
        let name = if case == "name" { "no such/name".to_owned() } else { fresh("refused") };
        let to = TopicPartition::new(name.as_str(), if case == "partition" { -3 } else { 0 });
        if case == "policy" {
            let refusal = FaultAction::Error(ResponseError::PolicyViolation.code());
            setup.broker.inject(Fault::once(ApiKey::CreateTopics, refusal).times(u64::MAX));
        }
        let receipts = [sink.send(batch(&to, 2, 0)), sink.send(batch(&to, 3, 2))];
        let other = sink.send(batch(&setup.to, 1, 0));
        assert_eq!(refused(other.await), [0; 0]);
        for (receipt, count) in join_all(receipts).await.into_iter().zip([2, 3]) {
            assert_eq!(refused(receipt), (0..count).collect::<Vec<_>>(), "{case}");
        }
        // It is known by now.
        let asked = maker.made.load(Ordering::Relaxed);
        assert_eq!(refused(sink.send(batch(&to, 1, 5)).await), [0]);
        assert_eq!(maker.made.load(Ordering::Relaxed), asked);
        assert_eq!(setup.broker.offsets(&to.topic, 0), None);
        assert!(troubles.now().is_empty(), "{case}: {:?}", troubles.now());
        sink.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fixed_topic_is_waited_for_whatever_happens() {
    let Routes { setup, mut sink, troubles, .. } = routes(false, &[]).await;
    setup.client.delete_topic(&setup.to.topic).await.unwrap();
    let receipt = tokio::spawn(sink.send(batch(&setup.to, 2, 0)));
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert!(!receipt.is_finished());
    assert!(matches!(&troubles.now()[..], [(engine::Place::Write(_), _)]), "{:?}", troubles.now());
    setup.client.create_topic(&setup.to.topic, 1, None, &[]).await.unwrap();
    assert_eq!(refused(receipt.await.unwrap()), [0; 0]);
    assert!(troubles.now().is_empty());
    sink.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_without_a_leader_is_waited_for() {
    let Routes { setup, mut sink, .. } = routes(false, &[]).await;
    let to = TopicPartition::new(fresh("leaderless").as_str(), 0);
    setup.client.create_topic(&to.topic, 1, None, &[]).await.unwrap();
    setup.broker.set_leaderless(&to.topic, 0, true).unwrap();
    let receipt = tokio::spawn(sink.send(batch(&to, 2, 0)));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!receipt.is_finished());
    setup.broker.set_leaderless(&to.topic, 0, false).unwrap();
    assert_eq!(refused(receipt.await.unwrap()), [0; 0]);
    sink.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_deleted_is_made_again_or_refused() {
    for may in [true, false] {
        let Routes { setup, mut sink, troubles, .. } = routes(may, &[]).await;
        let to = TopicPartition::new(fresh("deleted").as_str(), 0);
        setup.client.create_topic(&to.topic, 2, None, &[]).await.unwrap();
        for i in 0..10 {
            assert_eq!(refused(sink.send(batch(&to, 1, i)).await), [0; 0]);
        }
        setup.client.delete_topic(&to.topic).await.unwrap();
        let mut receipts = Vec::new();
        for i in 10..30 {
            receipts.push(sink.send(batch(&to, 1, i)));
        }
        let expected: &[usize] = if may { &[] } else { &[0] };
        for receipt in join_all(receipts).await {
            assert_eq!(refused(receipt), expected, "may be made: {may}");
        }
        if may {
            let written = read_all(&setup.client, &to, 20).await;
            assert_eq!(written, (10..30).map(value).collect::<Vec<_>>());
        }
        assert!(troubles.now().is_empty());
        sink.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_may_not_be_written_refuses_all_that_is_under_way_for_it() {
    let Routes { setup, mut sink, troubles, .. } = routes(false, &[]).await;
    let to = TopicPartition::new(fresh("denied").as_str(), 0);
    setup.client.create_topic(&to.topic, 1, None, &[]).await.unwrap();
    assert_eq!(refused(sink.send(batch(&to, 1, 0)).await), [0; 0]);
    setup.broker.inject(Fault::always(ApiKey::Produce, DENIED).on(&to.topic));
    let mut receipts = Vec::new();
    for i in 1..20 {
        receipts.push(sink.send(batch(&to, 2, i * 2)));
    }
    for receipt in join_all(receipts).await {
        assert_eq!(refused(receipt), [0, 1]);
    }
    assert_eq!(refused(sink.send(batch(&setup.to, 1, 0)).await), [0; 0]);
    assert_eq!(setup.broker.offsets(&to.topic, 0).unwrap(), (0, 1));
    assert!(troubles.now().is_empty());
    // The destination fails for it, as ever.
    setup.broker.clear_faults();
    setup.broker.inject(Fault::once(ApiKey::Produce, DENIED));
    assert!(sink.send(batch(&setup.to, 1, 1)).await.is_err());
    sink.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_partition_fails_those_that_write_to_it_and_nobody_else() {
    let properties = [("request.timeout.ms", "300"), ("delivery.timeout.ms", "500")];
    let Routes { setup, mut sink, troubles, .. } = routes(true, &properties).await;
    let topic: Arc<str> = fresh("chosen").into();
    setup.client.create_topic(&topic, 2, None, &[]).await.unwrap();
    let to = [0, 1].map(|partition| TopicPartition { topic: Arc::clone(&topic), partition });
    setup.broker.set_leaderless(&topic, 1, true).unwrap();
    // Origins 0 and 1 write to the failing partition and to the other one, origin 2 only to the other.
    let failing = [0, 1].map(|origin| tokio::spawn(sink.send(from(origin, 1, batch(&to[1], 1, 0)))));
    let mut written = 0;
    let started = Instant::now();
    while failing.iter().any(|failing| !failing.is_finished()) {
        for origin in 0..3 {
            sink.send(from(origin, 1, batch(&to[0], 1, written))).await.unwrap();
            written += 1;
        }
        assert!(started.elapsed() < Duration::from_secs(20));
    }
    for failed in failing {
        let error = failed.await.unwrap().unwrap_err();
        assert_eq!((error.kind, error.partition.as_ref()), (ErrorKind::Retriable, Some(&to[1])));
    }
    for origin in 0..2 {
        assert!(sink.send(from(origin, 1, batch(&to[1], 1, 0))).await.is_err(), "of this assignment");
        sink.forget(&TopicPartition::new("origin", origin), AssignmentId(1));
        assert!(sink.send(from(origin, 1, batch(&to[0], 1, 0))).await.is_err(), "nor is it wanted elsewhere");
        let unseen = TopicPartition::new(fresh("unseen").as_str(), 0);
        assert!(sink.send(from(origin, 1, batch(&unseen, 1, 0))).await.is_err(), "not even where none was");
        assert_eq!(setup.broker.offsets(&unseen.topic, 0), None);
    }
    let gone = troubles.now();
    assert!(gone.is_empty(), "nobody waits for it: {gone:?}");
    setup.broker.set_leaderless(&topic, 1, false).unwrap();
    for origin in 0..3 {
        for to in &to {
            sink.send(from(origin, 2, batch(to, 1, written))).await.unwrap();
        }
        written += 1;
    }
    let end = written as i64;
    assert_eq!(setup.broker.offsets(&topic, 0).unwrap(), (0, end));
    assert_eq!(setup.broker.offsets(&topic, 1).unwrap(), (0, 3));
    assert_eq!(read_all(&setup.client, &to[0], end).await, (0..written).map(value).collect::<Vec<_>>());
    sink.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_beyond_the_limit_are_refused_until_others_are_idle() {
    let Routes { setup, mut sink, .. } = routes(true, &[]).await;
    let first = TopicPartition::new(fresh("first").as_str(), 0);
    assert_eq!(refused(sink.send(batch(&first, 2, 0)).await), [0; 0]);
    for number in 1..writers::TOPICS_MAX {
        sink.writers.pretend(&format!("topic-{number}").into());
    }
    let another = TopicPartition::new(fresh("another").as_str(), 0);
    assert_eq!(refused(sink.send(batch(&another, 2, 0)).await), [0, 1]);
    assert_eq!(refused(sink.send(batch(&first, 1, 2)).await), [0; 0], "who has a place keeps it");
    sink.writers.age(Duration::from_secs(200));
    assert_eq!(refused(sink.send(batch(&another, 2, 0)).await), [0; 0]);
    // Retired, and back: what is written is neither out of order nor a duplicate.
    for i in 3..6 {
        assert_eq!(refused(sink.send(batch(&first, 1, i)).await), [0; 0]);
    }
    assert_eq!(read_all(&setup.client, &first, 6).await, (0..6).map(value).collect::<Vec<_>>());
    sink.close().await;
}

/// A sink for transactions of this version, whose fixed topic is the one of the place.
async fn routes_in_transactions(version: i16, may: bool) -> (Broker, Place, NativeSink) {
    let (broker, settings) = embedded().await;
    broker.set_transaction_version(version).unwrap();
    let place = Place::new(settings).await;
    let client = place.client.clone();
    let maker = Arc::new(Arc::new(Maker { client, may, made: AtomicUsize::new(0) }));
    let routing = Some(Routing { fixed: vec![place.topic.as_str().into()], barred: Vec::new(), maker });
    let sink =
        NativeSink::transactional(&place.client, &place.settings, Troubles::default(), routing, &place.group);
    let sink = sink.await.unwrap();
    (broker, place, sink)
}

/// Such a sink, and a topic that may be seen but not written.
async fn denied_in_transactions(version: i16) -> (Broker, Place, NativeSink, TopicPartition) {
    let (broker, place, sink) = routes_in_transactions(version, false).await;
    let to = TopicPartition::new(fresh("denied").as_str(), 0);
    place.client.create_topic(&to.topic, 1, None, &[]).await.unwrap();
    for api in [ApiKey::AddPartitionsToTxn, ApiKey::Produce] {
        broker.inject(Fault::always(api, DENIED).on(&to.topic));
    }
    (broker, place, sink, to)
}

/// Writes record number `i` in a transaction, in a batch of its own.
async fn write(sink: &mut NativeSink, to: &TopicPartition, number: u64, i: usize) -> Vec<usize> {
    refused(sink.send(one(to, number, i)).await)
}

fn one(to: &TopicPartition, number: u64, i: usize) -> OutputBatch {
    let (transaction, assignment) = (Some(TransactionNumber(number)), AssignmentId(number));
    OutputBatch { transaction, assignment, ..batch(to, 1, i) }
}

async fn expect_committed(sink: &mut NativeSink, place: &Place, number: u64) {
    let ended = commit_with(sink, number, place.stake(number as i64 + 1)).await.unwrap();
    assert!(matches!(ended, TransactionEnd::Committed), "{number}: {ended:?}");
}

/// The records of a partition, without the ends of transactions.
async fn written(broker: &Broker, place: &Place, to: &TopicPartition) -> Vec<String> {
    let (_, end) = broker.offsets(&to.topic, to.partition).unwrap();
    let mut values = read_all(&place.client, to, end).await;
    values.retain(|value| value.starts_with('{'));
    values
}

/// Its records have the same numbers each time, as each batch has one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_transactions_a_topic_that_was_retired_comes_back_without_a_loss() {
    for version in [1, 2] {
        let (broker, place, mut sink) = routes_in_transactions(version, true).await;
        let first = TopicPartition::new(fresh("first").as_str(), 0);
        let other = || TopicPartition::new(fresh("other").as_str(), 0);
        for number in [0, 1] {
            assert_eq!(write(&mut sink, &first, number, number as usize).await, [0; 0]);
            expect_committed(&mut sink, &place, number).await;
        }
        for number in [2, 4] {
            for _ in 0..writers::TOPICS_MAX {
                sink.writers.pretend(&fresh("idle").into());
            }
            sink.writers.age(Duration::from_secs(200));
            assert_eq!(write(&mut sink, &other(), number, 0).await, [0; 0]);
            // Version 2 has other producers since, and version 1 once they were asked for.
            assert_eq!(sink.writers.has(&first), (version, number) == (1, 2), "version {version}, {number}");
            for number in [number, number + 1] {
                assert_eq!(write(&mut sink, &first, number, number as usize).await, [0; 0]);
                expect_committed(&mut sink, &place, number).await;
            }
        }
        let all: Vec<_> = (0..6).map(value).collect();
        assert_eq!(written(&broker, &place, &first).await, all, "version {version}");
        sink.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_that_stay_for_their_producers_have_a_limit_of_their_own() {
    for version in [1, 2] {
        let (_broker, place, mut sink) = routes_in_transactions(version, true).await;
        for _ in 0..2 * writers::TOPICS_MAX {
            let to = TopicPartition::new(fresh("idle").as_str(), 0);
            sink.writers.pretend(&to.topic);
            drop(sink.send(one(&to, 0, 0)));
        }
        let to = TopicPartition::new(fresh("another").as_str(), 0);
        sink.writers.age(Duration::from_secs(200));
        assert_eq!(write(&mut sink, &to, 0, 0).await, [0], "version {version}");
        expect_committed(&mut sink, &place, 0).await;
        sink.writers.age(Duration::from_secs(200));
        assert_eq!(write(&mut sink, &to, 2, 0).await, [0; 0], "version {version}");
        sink.close().await;
    }
}

/// It was allowed before, and is again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_transactions_a_topic_that_was_refused_for_a_while_loses_nothing() {
    for version in [1, 2] {
        let (broker, place, mut sink) = routes_in_transactions(version, true).await;
        let to = TopicPartition::new(fresh("denied").as_str(), 0);
        assert_eq!(write(&mut sink, &to, 0, 0).await, [0; 0]);
        let fault = broker.inject(Fault::always(ApiKey::Produce, DENIED).on(&to.topic));
        assert_eq!(write(&mut sink, &to, 0, 1).await, [0]);
        broker.lift(fault);
        sink.shared.routed.forget();
        assert_eq!(write(&mut sink, &to, 0, 2).await, [0; 0]);
        expect_committed(&mut sink, &place, 0).await;
        assert_eq!(written(&broker, &place, &to).await, [0, 2].map(value), "version {version}");
        sink.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_transaction_only_what_is_for_a_topic_that_may_not_be_written_is_refused() {
    for version in [1, 2] {
        let (broker, place, mut sink, to) = denied_in_transactions(version).await;
        for number in 0..4 {
            let of_denied = OutputBatch { destination: to.clone(), ..place.batch(0, number) };
            let sent =
                [sink.send(of_denied), sink.send(place.batch(0, number)), sink.send(place.batch(1, number))];
            for (receipt, count) in join_all(sent).await.into_iter().zip([100, 0, 0]) {
                assert_eq!(refused(receipt).len(), count, "version {version}");
            }
            let ended = commit_with(&mut sink, number, place.stake(number as i64 + 1)).await.unwrap();
            assert!(matches!(ended, TransactionEnd::Committed), "version {version}: {ended:?}");
        }
        assert_eq!(broker.offsets(&to.topic, 0).unwrap(), (0, 0));
        sink.close().await;
    }
}

/// What several writers want at the same time goes in one request.
#[tokio::test]
async fn a_partition_that_may_not_be_written_keeps_no_other_out_of_the_transaction() {
    let (_broker, place, sink, denied) = denied_in_transactions(1).await;
    let transaction = sink.transactions.as_ref().unwrap().open(TransactionNumber(0));
    let [first, second] = [0, 1].map(|partition| TopicPartition::new(place.topic.as_str(), partition));
    // While the first is asked for, the others wait, and are then asked for together.
    let (first, second, denied) =
        tokio::join!(transaction.enlist(&first), transaction.enlist(&second), transaction.enlist(&denied));
    first.unwrap();
    second.unwrap();
    assert!(denied.unwrap_err().message.contains("TOPIC_AUTHORIZATION_FAILED"));
    sink.close().await;
}
