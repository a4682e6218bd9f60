//! Reads record batches v2: the header, then one [`Record`] of spans for each record.

use std::hint::black_box;

use super::{HEADER_LEN, NO_HEADERS, RecordsError, layout, varint};
use crate::{Record, Span};

/// The header of a record batch v2 (KIP-98), in wire order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// The offset of the first record.
    pub base_offset: i64,
    /// The size in bytes of the whole batch, this header included.
    pub size: usize,
    /// The epoch of the leader that appended the batch (KIP-101).
    pub leader_epoch: i32,
    /// The CRC-32C of everything from `attributes` on.
    pub crc: u32,
    /// Compression (bits 0–2), timestamp type (3), transactional (4), control (5).
    pub attributes: i16,
    /// `base_offset` plus this is the last offset that the batch covers.
    pub last_offset_delta: i32,
    /// The timestamp that the records' deltas count from.
    pub base_timestamp: i64,
    /// The greatest timestamp in the batch.
    pub max_timestamp: i64,
    /// The producer's id (KIP-98), -1 without idempotence.
    pub producer_id: i64,
    /// The producer's epoch.
    pub producer_epoch: i16,
    /// The sequence number of the first record.
    pub base_sequence: i32,
    /// The number of records.
    pub count: i32,
}

impl BatchHeader {
    /// Reads the header at the front of `bytes` and checks magic and size, but not the checksum.
    ///
    /// # Errors
    /// [`RecordsError::Truncated`] when the batch is incomplete, `Magic`, `Malformed`.
    pub fn read(bytes: &[u8]) -> Result<BatchHeader, RecordsError> {
        let truncated = RecordsError::Truncated { need: HEADER_LEN, have: bytes.len() };
        // In all formats the magic byte is here, and a whole message of an old one may be shorter.
        let Some((base_offset, &magic)) = bytes.first_chunk().zip(bytes.get(layout::MAGIC.at)) else {
            return Err(truncated);
        };
        let (base_offset, magic) = (i64::from_be_bytes(*base_offset), magic as i8);
        if magic != layout::V2 {
            return Err(RecordsError::Magic { base_offset, magic });
        }
        let head = bytes.first_chunk::<HEADER_LEN>().ok_or(truncated)?;
        let size = usize::try_from(i32::from_be_bytes(layout::LENGTH.of(head)))
            .map_or(0, |length| layout::LENGTH.end() + length);
        if size < HEADER_LEN {
            return Err(RecordsError::Malformed {
                base_offset,
                what: "its length is less than its header's",
            });
        }
        if size > bytes.len() {
            return Err(RecordsError::Truncated { need: size, have: bytes.len() });
        }
        let header = BatchHeader {
            base_offset,
            size,
            leader_epoch: i32::from_be_bytes(layout::LEADER_EPOCH.of(head)),
            crc: u32::from_be_bytes(layout::CRC.of(head)),
            attributes: i16::from_be_bytes(layout::ATTRIBUTES.of(head)),
            last_offset_delta: i32::from_be_bytes(layout::LAST_OFFSET_DELTA.of(head)),
            base_timestamp: i64::from_be_bytes(layout::BASE_TIMESTAMP.of(head)),
            max_timestamp: i64::from_be_bytes(layout::MAX_TIMESTAMP.of(head)),
            producer_id: i64::from_be_bytes(layout::PRODUCER_ID.of(head)),
            producer_epoch: i16::from_be_bytes(layout::PRODUCER_EPOCH.of(head)),
            base_sequence: i32::from_be_bytes(layout::BASE_SEQUENCE.of(head)),
            count: i32::from_be_bytes(layout::COUNT.of(head)),
        };
        let covered = i64::from(header.last_offset_delta) + 1;
        if header.count < 0 || covered < 1 || base_offset < 0 || base_offset.checked_add(covered).is_none() {
            return Err(RecordsError::Malformed { base_offset, what: "a count or offset is out of range" });
        }
        Ok(header)
    }

    /// Verifies the checksum of `batch`, all bytes of the batch that this is the header of.
    ///
    /// # Errors
    /// [`RecordsError::Crc`] when it does not match.
    pub fn check_crc(&self, batch: &[u8]) -> Result<(), RecordsError> {
        let actual = layout::crc_of(&batch[..self.size]);
        if actual == self.crc {
            return Ok(());
        }
        Err(RecordsError::Crc { base_offset: self.base_offset, expected: self.crc, actual })
    }

    /// The offset after the last one that the batch covers.
    pub fn next_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta) + 1
    }

    /// The number of the compression codec; 0 is none.
    pub fn codec(&self) -> i16 {
        self.attributes & layout::COMPRESSION_MASK
    }

    /// Whether the broker stamped the records when it appended them (then `max_timestamp` is
    /// every record's timestamp).
    pub fn is_log_append_time(&self) -> bool {
        self.attributes & layout::LOG_APPEND_TIME != 0
    }

    /// Whether the records belong to a transaction (KIP-98).
    pub fn is_transactional(&self) -> bool {
        self.attributes & layout::TRANSACTIONAL != 0
    }

    /// Whether the batch is a control batch, a transaction's end (KIP-98).
    pub fn is_control(&self) -> bool {
        self.attributes & layout::CONTROL != 0
    }
}

/// Appends the records of one batch to `out`: `buffer[start..end]` are its (decompressed)
/// records. Records below `from_offset` are left out.
///
/// # Errors
/// [`RecordsError::Malformed`]; `out` then holds what was read before.
pub fn walk(
    header: &BatchHeader,
    buffer: &[u8],
    start: usize,
    end: usize,
    from_offset: i64,
    out: &mut Vec<Record>,
) -> Result<(), RecordsError> {
    let mut walker = Walker::new(header);
    let bytes = buffer.get(..end).filter(|bytes| start <= bytes.len());
    let bytes = bytes.ok_or_else(|| walker.malformed("the records are out of range"))?;
    let mut at = start;
    walker.step(bytes, &mut at, true, from_offset, usize::MAX, out)?;
    if at == end { Ok(()) } else { Err(walker.malformed(TRAILING)) }
}

/// The error of a batch that has more bytes than records.
pub(super) const TRAILING: &str = "bytes follow the last record";

/// Reads the records of one batch, in as many steps as it takes.
#[derive(Clone, Debug)]
pub(super) struct Walker {
    header: BatchHeader,
    /// The records that are not read yet.
    left: usize,
    /// The offset of the last record read.
    previous: i64,
}

impl Walker {
    pub(super) fn new(header: &BatchHeader) -> Walker {
        Walker { header: *header, left: header.count as usize, previous: header.base_offset - 1 }
    }

    /// Whether all records are read.
    pub(super) fn is_done(&self) -> bool {
        self.left == 0
    }

    /// The offset after the last record read; the batch's first while none is.
    pub(super) fn next_offset(&self) -> i64 {
        self.previous + 1
    }

    /// Appends at most `most` records to `out`, from `bytes[*at..]` on, and moves `at` past them.
    /// Unless `is_all`, more bytes are to come, and a record that is cut off waits for them.
    /// Records below `from_offset` count, but are left out.
    pub(super) fn step(
        &mut self,
        bytes: &[u8],
        at: &mut usize,
        is_all: bool,
        from_offset: i64,
        most: usize,
        out: &mut Vec<Record>,
    ) -> Result<(), RecordsError> {
        if u32::try_from(bytes.len()).is_err() {
            return Err(self.malformed("the records lie beyond what a span can reach"));
        }
        // A record takes at least 7 bytes, whatever the header says.
        let count = self.left.min(most);
        out.reserve(count.min((bytes.len() - *at) / 7));
        let mut previous = self.previous;
        let is_dense = (bytes.len() - *at) / LARGE < count;
        let mut near = if is_dense { *at } else { usize::MAX };
        for read in 0..count {
            let start = *at;
            if start + NEAR > near {
                near = approach(bytes, start.max(near));
            }
            let record = match read_record(&self.header, bytes, at) {
                Ok(record) => record,
                Err(what) => {
                    (self.left, self.previous) = (self.left - read, previous);
                    *at = start;
                    let may_come = bytes.len() + 1..start.saturating_add(i32::MAX as usize);
                    let waits = !is_all && record_end(bytes, start).is_none_or(|end| may_come.contains(&end));
                    return if waits { Ok(()) } else { Err(self.malformed(what)) };
                }
            };
            if record.offset <= previous {
                return Err(self.malformed("offsets do not ascend"));
            }
            previous = record.offset;
            if record.offset >= from_offset {
                out.push(record);
            }
        }
        (self.left, self.previous) = (self.left - count, previous);
        Ok(())
    }

    pub(super) fn malformed(&self, what: &'static str) -> RecordsError {
        RecordsError::Malformed { base_offset: self.header.base_offset, what }
    }
}

/// How far ahead of the record that is read the bytes are in the processor's cache at least.
const NEAR: usize = 4 << 10;

/// Of records of so many bytes and more, most of what is between them need not be read here.
const LARGE: usize = 1 << 10;

/// Looks at the bytes from `from` on, and says up to where.
///
/// Where a record begins is only known when the one before is read, and a response is too large to be in a cache
/// still: if each record were waited for alone, that would take longer than all else. What is looked at here
/// comes all at once, while the processor goes on.
#[inline(never)]
fn approach(bytes: &[u8], from: usize) -> usize {
    const LINE: usize = 64;
    let until = bytes.len().min(from + 2 * NEAR);
    let lines = bytes[from.min(until)..until].chunks_exact(LINE);
    black_box(lines.fold(0, |all, line| all | line[0]));
    from + 2 * NEAR
}

/// Where the record at `bytes[at..]` ends, if the bytes of its length are there. An invalid length
/// ends the record at once.
pub(super) fn record_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    /// The most bytes of a length.
    const LENGTH_BYTES_MAX: usize = 10;
    match varint::read_at(bytes, &mut at) {
        Some(len) => Some(at.saturating_add(usize::try_from(len).unwrap_or(0))),
        None => (bytes.len() - at >= LENGTH_BYTES_MAX).then_some(at),
    }
}

/// The record at `bytes[*at..]`, past which it moves `at`, or what is wrong with it.
///
/// In between `at` only grows, never wraps, and is checked against the buffer wherever it is read;
/// so once it is found to be within the record, all spans are.
#[inline]
fn read_record(header: &BatchHeader, bytes: &[u8], at: &mut usize) -> Result<Record, &'static str> {
    const FIELDS: &str = "a record's fields do not fit";
    let len = varint::read_at(bytes, at).ok_or("a record's length is cut off")?;
    let len = usize::try_from(len).map_err(|_| "a record's length is negative")?;
    let end = at.saturating_add(len);
    if end > bytes.len() {
        return Err("a record is cut off");
    }
    *at += 1; // the record's attributes are unused
    let timestamp_delta = varint::read_at(bytes, at).ok_or(FIELDS)?;
    let offset_delta = varint::read_at(bytes, at).ok_or(FIELDS)?;
    let key = read_span(bytes, at).ok_or(FIELDS)?;
    let value = read_span(bytes, at).ok_or(FIELDS)?;
    let headers = bytes.get(*at..end).ok_or(FIELDS)?;
    if headers != NO_HEADERS {
        check_headers(headers).ok_or("a record's headers do not fit")?;
    }
    let headers = Span::new(*at as u32, headers.len() as u32);
    *at = end;
    if !(0..=i64::from(header.last_offset_delta)).contains(&offset_delta) {
        return Err("a record's offset is not the batch's");
    }
    let timestamp = if header.is_log_append_time() {
        header.max_timestamp
    } else {
        header.base_timestamp.wrapping_add(timestamp_delta)
    };
    Ok(Record { offset: header.base_offset + offset_delta, timestamp, key, value, headers })
}

#[inline(always)]
fn read_span(bytes: &[u8], at: &mut usize) -> Option<Span> {
    let len = varint::read_at(bytes, at)?;
    if len < 0 {
        return (len == -1).then_some(Span::NULL);
    }
    let span = Span::new(*at as u32, len as u32);
    *at = at.saturating_add(len as usize);
    Some(span)
}

/// `Some` when exactly well-formed headers fill `bytes`.
fn check_headers(mut bytes: &[u8]) -> Option<()> {
    let count = varint::read(&mut bytes)?;
    for _ in 0..u32::try_from(count).ok()? {
        for nullable in [false, true] {
            let len = varint::read(&mut bytes)?;
            if len < 0 && !(nullable && len == -1) {
                return None;
            }
            bytes = bytes.get(usize::try_from(len.max(0)).ok()?..)?;
        }
    }
    bytes.is_empty().then_some(())
}
