//! What a partition of the destination should hold, computed from the source.

use super::fingerprint::{Fingerprint, Identity, Original, key_hash};
use crate::{
    batch::{PartitionBatch, Span},
    records::EncodedBatch,
    transform::{self, Transform},
};

/// So large that the expected output of a batch is nearly always one chunk.
const CHUNK_LIMIT: usize = 64 << 20;

/// What should stand in a partition of the destination, and what in the dead letter topic.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// The output records in order.
    pub sequence: Vec<Fingerprint>,
    /// The hashes of their keys, when asked for.
    pub keys: Vec<u64>,
    /// The source records that cannot be transformed.
    pub failed: Vec<Original>,
    /// The source records whose output the destination refused, according to their letters.
    pub excused: Vec<(Original, Fingerprint)>,
    /// The number of output records, which is kept when the sequence is freed.
    pub outputs: usize,
    /// The source records read.
    pub read: u64,
    offsets: OffsetRuns,
}

impl Expected {
    /// Adds the outcome of the records of `batch`, the next one of the partition. `is_excused`
    /// returns whether the destination refused the output of an offset.
    ///
    /// # Panics
    /// When a custom transform breaks its contract: then there is nothing to compare with.
    pub(super) fn add(
        &mut self,
        batch: &PartitionBatch,
        transform: &mut dyn Transform,
        outputs: Identity,
        letters: Identity,
        is_excused: impl Fn(i64) -> bool,
    ) {
        self.read += batch.records.len() as u64;
        let transformed = transform::apply(transform, batch, CHUNK_LIMIT);
        let transformed = transformed
            .unwrap_or_else(|breach| panic!("{}: the transform breaks its contract: {breach}", batch.origin));
        let mut failures = transformed.failures.iter().map(|failure| failure.index).peekable();
        let mut inputs = batch.records.iter().enumerate();
        for chunk in transformed.chunks() {
            each_record(chunk, |timestamp, key, value, headers| {
                let fingerprint = outputs.of(timestamp, key, value, headers);
                // The output's source record is the next one that did not fail.
                for (index, record) in inputs.by_ref() {
                    if failures.next_if_eq(&index).is_some() {
                        self.failed.push(original(batch, index, letters));
                    } else if is_excused(record.offset) {
                        self.excused.push((original(batch, index, letters), fingerprint));
                        return;
                    } else {
                        self.offsets.push(self.sequence.len(), record.offset);
                        self.sequence.push(fingerprint);
                        self.outputs += 1;
                        if outputs.with_keys {
                            self.keys.push(key_hash(key));
                        }
                        return;
                    }
                }
            });
        }
        self.failed.extend(failures.map(|index| original(batch, index, letters)));
    }

    /// The source offset of the expected record at `position`.
    pub(super) fn offset(&self, position: usize) -> i64 {
        self.offsets.get(position)
    }

    /// The position of the first expected record at `offset` of the source or behind it.
    pub(super) fn position_of(&self, offset: i64) -> usize {
        self.offsets.find(offset).min(self.outputs)
    }

    /// The source records that must have a dead letter, in the order of their offsets.
    pub(super) fn due(&self) -> Vec<Original> {
        let excused = self.excused.iter().map(|(original, _)| *original);
        let mut due: Vec<Original> = self.failed.iter().copied().chain(excused).collect();
        due.sort_unstable_by_key(|original| original.offset);
        due
    }
}

fn original(batch: &PartitionBatch, index: usize, identity: Identity) -> Original {
    let record = &batch.records[index];
    let bytes = |span: Span| span.get(&batch.buffer);
    let fingerprint = identity.of_letter(
        record.timestamp,
        bytes(record.key),
        bytes(record.value),
        bytes(record.headers).unwrap_or_default(),
    );
    Original { offset: record.offset, fingerprint }
}

/// Calls `each` with timestamp, key, value and headers of every record of `chunk`.
fn each_record(chunk: &EncodedBatch, mut each: impl FnMut(i64, Option<&[u8]>, Option<&[u8]>, &[u8])) {
    let bytes = &chunk.bytes;
    for record in chunk.records().expect("what was just encoded is read") {
        let headers = record.headers.get(bytes).unwrap_or_default();
        each(record.timestamp, record.key.get(bytes), record.value.get(bytes), headers);
    }
}

/// The offsets of consecutive positions, which mostly ascend by one: a pair for each exception.
#[derive(Debug, Default)]
struct OffsetRuns {
    runs: Vec<(usize, i64)>,
}

impl OffsetRuns {
    #[inline]
    fn push(&mut self, position: usize, offset: i64) {
        let follows =
            self.runs.last().is_some_and(|&(start, first)| first + (position - start) as i64 == offset);
        if !follows {
            self.runs.push((position, offset));
        }
    }

    fn get(&self, position: usize) -> i64 {
        let run = self.runs.partition_point(|&(start, _)| start <= position).checked_sub(1);
        run.map_or(-1, |run| self.runs[run].1 + (position - self.runs[run].0) as i64)
    }

    /// The first position whose offset is not below `offset`; without a bound at the end.
    fn find(&self, offset: i64) -> usize {
        let next = self.runs.partition_point(|&(_, first)| first < offset);
        let end = self.runs.get(next).map_or(usize::MAX, |&(start, _)| start);
        let Some(&(start, first)) = next.checked_sub(1).and_then(|run| self.runs.get(run)) else {
            return self.runs.first().map_or(0, |&(start, _)| start);
        };
        (start + (offset - first) as usize).min(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_found_across_gaps() {
        let offsets = [5, 6, 7, 10, 11, 20];
        let mut runs = OffsetRuns::default();
        offsets.iter().enumerate().for_each(|(position, &offset)| runs.push(position, offset));
        assert_eq!(runs.runs.len(), 3);
        assert!(offsets.iter().enumerate().all(|(position, &offset)| runs.get(position) == offset));
        for (offset, position) in [(0, 0), (5, 0), (7, 2), (8, 3), (9, 3), (10, 3), (12, 5), (20, 5)] {
            assert_eq!(runs.find(offset), position, "{offset}");
        }
    }
}
