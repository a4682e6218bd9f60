//! Producers that come to their end: their epochs are used up, or the brokers have forgotten them. What is written
//! stays complete and in order.

use kafka_protocol::{ResponseError, messages::ApiKey};
use topicmill_broker::{Broker, Fault, FaultAction};
use topicmill_mill::{
    batch::{AssignmentId, OutputBatch, TopicPartition, TransactionNumber},
    budget::Budget,
    engine::{EngineError, ErrorKind, Sink, TransactionEnd},
};

use super::{
    NativeSink,
    transaction_faults_tests::place,
    transaction_tests::{Place, commit_with},
};
use crate::{
    Isolation, Reader,
    testing::{batch, value},
};

/// The records of each transaction.
const RECORDS: usize = 10;

/// As a mill writes: one transaction after the other, and what is aborted once more.
struct Work<'a> {
    place: &'a Place,
    sink: NativeSink,
    number: u64,
    /// The records that are committed.
    done: usize,
    aborts: usize,
}

impl Work<'_> {
    async fn new(place: &Place) -> Work<'_> {
        Work { place, sink: place.sink().await, number: 0, done: 0, aborts: 0 }
    }

    fn destination(&self) -> TopicPartition {
        TopicPartition::new(self.place.topic.as_str(), 0)
    }

    async fn send(&mut self) -> Result<(), EngineError> {
        let (transaction, assignment) = (Some(TransactionNumber(self.number)), AssignmentId(self.number));
        let records = batch(&self.destination(), RECORDS, self.done);
        let sent = self.sink.send(OutputBatch { transaction, assignment, ..records });
        sent.await.map(|receipt| assert!(receipt.refused.is_empty(), "{receipt:?}"))
    }

    async fn abort(&mut self) {
        self.sink.abort().await.unwrap();
        self.number += 1;
        self.aborts += 1;
        assert!(self.aborts < 20, "it does not go on");
    }

    async fn transactions(&mut self, count: usize) {
        let end = self.done + count * RECORDS;
        while self.done < end {
            let ended = match self.send().await {
                Err(error) => Err(error),
                Ok(()) => {
                    let stake = self.place.stake((self.done + RECORDS) as i64);
                    match commit_with(&mut self.sink, self.number, stake).await.unwrap() {
                        TransactionEnd::Committed => Ok(()),
                        TransactionEnd::Aborted(error) => Err(error),
                    }
                }
            };
            match ended {
                Ok(()) => {
                    self.number += 1;
                    self.done += RECORDS;
                }
                Err(error) => {
                    assert_eq!(error.kind, ErrorKind::Retriable, "{error}");
                    self.abort().await;
                }
            }
        }
    }

    /// Readers of committed records see each record once, in order, and the offsets are those of all of them.
    async fn expect_complete(self, broker: &Broker) {
        let (from, client) = (self.destination(), &self.place.client);
        let (_, end) = broker.offsets(&from.topic, from.partition).unwrap();
        let mut reader = Reader::new(client, from, 0, end, Isolation::ReadCommitted, Budget::new(1 << 24));
        let mut values = Vec::new();
        while let Some((batch, _)) = reader.next().await.unwrap() {
            let text = |span| String::from_utf8(batch.bytes(span).unwrap().to_vec()).unwrap();
            values.extend(batch.records.iter().map(|record| text(record.value)));
        }
        assert_eq!(values, (0..self.done).map(value).collect::<Vec<_>>());
        assert_eq!(self.place.visible().await.0, Some(self.done as i64));
        self.sink.close().await;
    }
}

fn ids(place: &Place) -> [String; 2] {
    [0, 1].map(|side| format!("{}/one/{side}", place.group))
}

fn producers(broker: &Broker, place: &Place) -> [(i64, i16); 2] {
    ids(place).map(|id| {
        let seen = broker.transaction(&id).unwrap();
        (seen.producer_id, seen.epoch)
    })
}

/// With version 2 each end uses up an epoch, and the last one brings another producer; with version 1 each time that
/// it begins anew does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_whose_epochs_are_used_up_is_followed_by_another() {
    for version in [1, 2] {
        let (broker, place) = place(version, &[]).await;
        // Another process: what becomes of its ids is none of this one's memory.
        place.elsewhere().await.sink().await.close().await;
        for id in ids(&place) {
            broker.age_producer(&id, 3).unwrap();
        }
        let mut work = Work::new(&place).await;
        let before = producers(&broker, &place);
        assert!(before.iter().all(|(_, epoch)| *epoch > i16::MAX - 5), "version {version}: {before:?}");
        for _ in 0..6 {
            work.transactions(2).await;
            if version == 1 {
                work.send().await.unwrap();
                work.abort().await;
            }
        }
        work.transactions(2).await;
        let aborts = if version == 1 { 6 } else { 0 };
        assert_eq!(work.aborts, aborts, "version {version}: none but those that were asked for");
        for ((before, _), (id, epoch)) in before.into_iter().zip(producers(&broker, &place)) {
            assert!(id != before && epoch < 7, "version {version}: {before}, then {id} in epoch {epoch}");
        }
        work.expect_complete(&broker).await;
    }
}

/// As a leader does after `producer.id.expiration.ms`. It takes what comes next; older ones refuse it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_leader_has_forgotten_while_nothing_was_written_goes_on() {
    for version in [1, 2] {
        let (broker, place) = place(version, &[]).await;
        let mut work = Work::new(&place).await;
        for _ in 0..3 {
            work.transactions(3).await;
            broker.forget_producers(&place.topic, 0).unwrap();
        }
        work.transactions(3).await;
        assert_eq!(work.aborts, 0, "version {version}");
        broker.forget_producers(&place.topic, 0).unwrap();
        let refusal = FaultAction::Error(ResponseError::UnknownProducerId.code());
        broker.inject(Fault::once(ApiKey::Produce, refusal));
        work.transactions(3).await;
        assert_eq!(work.aborts, 1, "version {version}");
        work.expect_complete(&broker).await;
    }
}

/// As the coordinator does after `transactional.id.expiration.ms`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactional_ids_that_the_coordinator_has_forgotten_are_begun_anew() {
    for version in [1, 2] {
        for forgotten in [&[0][..], &[1], &[0, 1]] {
            let (broker, place) = place(version, &[]).await;
            let mut work = Work::new(&place).await;
            work.transactions(4).await;
            let before = producers(&broker, &place);
            for side in forgotten {
                assert!(broker.forget_transactional_id(&ids(&place)[*side]), "{side} is idle");
            }
            work.transactions(4).await;
            assert_eq!(work.aborts, 1, "version {version}, {forgotten:?}");
            let after = producers(&broker, &place);
            for side in [0, 1] {
                let is_another = after[side].0 != before[side].0;
                assert_eq!(is_another, forgotten.contains(&side), "version {version}, {forgotten:?}: {side}");
            }
            work.expect_complete(&broker).await;
        }
    }
}
