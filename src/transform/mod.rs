//! The transforms: pure functions from a batch of values to a batch of values.
//!
//! Adding one touches one new file and the enum [`TransformKind`].

mod name_event;
mod hash_field;
mod json;
// The kernels: each with a form for every instruction set, chosen at run time.
mod kernel;
pub mod locate;
pub mod md5;
mod hex;
#[cfg(test)]
mod tests;

use std::{fmt, ops::Range, sync::Arc};

pub use hash_field::{Digest, HashField};
pub use kernel::Kernel;
pub use name_event::NameEvent;

use crate::{
    batch::{PartitionBatch, Record, Span},
    records::{EncodedBatch, RecordWriter},
};

/// Turns the values of a batch into the values to write.
///
/// One instance serves one thread, so it may keep scratch memory between batches.
pub trait Transform: Send {
    /// Handles every value of `values` in ascending order of its index, with exactly one
    /// [`Output::write`] or [`Output::fail`] each. Tombstones are not among the values: they are
    /// passed on by `out`. A value left out becomes a dead letter.
    fn apply(&mut self, values: &Values<'_>, out: &mut Output<'_>);
}

/// Which transform to run; [`build`](TransformKind::build) makes an instance for a thread.
#[derive(Clone)]
pub enum TransformKind {
    /// The name events of the Go experiment, byte for byte.
    NameEvent,
    /// One field of a JSON object set to a digest of the raw value.
    HashField {
        /// The name of the field.
        field: String,
        /// The digest to set it to.
        digest: Digest,
    },
    /// A transform of the library's user.
    Custom(Arc<dyn Fn() -> Box<dyn Transform> + Send + Sync>),
}

impl TransformKind {
    /// An instance for one thread.
    pub fn build(&self) -> Box<dyn Transform> {
        match self {
            TransformKind::NameEvent => Box::new(NameEvent::default()),
            TransformKind::HashField { field, digest } => Box::new(HashField::new(field, *digest)),
            TransformKind::Custom(build) => build(),
        }
    }
}

impl fmt::Debug for TransformKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TransformKind::NameEvent => f.write_str("NameEvent"),
            TransformKind::HashField { field, digest } => write!(f, "HashField({field}, {digest:?})"),
            TransformKind::Custom(_) => f.write_str("Custom"),
        }
    }
}

/// The values of a batch that a transform sees.
#[derive(Debug)]
pub struct Values<'a> {
    buffer: &'a [u8],
    records: &'a [Record],
}

impl<'a> Values<'a> {
    /// The number of records, tombstones included.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are no records.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The value at `index`, `None` for a tombstone.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        self.records[index].value.get(self.buffer)
    }

    /// The values that are not tombstones, with their indexes.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &'a [u8])> + use<'a> {
        self.present(0..self.len()).map(|(index, _, value)| (index, value))
    }

    /// The values at `indexes` that are not tombstones, each with its index and with its place in
    /// [`buffer`](Values::buffer).
    #[inline]
    pub fn present(&self, indexes: Range<usize>) -> impl Iterator<Item = (usize, Span, &'a [u8])> + use<'a> {
        let buffer = self.buffer;
        let records = indexes.clone().zip(&self.records[indexes]);
        records.filter_map(move |(index, record)| Some((index, record.value, record.value.get(buffer)?)))
    }

    /// The batch's whole buffer: a kernel may read beyond a value's end while inside it.
    pub fn buffer(&self) -> &'a [u8] {
        self.buffer
    }
}

/// Where a transform writes: keeps key, headers and timestamp of each record, and passes
/// tombstones on in their place.
#[derive(Debug)]
pub struct Output<'a> {
    batch: &'a PartitionBatch,
    writer: RecordWriter,
    failures: Vec<Failure>,
    next: usize,
}

impl<'a> Output<'a> {
    fn new(batch: &'a PartitionBatch, chunk_limit: usize) -> Output<'a> {
        // Most transforms add a digest of 32 to 64 characters to each value.
        let capacity = batch.buffer.len() + 48 * batch.records.len() + 1024;
        // Chunks of about the same size, rather than full ones and a small rest.
        let chunks = capacity.div_ceil(chunk_limit.max(1));
        let limit = capacity.div_ceil(chunks).min(chunk_limit);
        Output { batch, writer: RecordWriter::new(limit, capacity), failures: Vec::new(), next: 0 }
    }

    /// Writes the record at `index` with the concatenation of `pieces` as its value.
    pub fn write(&mut self, index: usize, pieces: &[&[u8]]) {
        self.write_inline(index, pieces);
    }

    /// As [`write`](Output::write), for the one place in a loop that nearly all values pass: the
    /// code is there and made for its number of pieces.
    #[inline(always)]
    pub fn write_inline(&mut self, index: usize, pieces: &[&[u8]]) {
        if self.next < index {
            self.forward_tombstones(index);
        }
        self.push(index, Some(pieces));
        self.next = index + 1;
    }

    /// Says that the value at `index` cannot be transformed; it becomes a dead letter.
    pub fn fail(&mut self, index: usize, error: ValueError) {
        self.forward_tombstones(index);
        self.failures.push(Failure { index, error });
        self.next = index + 1;
    }

    #[inline(never)]
    fn forward_tombstones(&mut self, until: usize) {
        for index in self.next..until {
            if self.batch.records[index].value.is_null() {
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
        let record = &self.batch.records[index];
        let headers = self.batch.bytes(record.headers).unwrap_or_default();
        self.writer.push(record.timestamp, self.batch.bytes(record.key), value, headers);
    }

    fn finish(mut self) -> Transformed {
        self.forward_tombstones(self.batch.records.len());
        Transformed { chunks: self.writer.finish(), failures: self.failures }
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
pub fn apply(transform: &mut dyn Transform, batch: &PartitionBatch, chunk_limit: usize) -> Transformed {
    let values = Values { buffer: &batch.buffer, records: &batch.records };
    let mut out = Output::new(batch, chunk_limit);
    transform.apply(&values, &mut out);
    out.finish()
}

/// A record that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The record's index in its batch.
    pub index: usize,
    /// What is wrong with it.
    pub error: ValueError,
}

/// What is wrong with a value: a class to count and filter by, and a message for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{class}: {message}")]
pub struct ValueError {
    /// The class.
    pub class: ErrorClass,
    /// The message; never contains payload beyond a character.
    pub message: String,
}

impl ValueError {
    /// An error of `class` with `message`.
    pub fn new(class: ErrorClass, message: impl Into<String>) -> ValueError {
        ValueError { class, message: message.into() }
    }
}

/// The classes of record-level errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ErrorClass {
    /// The value has no bytes.
    Empty,
    /// The value ends too early.
    Eof,
    /// The value is not JSON.
    Syntax,
    /// Something follows the value.
    Trailing,
    /// A part has the wrong type.
    Type,
    /// The value is nested too deeply.
    Depth,
    /// The output exceeds what the destination takes.
    Oversized,
    /// The destination refused the record.
    Refused,
    /// A custom transform's own reason.
    Other,
}

impl ErrorClass {
    /// The class's name as it stands in headers, metrics and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            ErrorClass::Empty => "empty",
            ErrorClass::Eof => "eof",
            ErrorClass::Syntax => "syntax",
            ErrorClass::Trailing => "trailing",
            ErrorClass::Type => "type",
            ErrorClass::Depth => "depth",
            ErrorClass::Oversized => "oversized",
            ErrorClass::Refused => "refused",
            ErrorClass::Other => "other",
        }
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
