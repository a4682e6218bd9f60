//! What the partitions of the destination, and of the topics that records are routed to, should hold,
//! computed from the source.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::fingerprint::{Fingerprint, Identity, Original, key_hash};
use crate::{
    batch::{PartitionBatch, Span, TopicPartition},
    dead_letter::Protect,
    records::EncodedBatch,
    transform::{self, Transform},
};

/// So large that the expected output of a batch is nearly always one chunk.
const CHUNK_LIMIT: usize = 64 << 20;

/// What should have come of a partition of the source.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// What should stand where.
    pub places: BTreeMap<TopicPartition, Expected>,
    /// The source records that cannot be transformed.
    pub failed: Vec<Original>,
    /// The source records read.
    pub read: u64,
}

/// What of a partition of the source should stand in one that is written.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// The output records in order.
    pub sequence: Vec<Fingerprint>,
    /// The hashes of their keys, when asked for.
    pub keys: Vec<u64>,
    /// The output of source records that was refused, according to their letters.
    pub excused: Vec<Excused>,
    /// The number of output records, which is kept when the sequence is freed.
    pub outputs: usize,
    offsets: OffsetRuns,
}

/// Output of a source record of which some was refused.
#[derive(Clone, Copy, Debug)]
pub(super) struct Excused {
    /// The source record.
    pub original: Original,
    /// The output.
    pub output: Fingerprint,
    /// Whether it is all that there is of the record: then it is this that was refused. Of several, those that
    /// were not refused may stand where they belong.
    pub is_all: bool,
}

/// How an outcome is computed.
pub(super) struct Rules<'a> {
    /// The topic that records go to unless something else is said.
    pub destination: &'a Arc<str>,
    /// What makes an output record, by its topic; a topic that is not named is as the destination.
    pub outputs: &'a BTreeMap<Arc<str>, Identity>,
    /// What makes a dead letter.
    pub letters: Identity,
    /// How the value of one is protected, if it is.
    pub protect: Option<&'a Protect>,
}

impl Rules<'_> {
    fn identity(&self, topic: &Arc<str>) -> Identity {
        let known = self.outputs.get(topic).or_else(|| self.outputs.get(self.destination));
        *known.expect("the destination is known")
    }
}

impl Outcome {
    /// Adds the outcome of the records of `batch`, the next one of the partition. `is_excused`
    /// returns whether output of an offset was refused; only places that are `wanted` are kept.
    ///
    /// # Panics
    /// When a custom transform breaks its contract: then there is nothing to compare with.
    pub(super) fn add(
        &mut self,
        batch: &PartitionBatch,
        transform: &mut dyn Transform,
        rules: &Rules<'_>,
        is_excused: impl Fn(i64) -> bool,
        wanted: impl Fn(&TopicPartition) -> bool,
    ) {
        self.read += batch.records.len() as u64;
        let transformed = transform::apply(transform, batch, CHUNK_LIMIT);
        let transformed = transformed
            .unwrap_or_else(|breach| panic!("{}: the transform breaks its contract: {breach}", batch.origin));
        let failed: Vec<usize> = transformed.failures.iter().map(|failure| failure.index).collect();
        self.failed.extend(failed.iter().map(|index| original(batch, *index, rules)));
        let resolved = transform::resolve(transformed.outputs, rules.destination, &batch.origin);
        let resolved = resolved.expect("what was just encoded is read");
        let records = 0..batch.records.len();
        let mut results = HashMap::new();
        for (_, _, sources) in &resolved {
            let sources = sources.listed(records.clone(), failed.iter().copied());
            for index in sources.filter(|index| is_excused(batch.records[*index as usize].offset)) {
                *results.entry(index).or_insert(0) += 1;
            }
        }
        for (to, chunks, sources) in &resolved {
            if !wanted(to) {
                continue;
            }
            let identity = rules.identity(&to.topic);
            if !self.places.contains_key(to) {
                self.places.insert(to.clone(), Expected::default());
            }
            let expected = self.places.get_mut(to).expect("it was just inserted");
            let mut sources = sources.listed(records.clone(), failed.iter().copied());
            for chunk in chunks {
                each_record(chunk, |timestamp, key, value, headers| {
                    let Some(index) = sources.next() else { return };
                    let output = identity.of(timestamp, key, value, headers);
                    if let Some(results) = results.get(&index) {
                        let original = original(batch, index as usize, rules);
                        expected.excused.push(Excused { original, output, is_all: *results == 1 });
                        return;
                    }
                    let position = expected.sequence.len();
                    expected.offsets.push(position, batch.records[index as usize].offset);
                    expected.sequence.push(output);
                    expected.outputs += 1;
                    if identity.with_keys {
                        expected.keys.push(key_hash(key));
                    }
                });
            }
        }
    }

    /// The source records that must have a dead letter, in the order of their offsets.
    pub(super) fn due(&self) -> Vec<Original> {
        let excused = self.places.values().flat_map(|expected| &expected.excused);
        let excused = excused.map(|excused| excused.original);
        let mut due: Vec<Original> = self.failed.iter().copied().chain(excused).collect();
        due.sort_unstable_by_key(|original| original.offset);
        due.dedup_by_key(|original| original.offset);
        due
    }
}

impl Expected {
    /// Frees what is only needed to compare.
    pub(super) fn free(&mut self) {
        (self.sequence, self.keys) = Default::default();
    }

    /// The source offset of the expected record at `position`.
    pub(super) fn offset(&self, position: usize) -> i64 {
        self.offsets.get(position)
    }

    /// The position of the first expected record at `offset` of the source or behind it.
    pub(super) fn position_of(&self, offset: i64) -> usize {
        self.offsets.find(offset).min(self.outputs)
    }
}

fn original(batch: &PartitionBatch, index: usize, rules: &Rules<'_>) -> Original {
    let record = &batch.records[index];
    let bytes = |span: Span| span.get(&batch.buffer);
    let protected = rules.protect.and_then(|protect| protect.value(batch, index));
    let fingerprint = rules.letters.of_letter(
        record.timestamp,
        bytes(record.key),
        protected.as_ref().map(|(value, _)| &value[..]).or(bytes(record.value)),
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
