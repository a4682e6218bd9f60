//! Two processes with the same transactional ids, and one that begins again, on the embedded broker.

use std::{pin::pin, time::Duration};

use kafka_protocol::{
    ResponseError,
    messages::{AddPartitionsToTxnRequest, ApiKey, EndTxnRequest, InitProducerIdRequest, TransactionalId},
    protocol::Request,
};
use topicmill_broker::{Broker, Fault, FaultAction, TransactionSeen};
use topicmill_mill::{
    batch::{TopicPartition, TransactionNumber},
    engine::{EngineError, Sink, TransactionEnd},
};

use super::{
    NativeSink,
    questions::participants,
    transaction_faults_tests::{commit, expect_committed, expect_replaced, place, until},
    transaction_tests::{Place, commit_with},
};
use crate::{ask::Whom, reply::Answer, text::text};

/// A request that is answered, and how long that may take.
const LIMIT: Duration = Duration::from_secs(10);

/// The transactional id of the transactions with even numbers.
fn name(place: &Place) -> String {
    format!("{}/one/0", place.group)
}

fn even(broker: &Broker, place: &Place) -> TransactionSeen {
    broker.transaction(&name(place)).unwrap()
}

/// Works until `is_done`, and gives up: whatever the work was waiting for, it does not hear of it.
async fn abandon(work: impl Future, is_done: impl Fn() -> bool) {
    let mut work = pin!(work);
    tokio::select! {
        _ = &mut work => panic!("it has ended"),
        () = until("it is done", is_done) => {}
    }
}

/// A request by which a transaction of this producer would be opened, or be in one more partition.
fn add_partitions(place: &Place, seen: &TransactionSeen) -> AddPartitionsToTxnRequest {
    AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(TransactionalId(text(&name(place))))
        .with_v3_and_below_producer_id(seen.producer_id.into())
        .with_v3_and_below_producer_epoch(seen.epoch)
        .with_v3_and_below_topics(participants(&[TopicPartition::new(place.topic.as_str(), 0)].into()))
}

/// Asks the coordinator of the even transactions, from another client, in a version that is `cap` at most.
async fn ask<R: Request<Response: Answer>>(place: &Place, request: &R, cap: i16) -> R::Response {
    let (elsewhere, name) = (place.elsewhere().await, name(place));
    elsewhere.client.cluster().ask_in(Whom::Transactions(&name), request, cap, LIMIT).await.unwrap()
}

/// Commits, and does not hear that it was done.
async fn commit_unheard(broker: &Broker, sink: &mut NativeSink, place: &Place, number: u64) {
    let fault = broker.inject(Fault::always(ApiKey::EndTxn, FaultAction::LoseResponse));
    abandon(commit(sink, place, number), || even(broker, place).state == "CompleteCommit").await;
    broker.lift(fault);
}

/// Asks for a commit that never comes to the coordinator.
async fn commit_in_vain(broker: &Broker, sink: &mut NativeSink, place: &Place, number: u64) {
    let before = broker.seen(ApiKey::EndTxn).requests;
    let fault = broker.inject(Fault::always(ApiKey::EndTxn, FaultAction::Close));
    abandon(commit(sink, place, number), || broker.seen(ApiKey::EndTxn).requests > before).await;
    broker.lift(fault);
}

/// Begins the producer of the even transactions anew: an abort may end with that of the odd ones.
async fn renew_even(sink: &NativeSink) -> Result<(), EngineError> {
    sink.transactions.as_ref().unwrap().side(TransactionNumber(0)).renew().await.map(drop)
}

async fn expect_commit(sink: &mut NativeSink, place: &Place, number: u64, case: &str) {
    let ended = commit(sink, place, number).await.unwrap();
    assert!(matches!(ended, TransactionEnd::Committed), "{case}: {ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_successor_has_open_stays_open() {
    for (version, is_open, is_elsewhere) in [1, 2]
        .into_iter()
        .flat_map(|version| [(version, false, true), (version, true, true), (version, true, false)])
    {
        let case = format!("version {version}, open {is_open}, elsewhere {is_elsewhere}");
        let (_broker, place) = place(version, &[]).await;
        let mut first = place.sink().await;
        expect_committed(&mut first, &place, 0).await;
        if is_open {
            first.send(place.batch(0, 2)).await.unwrap();
        }
        let elsewhere = place.elsewhere().await;
        let mut second = if is_elsewhere { elsewhere.sink().await } else { place.sink().await };
        second.send(place.batch(0, 0)).await.unwrap();
        expect_replaced(&renew_even(&first).await.expect_err(&case));
        expect_commit(&mut second, &place, 0, &case).await;
        first.close().await;
        second.close().await;
    }
}

/// The successor finds nothing open, and so has no reason to fence what was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_successor_has_open_stays_open_after_a_commit_without_an_answer() {
    for version in [1, 2] {
        let case = format!("version {version}");
        let (broker, place) = place(version, &[]).await;
        let mut first = place.sink().await;
        first.send(place.batch(0, 0)).await.unwrap();
        commit_unheard(&broker, &mut first, &place, 0).await;
        let elsewhere = place.elsewhere().await;
        let mut second = elsewhere.sink().await;
        second.send(elsewhere.batch(0, 0)).await.unwrap();
        expect_replaced(&renew_even(&first).await.expect_err(&case));
        expect_commit(&mut second, &elsewhere, 0, &case).await;
        first.close().await;
        second.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_commit_that_came_too_late_or_never_it_goes_on() {
    for version in [1, 2] {
        let (broker, place) = place(version, &[]).await;
        let mut sink = place.sink().await;
        sink.send(place.batch(0, 0)).await.unwrap();
        commit_in_vain(&broker, &mut sink, &place, 0).await;
        assert!(broker.abort_transaction(&name(&place)));
        sink.abort().await.unwrap_or_else(|error| panic!("version {version}: {error}"));
        expect_committed(&mut sink, &place, 2).await;
        sink.close().await;
    }
}

/// The coordinator has it open, and nobody was told so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_begun_without_an_answer_and_took_too_long_is_begun_anew() {
    let (broker, place) = place(1, &[]).await;
    let mut sink = place.sink().await;
    let before = broker.seen(ApiKey::AddPartitionsToTxn).requests;
    broker.inject(Fault::always(ApiKey::AddPartitionsToTxn, FaultAction::LoseResponse));
    // Whoever asks for the second time has had no answer to the first.
    let is_again = || broker.seen(ApiKey::AddPartitionsToTxn).requests > before + 1;
    abandon(sink.send(place.batch(0, 0)), is_again).await;
    assert!(broker.abort_transaction(&name(&place)));
    broker.clear_faults();
    sink.abort().await.unwrap();
    expect_committed(&mut sink, &place, 2).await;
    sink.close().await;
}

/// An abort waits for no answer to what was asked before. The coordinator may have it open all the same, and abort it
/// on its own, which is no reason to take the id for another's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_asked_and_is_not_waited_for_may_be_open() {
    let (broker, place) = place(1, &[]).await;
    let mut sink = place.sink().await;
    let before = broker.seen(ApiKey::AddPartitionsToTxn).requests;
    broker.inject(Fault::always(ApiKey::AddPartitionsToTxn, FaultAction::Freeze));
    let is_asked = || broker.seen(ApiKey::AddPartitionsToTxn).requests > before;
    abandon(sink.send(place.batch(0, 0)), is_asked).await;
    let transaction = sink.transactions.as_ref().unwrap().open(TransactionNumber(0));
    assert!(!transaction.may_be_open(), "it is being asked");
    sink.writers.abandon();
    until("it is waited for no more", || transaction.may_be_open()).await;
    broker.clear_faults();
    sink.abort().await.unwrap();
    expect_committed(&mut sink, &place, 2).await;
    sink.close().await;
}

/// As after an error that ends a mill: another sink begins in the process, which was cut off meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_begins_again_takes_no_id_back() {
    for (version, is_open) in [(1, false), (1, true), (2, false), (2, true)] {
        let case = format!("version {version}, open {is_open}");
        let (_broker, place) = place(version, &[]).await;
        let mut first = place.sink().await;
        expect_committed(&mut first, &place, 0).await;
        if is_open {
            first.send(place.batch(0, 2)).await.unwrap();
        }
        drop(first);
        let elsewhere = place.elsewhere().await;
        let mut second = elsewhere.sink().await;
        second.send(elsewhere.batch(0, 0)).await.unwrap();
        for _ in 0..2 {
            expect_replaced(&place.begin().await.expect_err(&case));
        }
        expect_commit(&mut second, &elsewhere, 0, &case).await;
        second.close().await;
    }
}

/// What a process has not heard of when it begins again.
#[derive(Clone, Copy, Debug)]
enum Unheard {
    Nothing,
    /// The coordinator has aborted what was open for too long.
    Timeout,
    Commit,
    /// A producer was begun anew.
    Renewal,
    /// The coordinator has forgotten the id.
    Expiration,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_begins_again_goes_on_if_nobody_else_came() {
    use Unheard::{Commit, Expiration, Nothing, Renewal, Timeout};
    for version in [1, 2] {
        for unheard in [Nothing, Timeout, Commit, Renewal, Expiration] {
            let case = format!("version {version}, {unheard:?}");
            let (broker, place) = place(version, &[]).await;
            let mut sink = place.sink().await;
            expect_committed(&mut sink, &place, 0).await;
            if !matches!(unheard, Expiration) {
                sink.send(place.batch(0, 2)).await.unwrap();
            }
            match unheard {
                Nothing => {}
                Timeout => assert!(broker.abort_transaction(&name(&place)), "{case}"),
                Commit => commit_unheard(&broker, &mut sink, &place, 2).await,
                Renewal => {
                    let api = if version == 1 { ApiKey::InitProducerId } else { ApiKey::EndTxn };
                    let before = even(&broker, &place).epoch;
                    broker.inject(Fault::always(api, FaultAction::LoseResponse));
                    abandon(sink.abort(), || even(&broker, &place).epoch > before).await;
                    broker.clear_faults();
                }
                Expiration => {
                    for number in [0, 1] {
                        assert!(broker.forget_transactional_id(&format!("{}/one/{number}", place.group)));
                    }
                }
            }
            drop(sink);
            let mut sink = place.begin().await.unwrap_or_else(|error| panic!("{case}: {error}"));
            sink.send(place.batch(0, 4)).await.unwrap();
            expect_commit(&mut sink, &place, 4, &case).await;
            sink.close().await;
        }
    }
}

/// Of version 1: a transaction is opened between the end of the last one and the next epoch, and the coordinator fences
/// whoever has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_a_delayed_request_opens_is_ended() {
    let (broker, place) = place(1, &[]).await;
    let mut sink = place.sink().await;
    sink.send(place.batch(0, 0)).await.unwrap();
    let seen = even(&broker, &place);
    broker.inject(Fault::once(ApiKey::EndTxn, FaultAction::LoseResponse));
    let frozen = broker.inject(Fault::always(ApiKey::InitProducerId, FaultAction::Freeze));
    let before = broker.seen(ApiKey::InitProducerId).requests;
    let committing = tokio::spawn(commit_with(&mut sink, 0, place.stake(1)));
    until("the next epoch is asked for", || broker.seen(ApiKey::InitProducerId).requests > before).await;
    ask(&place, &add_partitions(&place, &seen), 3).await;
    assert_eq!(even(&broker, &place).state, "Ongoing");
    broker.lift(frozen);
    // It was committed, which it cannot be certain of.
    let ended = committing.await.unwrap().unwrap();
    assert!(matches!(ended, TransactionEnd::Aborted(_)), "{ended:?}");
    sink.abort().await.unwrap();
    expect_committed(&mut sink, &place, 2).await;
    sink.close().await;
}

/// Of version 1: an abort of which nobody has heard, a delayed request of the transaction, and then its commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_comes_after_the_abort_makes_nothing_of_the_transaction() {
    let (broker, place) = place(1, &[]).await;
    let mut sink = place.sink().await;
    sink.send(place.batch(0, 0)).await.unwrap();
    commit_in_vain(&broker, &mut sink, &place, 0).await;
    let seen = even(&broker, &place);
    let before = broker.seen(ApiKey::EndTxn).requests;
    broker.inject(Fault::once(ApiKey::EndTxn, FaultAction::LoseResponse));
    let frozen = broker.inject(Fault::once(ApiKey::EndTxn, FaultAction::Freeze).after(1));
    let transactions = sink.transactions.clone().unwrap();
    let aborting = tokio::spawn(async move { transactions.side(TransactionNumber(0)).renew().await });
    until("it is aborted again", || broker.seen(ApiKey::EndTxn).requests >= before + 2).await;
    assert_eq!(even(&broker, &place).state, "CompleteAbort");
    ask(&place, &add_partitions(&place, &seen), 3).await;
    let commit = EndTxnRequest::default()
        .with_transactional_id(TransactionalId(text(&name(&place))))
        .with_producer_id(seen.producer_id.into())
        .with_producer_epoch(seen.epoch)
        .with_committed(true);
    ask(&place, &commit, 4).await;
    assert_eq!(even(&broker, &place).state, "CompleteCommit");
    broker.lift(frozen);
    assert_eq!(aborting.await.unwrap().unwrap(), None);
    assert_eq!(broker.committed_offset(&place.group, &place.topic, 0), None);
    expect_committed(&mut sink, &place, 2).await;
    sink.close().await;
}

/// Of version 1: the log that another coordinator begins with has no epoch but the last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_epoch_whose_answer_is_lost_with_the_coordinator_is_passed_over() {
    let (broker, place) = place(1, &[]).await;
    let mut sink = place.sink().await;
    sink.send(place.batch(0, 0)).await.unwrap();
    broker.inject(Fault::once(ApiKey::EndTxn, FaultAction::LoseResponse));
    broker.inject(Fault::once(ApiKey::InitProducerId, FaultAction::LoseResponse));
    let refusal = FaultAction::Error(ResponseError::ProducerFenced.code());
    broker.inject(Fault::once(ApiKey::InitProducerId, refusal));
    // It was committed, which it cannot be certain of.
    let ended = commit(&mut sink, &place, 0).await.unwrap();
    assert!(matches!(ended, TransactionEnd::Aborted(_)), "{ended:?}");
    sink.abort().await.unwrap();
    expect_committed(&mut sink, &place, 2).await;
    sink.close().await;
}

/// Whoever asks with the epoch before an epoch is given that one again (KIP-360).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomer_shares_its_epoch_with_nobody_who_knows_the_one_before() {
    let (broker, place) = place(1, &[]).await;
    let sink = place.sink().await;
    let TransactionSeen { producer_id, epoch, .. } = even(&broker, &place);
    let request = InitProducerIdRequest::default()
        .with_transactional_id(Some(TransactionalId(text(&name(&place)))))
        .with_transaction_timeout_ms(10_000)
        .with_producer_id(producer_id.into())
        .with_producer_epoch(epoch - 1);
    let answer = ask(&place, &request, i16::MAX).await;
    assert_eq!(answer.error_code, ResponseError::ProducerFenced.code(), "{answer:?}");
    sink.close().await;
}
