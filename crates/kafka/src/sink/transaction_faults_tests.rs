//! What goes wrong with transactions, on the embedded broker, which can do it on purpose.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use kafka_protocol::{ResponseError, messages::ApiKey};
use tokio::time::timeout;
use topicmill_broker::{Broker, Fault, FaultAction};
use topicmill_mill::{
    batch::{AssignmentId, OutputBatch, TopicPartition, TransactionNumber},
    engine::{EngineError, ErrorKind, Replaced, Sink, Staked, TransactionEnd, Troubles},
};
use topicmill_records::{NO_HEADERS, RecordWriter};

use super::{
    NativeSink,
    transaction_tests::{Place, commit_with},
};
use crate::testing::embedded;

pub(super) async fn place(version: i16, properties: &[(&str, &str)]) -> (Broker, Place) {
    let (broker, mut settings) = embedded().await;
    broker.set_transaction_version(version).unwrap();
    let owned = properties.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    settings.properties.extend(owned);
    (broker, Place::new(settings).await)
}

pub(super) async fn commit(
    sink: &mut NativeSink,
    place: &Place,
    number: u64,
) -> Result<TransactionEnd, EngineError> {
    commit_with(sink, number, place.stake(number as i64 + 1)).await
}

/// Records of these sizes, which are alike each time.
pub(super) fn sized(
    topic: &str,
    number: u64,
    time: i64,
    sizes: impl IntoIterator<Item = usize>,
) -> OutputBatch {
    let mut writer = RecordWriter::new(1_000_000, 0);
    for size in sizes {
        writer.push(time, None, Some(&[&vec![b'x'; size][..]]), NO_HEADERS);
    }
    OutputBatch {
        destination: TopicPartition::new(topic, 0),
        chunks: writer.finish(),
        transaction: Some(TransactionNumber(number)),
        assignment: AssignmentId(number),
        ..OutputBatch::default()
    }
}

/// Waits until this holds, for a minute at most.
pub(super) async fn until(what: &str, holds: impl Fn() -> bool) {
    let held = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(60), held).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// A transaction that is written and committed.
pub(super) async fn expect_committed(sink: &mut NativeSink, place: &Place, number: u64) {
    sink.send(place.batch(0, number)).await.unwrap();
    let ended = commit(sink, place, number).await.unwrap();
    assert!(matches!(ended, TransactionEnd::Committed), "{number}: {ended:?}");
}

pub(super) fn expect_replaced(error: &EngineError) {
    assert_eq!(error.kind, ErrorKind::Fatal, "{error}");
    assert!(error.cause::<Replaced>().is_some(), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_coordinator_aborts_on_its_own_is_begun_anew() {
    for version in [1, 2] {
        let (broker, place) = place(version, &[]).await;
        let mut sink = place.sink().await;
        let mut number = 0;
        for of_offsets in [false, true] {
            expect_committed(&mut sink, &place, number).await;
            number += 2;
            sink.send(place.batch(0, number)).await.unwrap();
            if of_offsets {
                // It is noticed by the end of the transaction, not by what is in it.
                broker.abort_next_transactions(1);
            } else {
                assert!(broker.abort_transaction(&format!("{}/one/0", place.group)));
            }
            let ended = commit(&mut sink, &place, number).await.unwrap();
            assert!(matches!(ended, TransactionEnd::Aborted(_)), "version {version}: {ended:?}");
            sink.abort().await.unwrap_or_else(|error| panic!("version {version}: {error}"));
            number += 2;
        }
        expect_committed(&mut sink, &place, number).await;
        sink.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_before_the_last_end_is_written_waits_for_it() {
    for version in [1, 2] {
        let (broker, place) = place(version, &[]).await;
        let mut sink = place.sink().await;
        broker.delay_markers(Duration::from_millis(500));
        for number in [0, 2, 4] {
            expect_committed(&mut sink, &place, number).await;
        }
        sink.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_the_last_end_is_produced_soon_after_it() {
    let (broker, place) = place(2, &[("retry.backoff.ms", "1000"), ("retry.backoff.max.ms", "1000")]).await;
    let mut sink = place.sink().await;
    // What has to be looked up first is looked up here.
    expect_committed(&mut sink, &place, 0).await;
    for number in [2, 4] {
        let refusal = FaultAction::Error(ResponseError::ConcurrentTransactions.code());
        for _ in 0..4 {
            broker.inject(Fault::once(ApiKey::Produce, refusal));
        }
        let begun = Instant::now();
        expect_committed(&mut sink, &place, number).await;
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(3), "{took:?}");
    }
    sink.close().await;
}

/// However much time has passed: nothing tells it from a timeout but the coordinator.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whose_id_is_taken_over_stops_however_long_ago_its_transaction_began() {
    for version in [1, 2] {
        for is_open in [true, false] {
            let (broker, place) = place(version, &[("transaction.timeout.ms", "1000")]).await;
            let mut sink = place.sink().await;
            expect_committed(&mut sink, &place, 0).await;
            if is_open {
                sink.send(place.batch(0, 2)).await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(1200)).await;
            let name = format!("{}/one/0", place.group);
            while broker.take_over(&name).is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let seen = broker.transaction(&name).unwrap();
            if is_open {
                let ended = commit(&mut sink, &place, 2).await.unwrap();
                assert!(matches!(ended, TransactionEnd::Aborted(_)), "version {version}: {ended:?}");
            } else {
                let error = sink.send(place.batch(0, 2)).await.unwrap_err();
                assert_eq!(error.kind, ErrorKind::Retriable, "version {version}: {error}");
            }
            expect_replaced(&sink.abort().await.unwrap_err());
            sink.close().await;
            assert_eq!(broker.transaction(&name).unwrap(), seen, "the successor's is left alone");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timeout_that_the_brokers_do_not_allow_is_named() {
    let (_broker, place) = place(2, &[("transaction.timeout.ms", "900001")]).await;
    let troubles = Troubles::default();
    let begun = NativeSink::transactional(&place.client, &place.settings, troubles, None, &place.group).await;
    let error = begun.unwrap_err().to_string();
    let named = "transaction.timeout.ms=900001 is more than the brokers' transaction.max.timeout.ms";
    assert!(error.contains(named), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_whose_names_run_together_leave_each_other_alone() {
    let (_broker, mut place) = place(2, &[]).await;
    let mut sinks = Vec::new();
    for (group, instance) in [("a", "b-c"), ("a-b", "c"), ("a", "b/c"), ("a/b", "c"), ("a", "b%2Fc")] {
        place.group = group.to_owned();
        place.settings.properties.insert("group.instance.id".to_owned(), instance.to_owned());
        sinks.push((place.sink().await, group));
    }
    for (mut sink, group) in sinks {
        place.group = group.to_owned();
        expect_committed(&mut sink, &place, 0).await;
        sink.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_stake_of_an_older_generation_the_same_transaction_is_committed_later() {
    for version in [1, 2] {
        let (broker, place) = place(version, &[]).await;
        let mut sink = place.sink().await;
        sink.send(place.batch(0, 0)).await.unwrap();
        let refusal = FaultAction::Error(ResponseError::IllegalGeneration.code());
        broker.inject(Fault::once(ApiKey::TxnOffsetCommit, refusal));
        let staked = sink.stake(TransactionNumber(0), place.stake(1)).await.unwrap();
        assert!(matches!(staked, Staked::Outdated(_)), "version {version}: {staked:?}");
        let ended = commit(&mut sink, &place, 0).await.unwrap();
        assert!(matches!(ended, TransactionEnd::Committed), "version {version}: {ended:?}");
        sink.close().await;
    }
}

/// With version 1 nothing but the epoch keeps what was asked for, and is still on its way, out of later transactions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_request_without_an_answer_the_producer_is_begun_anew() {
    use ApiKey::{AddOffsetsToTxn, AddPartitionsToTxn, EndTxn, TxnOffsetCommit};
    let (broker, place) = place(1, &[]).await;
    let mut sink = place.sink().await;
    let name = format!("{}/one/0", place.group);
    let epoch = || broker.transaction(&name).unwrap().epoch;
    for (number, api) in (0..).step_by(4).zip([AddPartitionsToTxn, AddOffsetsToTxn, TxnOffsetCommit, EndTxn])
    {
        let before = epoch();
        expect_committed(&mut sink, &place, number).await;
        assert_eq!(epoch(), before, "{api:?}: with every answer there is no need");
        broker.inject(Fault::once(api, FaultAction::LoseResponse));
        expect_committed(&mut sink, &place, number + 2).await;
        assert!(epoch() > before, "{api:?}: epoch {before}");
    }
    expect_committed(&mut sink, &place, 16).await;
    sink.close().await;
}

/// A coordinator that takes over from another does not know the epoch before the last (the log has none), and takes
/// a producer that begins by that for one that was replaced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_commit_without_any_answer_it_goes_on_with_another_coordinator() {
    let (broker, place) = place(2, &[("transaction.timeout.ms", "1000")]).await;
    let mut sink = place.sink().await;
    expect_committed(&mut sink, &place, 0).await;
    sink.send(place.batch(0, 2)).await.unwrap();
    broker.inject(Fault::always(ApiKey::EndTxn, FaultAction::LoseResponse));
    let ended = commit(&mut sink, &place, 2).await.unwrap();
    assert!(matches!(ended, TransactionEnd::Aborted(_)), "{ended:?}");
    broker.clear_faults();
    let refusal = FaultAction::Error(ResponseError::ProducerFenced.code());
    broker.inject(Fault::always(ApiKey::InitProducerId, refusal));
    sink.abort().await.unwrap();
    expect_committed(&mut sink, &place, 4).await;
    sink.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_version_may_change_while_it_runs() {
    let (broker, place) = place(1, &[]).await;
    let mut sink = place.sink().await;
    let mut number = 0;
    for version in [2, 1, 2] {
        expect_committed(&mut sink, &place, number).await;
        broker.set_transaction_version(version).unwrap();
        expect_committed(&mut sink, &place, number + 1).await;
        sink.abort().await.unwrap();
        // In version 2 each end has an epoch of its own.
        let name = format!("{}/one/{}", place.group, (number + 2) % 2);
        let before = broker.transaction(&name).unwrap().epoch;
        expect_committed(&mut sink, &place, number + 2).await;
        expect_committed(&mut sink, &place, number + 4).await;
        let ends = broker.transaction(&name).unwrap().epoch - before;
        assert_eq!(ends, if version == 2 { 2 } else { 0 }, "version {version}");
        number += 5;
    }
    sink.close().await;
}

/// Apache Kafka may not be able to go on with what was begun in a version that it has left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_version_that_is_left_cannot_end_is_aborted() {
    for api in [ApiKey::Produce, ApiKey::TxnOffsetCommit, ApiKey::EndTxn] {
        let (broker, place) = place(2, &[]).await;
        let mut sink = place.sink().await;
        expect_committed(&mut sink, &place, 0).await;
        broker.set_transaction_version(1).unwrap();
        broker.inject(Fault::once(api, FaultAction::Error(ResponseError::UnsupportedVersion.code())));
        match sink.send(place.batch(0, 2)).await {
            Err(error) => assert_eq!((api, error.kind), (ApiKey::Produce, ErrorKind::Retriable), "{error}"),
            Ok(_) => {
                let ended = commit(&mut sink, &place, 2).await.unwrap();
                assert!(matches!(ended, TransactionEnd::Aborted(_)), "{api:?}: {ended:?}");
            }
        }
        sink.abort().await.unwrap();
        expect_committed(&mut sink, &place, 4).await;
        sink.close().await;
    }
}

/// Works until a fault has become a trouble of this stage; without the fault it ends, and so does the trouble.
async fn troubled<T>(broker: &Broker, troubles: &Troubles, stage: &str, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    let reported = until(stage, || troubles.now().iter().any(|(place, _)| place.stage() == stage));
    tokio::select! {
        _ = &mut work => panic!("{stage}: the fault is still there"),
        () = reported => {}
    }
    broker.clear_faults();
    let done = work.await;
    assert_eq!(troubles.now(), []);
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_that_is_not_there_is_a_trouble_until_it_is() {
    let (broker, place) = place(2, &[]).await;
    let troubles = Troubles::default();
    let refusal = FaultAction::Error(ResponseError::CoordinatorNotAvailable.code());
    broker.inject(Fault::always(ApiKey::InitProducerId, refusal));
    let sink =
        NativeSink::transactional(&place.client, &place.settings, troubles.clone(), None, &place.group);
    let mut sink = troubled(&broker, &troubles, "start", sink).await.unwrap();
    sink.send(place.batch(0, 0)).await.unwrap();
    broker.inject(Fault::always(ApiKey::EndTxn, refusal));
    let ended = troubled(&broker, &troubles, "commit", commit(&mut sink, &place, 0)).await.unwrap();
    assert!(matches!(ended, TransactionEnd::Committed), "{ended:?}");
    sink.close().await;
}
