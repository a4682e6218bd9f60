//! What a partition knows of its idempotent producers (KIP-98): epochs and last sequence numbers.

use std::collections::{HashMap, VecDeque};

use kafka_protocol::error::ResponseError;
use topicmill_records::BatchHeader;

/// The batches a producer may have in flight, and so the duplicates that must be recognised.
const REMEMBERED_BATCHES: usize = 5;

/// The producers remembered per partition; beyond that, the one that has been silent longest is
/// forgotten.
const MAX_PRODUCERS: usize = 4096;

/// What to do with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It continues its producer's sequence, or has no producer.
    Append,
    /// It was appended before, at this offset; acknowledge it again.
    Duplicate {
        /// The offset that its first record has in the log.
        base_offset: i64,
    },
}

/// The idempotent producers of one partition.
#[derive(Debug, Default)]
pub struct Producers {
    by_id: HashMap<i64, Producer>,
}

#[derive(Debug)]
struct Producer {
    epoch: i16,
    /// Its last batches, the oldest first; none at the beginning of an epoch.
    recent: VecDeque<RecentBatch>,
    /// Where it was last heard of.
    last_offset: i64,
}

#[derive(Clone, Copy, Debug)]
struct RecentBatch {
    first_sequence: i32,
    last_sequence: i32,
    base_offset: i64,
}

impl Producers {
    /// Judges a batch before it is appended.
    ///
    /// # Errors
    /// `InvalidProducerEpoch` for a fenced producer, `OutOfOrderSequenceNumber` for a gap.
    pub fn check(&self, header: &BatchHeader) -> Result<Admission, ResponseError> {
        if header.producer_id < 0 {
            return Ok(Admission::Append);
        }
        if header.producer_epoch < 0 || header.base_sequence < 0 {
            return Err(ResponseError::InvalidRecord);
        }
        // A producer that is not known may begin anywhere: its earlier batches may have been dropped.
        let Some(producer) = self.by_id.get(&header.producer_id) else {
            return Ok(Admission::Append);
        };
        if header.producer_epoch < producer.epoch {
            return Err(ResponseError::InvalidProducerEpoch);
        }
        if header.producer_epoch > producer.epoch {
            return in_order(header.base_sequence == 0);
        }
        let last_sequence = last_sequence(header);
        let duplicate = producer.recent.iter().find(|appended| {
            appended.first_sequence == header.base_sequence && appended.last_sequence == last_sequence
        });
        if let Some(appended) = duplicate {
            return Ok(Admission::Duplicate { base_offset: appended.base_offset });
        }
        let expected = producer.recent.back().map_or(0, |last| add(last.last_sequence, 1));
        in_order(header.base_sequence == expected)
    }

    /// Remembers a batch that was appended at `base_offset`.
    pub fn appended(&mut self, header: &BatchHeader, base_offset: i64) {
        if header.producer_id < 0 {
            return;
        }
        let producer = self.hear_of(header.producer_id, header.producer_epoch, base_offset);
        if producer.recent.len() == REMEMBERED_BATCHES {
            producer.recent.pop_front();
        }
        producer.recent.push_back(RecentBatch {
            first_sequence: header.base_sequence,
            last_sequence: last_sequence(header),
            base_offset,
        });
    }

    /// Judges the end of a transaction, whose epoch may be a new one.
    ///
    /// # Errors
    /// `InvalidProducerEpoch` when a later epoch is known.
    pub fn check_end(&self, id: i64, epoch: i16) -> Result<(), ResponseError> {
        let later = self.by_id.get(&id).is_some_and(|producer| producer.epoch > epoch);
        if later { Err(ResponseError::InvalidProducerEpoch) } else { Ok(()) }
    }

    /// The end of a transaction stands at `offset`: from there on, the producer has this epoch.
    pub fn ended(&mut self, id: i64, epoch: i16, offset: i64) {
        self.hear_of(id, epoch, offset);
    }

    /// Whether anything is known of a producer.
    pub fn knows(&self, id: i64) -> bool {
        self.by_id.contains_key(&id)
    }

    /// Forgets all producers but those that are `kept`.
    pub fn forget(&mut self, kept: impl Fn(i64) -> bool) {
        self.by_id.retain(|id, _| kept(*id));
    }

    fn hear_of(&mut self, id: i64, epoch: i16, offset: i64) -> &mut Producer {
        if self.by_id.len() >= MAX_PRODUCERS && !self.by_id.contains_key(&id) {
            self.forget_most_silent();
        }
        let known = || Producer { epoch, recent: VecDeque::new(), last_offset: offset };
        let producer = self.by_id.entry(id).or_insert_with(known);
        if producer.epoch != epoch {
            producer.epoch = epoch;
            producer.recent.clear();
        }
        producer.last_offset = offset;
        producer
    }

    /// Forgets the batches that a truncation to the offset `end` took away.
    pub fn truncate(&mut self, end: i64) {
        self.by_id.retain(|_, producer| {
            producer.recent.retain(|appended| appended.base_offset < end);
            producer.last_offset < end || !producer.recent.is_empty()
        });
    }

    fn forget_most_silent(&mut self) {
        let silent = self.by_id.iter().min_by_key(|(_, producer)| producer.last_offset).map(|(id, _)| *id);
        if let Some(id) = silent {
            self.by_id.remove(&id);
        }
    }
}

fn in_order(holds: bool) -> Result<Admission, ResponseError> {
    if holds { Ok(Admission::Append) } else { Err(ResponseError::OutOfOrderSequenceNumber) }
}

fn last_sequence(header: &BatchHeader) -> i32 {
    add(header.base_sequence, header.last_offset_delta)
}

/// Sequence numbers run from 0 to `i32::MAX` and begin again at 0.
fn add(sequence: i32, by: i32) -> i32 {
    sequence.wrapping_add(by) & i32::MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(epoch: i16, base_sequence: i32, count: i32) -> BatchHeader {
        BatchHeader {
            base_offset: 0,
            size: 100,
            leader_epoch: 0,
            crc: 0,
            attributes: 0,
            last_offset_delta: count - 1,
            base_timestamp: 0,
            max_timestamp: 0,
            producer_id: 7,
            producer_epoch: epoch,
            base_sequence,
            count,
        }
    }

    fn appended(batches: &[(BatchHeader, i64)]) -> Producers {
        let mut producers = Producers::default();
        for (header, offset) in batches {
            assert_eq!(producers.check(header), Ok(Admission::Append));
            producers.appended(header, *offset);
        }
        producers
    }

    #[test]
    fn the_last_five_batches_are_acknowledged_again_and_older_ones_are_out_of_order() {
        let batches: Vec<_> = (0..6).map(|i| (batch(0, i * 10, 10), i64::from(i) * 10)).collect();
        let producers = appended(&batches);
        for (header, offset) in &batches[1..] {
            assert_eq!(producers.check(header), Ok(Admission::Duplicate { base_offset: *offset }));
        }
        assert_eq!(producers.check(&batches[0].0), Err(ResponseError::OutOfOrderSequenceNumber));
    }

    #[test]
    fn a_gap_is_out_of_order_and_so_is_a_batch_that_only_overlaps() {
        let producers = appended(&[(batch(0, 0, 10), 0)]);
        assert_eq!(producers.check(&batch(0, 11, 1)), Err(ResponseError::OutOfOrderSequenceNumber));
        assert_eq!(producers.check(&batch(0, 5, 10)), Err(ResponseError::OutOfOrderSequenceNumber));
        assert_eq!(producers.check(&batch(0, 10, 1)), Ok(Admission::Append));
    }

    #[test]
    fn a_new_epoch_begins_at_zero_and_fences_the_old_one() {
        let mut producers = appended(&[(batch(0, 0, 10), 0)]);
        assert_eq!(producers.check(&batch(1, 10, 1)), Err(ResponseError::OutOfOrderSequenceNumber));
        assert_eq!(producers.check(&batch(1, 0, 10)), Ok(Admission::Append));
        producers.appended(&batch(1, 0, 10), 10);
        assert_eq!(producers.check(&batch(0, 10, 1)), Err(ResponseError::InvalidProducerEpoch));
    }

    #[test]
    fn sequence_numbers_begin_again_after_the_greatest() {
        let producers = appended(&[(batch(0, i32::MAX - 1, 3), 0)]);
        assert_eq!(producers.check(&batch(0, 1, 1)), Ok(Admission::Append));
        assert_eq!(producers.check(&batch(0, 2, 1)), Err(ResponseError::OutOfOrderSequenceNumber));
    }

    #[test]
    fn the_most_silent_producer_is_forgotten_when_there_are_too_many() {
        let mut producers = Producers::default();
        for id in 0..=MAX_PRODUCERS as i64 {
            producers.appended(&BatchHeader { producer_id: id, ..batch(0, 0, 1) }, id);
        }
        assert_eq!(producers.by_id.len(), MAX_PRODUCERS);
        assert!(!producers.by_id.contains_key(&0));
    }
}
