//! The sink on a broker that fails: nothing missing, nothing twice, order kept, or a clear error.

use std::time::Duration;

use kafka_protocol::ResponseError;
use topicmill_broker::{ApiKey, Broker, Fault, FaultAction};
use topicmill_records::BatchHeader;

use super::*;
use crate::testing::{batch, embedded, fetch, fresh, read_all, value};

const BATCHES: usize = 60;
const RECORDS: usize = 50;

pub(super) struct Setup {
    pub broker: Broker,
    pub client: Client,
    pub settings: ClientSettings,
    pub to: TopicPartition,
}

pub(super) async fn setup(properties: &[(&str, &str)]) -> Setup {
    let (broker, mut settings) = embedded().await;
    let properties = properties.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    // Each output batch is a wire batch, so that a fault has many to hit.
    settings.properties.insert("batch.size".to_owned(), "1".to_owned());
    settings.properties.extend(properties);
    let client = Client::connect(&settings).await.unwrap();
    let topic = fresh("faults");
    client.create_topic(&topic, 1, None, &[]).await.unwrap();
    Setup { broker, client, settings, to: TopicPartition::new(topic, 0) }
}

/// Writes all batches at once and returns the receipts.
pub(super) async fn write(sink: &mut NativeSink, to: &TopicPartition) -> Vec<Result<Receipt, EngineError>> {
    let mut receipts = Vec::new();
    for i in 0..BATCHES {
        receipts.push(sink.send(batch(to, RECORDS, i * RECORDS)));
    }
    let mut results = Vec::new();
    for receipt in receipts {
        results.push(receipt.await);
    }
    results
}

pub(super) async fn assert_exactly_once_in_order(setup: &Setup, what: &str) {
    let (start, end) = setup.broker.offsets(&setup.to.topic, 0).unwrap();
    assert_eq!((start, end), (0, (BATCHES * RECORDS) as i64), "{what}");
    let expected: Vec<_> = (0..BATCHES * RECORDS).map(value).collect();
    assert!(read_all(&setup.client, &setup.to, end).await == expected, "{what}: not in order");
}

pub(super) fn produce(action: FaultAction, after: u64, times: u64) -> Fault {
    Fault::once(ApiKey::Produce, action).after(after).times(times)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_be_retried_is_written_once_and_in_order() {
    use ResponseError::*;
    let errors =
        [NotLeaderOrFollower, RequestTimedOut, NotEnoughReplicas, UnknownTopicOrPartition, MessageTooLarge];
    let actions =
        [FaultAction::Close, FaultAction::LoseResponse, FaultAction::Delay(Duration::from_millis(50))]
            .into_iter()
            .chain(errors.map(|error| FaultAction::Error(error.code())));
    let hits = |action| [(0, 1), (1, 3), (7, 4), (20, 1)].map(|(after, times)| (action, after, times, "1"));
    let joined = |action| [(0, 1), (1, 1)].map(|(after, times)| (action, after, times, "20000"));
    for (action, after, times, batch_size) in actions.flat_map(|a| hits(a).into_iter().chain(joined(a))) {
        let setup = setup(&[("batch.size", batch_size)]).await;
        let mut sink = NativeSink::new(&setup.client, &setup.settings, Troubles::default()).await.unwrap();
        setup.broker.inject(produce(action, after, times));
        let what = format!("{action:?} after {after}, {times} times, batches of {batch_size}");
        for result in write(&mut sink, &setup.to).await {
            assert!(result.expect(&what).refused.is_empty());
        }
        assert_exactly_once_in_order(&setup, &what).await;
        sink.close().await;
    }
}

/// The number of wire batches in the log.
pub(super) async fn wire_batches(setup: &Setup) -> usize {
    let records = fetch(&setup.client, &setup.to, 0).await;
    let (mut rest, mut count) = (&records[..], 0);
    while let Ok(header) = BatchHeader::read(rest) {
        (rest, count) = (&rest[header.size..], count + 1);
    }
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_batches_are_joined_while_the_broker_is_busy() {
    let setup = setup(&[("batch.size", "1000000")]).await;
    let mut sink = NativeSink::new(&setup.client, &setup.settings, Troubles::default()).await.unwrap();
    setup.broker.inject(produce(FaultAction::Delay(Duration::from_millis(300)), 0, 1));
    for result in write(&mut sink, &setup.to).await {
        assert!(result.unwrap().refused.is_empty());
    }
    assert_exactly_once_in_order(&setup, "joined").await;
    let count = wire_batches(&setup).await;
    assert!(count < 10, "{BATCHES} output batches in {count} wire batches");
    sink.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_linger_joins_what_comes_meanwhile_and_ends() {
    let setup = setup(&[("batch.size", "1000000"), ("linger.ms", "300")]).await;
    let mut sink = NativeSink::new(&setup.client, &setup.settings, Troubles::default()).await.unwrap();
    for result in write(&mut sink, &setup.to).await {
        result.unwrap();
    }
    assert_eq!(wire_batches(&setup).await, 1);
    assert_exactly_once_in_order(&setup, "lingered").await;
    sink.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_faults_loses_and_doubles_nothing() {
    for seed in 0..5u64 {
        let setup = setup(&[]).await;
        let mut sink = NativeSink::new(&setup.client, &setup.settings, Troubles::default()).await.unwrap();
        for i in 0..12 {
            let action = match (seed + i) % 3 {
                0 => FaultAction::Close,
                1 => FaultAction::LoseResponse,
                _ => FaultAction::Error(ResponseError::NotLeaderOrFollower.code()),
            };
            setup.broker.inject(produce(action, i * (5 + seed), 1));
        }
        for result in write(&mut sink, &setup.to).await {
            result.unwrap();
        }
        assert_exactly_once_in_order(&setup, &format!("seed {seed}")).await;
        sink.close().await;
    }
}

/// A batch as it is read under an assignment.
pub(super) fn under(assignment: u64, batch: OutputBatch) -> OutputBatch {
    let origin = TopicPartition { topic: "origin".into(), partition: batch.destination.partition };
    OutputBatch { origin, assignment: AssignmentId(assignment), ..batch }
}

/// Writes the batches from number `first` on under an assignment and returns the receipts.
pub(super) async fn write_under(
    sink: &mut NativeSink,
    to: &TopicPartition,
    assignment: u64,
    first: usize,
) -> Vec<Result<Receipt, EngineError>> {
    let mut receipts = Vec::new();
    for i in first..BATCHES {
        receipts.push(sink.send(under(assignment, batch(to, RECORDS, i * RECORDS))));
    }
    futures_util::future::join_all(receipts).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uncertain_delivery_ends_the_assignment_and_the_next_one_goes_on_in_the_same_sink() {
    use ResponseError::*;
    for error in [OutOfOrderSequenceNumber, UnknownProducerId, InvalidProducerEpoch, ProducerFenced] {
        let setup = setup(&[]).await;
        let mut sink = NativeSink::new(&setup.client, &setup.settings, Troubles::default()).await.unwrap();
        let before = setup.client.cluster().revive_producer();
        assert_eq!(before, None);
        setup.broker.inject(produce(FaultAction::Error(error.code()), 10, 1));
        let results = write_under(&mut sink, &setup.to, 1, 0).await;
        let written = results.iter().take_while(|result| result.is_ok()).count();
        assert_eq!(written, 10, "{error}");
        for failed in &results[written..] {
            let failed = failed.as_ref().unwrap_err();
            assert_eq!(failed.kind, ErrorKind::Retriable);
            assert_eq!(failed.partition.as_ref(), Some(&setup.to));
        }
        let again = sink.send(under(1, batch(&setup.to, 1, 0))).await.unwrap_err();
        assert_eq!(again.to_string(), results[written].as_ref().unwrap_err().to_string());
        // The owner reads again from what was acknowledged.
        for result in write_under(&mut sink, &setup.to, 2, written).await {
            result.unwrap();
        }
        assert_exactly_once_in_order(&setup, &error.to_string()).await;
        sink.close().await;
        // The next sink fences all of this one; where the brokers disowned it, it is not used again.
        let retired = setup.client.cluster().revive_producer();
        assert_eq!(retired.map(|(_, epoch)| epoch), (error == OutOfOrderSequenceNumber).then_some(2));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_authorised_is_fatal_for_its_partition_alone() {
    let setup = setup(&[]).await;
    let mut sink = NativeSink::new(&setup.client, &setup.settings, Troubles::default()).await.unwrap();
    let error = ResponseError::TopicAuthorizationFailed.code();
    setup.broker.inject(produce(FaultAction::Error(error), 0, u64::MAX));
    let failed = sink.send(batch(&setup.to, 1, 0)).await.unwrap_err();
    assert_eq!((failed.kind, failed.partition.as_ref()), (ErrorKind::Fatal, Some(&setup.to)));
    assert!(failed.message.contains("TOPIC_AUTHORIZATION_FAILED"), "{failed}");
    setup.broker.clear_faults();
    // What it had in flight to the broker holds up no other partition.
    let other = fresh("other");
    setup.client.create_topic(&other, 1, None, &[]).await.unwrap();
    sink.send(batch(&TopicPartition::new(other, 0), 1, 0)).await.unwrap();
    sink.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_delivery_timeout_ends_the_attempts() {
    let setup = setup(&[("request.timeout.ms", "400"), ("delivery.timeout.ms", "600")]).await;
    let mut sink = NativeSink::new(&setup.client, &setup.settings, Troubles::default()).await.unwrap();
    let error = ResponseError::NotEnoughReplicas.code();
    setup.broker.inject(produce(FaultAction::Error(error), 0, u64::MAX));
    let failed = sink.send(batch(&setup.to, 1, 0)).await.unwrap_err();
    assert_eq!(failed.kind, ErrorKind::Retriable);
    assert!(failed.message.contains("delivery.timeout.ms"), "{failed}");
    assert!(failed.message.contains("NOT_ENOUGH_REPLICAS"), "{failed}");
    sink.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_sink_gives_up_what_is_not_acknowledged() {
    let setup = setup(&[]).await;
    let mut sink = NativeSink::new(&setup.client, &setup.settings, Troubles::default()).await.unwrap();
    setup.broker.inject(produce(FaultAction::Delay(Duration::from_secs(20)), 0, u64::MAX));
    let receipt = sink.send(batch(&setup.to, 1, 0));
    sink.close().await;
    assert_eq!(receipt.await.unwrap_err().kind, ErrorKind::Retriable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_batch_is_acknowledged_at_once() {
    let setup = setup(&[]).await;
    let mut sink = NativeSink::new(&setup.client, &setup.settings, Troubles::default()).await.unwrap();
    let empty = OutputBatch { destination: setup.to.clone(), chunks: Vec::new(), ..OutputBatch::default() };
    assert!(sink.send(empty).await.unwrap().refused.is_empty());
    sink.close().await;
}

/// A linger that ends while its writer is busy with something else is not waited for again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_linger_that_ends_at_any_moment_is_noticed() {
    let setup = setup(&[]).await;
    let mut sink = NativeSink::new(&setup.client, &setup.settings, Troubles::default()).await.unwrap();
    let shared = Arc::get_mut(&mut sink.shared).unwrap();
    (shared.produce.batch_size, shared.produce.linger) = (1_000_000, Duration::from_micros(20));
    for i in 0..2000 {
        let receipt = tokio::time::timeout(Duration::from_secs(10), sink.send(batch(&setup.to, 1, i))).await;
        receipt.unwrap_or_else(|_| panic!("batch {i} is never written")).unwrap();
    }
    sink.close().await;
}

/// The broker continues with what nobody waits for any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_broker_is_asked_again_and_writes_once() {
    for (after, times) in [(0, 1), (7, 4)] {
        let setup = setup(&[("request.timeout.ms", "300")]).await;
        let mut sink = NativeSink::new(&setup.client, &setup.settings, Troubles::default()).await.unwrap();
        setup.broker.inject(produce(FaultAction::Delay(Duration::from_millis(700)), after, times));
        for result in write(&mut sink, &setup.to).await {
            result.unwrap();
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_exactly_once_in_order(&setup, &format!("{times} late after {after}")).await;
        sink.close().await;
    }
}
