//! Finishes an encoded batch: compresses its records and fills in its header.

use bytes::Bytes;

use super::{Codec, Compression, EncodedBatch, HEADER_LEN, checksum};

/// The header's fields that idempotence and transactions need (KIP-98).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerStamp {
    /// The producer's id.
    pub producer_id: i64,
    /// The producer's epoch.
    pub epoch: i16,
    /// The sequence number of the batch's first record in its partition.
    pub base_sequence: i32,
    /// Whether the batch is part of the producer's open transaction.
    pub transactional: bool,
}

impl ProducerStamp {
    /// No idempotence and no transaction.
    pub const NONE: ProducerStamp =
        ProducerStamp { producer_id: -1, epoch: -1, base_sequence: -1, transactional: false };
}

impl EncodedBatch {
    /// The batch as it goes over the wire. A retry has to send the same bytes, so this is done once.
    ///
    /// Records that `codec` does not make smaller stay uncompressed, as does everything with
    /// [`Compression::None`], which is then done in place.
    pub fn seal(mut self, stamp: ProducerStamp, codec: impl Into<Codec>) -> Bytes {
        let used = self.compress(codec.into());
        let length = (self.bytes.len() - 12) as i32;
        let attributes = used.id() | i16::from(stamp.transactional) << 4;
        let count = self.count as i32;
        let mut head = Header { bytes: &mut self.bytes, at: 0 };
        head.put(0i64.to_be_bytes()); // base offset: the broker's to assign
        head.put(length.to_be_bytes());
        head.put((-1i32).to_be_bytes()); // leader epoch: the broker's too
        head.put([2]); // magic
        head.put([0; 4]); // the checksum, once the rest is there
        head.put(attributes.to_be_bytes());
        head.put((count - 1).to_be_bytes());
        head.put(self.base_timestamp.to_be_bytes());
        head.put(self.max_timestamp.to_be_bytes());
        head.put(stamp.producer_id.to_be_bytes());
        head.put(stamp.epoch.to_be_bytes());
        head.put(stamp.base_sequence.to_be_bytes());
        head.put(count.to_be_bytes());
        let crc = checksum::crc32c(&self.bytes[21..]);
        self.bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        self.bytes.share()
    }

    /// Compresses the records if that makes them smaller, and says which compression they have.
    fn compress(&mut self, codec: Codec) -> Compression {
        if codec.compression == Compression::None {
            return Compression::None;
        }
        let mut packed = Vec::with_capacity(self.bytes.len());
        packed.extend_from_slice(&self.bytes[..HEADER_LEN]);
        match codec.compress(&self.bytes[HEADER_LEN..], &mut packed) {
            Ok(()) if packed.len() < self.bytes.len() => {
                self.bytes = packed.into();
                codec.compression
            }
            _ => Compression::None,
        }
    }
}

/// Writes the header's fields one after the other.
struct Header<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl Header<'_> {
    fn put<const N: usize>(&mut self, field: [u8; N]) {
        self.bytes[self.at..self.at + N].copy_from_slice(&field);
        self.at += N;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{BatchHeader, NO_HEADERS, RecordWriter};

    fn batch(value: &[u8], count: i64) -> EncodedBatch {
        let mut writer = RecordWriter::new(1 << 20, 1 << 10);
        (0..count).for_each(|i| writer.push(1000 + i, None, Some(&[value]), NO_HEADERS));
        writer.finish().remove(0)
    }

    #[test]
    fn the_header_says_what_the_batch_is() {
        let stamp = ProducerStamp { producer_id: 7, epoch: 3, base_sequence: 40, transactional: true };
        let bytes = batch(b"value", 3).seal(stamp, Compression::None);
        let header = BatchHeader::read(&bytes).unwrap();
        assert_eq!(header.size, bytes.len());
        assert_eq!((header.base_offset, header.leader_epoch), (0, -1));
        assert_eq!((header.count, header.last_offset_delta), (3, 2));
        assert_eq!((header.base_timestamp, header.max_timestamp), (1000, 1002));
        assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (7, 3, 40));
        assert!(header.is_transactional() && !header.is_control() && !header.is_log_append_time());
        assert_eq!(header.crc, crc32c::crc32c(&bytes[21..]));
    }

    #[test]
    fn what_does_not_get_smaller_stays_uncompressed() {
        let small = batch(b"x", 1).seal(ProducerStamp::NONE, Compression::Gzip);
        assert_eq!(BatchHeader::read(&small).unwrap().codec(), 0);
        let large = batch(&[b'x'; 1000], 10).seal(ProducerStamp::NONE, Compression::Gzip);
        assert_eq!(BatchHeader::read(&large).unwrap().codec(), 1);
        assert!(large.len() < 1000);
    }
}
