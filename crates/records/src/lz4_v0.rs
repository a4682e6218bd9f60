//! LZ4 as messages of magic 0 have it: with a wrong checksum in the frame's header (KIP-57).

use bytes::Bytes;
use xxhash_rust::xxh32::xxh32;

/// The length of the frame's magic number, before its descriptor.
const MAGIC_LEN: usize = 4;

/// The frame with the checksum of its descriptor as the LZ4 frame format specifies it: Kafka had
/// included the magic number. What is not a frame is returned as it is.
pub(super) fn with_right_checksum(packed: Bytes) -> Bytes {
    let Some(&flags) = packed.get(MAGIC_LEN) else { return packed };
    // Flags and block size, then the content's size and a dictionary's id if there are any.
    let len = 2 + if flags & 0x08 != 0 { 8 } else { 0 } + if flags & 0x01 != 0 { 4 } else { 0 };
    let at = MAGIC_LEN + len;
    if packed.len() <= at {
        return packed;
    }
    let mut right = packed.to_vec();
    right[at] = (xxh32(&packed[MAGIC_LEN..at], 0) >> 8) as u8;
    right.into()
}
