//! Turns the records of one partition in a fetch response into pieces ready for the road.

use bytes::Bytes;

use super::{Aborted, AbortedTransaction, BatchHeader, Compression, HEADER_LEN, RecordsError, walk};
use crate::batch::Record;

/// A run of records and the buffer that their spans point into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assembled {
    /// The wire bytes themselves, or the decompressed records.
    pub buffer: Bytes,
    /// The records in offset order; there may be none.
    pub records: Vec<Record>,
    /// The offset after the last one covered: where to read on.
    pub next_offset: i64,
    /// The leader epoch of the last wire batch covered (KIP-101).
    pub leader_epoch: i32,
    /// How the records were compressed, the last of them if not all in the same way.
    pub compression: Compression,
}

/// How a fetch response is read.
#[derive(Clone, Copy, Debug)]
pub struct AssembleSettings {
    /// Whether the records of aborted transactions are left out (KIP-98).
    pub read_committed: bool,
    /// Whether checksums are verified.
    pub check_crc: bool,
    /// The bytes after which a piece ends, unless a single wire batch is larger. Compressed
    /// batches count with what they decompress to once they are in the piece.
    pub max_bytes: usize,
    /// The records after which a piece ends, at the end of the wire batch.
    pub max_records: usize,
    /// The bytes that one wire batch may decompress to; more is refused.
    pub max_decompressed: usize,
}

impl Default for AssembleSettings {
    fn default() -> AssembleSettings {
        AssembleSettings {
            read_committed: true,
            check_crc: true,
            max_bytes: MAX_PIECE,
            max_records: usize::MAX,
            max_decompressed: 128 << 20,
        }
    }
}

/// With one more wire batch of at most 2 GiB, spans of 32 bits still reach everywhere.
const MAX_PIECE: usize = 1 << 30;

/// Iterates over the pieces of a fetch response.
///
/// A piece is either a run of uncompressed wire batches and shares their memory, or a run of
/// compressed ones, decompressed. Control batches, aborted transactions and offsets below the
/// one asked for are left out; a piece of nothing else is empty and still moves `next_offset`.
/// A last batch that is cut off is normal and left for the next fetch. After an error nothing
/// follows.
#[derive(Debug)]
pub struct Assembler {
    bytes: Bytes,
    at: usize,
    next_offset: i64,
    leader_epoch: i32,
    aborted: Aborted,
    settings: AssembleSettings,
}

impl Assembler {
    /// Reads `bytes`, fetched from `from_offset`; `aborted` are the response's aborted
    /// transactions.
    pub fn new(
        bytes: Bytes,
        from_offset: i64,
        aborted: Vec<AbortedTransaction>,
        settings: AssembleSettings,
    ) -> Assembler {
        let aborted = Aborted::new(aborted);
        Assembler { bytes, at: 0, next_offset: from_offset, leader_epoch: -1, aborted, settings }
    }

    /// The offset to fetch from next, once all pieces are taken.
    pub fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// The header of the next wire batch, `None` at the end or where the rest is cut off.
    fn peek(&self) -> Result<Option<BatchHeader>, RecordsError> {
        let rest = &self.bytes[self.at..];
        match BatchHeader::read(rest) {
            _ if rest.is_empty() => Ok(None),
            Err(RecordsError::Truncated { .. }) if self.at > 0 => Ok(None),
            other => other.map(Some),
        }
    }

    /// Adds the wire batch at `self.at` to `piece`; `false` when the piece has to end before it.
    fn add(&mut self, header: &BatchHeader, piece: &mut Piece) -> Result<bool, RecordsError> {
        let batch = &self.bytes[self.at..self.at + header.size];
        if self.settings.check_crc {
            header.check_crc(batch)?;
        }
        let is_aborted = self.settings.read_committed && self.aborted.advance(header, batch);
        if header.is_control() || is_aborted || header.next_offset() <= self.next_offset {
            return Ok(true);
        }
        let compression = Compression::of(header)?;
        let (is_first, is_packed) = (piece.records.is_empty(), compression != Compression::None);
        let before = if is_packed { piece.len } else { self.at - piece.start };
        if !is_first && (is_packed != piece.is_packed || before + header.size > self.max_bytes()) {
            return Ok(false);
        }
        if is_first {
            *piece = Piece { is_packed, start: self.at, ..Piece::default() };
        }
        piece.compression = compression;
        let records_before = piece.records.len();
        let read = if is_packed {
            self.unpack(header, compression, piece)
        } else {
            let start = self.at - piece.start;
            piece.len = start + header.size;
            let buffer = &self.bytes[piece.start..piece.start + piece.len];
            let records = &mut piece.records;
            walk(header, buffer, start + HEADER_LEN, piece.len, self.next_offset, records)
        };
        if read.is_err() {
            piece.records.truncate(records_before);
        }
        read.map(|()| true)
    }

    fn unpack(
        &self,
        header: &BatchHeader,
        compression: Compression,
        piece: &mut Piece,
    ) -> Result<(), RecordsError> {
        let start = piece.unpacked.len();
        let limit = self.settings.max_decompressed.min(MAX_PIECE);
        compression.unpack(header, &self.bytes[self.at..], &mut piece.unpacked, limit)?;
        piece.len = piece.unpacked.len();
        walk(header, &piece.unpacked, start, piece.len, self.next_offset, &mut piece.records)
    }

    fn max_bytes(&self) -> usize {
        self.settings.max_bytes.min(MAX_PIECE)
    }

    fn finish(&self, piece: Piece) -> Assembled {
        let compression = piece.compression;
        let buffer = match piece {
            Piece { is_packed: true, unpacked, .. } => Bytes::from(unpacked),
            Piece { start, len, .. } => self.bytes.slice(start..start + len),
        };
        let (next_offset, leader_epoch) = (self.next_offset, self.leader_epoch);
        Assembled { buffer, records: piece.records, next_offset, leader_epoch, compression }
    }
}

impl Iterator for Assembler {
    type Item = Result<Assembled, RecordsError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut piece = Piece::default();
        let from = self.at;
        while piece.len < self.max_bytes() && piece.records.len() < self.settings.max_records {
            let added = match self.peek() {
                Ok(None) => break,
                Ok(Some(header)) => self.add(&header, &mut piece).map(|added| added.then_some(header)),
                Err(error) => Err(error),
            };
            match added {
                Ok(Some(header)) => {
                    self.at += header.size;
                    self.leader_epoch = header.leader_epoch;
                    self.next_offset = self.next_offset.max(header.next_offset());
                }
                Ok(None) => break,
                // What was read before is handed out first; the next call meets the error again.
                Err(_) if self.at > from => break,
                Err(error) => {
                    self.at = self.bytes.len();
                    return Some(Err(error));
                }
            }
        }
        (self.at > from).then(|| Ok(self.finish(piece)))
    }
}

/// A piece in the making.
#[derive(Default)]
struct Piece {
    records: Vec<Record>,
    compression: Compression,
    /// Whether the batches are compressed; then `unpacked` is the buffer.
    is_packed: bool,
    /// Where the buffer starts in the response, if the batches are not compressed.
    start: usize,
    /// The length of the buffer.
    len: usize,
    unpacked: Vec<u8>,
}

#[cfg(test)]
#[path = "assemble_tests.rs"]
mod tests;
