//! A piece in the making, and what an uncompressed batch adds to it.

use bytes::Bytes;

use super::{
    BatchHeader, Compression, HEADER_LEN, NO_HEADERS, RecordsError,
    reader::{TRAILING, Walker, record_end},
};
use crate::{Record, Span, buffers::Buffer};

/// Where a piece ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub max_bytes: usize,
    pub max_records: usize,
}

impl Limits {
    /// The records that `piece` has room for.
    pub fn records_left(&self, piece: &Piece) -> usize {
        self.max_records.saturating_sub(piece.records.len())
    }

    /// Whether nothing more may be added to `piece`.
    pub fn are_reached(&self, piece: &Piece) -> bool {
        let bytes = if piece.kind.is_copied { piece.unpacked.len() } else { piece.len };
        bytes >= self.max_bytes || self.records_left(piece) == 0
    }
}

/// What the wire batches of a piece have in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Kind {
    pub compression: Compression,
    /// Whether the buffer is memory of its own, not a part of the response.
    pub is_copied: bool,
}

/// A run of records, and its buffer to be.
#[derive(Default)]
pub(super) struct Piece {
    pub kind: Kind,
    pub records: Vec<Record>,
    /// The buffer, if it is not a part of the response.
    pub unpacked: Buffer,
    /// Where the buffer starts in the response, if it is a part of it.
    pub start: usize,
    /// Its length then.
    pub len: usize,
    /// Where `unpacked` has the encoding of no headers, for formats that have none.
    no_headers: Option<Span>,
}

impl Piece {
    pub fn new(kind: Kind, start: usize) -> Piece {
        Piece { kind, start, ..Piece::default() }
    }

    /// Where the encoding of no headers stands in `unpacked`.
    pub fn no_headers(&mut self) -> Span {
        *self.no_headers.get_or_insert_with(|| {
            let start = self.unpacked.len();
            self.unpacked.extend(NO_HEADERS);
            Span::new(start as u32, NO_HEADERS.len() as u32)
        })
    }

    /// The records, their buffer, and the memory that it takes besides the response.
    pub fn finish(self, response: &Bytes) -> (Vec<Record>, Bytes, usize) {
        let Piece { kind, records, unpacked, start, len, .. } = self;
        let (buffer, memory) = if records.is_empty() {
            (Bytes::new(), 0)
        } else if !kind.is_copied {
            (response.slice(start..start + len), 0)
        } else if unpacked.len() * 2 < unpacked.capacity() {
            // Most of the memory would be held for nothing.
            (Bytes::copy_from_slice(&unpacked), unpacked.len())
        } else {
            let memory = unpacked.capacity();
            (unpacked.share(), memory)
        };
        (records, buffer, memory)
    }
}

/// An uncompressed batch while it is read.
pub(super) struct Plain {
    walker: Walker,
    /// Where its next record starts in the response.
    at: usize,
    /// Where it ends.
    end: usize,
}

impl Plain {
    /// The batch that `header` heads, at `at` in the response.
    pub fn new(header: &BatchHeader, at: usize) -> Plain {
        Plain { walker: Walker::new(header), at: at + HEADER_LEN, end: at + header.size }
    }

    /// Where its next record starts in the response.
    pub fn at(&self) -> usize {
        self.at
    }

    /// The offset after the last record read.
    pub fn next_offset(&self) -> i64 {
        self.walker.next_offset()
    }

    /// Adds to `piece` until it is full (`false`) or the batch is at its end.
    pub fn read(
        &mut self,
        response: &[u8],
        piece: &mut Piece,
        limits: &Limits,
        from_offset: i64,
    ) -> Result<bool, RecordsError> {
        let bytes = &response[piece.start..self.end];
        let mut at = self.at - piece.start;
        let mut until = bytes.len().min(limits.max_bytes.max(at));
        loop {
            let most = limits.records_left(piece);
            let (begun, is_all) = (at, until == bytes.len());
            self.walker.step(&bytes[..until], &mut at, is_all, from_offset, most, &mut piece.records)?;
            (self.at, piece.len) = (piece.start + at, at);
            if self.walker.is_done() {
                // What is covered, not what is read: the next batch's position counts from there.
                piece.len = bytes.len();
                return if at == bytes.len() { Ok(true) } else { Err(self.walker.malformed(TRAILING)) };
            }
            if at > begun {
                return Ok(false);
            }
            // A record that is larger than a piece has one of its own.
            until = record_end(bytes, at).unwrap_or(bytes.len()).clamp(until + 1, bytes.len());
        }
    }
}
