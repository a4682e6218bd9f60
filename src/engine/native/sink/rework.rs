//! Reworks a sealed batch when the broker does not take it as it is. A rare path.

use std::ops::Range;

use bytes::Bytes;

use crate::records::{ProducerStamp, crc32c};

/// What is left of `count` records without those at the `refused` indexes, as runs.
pub fn runs(count: usize, refused: impl Iterator<Item = usize>) -> Vec<Range<usize>> {
    let mut runs = Vec::new();
    let mut start = 0;
    for index in refused.take_while(|index| *index < count) {
        runs.push(start..index);
        start = index + 1;
    }
    runs.push(start..count);
    runs.retain(|run| !run.is_empty());
    runs
}

/// The same sealed batch with another producer id, epoch and sequence number.
pub fn restamp(sealed: &Bytes, stamp: ProducerStamp) -> Bytes {
    let mut bytes = sealed.to_vec();
    bytes[43..51].copy_from_slice(&stamp.producer_id.to_be_bytes());
    bytes[51..53].copy_from_slice(&stamp.epoch.to_be_bytes());
    bytes[53..57].copy_from_slice(&stamp.base_sequence.to_be_bytes());
    let crc = crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    Bytes::from(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{BatchHeader, Compression, NO_HEADERS, ProducerStamp, RecordWriter};

    #[test]
    fn runs_leave_out_what_is_refused() {
        assert_eq!(runs(5, [1, 3].into_iter()), [0..1, 2..3, 4..5]);
        assert!(runs(3, [0, 1, 2].into_iter()).is_empty());
        assert_eq!(runs(2, [7].into_iter()), runs(2, std::iter::empty()));
    }

    #[test]
    fn a_restamped_batch_is_whole() {
        let mut writer = RecordWriter::new(usize::MAX, 0);
        writer.push(1000, None, Some(&[b"value"]), NO_HEADERS);
        let stamp = ProducerStamp { producer_id: 5, epoch: 1, base_sequence: 10, transactional: false };
        let sealed = writer.finish().remove(0).seal(stamp, Compression::None);
        let bytes = restamp(&sealed, ProducerStamp { epoch: 2, base_sequence: 77, ..stamp });
        let header = BatchHeader::read(&bytes).unwrap();
        assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (5, 2, 77));
        header.check_crc(&bytes).unwrap();
    }
}
