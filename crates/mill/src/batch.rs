//! What travels through the pipeline: a run of records of one partition, and what is written for
//! it.
//!
//! Both sides keep records in the encoding of record batch v2 (KIP-98), so that an engine that
//! reads and writes that format moves whole buffers rather than records.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use topicmill_records::{Compression, EncodedBatch};
pub use topicmill_records::{Record, Span};

/// A run of consecutive records of one partition, as read by a [`Source`](crate::engine::Source).
///
/// A batch may hold fewer records than the offsets it covers (compaction, control records), or none
/// at all; `next_offset` moves on all the same.
#[derive(Clone, Debug, Default)]
pub struct PartitionBatch {
    /// Where the records were read.
    pub origin: TopicPartition,
    /// The assignment under which they were read; an acknowledgement counts only for this one.
    pub assignment: AssignmentId,
    /// The offset after the last one that this batch covers; committing the batch commits this.
    pub next_offset: i64,
    /// The bytes that the spans of `records` point into.
    pub buffer: Bytes,
    /// The records in offset order.
    pub records: Vec<Record>,
    /// The leader epoch of the last record, committed with the offset so that whoever continues
    /// from there notices a truncation; -1 when unknown (KIP-320).
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

/// What is to be written for one batch: encoded records for one partition, split by size.
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
    /// Whether they are compressed in this way whatever the settings say.
    pub must_compress: bool,
    /// The transaction that they belong to; none at least once.
    pub transaction: Option<TransactionNumber>,
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

/// Numbers the transactions of a sink in the order in which they are opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransactionNumber(pub u64);

impl TransactionNumber {
    /// The transaction that is opened after this one.
    pub fn next(self) -> TransactionNumber {
        TransactionNumber(self.0 + 1)
    }
}
