//! What a transform writes, and whether it keeps its contract.

use topicmill_records::{EncodedBatch, RecordWriter};

use super::{ErrorClass, Failure, Transform, ValueError, Values};
use crate::batch::{PartitionBatch, Record, Span};

/// Where a transform writes. Keeps the key, headers and timestamp of each record, and passes
/// tombstones on in their place.
#[derive(Debug)]
pub struct Output<'a> {
    buffer: &'a [u8],
    records: &'a [Record],
    writer: RecordWriter,
    failures: Vec<Failure>,
    next: usize,
    breach: Option<Breach>,
}

/// How large the output is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OutputRoom {
    /// The most bytes of a chunk, unless a single record is larger.
    pub chunk_limit: usize,
    /// The bytes that are expected in all.
    pub expected: usize,
}

/// The expected size in bytes of the output for `records` records in `bytes` bytes: most transforms
/// add a digest of 32 to 64 characters to each value.
pub fn expected_output(bytes: usize, records: usize) -> usize {
    bytes + 48 * records + 1024
}

impl<'a> Output<'a> {
    fn new(buffer: &'a [u8], records: &'a [Record], room: OutputRoom) -> Output<'a> {
        // Chunks of about the same size, rather than full ones and a small rest.
        let chunks = room.expected.div_ceil(room.chunk_limit.max(1));
        let limit = room.expected.div_ceil(chunks.max(1)).min(room.chunk_limit);
        let writer = RecordWriter::new(limit, room.expected);
        Output { buffer, records, writer, failures: Vec::new(), next: 0, breach: None }
    }

    /// Writes the record at `index` with the concatenation of `pieces` as its value.
    pub fn write(&mut self, index: usize, pieces: &[&[u8]]) {
        self.write_inline(index, pieces);
    }

    /// As [`write`](Output::write), for the one place in a loop that nearly all values pass: it is
    /// inlined, and compiled for its number of pieces.
    #[inline(always)]
    pub fn write_inline(&mut self, index: usize, pieces: &[&[u8]]) {
        if self.next != index && !self.go_to(index) {
            return;
        }
        self.push(index, Some(pieces));
        self.next = index + 1;
    }

    /// Reports that the value at `index` cannot be transformed; it becomes a dead letter.
    pub fn fail(&mut self, index: usize, error: ValueError) {
        if self.go_to(index) {
            self.failures.push(Failure { index, error });
            self.next = index + 1;
        }
    }

    /// Moves on to an `index` that is not the next one; `false` when it is out of turn.
    #[inline(never)]
    fn go_to(&mut self, index: usize) -> bool {
        if index >= self.records.len() {
            self.breach.get_or_insert(Breach::Beyond { index, records: self.records.len() });
            return false;
        }
        if index < self.next {
            self.breach.get_or_insert(Breach::Order { index, handled: self.next });
            return false;
        }
        self.forward_tombstones(index);
        true
    }

    fn forward_tombstones(&mut self, until: usize) {
        for index in self.next..until {
            if self.records[index].value.is_null() {
                self.push(index, None);
            } else {
                let error = ValueError::new(ErrorClass::Other, "the transform left the value out");
                self.failures.push(Failure { index, error });
            }
        }
        self.next = until;
    }

    #[inline(always)]
    fn push(&mut self, index: usize, value: Option<&[&[u8]]>) {
        // Every index is checked here anyway, so the next one only has to be compared with the end.
        let Some(record) = self.records.get(index) else {
            self.breach.get_or_insert(Breach::Beyond { index, records: self.records.len() });
            return;
        };
        let bytes = |span: Span| span.get(self.buffer);
        self.writer.push(
            record.timestamp,
            bytes(record.key),
            value,
            bytes(record.headers).unwrap_or_default(),
        );
    }

    fn finish(mut self) -> Result<Transformed, Breach> {
        if let Some(breach) = self.breach {
            return Err(breach);
        }
        self.forward_tombstones(self.records.len());
        Ok(Transformed { chunks: self.writer.finish(), failures: self.failures })
    }
}

/// How a transform broke its contract: records would be written twice, or in place of one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// An index came twice, or after a later one.
    #[error("it handled index {index} when all below {handled} were handled already")]
    Order {
        /// The index.
        index: usize,
        /// The records handled before, counted from the first.
        handled: usize,
    },
    /// An index is beyond the batch's end.
    #[error("it handled index {index} of a batch of {records} records")]
    Beyond {
        /// The index.
        index: usize,
        /// The number of records.
        records: usize,
    },
}

impl Breach {
    /// The index that was out of turn.
    pub fn index(self) -> usize {
        match self {
            Breach::Order { index, .. } | Breach::Beyond { index, .. } => index,
        }
    }
}

/// What a transform made of a batch.
#[derive(Debug, Default)]
pub struct Transformed {
    /// The encoded output records in order.
    pub chunks: Vec<EncodedBatch>,
    /// The records that failed, in ascending order of their index.
    pub failures: Vec<Failure>,
}

/// Applies `transform` to `batch`; each output chunk is at most `chunk_limit` bytes unless a
/// single record is larger.
///
/// # Errors
/// When the transform breaks its contract.
pub fn apply(
    transform: &mut dyn Transform,
    batch: &PartitionBatch,
    chunk_limit: usize,
) -> Result<Transformed, Breach> {
    let expected = expected_output(batch.buffer.len(), batch.records.len());
    apply_to(transform, &batch.buffer, &batch.records, OutputRoom { chunk_limit, expected })
}

/// [`apply`] for some records of a batch, whose spans lie in `buffer`.
pub(crate) fn apply_to(
    transform: &mut dyn Transform,
    buffer: &[u8],
    records: &[Record],
    room: OutputRoom,
) -> Result<Transformed, Breach> {
    let mut out = Output::new(buffer, records, room);
    transform.apply(&Values { buffer, records }, &mut out);
    out.finish()
}

#[cfg(test)]
#[path = "output_tests.rs"]
mod tests;
