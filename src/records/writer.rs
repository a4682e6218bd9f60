//! Writes records as record batches v2, starting a new batch when one would grow too large.

use super::{HEADER_LEN, varint};

/// Records encoded as the body of one record batch v2, with room for its header in front.
///
/// The sink fills in the header (producer id, sequence, codec, checksum) in place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncodedBatch {
    /// [`HEADER_LEN`] bytes of room, then the records with offset deltas 0, 1, 2, ….
    pub bytes: Vec<u8>,
    /// The number of records.
    pub count: u32,
    /// The timestamp that the records' deltas count from, in milliseconds.
    pub base_timestamp: i64,
    /// The greatest timestamp, in milliseconds.
    pub max_timestamp: i64,
}

/// Encodes records one after the other into batches of at most `limit` bytes each, unless a
/// single record is larger.
#[derive(Debug)]
pub struct RecordWriter {
    limit: usize,
    capacity: usize,
    chunks: Vec<EncodedBatch>,
    current: EncodedBatch,
}

impl RecordWriter {
    /// A writer of batches of at most `limit` bytes, header included; `capacity` bytes are
    /// expected in all.
    pub fn new(limit: usize, capacity: usize) -> RecordWriter {
        RecordWriter { limit, capacity, chunks: Vec::new(), current: EncodedBatch::default() }
    }

    /// Appends a record whose value is the concatenation of `value`, or null. `headers` are in
    /// wire encoding ([`NO_HEADERS`](super::NO_HEADERS) for none).
    #[inline]
    pub fn push(&mut self, timestamp: i64, key: Option<&[u8]>, value: Option<&[&[u8]]>, headers: &[u8]) {
        let key_len = key.map_or(-1, |k| k.len() as i64);
        let value_len = value.map_or(-1, |pieces| pieces.iter().map(|p| p.len() as i64).sum());
        let payload = key_len.max(0) as usize + value_len.max(0) as usize + headers.len();
        // At most 1 byte of attributes, 5 of length, 10 and 5 of deltas, 5 and 5 of lengths.
        if self.current.count == 0 || self.current.bytes.len() + payload + 31 > self.limit {
            self.start(timestamp);
        }
        let batch = &mut self.current;
        let timestamp_delta = timestamp.wrapping_sub(batch.base_timestamp);
        let offset_delta = i64::from(batch.count);
        let body = 1
            + varint::len(timestamp_delta)
            + varint::len(offset_delta)
            + varint::len(key_len)
            + varint::len(value_len)
            + payload;
        let out = &mut batch.bytes;
        varint::write(out, body as i64);
        out.push(0);
        varint::write(out, timestamp_delta);
        varint::write(out, offset_delta);
        varint::write(out, key_len);
        out.extend_from_slice(key.unwrap_or_default());
        varint::write(out, value_len);
        for piece in value.unwrap_or_default() {
            out.extend_from_slice(piece);
        }
        out.extend_from_slice(headers);
        batch.count += 1;
        batch.max_timestamp = batch.max_timestamp.max(timestamp);
    }

    /// The batches written.
    pub fn finish(mut self) -> Vec<EncodedBatch> {
        if self.current.count > 0 {
            self.chunks.push(self.current);
        }
        self.chunks
    }

    fn start(&mut self, timestamp: i64) {
        let capacity = self.capacity.clamp(HEADER_LEN, self.limit.max(HEADER_LEN));
        let mut bytes = Vec::with_capacity(capacity);
        bytes.resize(HEADER_LEN, 0);
        let next = EncodedBatch { bytes, count: 0, base_timestamp: timestamp, max_timestamp: timestamp };
        let full = std::mem::replace(&mut self.current, next);
        if full.count > 0 {
            self.capacity = self.capacity.saturating_sub(full.bytes.len());
            self.chunks.push(full);
        }
    }
}
