//! What a transform writes, and whether it keeps its contract.

use std::sync::Arc;

use topicmill_records::{EncodedBatch, RecordWriter};

use super::{
    ErrorClass, Failure, RecordView, Transform, ValueError, Values,
    outlets::{Outgoing, Outlets, Place, Sources},
};
use crate::batch::{PartitionBatch, Record, Span};

/// Where a transform writes. What it [writes](Output::write) keeps the key, headers and timestamp of its
/// record, and goes to the destination; what it [emits](Output::emit) is what it says. Tombstones that it does
/// not handle are passed on in their place.
#[derive(Debug)]
pub struct Output<'a> {
    buffer: &'a [u8],
    records: &'a [Record],
    /// For the destination, in the partition that the records come from.
    writer: RecordWriter,
    failures: Vec<Failure>,
    next: usize,
    /// There once it is not so any more that each record that did not fail is written to the destination once.
    outlets: Option<Box<Outlets>>,
    room: OutputRoom,
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

/// An output record in all its parts, for [`Output::emit`].
#[derive(Clone, Copy, Debug)]
pub struct Emission<'e> {
    /// The topic; `None` for the destination.
    pub topic: Option<&'e Arc<str>>,
    /// The partition; `None` for the one that the record comes from.
    pub partition: Option<i32>,
    /// In milliseconds since 1970.
    pub timestamp: i64,
    /// The key; `None` for null.
    pub key: Option<&'e [u8]>,
    /// The value, as the concatenation of these pieces; `None` for a tombstone.
    pub value: Option<&'e [&'e [u8]]>,
    /// The headers in wire encoding ([`NO_HEADERS`](topicmill_records::NO_HEADERS) for none).
    pub headers: &'e [u8],
}

impl<'e> Emission<'e> {
    /// A tombstone for the destination that is like `record` in everything else. With [`value`](Emission::value),
    /// and whatever else is not as it was:
    ///
    /// ```
    /// # use topicmill_mill::transform::{Emission, RecordView};
    /// # fn shout<'a>(record: &RecordView<'a>, value: &'a [&'a [u8]]) -> Emission<'a> {
    /// Emission { value: Some(value), key: None, ..Emission::like(record) }
    /// # }
    /// ```
    pub fn like(record: &RecordView<'e>) -> Emission<'e> {
        let RecordView { timestamp, key, headers, .. } = *record;
        Emission { topic: None, partition: None, timestamp, key, value: None, headers }
    }
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
        Output {
            buffer,
            records,
            writer: RecordWriter::new(limit, room.expected),
            failures: Vec::new(),
            next: 0,
            outlets: None,
            room,
            breach: None,
        }
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

    /// Reports that the record at `index` cannot be transformed; it becomes a dead letter.
    pub fn fail(&mut self, index: usize, error: ValueError) {
        if self.go_to(index) {
            self.failures.push(Failure { index, error });
            self.next = index + 1;
        }
    }

    /// What was reported so far, for a transform that knows more of it than the one that it passes values to.
    pub fn failures_mut(&mut self) -> &mut [Failure] {
        &mut self.failures
    }

    /// Passes the record at `index` over: nothing is written for it, and its offset is committed all the same.
    pub fn skip(&mut self, index: usize) {
        if self.go_to(index) {
            self.outlets().skipped += 1;
            self.next = index + 1;
        }
    }

    /// Writes a record for the one at `index`. Called again for the same index it writes another, as often as
    /// there are results.
    pub fn emit(&mut self, index: usize, emission: &Emission<'_>) {
        let emitted = self.outlets.as_ref().and_then(|outlets| outlets.emitted);
        let is_another = emitted == Some(index) && self.next == index + 1;
        if !is_another && !self.go_to(index) {
            return;
        }
        let Emission { topic, partition, timestamp, key, value, headers } = *emission;
        let room = self.room;
        let outlets = self.outlets();
        outlets.emitted = Some(index);
        if topic.is_none() && partition.is_none() {
            outlets.sources.push(index as u32);
            self.writer.push(timestamp, key, value, headers);
        } else {
            let outlet = outlets.outlet(topic, partition, room);
            outlet.sources.push(index as u32);
            outlet.writer.push(timestamp, key, value, headers);
        }
        self.next = index + 1;
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
        if let Some(outlets) = &mut self.outlets {
            outlets.sources.push(index as u32);
        }
    }

    fn outlets(&mut self) -> &mut Outlets {
        let (failures, next) = (&self.failures, self.next);
        self.outlets.get_or_insert_with(|| {
            let failed = failures.iter().map(|failure| failure.index);
            let sources = Sources::Each.listed(0..next, failed).collect();
            Box::new(Outlets::of(sources))
        })
    }

    fn finish(mut self) -> Result<Transformed, Breach> {
        if let Some(breach) = self.breach {
            return Err(breach);
        }
        self.forward_tombstones(self.records.len());
        let chunks = self.writer.finish();
        let (sources, others, skipped) = match self.outlets {
            None => (Sources::Each, Vec::new(), 0),
            Some(outlets) => {
                let Outlets { sources, outlets, skipped, .. } = *outlets;
                (Sources::Listed(sources), outlets, skipped)
            }
        };
        let mut outputs = Vec::with_capacity(1 + others.len());
        if !chunks.is_empty() {
            outputs.push(Outgoing { place: Place::default(), chunks, sources });
        }
        outputs.extend(others.into_iter().map(Outgoing::from));
        Ok(Transformed { outputs, failures: self.failures, skipped })
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
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Transformed {
    /// The output records, by the place that they go to; the destination's are first.
    pub outputs: Vec<Outgoing>,
    /// The records that failed, in ascending order of their index.
    pub failures: Vec<Failure>,
    /// The number of records that were passed over.
    pub skipped: usize,
}

impl Transformed {
    /// The encoded output records of all places.
    pub fn chunks(&self) -> impl Iterator<Item = &EncodedBatch> {
        self.outputs.iter().flat_map(|output| &output.chunks)
    }

    /// Adds what was made of the next `count` records, of which the first is at `start`.
    pub(crate) fn append(&mut self, next: Transformed, start: usize, count: usize) {
        for output in next.outputs {
            let failed = next.failures.iter().map(|failure| failure.index);
            let sources = output.sources.listed(0..count, failed);
            let sources = sources.map(|index| index + start as u32).collect::<Vec<_>>();
            match self.outputs.iter_mut().find(|known| known.place == output.place) {
                Some(known) => {
                    known.chunks.extend(output.chunks);
                    known.sources.extend(sources);
                }
                None => self.outputs.push(Outgoing { sources: Sources::Listed(sources), ..output }),
            }
        }
        let failures = next.failures.into_iter();
        self.failures.extend(failures.map(|failure| Failure { index: start + failure.index, ..failure }));
        self.skipped += next.skipped;
    }
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
    let all = Values::of(batch, 0..batch.records.len());
    apply_to(transform, all, OutputRoom { chunk_limit, expected })
}

/// [`apply`] for some records of a batch.
pub(crate) fn apply_to(
    transform: &mut dyn Transform,
    values: Values<'_>,
    room: OutputRoom,
) -> Result<Transformed, Breach> {
    let mut out = Output::new(values.buffer, values.records, room);
    transform.apply(&values, &mut out);
    out.finish()
}

#[cfg(test)]
#[path = "output_tests.rs"]
mod tests;
