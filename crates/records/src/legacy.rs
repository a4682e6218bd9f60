//! Reads the message formats before Kafka 0.11, magic 0 and 1: Kafka 4 no longer writes them, but
//! sends what is on disk as it is (KIP-724).
//!
//! A message is an entry of its own, with its offset, or a wrapper whose value holds the messages
//! of a compressed batch. What is read is copied once: key and value, one record after another.

use std::{
    io::{self, Read},
    ops::Range,
};

use bytes::Bytes;

use super::{
    Compression, RecordsError, checksum, lz4_v0,
    piece::{Limits, Piece},
    unpack::Stream,
};
use crate::{Record, Span, buffers::Buffer};

/// The bytes of offset and size in front of a message.
const ENTRY_LEN: usize = 12;
/// The bytes of a wrapper to decompress before the messages among them are read.
const STEP_BYTES: usize = 64 << 10;

/// A message of magic 0 or 1, in wire order. The ranges count from the entry's start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The message's offset; of a wrapper that of its last message.
    pub offset: i64,
    /// The size in bytes of the whole entry.
    pub size: usize,
    /// The CRC-32 of everything from `magic` on.
    crc: u32,
    magic: i8,
    /// Compression (bits 0–2), timestamp type (3).
    attributes: i8,
    /// In milliseconds; -1 in magic 0, which has none.
    timestamp: i64,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
}

impl Message {
    /// Reads the entry at the front of `bytes`, without checking its checksum.
    ///
    /// # Errors
    /// [`RecordsError::Truncated`] when the entry is incomplete, `Magic`, `Malformed`.
    pub(super) fn read(bytes: &[u8]) -> Result<Message, RecordsError> {
        let Some((offset, length)) = bytes.first_chunk().zip(bytes.get(8..).and_then(|b| b.first_chunk()))
        else {
            return Err(RecordsError::Truncated { need: ENTRY_LEN, have: bytes.len() });
        };
        let (offset, length) = (i64::from_be_bytes(*offset), i32::from_be_bytes(*length));
        let malformed = |what| RecordsError::Malformed { base_offset: offset, what };
        let size = usize::try_from(length).map_or(0, |length| ENTRY_LEN + length);
        // Checksum, magic, attributes, and two lengths.
        if size < ENTRY_LEN + 14 {
            return Err(malformed("its length is less than a message takes"));
        }
        if offset < 0 || offset == i64::MAX {
            return Err(malformed("its offset is out of range"));
        }
        let Some(entry) = bytes.get(..size) else {
            return Err(RecordsError::Truncated { need: size, have: bytes.len() });
        };
        let (magic, attributes) = (entry[16] as i8, entry[17] as i8);
        let mut fields = Fields { entry, at: 18 };
        let timestamp = match magic {
            0 => Some(-1),
            1 => fields.take().map(i64::from_be_bytes),
            _ => return Err(RecordsError::Magic { base_offset: offset, magic }),
        };
        let crc = u32::from_be_bytes([entry[12], entry[13], entry[14], entry[15]]);
        let fields = timestamp.zip(fields.range()).and_then(|(timestamp, key)| {
            let value = fields.range()?;
            (fields.at == size).then_some((timestamp, key, value))
        });
        let (timestamp, key, value) = fields.ok_or_else(|| malformed("a message's fields do not fit"))?;
        Ok(Message { offset, size, crc, magic, attributes, timestamp, key, value })
    }

    /// Verifies the checksum of `entry`, all bytes of the entry that this is read from.
    pub(super) fn check_crc(&self, entry: &[u8]) -> Result<(), RecordsError> {
        let actual = checksum::crc32(&entry[16..self.size]);
        if actual == self.crc {
            return Ok(());
        }
        Err(RecordsError::Crc { base_offset: self.offset, expected: self.crc, actual })
    }

    /// How the messages within are compressed; a message that is no wrapper is not compressed.
    pub(super) fn compression(&self) -> Result<Compression, RecordsError> {
        match Compression::from_id(i16::from(self.attributes & 0x07)) {
            // zstd came with the format that replaced this one (KIP-110).
            None | Some(Compression::Zstd) => Err(self.malformed("its compression is unknown")),
            Some(compression) => Ok(compression),
        }
    }

    /// Whether the broker stamped the messages within when it appended them (KIP-32).
    fn is_log_append_time(&self) -> bool {
        self.magic == 1 && self.attributes & 0x08 != 0
    }

    /// Adds the record that this message is, read from `entry`, to `piece`.
    pub(super) fn add_to(&self, piece: &mut Piece, entry: &[u8], offset: i64, timestamp: i64) {
        let headers = piece.no_headers();
        let unpacked = &mut piece.unpacked;
        let mut put = |part: &Option<Range<usize>>| match part {
            None => Span::NULL,
            Some(range) => {
                let start = unpacked.len();
                unpacked.extend(&entry[range.clone()]);
                Span::new(start as u32, range.len() as u32)
            }
        };
        let (key, value) = (put(&self.key), put(&self.value));
        piece.records.push(Record { offset, timestamp, key, value, headers });
    }

    /// The timestamp in milliseconds, -1 without one.
    pub(super) fn timestamp(&self) -> i64 {
        self.timestamp
    }

    fn malformed(&self, what: &'static str) -> RecordsError {
        RecordsError::Malformed { base_offset: self.offset, what }
    }
}

/// Takes the fields of a message one after the other.
struct Fields<'a> {
    entry: &'a [u8],
    at: usize,
}

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let field = self.entry.get(self.at..)?.first_chunk()?;
        self.at += N;
        Some(*field)
    }

    /// Where a key or value is: the outer `None` is malformed, the inner one null.
    fn range(&mut self) -> Option<Option<Range<usize>>> {
        let len = i32::from_be_bytes(self.take()?);
        if len == -1 {
            return Some(None);
        }
        let range = self.at..self.at.checked_add(usize::try_from(len).ok()?)?;
        self.at = range.end;
        (range.end <= self.entry.len()).then_some(Some(range))
    }
}

/// A wrapper while the messages within are read.
pub(super) struct Wrapper {
    outer: Message,
    stream: Stream,
    /// Decompressed bytes; those before `at` are read.
    entries: Buffer,
    at: usize,
    /// What an offset within counts from: in magic 1 offsets are relative (KIP-31).
    base: i64,
    /// The offset of the last message read.
    previous: i64,
    check_crc: bool,
}

impl Wrapper {
    /// Starts to read the messages within `outer`, whose entry is `entry`.
    pub(super) fn new(outer: Message, entry: &Bytes, check_crc: bool) -> Result<Wrapper, RecordsError> {
        let codec = outer.compression()?;
        let value = outer.value.clone().ok_or_else(|| outer.malformed("a wrapper's value is null"))?;
        let mut packed = entry.slice(value);
        if codec == Compression::Lz4 && outer.magic == 0 {
            packed = lz4_v0::with_right_checksum(packed);
        }
        let open = || Stream::new(packed.clone(), codec, outer.offset);
        // The wrapper has the last message's offset, so the last one gives the first one's away.
        let base = match outer.magic {
            0 => 0,
            _ => outer.offset.saturating_sub(open()?.look_through(last_offset)?),
        };
        if base < 0 {
            return Err(outer.malformed("its offset is less than that of a message within"));
        }
        let stream = open()?;
        Ok(Wrapper { outer, stream, entries: Buffer::default(), at: 0, base, previous: -1, check_crc })
    }

    /// The offset after the last message read.
    pub(super) fn next_offset(&self) -> i64 {
        self.previous + 1
    }

    /// Adds to `piece` until it is full (`false`) or the wrapper is at its end.
    pub(super) fn read(
        &mut self,
        piece: &mut Piece,
        limits: &Limits,
        from_offset: i64,
    ) -> Result<bool, RecordsError> {
        let mut read = 0;
        loop {
            let entry = &self.entries[self.at..];
            let inner = match Message::read(entry) {
                Ok(inner) => inner,
                Err(RecordsError::Truncated { .. }) if !self.stream.is_at_end => {
                    self.refill()?;
                    continue;
                }
                Err(RecordsError::Truncated { have: 0, .. }) if self.previous < 0 => {
                    return Err(self.outer.malformed("there is no message within"));
                }
                Err(RecordsError::Truncated { have: 0, .. }) => return Ok(true),
                Err(RecordsError::Truncated { .. }) => {
                    return Err(self.outer.malformed("a message within is cut off"));
                }
                Err(error) => return Err(error),
            };
            let is_full = limits.records_left(piece) == 0
                || read >= limits.max_bytes
                || (!piece.records.is_empty() && piece.unpacked.len() + inner.size > limits.max_bytes);
            if is_full {
                return Ok(false);
            }
            if self.check_crc {
                inner.check_crc(entry)?;
            }
            if inner.compression()? != Compression::None {
                return Err(self.outer.malformed("a message within is compressed again"));
            }
            let offset = self.base.saturating_add(inner.offset);
            if offset <= self.previous || offset > self.outer.offset {
                return Err(self.outer.malformed("offsets do not ascend"));
            }
            if offset >= from_offset {
                inner.add_to(piece, entry, offset, self.timestamp_of(&inner));
            }
            self.previous = offset;
            self.at += inner.size;
            read += inner.size;
        }
    }

    fn timestamp_of(&self, inner: &Message) -> i64 {
        if inner.magic == 1 && self.outer.is_log_append_time() {
            self.outer.timestamp
        } else {
            inner.timestamp
        }
    }

    /// Decompresses more, in place of what has been read.
    fn refill(&mut self) -> Result<(), RecordsError> {
        let rest = self.entries[self.at..].to_vec();
        self.entries.set_len(0);
        self.entries.extend(&rest);
        self.at = 0;
        self.stream.fill(&mut self.entries, STEP_BYTES.max(2 * rest.len()))
    }
}

/// The offset in the last of the messages; none of them is kept.
fn last_offset(messages: &mut dyn Read) -> io::Result<i64> {
    let mut last = None;
    let mut head = [0; ENTRY_LEN];
    loop {
        let mut read = 0;
        while read < ENTRY_LEN {
            match messages.read(&mut head[read..])? {
                0 if read == 0 => {
                    let empty = || io::Error::new(io::ErrorKind::InvalidData, "there is no message within");
                    return last.ok_or_else(empty);
                }
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                more => read += more,
            }
        }
        let (offset, length) = head.split_at(8);
        last = Some(i64::from_be_bytes(offset.try_into().expect("eight bytes")));
        let length = i32::from_be_bytes(length.try_into().expect("four bytes"));
        let length = u64::try_from(length).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        io::copy(&mut messages.take(length), &mut io::sink())?;
    }
}

#[cfg(test)]
#[path = "legacy_tests.rs"]
mod tests;
