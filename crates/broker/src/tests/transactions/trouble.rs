//! Transactions that take too long, whose ends are late, and what tests do to them.

use std::{pin::pin, time::Duration};

use futures_util::poll;

use super::*;
use crate::Broker;

#[tokio::test]
async fn a_transaction_that_takes_too_long_is_aborted_and_its_readers_go_on() {
    let broker = broker().await;
    let core = &Arc::clone(&broker.core);
    let topic = core.topics.get("a").unwrap();
    let answer = ask(core, 5, &init(200)).await;
    let me = Me::of(answer.producer_id, answer.producer_epoch);
    assert_eq!(produce(core, 12, &topic, one(me, 0, "slow")).await, 0);
    put(&topic.partitions[0], batch(1, NO_PRODUCER));
    assert_eq!(broker.last_stable_offset("a", 0), Some(0));
    let waiting = fetch_request(12, &topic, 0).with_isolation_level(1);
    let waiting = waiting.with_max_wait_ms(60_000).with_min_bytes(1);
    let mut answer = pin!(ask(core, 12, &waiting));
    assert!(poll!(&mut answer).is_pending());
    let answer = tokio::time::timeout(Duration::from_secs(30), answer).await.expect("in time");
    let part = &answer.responses[0].partitions[0];
    assert_eq!((part.last_stable_offset, part.high_watermark), (3, 3));
    assert_eq!(committed(core, 12, &topic, 0).await, ["value"]);
    assert_eq!(broker.transaction(ID).unwrap().state, "CompleteAbort");
    assert_eq!(end(core, 5, me, true).await, Err(ResponseError::InvalidTxnState));
    assert_eq!(end(core, 5, me, false).await, Ok(me.next()), "and so it goes on");
    assert_eq!(end(core, 4, me, true).await, Err(ResponseError::ProducerFenced));
    broker.stop().await;
}

async fn broker() -> Broker {
    let settings = BrokerSettings { listen: ([127, 0, 0, 1], 0).into(), memory: 1 << 20, partitions: 1 };
    let broker = Broker::start(settings).await.unwrap();
    broker.create_topic("a", 1, &[]).unwrap();
    broker
}

#[tokio::test]
async fn until_the_end_is_written_everything_waits() {
    let broker = broker().await;
    let core = &broker.core;
    let topic = core.topics.get("a").unwrap();
    broker.delay_markers(Duration::from_secs(3600));
    let me = begin(core).await;
    assert_eq!(produce(core, 12, &topic, one(me, 0, "first")).await, 0);
    let next = end(core, 5, me, true).await.unwrap();
    let concurrent = ResponseError::ConcurrentTransactions;
    assert_eq!(end(core, 5, me, true).await, Err(concurrent));
    assert_eq!(produce(core, 12, &topic, one(next, 0, "second")).await, concurrent.code());
    assert_eq!(add(core, 3, next, &[("a", &[0])]).await, [concurrent.code()]);
    assert_eq!(commit(core, 5, &offsets(next, 1)).await, concurrent.code());
    assert_eq!(ask(core, 5, &init(1000)).await.error_code, concurrent.code());
    assert_eq!(committed(core, 12, &topic, 0).await, [] as [String; 0]);
    assert_eq!(broker.transaction(ID).unwrap().state, "PrepareCommit");
    core.transactions.pass_time(core, std::time::Instant::now() + Duration::from_secs(3600));
    assert_eq!(committed(core, 12, &topic, 0).await, ["first"]);
    // A record waits for a short end.
    broker.delay_markers(Duration::from_millis(20));
    assert_eq!(produce(core, 12, &topic, one(next, 0, "second")).await, 0);
    let third = end(core, 5, next, true).await.unwrap();
    assert_eq!(produce(core, 12, &topic, one(third, 0, "third")).await, 0);
    broker.stop().await;
}

#[tokio::test]
async fn the_end_is_written_as_soon_as_there_is_a_leader() {
    let broker = broker().await;
    let core = &broker.core;
    broker.create_topic("b", 1, &[]).unwrap();
    let (a, b) = (core.topics.get("a").unwrap(), core.topics.get("b").unwrap());
    let me = begin(core).await;
    assert_eq!(produce(core, 12, &a, one(me, 0, "first")).await, 0);
    assert_eq!(produce(core, 12, &b, one(me, 0, "first")).await, 0);
    broker.set_leaderless("b", 0, true).unwrap();
    end(core, 5, me, true).await.unwrap();
    let seen = broker.transaction(ID).unwrap();
    assert_eq!((seen.state, seen.partitions), ("PrepareCommit", vec![("b".to_owned(), 0)]));
    assert_eq!(committed(core, 12, &a, 0).await, ["first"]);
    broker.set_leaderless("b", 0, false).unwrap();
    let complete = async {
        while broker.transaction(ID).unwrap().state != "CompleteCommit" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), complete).await.expect("in time");
    assert_eq!(committed(core, 12, &b, 0).await, ["first"]);
    broker.stop().await;
}

#[tokio::test]
async fn what_tests_do_to_transactions_shows() {
    let broker = broker().await;
    let core = &broker.core;
    let topic = core.topics.get("a").unwrap();
    let me = begin(core).await;
    broker.abort_next_transactions(1);
    assert_eq!(produce(core, 12, &topic, one(me, 0, "aborted")).await, 0);
    assert_eq!(end(core, 5, me, true).await, Err(ResponseError::InvalidTxnState));
    let me = begin(core).await;
    assert_eq!(produce(core, 12, &topic, one(me, 0, "first")).await, 0);
    let me = end(core, 5, me, true).await.unwrap();
    assert_eq!(produce(core, 12, &topic, one(me, 0, "aborted, too")).await, 0);
    broker.take_over(ID).unwrap();
    assert_eq!(end(core, 5, me, true).await, Err(ResponseError::ProducerFenced));

    broker.age_producer(ID, 1).unwrap();
    let me = begin(core).await;
    assert_eq!(me.epoch, i16::MAX - 1);
    assert_eq!(produce(core, 12, &topic, one(me, 0, "second")).await, 0);
    let next = end(core, 5, me, true).await.unwrap();
    assert!(next.id != me.id && next.epoch == 0, "{next:?}");
    broker.forget_producers("a", 0).unwrap();
    let unknown = ResponseError::OutOfOrderSequenceNumber.code();
    assert_eq!(produce(core, 12, &topic, one(next, 1, "gap")).await, unknown);
    assert_eq!(produce(core, 12, &topic, one(next, 0, "third")).await, 0);
    assert!(!broker.forget_transactional_id(ID), "it is open");
    assert!(broker.abort_transaction(ID));
    assert!(broker.forget_transactional_id(ID));
    let mapping = ResponseError::InvalidProducerIdMapping.code();
    assert_eq!(add(core, 3, next.next(), &[("a", &[0])]).await, [mapping]);
    assert_eq!(committed(core, 12, &topic, 0).await, ["first", "second"]);
    broker.stop().await;
}

#[tokio::test]
async fn clients_are_told_which_version_to_speak() {
    let broker = broker().await;
    let core = &broker.core;
    let mut epochs = Vec::new();
    for level in [2, 1, 2] {
        broker.set_transaction_version(level).unwrap();
        for version in 3..=4 {
            let answer = ask(core, version, &ApiVersionsRequest::default()).await;
            let feature = &answer.finalized_features[0];
            assert_eq!(feature.name.as_str(), "transaction.version");
            assert_eq!(feature.max_version_level, level);
            assert_eq!(answer.supported_features.len(), if version < 4 { 0 } else { 1 });
            epochs.push(answer.finalized_features_epoch);
        }
    }
    assert_eq!(epochs, [0, 0, 1, 1, 2, 2]);
    assert!(broker.set_transaction_version(3).is_err());
    broker.stop().await;
}
