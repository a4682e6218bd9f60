//! The transforms: pure functions from a batch of values to a batch of values.
//!
//! Adding one takes a file with the transform and its [`TransformSpec`], which lists its settings,
//! and an entry in the list below; a custom one is [registered](registry::register).

mod output;
mod outlets;
mod name_event;
mod hash_field;
mod identity;
pub mod json;
mod partitions;
pub mod registry;
#[cfg(test)]
mod tests;

use std::{fmt, ops::Range};

pub use hash_field::{Digest, HashField};
pub use name_event::NameEvent;
pub use outlets::{Outgoing, Place, Sources, resolve};
pub use output::{Breach, Emission, Output, Transformed, apply, expected_output};
pub(crate) use output::{OutputRoom, apply_to};
pub use partitions::Partitions;
pub use registry::{TransformKind, TransformSpec};
use strum::VariantArray;
pub use topicmill_kernels::{Kernel, locate, md5};
pub use topicmill_records::{Headers, HeadersWriter, NO_HEADERS};

use crate::batch::{PartitionBatch, Record, Span, TopicPartition};

/// The transforms of this program; the first is the default.
const BUILT_IN: [&TransformSpec; 3] = [&name_event::SPEC, &hash_field::SPEC, &identity::SPEC];

/// Turns the records of a batch into the records to write: one for each, none, or several, each to the destination
/// or to a topic and partition of its choice.
///
/// One instance serves one thread, so it may keep scratch memory between batches.
///
/// # Contract
/// The [strategy](crate::strategy) drives it, on a thread that is not one of the async runtime: `apply` may take
/// its time, and is called for one batch after the other, of any partition. It must not depend on what it was
/// given before: batches are cut anywhere, a batch may be transformed again after a rewind or a new start, and
/// with several workers no instance sees them all.
///
/// For each batch:
///
/// ```text
/// batch = apply ((write | fail | skip | emit emit*) for each index, ascending)
/// ```
///
/// The records for a partition are written in the order in which they were written here. A topic other than the
/// destination is created like the destination when the first record for it comes, if topics may be created; a
/// record for one that cannot be, or for a partition that there is not, becomes a dead letter of the class
/// [`Route`](ErrorClass::Route), whatever else was written for it. What is written must follow from the record
/// alone: it may be written twice, and `verify` transforms again to know what should be there.
///
/// After a panic the instance is not used again, unless no other one can be built: a new one gets parts of the
/// batch, down to a single record, to find the record it panics on. What was written before a panic is dropped.
/// A transform that never returns holds up its partitions, is reported by
/// [`Health`](crate::health::Health), and is cut off at the end of a stop.
pub trait Transform: Send {
    /// Handles every value of `values` in ascending order of its index: with one [`Output::write`],
    /// [`Output::fail`] or [`Output::skip`], or with an [`Output::emit`] for each result that it has. Tombstones
    /// may be left out: `out` passes them on. A value left out becomes a dead letter; one that comes twice, or
    /// after a later one, is a [`Breach`], for which nothing of the batch is written.
    fn apply(&mut self, values: &Values<'_>, out: &mut Output<'_>);
}

/// The values of a batch that a transform sees.
#[derive(Debug)]
pub struct Values<'a> {
    origin: &'a TopicPartition,
    buffer: &'a [u8],
    records: &'a [Record],
}

impl<'a> Values<'a> {
    /// Some records of a batch.
    pub(crate) fn of(batch: &'a PartitionBatch, indexes: Range<usize>) -> Values<'a> {
        Values { origin: &batch.origin, buffer: &batch.buffer, records: &batch.records[indexes] }
    }

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

    /// The record at `index` in all its parts.
    #[inline]
    pub fn record(&self, index: usize) -> RecordView<'a> {
        let record = &self.records[index];
        RecordView {
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.get(self.buffer),
            value: record.value.get(self.buffer),
            headers: record.headers.get(self.buffer).unwrap_or_default(),
        }
    }

    /// The topic and partition that the records come from.
    pub fn origin(&self) -> &'a TopicPartition {
        self.origin
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

/// A record as it was read.
#[derive(Clone, Copy, Debug)]
pub struct RecordView<'a> {
    /// Its offset in the partition.
    pub offset: i64,
    /// In milliseconds since 1970.
    pub timestamp: i64,
    /// The key, `None` for null.
    pub key: Option<&'a [u8]>,
    /// The value, `None` for a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers in wire encoding; [`Headers`] iterates over them.
    pub headers: &'a [u8],
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, VariantArray)]
#[non_exhaustive]
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
    /// A path that is needed is missing.
    Missing,
    /// The topic that it should go to does not exist, or cannot.
    Route,
    /// An expression reports an error.
    Jq,
    /// It takes longer, or gives more output, than it may.
    Limit,
    /// A custom transform panicked on it.
    Panic,
    /// A custom transform's own reason.
    Other,
}

impl ErrorClass {
    /// All of them.
    pub const ALL: &[ErrorClass] = ErrorClass::VARIANTS;

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
            ErrorClass::Missing => "missing",
            ErrorClass::Route => "route",
            ErrorClass::Jq => "jq",
            ErrorClass::Limit => "limit",
            ErrorClass::Panic => "panic",
            ErrorClass::Other => "other",
        }
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
