//! What can be wrong with a record batch.

use std::io;

/// Why bytes are not a readable record batch. The caller adds topic and partition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordsError {
    /// The buffer ends before the batch does; normal at the end of a fetch response.
    #[error("the batch is cut off: {have} of {need} bytes")]
    Truncated {
        /// The bytes that the batch needs.
        need: usize,
        /// The bytes that are there.
        have: usize,
    },
    /// The magic byte is that of another format.
    #[error("record batch at offset {base_offset} has magic {magic}, which is not known")]
    Magic {
        /// The batch's first offset.
        base_offset: i64,
        /// The magic byte found.
        magic: i8,
    },
    /// The checksum does not match.
    #[error(
        "record batch at offset {base_offset} is corrupt: its checksum is {actual:08x}, {expected:08x} expected"
    )]
    Crc {
        /// The batch's first offset.
        base_offset: i64,
        /// The checksum in the header.
        expected: u32,
        /// The checksum of the bytes.
        actual: u32,
    },
    /// A length, count or number does not fit the bytes around it.
    #[error("record batch at offset {base_offset} is malformed: {what}")]
    Malformed {
        /// The batch's first offset.
        base_offset: i64,
        /// What does not fit.
        what: &'static str,
    },
    /// The records cannot be decompressed.
    #[error("record batch at offset {base_offset} cannot be decompressed ({codec}): {message}")]
    Decompress {
        /// The batch's first offset.
        base_offset: i64,
        /// The codec's name.
        codec: &'static str,
        /// The codec's message.
        message: String,
    },
}

/// The error of a batch that would give more than `limit` bytes.
pub(super) fn too_large(limit: usize) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("more than {limit} bytes decompressed"))
}
