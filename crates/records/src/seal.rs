//! Finishes an encoded batch: compresses its records and fills in its header.

use bytes::Bytes;

use super::{Codec, Compression, EncodedBatch, HEADER_LEN, layout};

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
        let length = (self.bytes.len() - layout::LENGTH.end()) as i32;
        let transactional = if stamp.transactional { layout::TRANSACTIONAL } else { 0 };
        let attributes = used.id() | transactional;
        let count = self.count as i32;
        let batch = &mut self.bytes[..];
        // Base offset and leader epoch are the broker's to assign.
        layout::BASE_OFFSET.put(batch, 0i64.to_be_bytes());
        layout::LENGTH.put(batch, length.to_be_bytes());
        layout::LEADER_EPOCH.put(batch, (-1i32).to_be_bytes());
        layout::MAGIC.put(batch, layout::V2.to_be_bytes());
        layout::ATTRIBUTES.put(batch, attributes.to_be_bytes());
        layout::LAST_OFFSET_DELTA.put(batch, (count - 1).to_be_bytes());
        layout::BASE_TIMESTAMP.put(batch, self.base_timestamp.to_be_bytes());
        layout::MAX_TIMESTAMP.put(batch, self.max_timestamp.to_be_bytes());
        layout::PRODUCER_ID.put(batch, stamp.producer_id.to_be_bytes());
        layout::PRODUCER_EPOCH.put(batch, stamp.epoch.to_be_bytes());
        layout::BASE_SEQUENCE.put(batch, stamp.base_sequence.to_be_bytes());
        layout::COUNT.put(batch, count.to_be_bytes());
        layout::put_crc(batch);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BatchHeader, NO_HEADERS, RecordWriter};

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
