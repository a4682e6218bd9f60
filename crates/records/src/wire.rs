//! One entry of a fetch response, whatever its format.

use super::{BatchHeader, Compression, Message, RecordsError, layout};

/// A wire batch: a record batch v2, or a message of the formats before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WireBatch {
    /// A record batch v2, by its header.
    Batch(BatchHeader),
    /// A message of magic 0 or 1, which may be a wrapper of others.
    Message(Message),
}

impl WireBatch {
    /// Reads what is at the front of `bytes`, without verifying its checksum.
    ///
    /// # Errors
    /// [`RecordsError::Truncated`] when it is incomplete, `Magic`, `Malformed`.
    pub fn read(bytes: &[u8]) -> Result<WireBatch, RecordsError> {
        match bytes.get(layout::MAGIC.at) {
            Some(0 | 1) => Message::read(bytes).map(WireBatch::Message),
            _ => BatchHeader::read(bytes).map(WireBatch::Batch),
        }
    }

    /// Verifies the checksum of `bytes`, which are all [`size`](WireBatch::size) bytes.
    ///
    /// # Errors
    /// [`RecordsError::Crc`] when it does not match.
    pub fn check_crc(&self, bytes: &[u8]) -> Result<(), RecordsError> {
        match self {
            WireBatch::Batch(header) => header.check_crc(bytes),
            WireBatch::Message(message) => message.check_crc(bytes),
        }
    }

    /// The size in bytes.
    pub fn size(&self) -> usize {
        match self {
            WireBatch::Batch(header) => header.size,
            WireBatch::Message(message) => message.size,
        }
    }

    /// The offset after the last one that is covered.
    pub fn next_offset(&self) -> i64 {
        match self {
            WireBatch::Batch(header) => header.next_offset(),
            WireBatch::Message(message) => message.offset + 1,
        }
    }

    /// The epoch of the leader that appended it (KIP-101), -1 where the format has none.
    pub fn leader_epoch(&self) -> i32 {
        match self {
            WireBatch::Batch(header) => header.leader_epoch,
            WireBatch::Message(_) => -1,
        }
    }

    /// How its records are compressed.
    pub(super) fn compression(&self) -> Result<Compression, RecordsError> {
        match self {
            WireBatch::Batch(header) => Compression::of(header),
            WireBatch::Message(message) => message.compression(),
        }
    }
}
