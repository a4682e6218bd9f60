//! A wire batch on its way: sealed, in flight, and back when it has to be sent again.

use std::sync::Arc;

use bytes::Bytes;
use tokio::{sync::oneshot, time::Instant};
use topicmill_records::{Codec, Compression, ProducerStamp};

use super::{
    parcel::{Claim, ParcelOutcome},
    producer::Producer,
};

/// A wire batch as it is sent, however often.
pub struct Sealed {
    pub bytes: Bytes,
    pub sequence: i32,
    pub codec: Codec,
    /// The number of its first record, as counted by `Outputs`.
    pub first: u64,
    pub count: usize,
    /// An attempt was made whose outcome is not known.
    pub uncertain: bool,
    /// The first attempt.
    pub attempted: Option<Instant>,
    /// It may be why the broker closes the connection, and is sent alone.
    pub is_suspect: bool,
    /// How often a broker closed the connection instead of answering it.
    pub closings: u32,
}

impl Sealed {
    /// A batch that was not sent yet.
    pub fn new(bytes: Bytes, sequence: i32, codec: Codec, first: u64, count: usize) -> Sealed {
        Sealed {
            bytes,
            sequence,
            codec,
            first,
            count,
            uncertain: false,
            attempted: None,
            is_suspect: false,
            closings: 0,
        }
    }

    /// Whether a broker that does not take an uncompressed batch of `size` bytes takes nothing of it either: it cannot
    /// be cut. Of compressed ones nothing can be said, as a topic may have them compressed in another way
    /// (`compression.type`), and it is what comes of that which must not be too large.
    pub fn is_alone_and_as_large_as(&self, size: usize) -> bool {
        self.count == 1 && self.codec.compression == Compression::None && self.bytes.len() >= size
    }
}

pub struct InFlight {
    pub batch: Sealed,
    pub claim: Arc<Claim>,
    pub answer: oneshot::Receiver<ParcelOutcome>,
}

impl InFlight {
    /// The batch, to be sent again.
    pub fn recalled(mut self) -> Sealed {
        let is_unsent =
            self.claim.withdraw() || matches!(self.answer.try_recv(), Ok(ParcelOutcome::Unsent(_)));
        if !is_unsent {
            self.batch.uncertain = true;
        }
        self.batch.attempted = self.batch.attempted.or(self.claim.taken_at());
        self.batch
    }
}

/// The producer fields of a batch.
pub fn stamp(producer: Producer, base_sequence: i32) -> ProducerStamp {
    let Producer { id, epoch } = producer;
    ProducerStamp { producer_id: id, epoch, base_sequence, transactional: false }
}

/// The sequence number after `count` records from `sequence`: after `i32::MAX` comes 0 (KIP-98).
pub fn advance(sequence: i32, count: usize) -> i32 {
    ((sequence as u64 + count as u64) & i32::MAX as u64) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_wrap_to_zero() {
        assert_eq!(advance(0, 3), 3);
        assert_eq!(advance(i32::MAX - 1, 1), i32::MAX);
        assert_eq!(advance(i32::MAX, 1), 0);
        assert_eq!(advance(i32::MAX - 1, 10), 8);
    }
}
