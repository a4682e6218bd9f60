//! Where the fields of a record batch v2 stand (KIP-98). Nothing else knows a number of it.
//!
//! | from | field | bytes | written by |
//! |---:|---|---:|---|
//! | 0 | base offset | 8 | broker |
//! | 8 | length, of all that follows it | 4 | producer |
//! | 12 | leader epoch (KIP-101) | 4 | broker |
//! | 16 | magic, here in every format | 1 | producer |
//! | 17 | checksum, of all that follows it | 4 | producer |
//! | 21 | attributes | 2 | producer |
//! | 23 | last offset delta | 4 | producer |
//! | 27 | base timestamp | 8 | producer |
//! | 35 | maximum timestamp | 8 | producer |
//! | 43 | producer id | 8 | producer |
//! | 51 | producer epoch | 2 | producer |
//! | 53 | base sequence | 4 | producer |
//! | 57 | number of records | 4 | producer |
//! | 61 | records | | producer |
//!
//! What the broker writes stands in front of the checksum, so that it assigns offsets without
//! reading a batch.

use bytes::Bytes;

use super::{ProducerStamp, checksum};

/// A field of the header, `LEN` bytes long; numbers are big-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<const LEN: usize> {
    /// Where it begins.
    pub at: usize,
}

/// The offset of the first record.
pub const BASE_OFFSET: Field<8> = Field { at: 0 };
/// The number of bytes behind this field.
pub const LENGTH: Field<4> = BASE_OFFSET.then();
/// The epoch of the leader that appended the batch (KIP-101).
pub const LEADER_EPOCH: Field<4> = LENGTH.then();
/// The version of the format. It stands here in all of them.
pub const MAGIC: Field<1> = LEADER_EPOCH.then();
/// The CRC-32C of all bytes behind this field.
pub const CRC: Field<4> = MAGIC.then();
/// The flags of the batch.
pub const ATTRIBUTES: Field<2> = CRC.then();
/// The distance of the last offset from the base offset.
pub const LAST_OFFSET_DELTA: Field<4> = ATTRIBUTES.then();
/// What the records' timestamps count from, in milliseconds since the epoch.
pub const BASE_TIMESTAMP: Field<8> = LAST_OFFSET_DELTA.then();
/// The greatest timestamp.
pub const MAX_TIMESTAMP: Field<8> = BASE_TIMESTAMP.then();
/// The producer's id.
pub const PRODUCER_ID: Field<8> = MAX_TIMESTAMP.then();
/// The producer's epoch.
pub const PRODUCER_EPOCH: Field<2> = PRODUCER_ID.then();
/// The sequence number of the first record.
pub const BASE_SEQUENCE: Field<4> = PRODUCER_EPOCH.then();
/// The number of records.
pub const COUNT: Field<4> = BASE_SEQUENCE.then();

/// The size in bytes of the header; the records follow.
pub const HEADER_LEN: usize = COUNT.end();
/// The size in bytes of what the broker writes, or may: it is not under the checksum.
pub const BROKER_LEN: usize = MAGIC.at;

/// The value of [`MAGIC`] for this format.
pub const V2: i8 = 2;
/// The attributes that number the compression.
pub const COMPRESSION_MASK: i16 = 0x07;
/// The attribute of records that have the broker's time.
pub const LOG_APPEND_TIME: i16 = 0x08;
/// The attribute of records in a transaction.
pub const TRANSACTIONAL: i16 = 0x10;
/// The attribute of a transaction's end.
pub const CONTROL: i16 = 0x20;

impl<const LEN: usize> Field<LEN> {
    /// The field behind this one.
    const fn then<const NEXT: usize>(self) -> Field<NEXT> {
        Field { at: self.end() }
    }

    /// Where the next one begins.
    pub const fn end(self) -> usize {
        self.at + LEN
    }

    /// Its bytes in `batch`.
    ///
    /// # Panics
    /// When `batch` ends before the field does.
    #[inline]
    pub fn of(self, batch: &[u8]) -> [u8; LEN] {
        *batch[self.at..].first_chunk().expect("the whole header is there")
    }

    /// Writes its bytes to `batch`.
    ///
    /// # Panics
    /// When `batch` ends before the field does.
    #[inline]
    pub fn put(self, batch: &mut [u8], value: [u8; LEN]) {
        batch[self.at..self.end()].copy_from_slice(&value);
    }
}

/// The checksum of a batch's bytes as they are.
pub fn crc_of(batch: &[u8]) -> u32 {
    checksum::crc32c(&batch[CRC.end()..])
}

/// Writes the checksum of a batch whose bytes are final, and returns it.
pub fn put_crc(batch: &mut [u8]) -> u32 {
    let crc = crc_of(batch);
    CRC.put(batch, crc.to_be_bytes());
    crc
}

/// The same sealed batch with another producer id, epoch and sequence number.
///
/// # Panics
/// When `sealed` is shorter than a header.
pub fn restamp(sealed: &[u8], stamp: ProducerStamp) -> Bytes {
    let mut batch = sealed.to_vec();
    PRODUCER_ID.put(&mut batch, stamp.producer_id.to_be_bytes());
    PRODUCER_EPOCH.put(&mut batch, stamp.epoch.to_be_bytes());
    BASE_SEQUENCE.put(&mut batch, stamp.base_sequence.to_be_bytes());
    put_crc(&mut batch);
    batch.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BatchHeader, Compression, NO_HEADERS, RecordWriter};

    #[test]
    fn the_table_above_is_true() {
        let begins = [
            (BASE_OFFSET.at, 0),
            (LENGTH.at, 8),
            (LEADER_EPOCH.at, 12),
            (MAGIC.at, 16),
            (CRC.at, 17),
            (ATTRIBUTES.at, 21),
            (LAST_OFFSET_DELTA.at, 23),
            (BASE_TIMESTAMP.at, 27),
            (MAX_TIMESTAMP.at, 35),
            (PRODUCER_ID.at, 43),
            (PRODUCER_EPOCH.at, 51),
            (BASE_SEQUENCE.at, 53),
            (COUNT.at, 57),
            (HEADER_LEN, 61),
        ];
        assert!(begins.iter().all(|(at, told)| at == told), "{begins:?}");
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
