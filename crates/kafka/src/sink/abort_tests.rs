//! Transactions that are aborted while a request of theirs is under way.

use std::time::Duration;

use kafka_protocol::{ResponseError, messages::ApiKey};
use tokio::time::timeout;
use topicmill_broker::{Broker, Fault, FaultAction};
use topicmill_mill::{
    batch::TransactionNumber,
    clock,
    engine::{ErrorKind, Sink, TransactionEnd},
};

use super::transaction_faults_tests::{commit, expect_committed, place, sized, until};
use crate::testing::fresh;

/// A request that was held up takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comes {
    Before,
    Within,
    After,
}

/// With version 1 it would make the partition part of the next transaction, or begin one that nobody ends; with
/// version 2 it would put its records there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_request_that_comes_after_the_abort_is_of_no_transaction() {
    for (version, api) in [(1, ApiKey::AddPartitionsToTxn), (2, ApiKey::Produce)] {
        for comes in [Comes::Before, Comes::Within, Comes::After] {
            let what = format!("version {version}, {comes:?}");
            let (broker, place) = place(version, &[("request.timeout.ms", "1000")]).await;
            let mut sink = place.sink().await;
            expect_committed(&mut sink, &place, 0).await;
            let name = format!("{}/one/0", place.group);
            let before = broker.seen(api);
            let held = broker.inject(Fault::once(api, FaultAction::Freeze));
            let lost = tokio::spawn(sink.send(place.batch(0, 2)));
            until("the request is there", || broker.seen(api).requests > before.requests).await;
            sink.abort().await.unwrap();
            let error = lost.await.unwrap().unwrap_err();
            assert_eq!(error.kind, ErrorKind::Retriable, "{what}: {error}");
            let release = async |broker: &Broker| {
                let handled = broker.seen(api).handled;
                broker.lift(held);
                until("it takes effect", || broker.seen(api).handled > handled).await;
            };
            if comes == Comes::Before {
                release(&broker).await;
                assert!(broker.transaction(&name).unwrap().partitions.is_empty(), "{what}");
            }
            if comes == Comes::Within {
                sink.send(place.batch(1, 4)).await.unwrap();
                release(&broker).await;
            }
            expect_committed(&mut sink, &place, 4).await;
            if comes == Comes::After {
                release(&broker).await;
            }
            let seen = broker.transaction(&name).unwrap();
            assert!(seen.state != "Ongoing" && seen.partitions.is_empty(), "{what}: {seen:?}");
            // Both that were committed, each with its end.
            assert_eq!(broker.offsets(&place.topic, 0), Some((0, 202)), "{what}");
            assert_eq!(broker.last_stable_offset(&place.topic, 0), Some(202), "{what}");
            assert_eq!(broker.committed_offset(&place.group, &place.topic, 0), Some(5), "{what}");
            expect_committed(&mut sink, &place, 6).await;
            assert_eq!(broker.last_stable_offset(&place.topic, 0), Some(303), "{what}");
            sink.close().await;
        }
    }
}

/// With the next transaction open meanwhile, which is aborted in any case.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abort_tells_whether_a_commit_without_an_answer_has_succeeded() {
    for version in [1, 2] {
        for (action, number) in [FaultAction::LoseResponse, FaultAction::Close].into_iter().zip([2, 3]) {
            let what = format!("version {version}, {action:?}");
            let (broker, place) = place(version, &[("transaction.timeout.ms", "1000")]).await;
            let mut sink = place.sink().await;
            expect_committed(&mut sink, &place, 0).await;
            expect_committed(&mut sink, &place, 1).await;
            sink.send(place.batch(0, number)).await.unwrap();
            let lost = broker.inject(Fault::always(ApiKey::EndTxn, action));
            let ended = commit(&mut sink, &place, number).await.unwrap();
            assert!(matches!(ended, TransactionEnd::Aborted(_)), "{what}: {ended:?}");
            broker.lift(lost);
            sink.send(place.batch(1, number + 1)).await.unwrap();
            let is_committed =
                broker.committed_offset(&place.group, &place.topic, 0) == Some(number as i64 + 1);
            assert_eq!(is_committed, action == FaultAction::LoseResponse, "{what}");
            let told = sink.abort().await.unwrap();
            assert_eq!(told, is_committed.then_some(TransactionNumber(number)), "{what}");
            assert_eq!(sink.abort().await.unwrap(), None, "{what}: only once");
            // Nor is it one that never came to the coordinator, which takes no abort of that either with version 1.
            let first = if version == 1 { ApiKey::AddPartitionsToTxn } else { ApiKey::Produce };
            let before = broker.seen(first).requests;
            broker.inject(Fault::always(first, FaultAction::Close));
            let _sent = sink.send(place.batch(0, number + 2));
            until("it was asked", || broker.seen(first).requests > before).await;
            assert_eq!(sink.abort().await.unwrap(), None, "{what}: never begun");
            sink.close().await;
        }
    }
}

/// Of version 1, in which transactions of a producer have the same epoch.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_knows_that_is_the_coordinator_no_more_counts_for_nothing() {
    // It knows of the transaction before, which was committed: it takes a commit, and no abort.
    let over = FaultAction::Error(ResponseError::InvalidTxnState.code());
    let answered = vec![FaultAction::Close, FaultAction::Pretend];
    for answers in [answered.clone(), [answered, vec![over]].concat()] {
        let what = format!("{answers:?}");
        let (broker, place) = place(1, &[]).await;
        let mut sink = place.sink().await;
        expect_committed(&mut sink, &place, 0).await;
        sink.send(place.batch(0, 2)).await.unwrap();
        for (after, answer) in answers.into_iter().enumerate() {
            broker.inject(Fault::once(ApiKey::EndTxn, answer).after(after as u64));
        }
        let ended = commit(&mut sink, &place, 2).await.unwrap();
        assert!(matches!(ended, TransactionEnd::Aborted(_)), "{what}: {ended:?}");
        assert_eq!(sink.abort().await.unwrap(), None, "{what}");
        assert_eq!(broker.committed_offset(&place.group, &place.topic, 0), Some(1), "{what}");
        assert_eq!(
            broker.last_stable_offset(&place.topic, 0),
            broker.offsets(&place.topic, 0).map(|of| of.1)
        );
        expect_committed(&mut sink, &place, 4).await;
        sink.close().await;
    }
}

/// What follows a refused batch gets other numbers, once its answers have said that it was not appended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abort_is_heard_while_the_answers_to_what_follows_a_refused_batch_are_waited_for() {
    for version in [1, 2] {
        let properties = [("request.timeout.ms", "100000"), ("batch.size", "1")];
        let (broker, place) = place(version, &properties).await;
        let topic = fresh("small");
        broker.create_topic(&topic, 1, &[("max.message.bytes", "2000")]).unwrap();
        let now = clock::now_ms();
        let batch = |number, size| sized(&topic, number, now, [size]);
        let mut sink = place.sink().await;
        // So that more than one may be under way.
        sink.send(batch(0, 100)).await.unwrap();
        let before = broker.seen(ApiKey::Produce).requests;
        let hold = |after| broker.inject(Fault::once(ApiKey::Produce, FaultAction::Freeze).after(after));
        let (refused, silent) = (hold(0), hold(1));
        let sent = [3000, 100].map(|size| tokio::spawn(sink.send(batch(0, size))));
        until("the first is there", || broker.seen(ApiKey::Produce).requests == before + 1).await;
        broker.lift(refused);
        until("the second is there", || broker.seen(ApiKey::Produce).requests == before + 2).await;
        sink.abort().await.unwrap();
        let [first, second] = sent.map(|receipt| timeout(Duration::from_secs(60), receipt));
        // It may be refused before the second is under way.
        if let Ok(receipt) = first.await.expect("the broker need not answer").unwrap() {
            assert_eq!(receipt.refused.len(), 1, "version {version}");
        }
        let error = second.await.expect("the broker need not answer").unwrap().unwrap_err();
        assert_eq!(error.kind, ErrorKind::Retriable, "version {version}: {error}");
        broker.lift(silent);
        expect_committed(&mut sink, &place, 2).await;
        sink.close().await;
    }
}
