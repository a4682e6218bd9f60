//! What a test may do to the transactions of a running broker, and ask of them.

use std::time::{Duration, Instant};

use kafka_protocol::error::ResponseError;

use super::state::{Participant, Producer, Version};
use crate::Broker;

/// The state of a transactional id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionSeen {
    /// The producer's id.
    pub producer_id: i64,
    /// The producer's epoch.
    pub epoch: i16,
    /// Kafka's name of the state, such as `Ongoing` or `CompleteCommit`.
    pub state: &'static str,
    /// The topics' names and numbers of the partitions that it has written to; while it is being
    /// ended, of those where the end is not written yet.
    pub partitions: Vec<(String, i32)>,
    /// The groups whose offsets it commits, likewise.
    pub groups: Vec<String>,
}

impl Broker {
    /// Tells clients to speak of transactions in this version from their next connection on, by the
    /// feature `transaction.version`: 1 (KIP-98) or 2 (KIP-890), which is what they are told unless
    /// set. A client that speaks the other one all the same is understood, as by Kafka.
    ///
    /// # Errors
    /// `InvalidRequest` for another number.
    pub fn set_transaction_version(&self, version: i16) -> Result<(), ResponseError> {
        let version = match version {
            1 => Version::One,
            2 => Version::Two,
            _ => return Err(ResponseError::InvalidRequest),
        };
        self.core.transactions.set_version(version);
        Ok(())
    }

    /// Writes the ends of transactions this long after they were decided and answered, from now on.
    /// Meanwhile readers of committed records wait, and the producer's next requests are answered
    /// with `CONCURRENT_TRANSACTIONS`; records in version 2 wait for up to 100 ms first.
    pub fn delay_markers(&self, delay: Duration) {
        self.core.transactions.delay_markers(delay);
    }

    /// Aborts this many transactions at the moment when they are to be committed, as if their time
    /// had just run out. The commit is answered with `INVALID_TXN_STATE` in version 2 and with
    /// `PRODUCER_FENCED` in version 1. 0 ends it.
    pub fn abort_next_transactions(&self, count: u64) {
        self.core.transactions.abort_next(count);
    }

    /// Aborts the transaction that is open under a transactional id, as if its time had run out: its
    /// producer is fenced. Returns false if none is open.
    pub fn abort_transaction(&self, transactional_id: &str) -> bool {
        self.core.transactions.abort(&self.core, transactional_id, Instant::now())
    }

    /// Lets another process take over a transactional id: its transaction is aborted and its
    /// producer fenced. Where the end of a transaction is not written yet, nothing happens.
    ///
    /// # Errors
    /// `ConcurrentTransactions` in that case.
    pub fn take_over(&self, transactional_id: &str) -> Result<(), ResponseError> {
        let transactions = &self.core.transactions;
        let now = Instant::now();
        transactions.abort(&self.core, transactional_id, now);
        let timeout = Duration::from_secs(60);
        transactions.initialise(&self.core, transactional_id, None, timeout, now).map(|_| ())
    }

    /// Forgets a transactional id, as after `transactional.id.expiration.ms`: its producer is
    /// answered with `INVALID_PRODUCER_ID_MAPPING`. Returns false if it is not known, or has a
    /// transaction that is not over.
    pub fn forget_transactional_id(&self, transactional_id: &str) -> bool {
        self.core.transactions.lock().forget(transactional_id)
    }

    /// Forgets what a partition knows of producers without an open transaction, as after
    /// `producer.id.expiration.ms`: sequence numbers, epochs, and so duplicates.
    ///
    /// # Errors
    /// `UnknownTopicOrPartition`.
    pub fn forget_producers(&self, topic: &str, partition: i32) -> Result<(), ResponseError> {
        self.change(topic, partition, |partition| {
            partition.change(|log| {
                log.forget_producers();
                0
            });
            Ok(())
        })
    }

    /// Lets the producer of a transactional id have used up its epochs but `left`: after as many new
    /// ones it gets another id. The producer itself does not know, and has to begin again.
    ///
    /// # Errors
    /// `InvalidProducerIdMapping` for a transactional id that is not known.
    pub fn age_producer(&self, transactional_id: &str, left: i16) -> Result<(), ResponseError> {
        let mut all = self.core.transactions.lock();
        all.get_mut(transactional_id)?.age(left);
        Ok(())
    }

    /// The state of a transactional id.
    pub fn transaction(&self, transactional_id: &str) -> Option<TransactionSeen> {
        let all = self.core.transactions.lock();
        let transaction = all.get(transactional_id)?;
        let Producer { id, epoch } = transaction.producer();
        let mut seen = TransactionSeen {
            producer_id: id,
            epoch,
            state: transaction.phase().name(),
            partitions: Vec::new(),
            groups: Vec::new(),
        };
        for participant in transaction.participants() {
            match participant {
                Participant::Partition(topic, number) => seen.partitions.push((topic.to_string(), *number)),
                Participant::Group(group) => seen.groups.push(group.to_string()),
            }
        }
        Some(seen)
    }

    /// The offset below which every transaction of a partition is decided, if the partition exists.
    pub fn last_stable_offset(&self, topic: &str, partition: i32) -> Option<i64> {
        let topic = self.core.topics.get(topic)?;
        let log = topic.partition(partition)?.log();
        Some(log.last_stable())
    }

    /// The offset that a group has committed for a partition.
    pub fn committed_offset(&self, group: &str, topic: &str, partition: i32) -> Option<i64> {
        self.core.groups.committed_offset(group, topic, partition)
    }
}
