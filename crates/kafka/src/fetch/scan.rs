//! A first look at fetched bytes: whole batches with valid checksums, and where to continue. Pure.

use bytes::Bytes;
use topicmill_records::{RecordsError, WireBatch};

/// How often a batch may be read corrupt before that counts as its state.
pub(crate) const CORRUPT_READS_MAX: u32 = 4;

/// What a partition's records in a fetch response contain.
#[derive(Debug)]
pub(crate) struct Scanned {
    /// The complete, valid batches at the front.
    pub bytes: Bytes,
    /// The offset to fetch next.
    pub next: i64,
    /// The epoch of the leader that appended the last batch; -1 without one (KIP-320).
    pub epoch: i32,
    /// What is wrong with the batch that follows, if it is not merely truncated by the fetch limit.
    pub error: Option<RecordsError>,
}

/// Checks `bytes`, fetched from offset `from`.
pub(crate) fn scan(bytes: &Bytes, from: i64) -> Scanned {
    let mut scanned = Scanned { bytes: Bytes::new(), next: from, epoch: -1, error: None };
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let checked = WireBatch::read(rest).and_then(|batch| {
            batch.check_crc(&rest[..batch.size()])?;
            Ok(batch)
        });
        match checked {
            Ok(batch) => {
                at += batch.size();
                scanned.next = scanned.next.max(batch.next_offset());
                scanned.epoch = batch.leader_epoch();
            }
            // The fetch limit may truncate the last batch (but not the first, KIP-74).
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

#[cfg(test)]
mod tests {
    use topicmill_records::{Compression, NO_HEADERS, ProducerStamp, RecordWriter};

    use super::*;

    /// Batches of two records each from offset `from` on, and the size of one.
    fn batches(from: i64, count: i64) -> (Vec<u8>, usize) {
        let mut all = Vec::new();
        for number in 0..count {
            let mut writer = RecordWriter::new(1000, 100);
            writer.push(5, None, Some(&[b"one"]), NO_HEADERS);
            writer.push(6, None, Some(&[b"two"]), NO_HEADERS);
            let batch = writer.finish().remove(0).seal(ProducerStamp::NONE, Compression::None);
            let start = all.len();
            all.extend_from_slice(&batch);
            // The base offset and the leader's epoch, which the broker assigns.
            all[start..start + 8].copy_from_slice(&(from + number * 2).to_be_bytes());
            all[start + 12..start + 16].copy_from_slice(&7i32.to_be_bytes());
        }
        let size = all.len() / count as usize;
        (all, size)
    }

    #[test]
    fn whole_batches_move_the_position_on() {
        let (all, _) = batches(10, 3);
        let scanned = scan(&Bytes::from(all.clone()), 11);
        assert_eq!((scanned.next, scanned.epoch, scanned.bytes.len()), (16, 7, all.len()));
        assert_eq!(scanned.error, None);
    }

    #[test]
    fn a_last_batch_that_is_cut_off_is_left_for_the_next_fetch() {
        let (all, size) = batches(10, 3);
        for len in 2 * size..3 * size {
            let scanned = scan(&Bytes::from(all[..len].to_vec()), 10);
            assert_eq!((scanned.next, scanned.bytes.len(), scanned.error), (14, 2 * size, None));
        }
    }

    #[test]
    fn a_corrupt_batch_ends_what_can_be_taken() {
        let (mut all, size) = batches(10, 3);
        all[2 * size - 1] ^= 1;
        let scanned = scan(&Bytes::from(all), 10);
        assert_eq!((scanned.next, scanned.bytes.len()), (12, size));
        assert!(matches!(scanned.error, Some(RecordsError::Crc { base_offset: 12, .. })));
    }
}
