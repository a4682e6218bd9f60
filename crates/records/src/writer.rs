//! Writes records as record batches v2, starting a new batch when one would grow too large.

use std::ops::Range;

use super::{HEADER_LEN, cursor::Cursor, varint};
use crate::buffers::Buffer;

/// Records encoded as the body of one record batch v2, with room for its header in front.
///
/// The sink fills in the header (producer id, sequence, codec, checksum) in place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncodedBatch {
    /// [`HEADER_LEN`] bytes of room, then the records with offset deltas 0, 1, 2, ….
    pub bytes: Buffer,
    /// The number of records.
    pub count: u32,
    /// The timestamp that the records' deltas count from, in milliseconds.
    pub base_timestamp: i64,
    /// The greatest timestamp, in milliseconds.
    pub max_timestamp: i64,
}

/// The most bytes of a record besides key, value and headers: 1 of attributes, 5 of length, 10 and
/// 5 of deltas, 5 and 5 of lengths.
const FRAME_LEN_MAX: usize = 31;

/// A varint of two bytes holds 64 to 8191; a record's frame has 5 bytes at least.
const PAYLOADS_OF_TWO_BYTES: Range<usize> = 64 - 5..8192 - FRAME_LEN_MAX;

/// Encodes records one after the other into batches of at most `limit` bytes each, unless a
/// single record is larger.
#[derive(Debug)]
pub struct RecordWriter {
    limit: usize,
    capacity: usize,
    chunks: Vec<EncodedBatch>,
    current: EncodedBatch,
    /// Where the next record goes.
    at: usize,
}

impl RecordWriter {
    /// A writer of batches of at most `limit` bytes, header included; `capacity` bytes are
    /// expected in all.
    pub fn new(limit: usize, capacity: usize) -> RecordWriter {
        RecordWriter {
            limit: limit.min(i32::MAX as usize),
            capacity,
            chunks: Vec::new(),
            current: EncodedBatch::default(),
            at: 0,
        }
    }

    /// A writer that continues where `batch` ends.
    pub(super) fn resume(batch: EncodedBatch) -> RecordWriter {
        let at = batch.bytes.len();
        RecordWriter { limit: i32::MAX as usize, capacity: 0, chunks: Vec::new(), current: batch, at }
    }

    /// Appends a record whose value is the concatenation of `value`, or null. `headers` are in
    /// wire encoding ([`NO_HEADERS`](super::NO_HEADERS) for none).
    #[inline(always)]
    pub fn push(&mut self, timestamp: i64, key: Option<&[u8]>, value: Option<&[&[u8]]>, headers: &[u8]) {
        let key_len = key.map_or(-1, |k| k.len() as i64);
        let value_len = value.map_or(-1, |pieces| pieces.iter().map(|p| p.len() as i64).sum());
        let payload = key_len.max(0) as usize + value_len.max(0) as usize + headers.len();
        if self.current.count == 0 || self.at + payload + FRAME_LEN_MAX > self.limit {
            self.start(timestamp);
        }
        let needed = self.at + payload + FRAME_LEN_MAX;
        if needed > self.current.bytes.capacity() {
            self.grow(needed);
        }
        let batch = &mut self.current;
        let timestamp_delta = timestamp.wrapping_sub(batch.base_timestamp);
        let offset_delta = i64::from(batch.count);
        let mut out = Cursor::new(&mut batch.bytes.memory()[self.at..needed]);
        // The length of what follows comes first. Where it takes two bytes whatever the numbers
        // are, nothing has to be measured first.
        let of_two_bytes = PAYLOADS_OF_TWO_BYTES.contains(&payload);
        if of_two_bytes {
            out.skip(2);
        } else {
            let numbers = [timestamp_delta, offset_delta, key_len, value_len];
            let frame = 1 + numbers.into_iter().map(varint::len).sum::<usize>();
            out.varint((frame + payload) as i64);
        }
        out.byte(0);
        out.varint(timestamp_delta);
        out.varint(offset_delta);
        out.varint(key_len);
        if let Some(key) = key {
            out.slice(key);
        }
        out.varint(value_len);
        for piece in value.unwrap_or_default() {
            out.slice(piece);
        }
        match headers {
            &[none] => out.byte(none),
            headers => out.slice(headers),
        }
        let size = out.position();
        if of_two_bytes {
            Cursor::new(&mut batch.bytes.memory()[self.at..self.at + 2]).varint((size - 2) as i64);
        }
        self.at += size;
        batch.count += 1;
        batch.max_timestamp = batch.max_timestamp.max(timestamp);
    }

    /// The batches written.
    pub fn finish(mut self) -> Vec<EncodedBatch> {
        if self.current.count > 0 {
            self.current.bytes.set_len(self.at);
            self.chunks.push(self.current);
        }
        self.chunks
    }

    #[inline(never)]
    fn grow(&mut self, needed: usize) {
        self.current.bytes.set_len(self.at);
        self.current.bytes.reserve(needed);
    }

    #[inline(never)]
    fn start(&mut self, timestamp: i64) {
        let capacity = self.capacity.clamp(HEADER_LEN, self.limit.max(HEADER_LEN));
        let mut bytes = Buffer::with_room(capacity);
        bytes.memory()[..HEADER_LEN].fill(0);
        let next = EncodedBatch { bytes, count: 0, base_timestamp: timestamp, max_timestamp: timestamp };
        let mut full = std::mem::replace(&mut self.current, next);
        let end = std::mem::replace(&mut self.at, HEADER_LEN);
        if full.count > 0 {
            full.bytes.set_len(end);
            self.capacity = self.capacity.saturating_sub(full.bytes.len());
            self.chunks.push(full);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NO_HEADERS;

    #[test]
    fn a_record_is_as_long_as_it_says_where_its_length_takes_another_byte() {
        for size in (40..80).chain(8140..8220) {
            let value = vec![b'x'; size];
            let mut writer = RecordWriter::new(1 << 20, 0);
            // Deltas of one byte, and of as many as there can be.
            let timestamps = [0, 0, i64::MAX, i64::MIN + 1];
            for timestamp in timestamps {
                writer.push(timestamp, None, Some(&[&value]), NO_HEADERS);
            }
            let batch = writer.finish().remove(0);
            let mut bytes = &batch.bytes[HEADER_LEN..];
            for timestamp in timestamps {
                let body = varint::read(&mut bytes).unwrap() as usize;
                let numbers = [timestamp, 0, -1, size as i64].map(varint::len);
                assert_eq!(body, 1 + numbers.iter().sum::<usize>() + size + NO_HEADERS.len(), "{size}");
                bytes = &bytes[body..];
            }
            assert!(bytes.is_empty());
            assert_eq!(batch.records().unwrap().len(), timestamps.len());
        }
    }
}
