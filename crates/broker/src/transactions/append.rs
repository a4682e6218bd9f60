//! Records into the logs: those of a transaction only while it is open (KIP-890).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use kafka_protocol::error::ResponseError;

use super::{
    coordinator::Transactions,
    state::{Participant, Phase, Producer},
};
use crate::{log::Appended, partition::Partition, rules::Admitted};

/// The longest that records wait for the end of the transaction before theirs, and how often it is
/// looked for; as Kafka's `add.partitions.to.txn.retry.backoff.max.ms` and `.ms`.
const SETTLE_MAX: Duration = Duration::from_millis(100);
const SETTLE_STEP: Duration = Duration::from_millis(20);

/// What a request with records says about its transaction.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The transactional id, if the producer has one.
    pub id: Option<&'a str>,
    /// The version of Produce.
    pub version: i16,
}

impl Asked<'_> {
    /// Whether its records may begin a transaction in a log: before, each partition has to be added
    /// by a request of its own.
    fn adds(self) -> bool {
        self.version >= 12
    }
}

impl Transactions {
    /// Waits until the end of the transaction before is written, for a client that need not ask
    /// again for that.
    pub async fn settle(&self, asked: Asked<'_>) {
        let Some(id) = asked.id.filter(|_| asked.adds()) else { return };
        let until = tokio::time::Instant::now() + SETTLE_MAX;
        let is_settled = || !matches!(self.lock().get(id).map(|of| of.phase()), Some(Phase::Prepare(_)));
        while !is_settled() && tokio::time::Instant::now() < until {
            tokio::time::sleep(SETTLE_STEP).await;
        }
    }

    /// Appends a batch of a transaction.
    ///
    /// # Errors
    /// What [`Partition::append`] refuses, and for a transaction that is not this one any more
    /// `InvalidProducerEpoch`, `InvalidProducerIdMapping`, `ConcurrentTransactions`, `InvalidTxnState`
    /// or `TransactionAbortable`, as the version of the request knows them.
    pub fn append(
        &self,
        partition: &Arc<Partition>,
        admitted: Admitted,
        asked: Asked<'_>,
        now: Instant,
    ) -> Result<Appended, ResponseError> {
        let header = admitted.header;
        let producer = Producer { id: header.producer_id, epoch: header.producer_epoch };
        let id = asked.id.ok_or(ResponseError::TransactionalIdAuthorizationFailed)?;
        // Should it be ended before the append, the log refuses.
        if partition.log().has_open(producer) {
            return partition.append(admitted, false);
        }
        let participant = Participant::Partition(Arc::clone(&partition.topic), partition.number);
        // Held over the append: no end may come in between, which would leave the record open.
        let mut all = self.lock();
        let known = if asked.adds() {
            self.add(&mut all, id, producer, [participant], now)
        } else {
            all.get_mut(id).and_then(|transaction| transaction.verify(producer, &participant))
        };
        known.map_err(|error| as_known_to(asked.version, error))?;
        if asked.adds() && header.base_sequence != 0 && !partition.log().knows_producer(producer.id) {
            return Err(ResponseError::OutOfOrderSequenceNumber);
        }
        partition.append(admitted, true)
    }
}

/// The error that a client of this version of Produce understands.
fn as_known_to(version: i16, error: ResponseError) -> ResponseError {
    match error {
        ResponseError::ProducerFenced => ResponseError::InvalidProducerEpoch,
        ResponseError::TransactionAbortable if version < 11 => ResponseError::InvalidTxnState,
        ResponseError::ConcurrentTransactions if version < 12 => ResponseError::NotEnoughReplicas,
        error => error,
    }
}
