//! What travels the road: a run of records of one partition, and what is written for it.
//!
//! Both sides keep records in the encoding of record batch v2 (KIP-98), so that an engine which
//! reads and writes that format moves whole buffers and never an object per record.

use std::{fmt, sync::Arc};

use bytes::Bytes;

use crate::records::{Compression, EncodedBatch};

/// A run of consecutive records of one partition, as a [`Source`](crate::engine::Source) read it.
///
/// A batch may hold fewer records than the offsets it covers (compaction, control records), or
/// none at all; `next_offset` still moves on.
#[derive(Clone, Debug, Default)]
pub struct PartitionBatch {
    /// Where the records were read.
    pub origin: TopicPartition,
    /// The assignment under which they were read; an acknowledgement counts only for this one.
    pub assignment: AssignmentId,
    /// The offset after the last one that this batch covers: what a commit of it says.
    pub next_offset: i64,
    /// The bytes that the spans of `records` point into.
    pub buffer: Bytes,
    /// The records in offset order.
    pub records: Vec<Record>,
    /// The leader epoch of the last record, which is committed beside the offset so that a
    /// truncation is noticed by whoever reads on from there; -1 when unknown (KIP-320).
    pub leader_epoch: i32,
    /// How the records were compressed where they were read.
    pub compression: Compression,
}

impl PartitionBatch {
    /// The bytes of a span, `None` for null.
    pub fn bytes(&self, span: Span) -> Option<&[u8]> {
        span.get(&self.buffer)
    }
}

/// What is to be written for one batch: encoded records for one partition, split on size.
#[derive(Debug, Default)]
pub struct OutputBatch {
    /// Where the records go.
    pub destination: TopicPartition,
    /// The partition that they come from.
    pub origin: TopicPartition,
    /// The assignment under which they were read.
    pub assignment: AssignmentId,
    /// How the records were compressed where they were read.
    pub compression: Compression,
    /// Whether they are compressed so whatever the settings say.
    pub must_compress: bool,
    /// The encoded record batches in order; each is one wire batch.
    pub chunks: Vec<EncodedBatch>,
}

impl OutputBatch {
    /// The number of records in all chunks.
    pub fn record_count(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.count as usize).sum()
    }

    /// The encoded size in bytes, before compression.
    pub fn size(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.bytes.len()).sum()
    }
}

/// One record: its offset, its timestamp and where its parts are in the batch's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The offset in the partition.
    pub offset: i64,
    /// The timestamp in milliseconds since the epoch, -1 when there is none.
    pub timestamp: i64,
    /// The key; null is not the same as empty.
    pub key: Span,
    /// The value; null is a tombstone.
    pub value: Span,
    /// The headers in their wire encoding (count, then key and value of each), never null.
    pub headers: Span,
}

/// A range of a batch's buffer, or null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    start: u32,
    len: u32,
}

impl Span {
    /// The absent value.
    pub const NULL: Span = Span { start: 0, len: u32::MAX };

    /// The range of `len` bytes from `start`.
    #[inline]
    pub const fn new(start: u32, len: u32) -> Span {
        Span { start, len }
    }

    /// Whether this is null, which is not the same as empty.
    #[inline]
    pub const fn is_null(self) -> bool {
        self.len == u32::MAX
    }

    /// Where the range starts in the buffer; 0 for null.
    #[inline]
    pub const fn start(self) -> usize {
        self.start as usize
    }

    /// The length in bytes; 0 for null.
    #[inline]
    pub const fn len(self) -> usize {
        if self.is_null() { 0 } else { self.len as usize }
    }

    /// Whether there are no bytes, null included.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The bytes in `buffer`, `None` for null.
    ///
    /// # Panics
    /// When the span does not lie within `buffer`.
    #[inline]
    pub fn get(self, buffer: &[u8]) -> Option<&[u8]> {
        (!self.is_null()).then(|| &buffer[self.start()..self.start() + self.len()])
    }
}

/// A topic and one of its partitions; cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's number.
    pub partition: i32,
}

impl TopicPartition {
    /// The partition `partition` of `topic`.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> TopicPartition {
        TopicPartition { topic: topic.into(), partition }
    }
}

impl Default for TopicPartition {
    fn default() -> TopicPartition {
        TopicPartition::new("", 0)
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.topic, self.partition)
    }
}

/// Numbers the assignments of a partition to this process; a later one is greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AssignmentId(pub u64);
