//! A first look at fetched bytes: whole batches with sound checksums, and where to read on. Pure.

use bytes::Bytes;

use crate::records::{BatchHeader, RecordsError};

/// What a partition's records in a fetch response hold.
#[derive(Debug)]
pub(in crate::engine::native) struct Scanned {
    /// The whole, sound batches at the front.
    pub bytes: Bytes,
    /// The offset to fetch next.
    pub next: i64,
    /// The epoch of the leader that appended the last batch; -1 without one (KIP-320).
    pub epoch: i32,
    /// What is wrong with the batch that follows, if it is not merely cut off by the fetch limit.
    pub error: Option<RecordsError>,
}

/// Looks through `bytes`, fetched from offset `from`.
pub(in crate::engine::native) fn scan(bytes: &Bytes, from: i64) -> Scanned {
    let mut scanned = Scanned { bytes: Bytes::new(), next: from, epoch: -1, error: None };
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let checked = BatchHeader::read(rest).and_then(|header| {
            header.check_crc(&rest[..header.size])?;
            Ok(header)
        });
        match checked {
            Ok(header) => {
                at += header.size;
                scanned.next = scanned.next.max(header.next_offset());
                scanned.epoch = header.leader_epoch;
            }
            // The last batch ends where the fetch limit cuts it off (not the first, KIP-74).
            Err(RecordsError::Truncated { .. }) if at > 0 => break,
            Err(error) => {
                scanned.error = Some(error);
                break;
            }
        }
    }
    scanned.bytes = bytes.slice(..at);
    scanned
}
