//! How a transform can fail a whole batch.

use std::ops::Range;

use crate::{batch::TopicPartition, transform::Breach};

/// A transform failed on a whole batch. The batch is not lost: it was never acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransformError {
    /// It panicked on a record.
    #[error("{partition} at offset {offset}: the transform panicked: {message}")]
    Panic {
        /// The record's partition.
        partition: TopicPartition,
        /// The record's offset.
        offset: i64,
        /// The panic's message.
        message: String,
    },
    /// It panicked on a batch, and then on none of its records alone.
    #[error(
        "{partition}: the transform panicked on the offsets {} to {}, but not again on one of them alone: \
         {message}",
        offsets.start,
        offsets.end - 1
    )]
    PanicOnce {
        /// The batch's partition.
        partition: TopicPartition,
        /// The offsets of the batch.
        offsets: Range<i64>,
        /// The panic's message.
        message: String,
    },
    /// It broke its contract.
    #[error("{partition} at offset {offset}: the transform breaks its contract: {breach}")]
    Breach {
        /// The batch's partition.
        partition: TopicPartition,
        /// The offset of the record in question, or the batch's last one if there is no such record.
        offset: i64,
        /// How it broke it.
        breach: Breach,
    },
}
