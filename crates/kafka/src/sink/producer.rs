//! The id and epoch under which batches are written (KIP-98), and how a partition gets new ones.
//!
//! Brokers keep a producer's state for each partition separately. So a partition that failed
//! continues with the next epoch, from sequence number 0, while the others keep theirs: the first
//! batch of the new epoch fences everything of the old one that may still be in flight (KIP-360).

use kafka_protocol::{ResponseError, messages::InitProducerIdRequest};
use parking_lot::Mutex;
use topicmill_mill::engine::EngineError;

use crate::{
    cluster::Cluster,
    error::{KafkaError, check},
};

const WHAT: &str = "asking for a producer id";

/// A producer's id and epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producer {
    pub id: i64,
    pub epoch: i16,
}

/// The producer that a sink's partitions begin with, and its highest epoch so far.
#[derive(Debug)]
pub struct Producers {
    first: Producer,
    /// `None` once the brokers no longer know it.
    highest: Mutex<Option<Producer>>,
}

impl Producers {
    pub fn new(first: Producer) -> Producers {
        Producers { first, highest: Mutex::new(Some(first)) }
    }

    /// The one to begin with.
    pub fn first(&self) -> Producer {
        self.first
    }

    /// The producer's next epoch, if it has one.
    pub fn next_epoch(&self, of: Producer) -> Option<Producer> {
        let next = Producer { epoch: of.epoch.checked_add(1)?, ..of };
        if let Some(highest) = self.highest.lock().as_mut().filter(|highest| highest.id == next.id) {
            highest.epoch = highest.epoch.max(next.epoch);
        }
        Some(next)
    }

    /// The brokers no longer know this one; its id is of no further use.
    pub fn disown(&self, producer: Producer) {
        let mut highest = self.highest.lock();
        if highest.is_some_and(|highest| highest.id == producer.id) {
            *highest = None;
        }
    }

    /// The producer whose next epoch a later sink may begin with.
    pub fn retired(&self) -> Option<Producer> {
        *self.highest.lock()
    }
}

/// Whether this answer means that the brokers have disowned the producer.
pub fn is_disowned(error: KafkaError) -> bool {
    use ResponseError::{InvalidProducerEpoch, InvalidProducerIdMapping, ProducerFenced, UnknownProducerId};
    matches!(error.0, UnknownProducerId | InvalidProducerEpoch | ProducerFenced | InvalidProducerIdMapping)
}

/// Asks the cluster for a new producer, once.
pub async fn ask(cluster: &Cluster) -> Result<Producer, EngineError> {
    // Without a transaction the timeout means nothing.
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_transaction_timeout_ms(i32::MAX)
        .with_producer_id((-1).into())
        .with_producer_epoch(-1);
    let response = cluster.ask_any(&request, cluster.settings.request_timeout).await?;
    check(response.error_code).map_err(|error| cluster.failed(error, WHAT, None))?;
    Ok(Producer { id: response.producer_id.0, epoch: response.producer_epoch })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_sink_begins_after_the_highest_epoch_of_any_partition() {
        let first = Producer { id: 7, epoch: 3 };
        let producers = Producers::new(first);
        let second = producers.next_epoch(first).unwrap();
        let third = producers.next_epoch(second).unwrap();
        assert_eq!(producers.next_epoch(first), Some(second), "each partition counts for itself");
        assert_eq!(producers.retired(), Some(third));
        let other = Producer { id: 8, epoch: 9 };
        producers.next_epoch(other);
        producers.disown(other);
        assert_eq!(producers.retired(), Some(third));
        assert_eq!(producers.next_epoch(Producer { epoch: i16::MAX, ..first }), None);
        producers.disown(second);
        assert_eq!(producers.retired(), None);
    }
}
