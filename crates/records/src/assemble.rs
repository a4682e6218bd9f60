//! Turns the records of one partition in a fetch response into pieces for the pipeline.

use std::{fmt, ops::ControlFlow};

use bytes::Bytes;

use super::{
    Aborted, AbortedTransaction, Compression, Message, RecordsError, WireBatch,
    legacy::Wrapper,
    piece::{Kind, Limits, Piece, Plain},
    unpack::Packed,
};
use crate::Record;

/// A run of records and the buffer that their spans point into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assembled {
    /// The wire bytes themselves, or the decompressed records.
    pub buffer: Bytes,
    /// The records in offset order; there may be none.
    pub records: Vec<Record>,
    /// The offset after the last one covered: where to read on.
    pub next_offset: i64,
    /// The leader epoch of the last wire batch covered (KIP-101); -1 where its format has none.
    pub leader_epoch: i32,
    /// How the records were compressed.
    pub compression: Compression,
    /// The memory in bytes that `buffer` takes besides the response: none where it is a part of it.
    pub memory: usize,
}

/// How a fetch response is read.
#[derive(Clone, Copy, Debug)]
pub struct AssembleSettings {
    /// Whether the records of aborted transactions are left out (KIP-98).
    pub read_committed: bool,
    /// Whether checksums are verified.
    pub check_crc: bool,
    /// The bytes after which a piece ends, decompressed or on the wire, unless a single record is
    /// larger.
    pub max_bytes: usize,
    /// The records after which a piece ends.
    pub max_records: usize,
}

impl Default for AssembleSettings {
    fn default() -> AssembleSettings {
        AssembleSettings {
            read_committed: true,
            check_crc: true,
            max_bytes: PIECE_BYTES_MAX,
            max_records: usize::MAX,
        }
    }
}

/// With one more record of at most 2 GiB, 32-bit spans still reach everywhere.
const PIECE_BYTES_MAX: usize = 1 << 30;

/// Iterates over the pieces of a fetch response.
///
/// A piece is either a run of uncompressed wire batches and shares their memory, or a run of
/// batches of one compression, decompressed; a wire batch that is larger than a piece may be is
/// spread over several. Control batches, aborted transactions and offsets below the one asked for
/// are left out; a piece of nothing else is empty. A last batch that is cut off is normal and left
/// for the next fetch. After an error nothing follows.
///
/// What one call of `next` takes is bounded, in time too: a record that is larger than a piece has
/// one of its own, with an empty one before it so that [`needs`](Assembler::needs) can be asked.
pub struct Assembler {
    bytes: Bytes,
    /// Where the next wire batch starts, or the one that is being read.
    at: usize,
    open: Option<Open>,
    next_offset: i64,
    leader_epoch: i32,
    aborted: Aborted,
    read_committed: bool,
    check_crc: bool,
    limits: Limits,
    /// What comes after the last piece.
    failed: Option<RecordsError>,
}

/// The wire batch that is being read.
struct Open {
    kind: Kind,
    size: usize,
    next_offset: i64,
    state: State,
}

/// How far it is read.
enum State {
    Plain(Plain),
    Packed(Packed),
    Message(Message),
    Wrapper(Box<Wrapper>),
}

/// The outcome of a step.
enum Advance {
    /// A wire batch is read, or left out.
    Done,
    /// The piece ends here.
    Full,
    /// There is nothing more.
    End,
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
        let AssembleSettings { read_committed, check_crc, max_bytes, max_records } = settings;
        let limits =
            Limits { max_bytes: max_bytes.clamp(1, PIECE_BYTES_MAX), max_records: max_records.max(1) };
        Assembler {
            bytes,
            at: 0,
            open: None,
            next_offset: from_offset,
            leader_epoch: -1,
            aborted: Aborted::new(aborted),
            read_committed,
            check_crc,
            limits,
            failed: None,
        }
    }

    /// The offset to fetch from next, once all pieces are taken; after an error, that of the first
    /// record that was not handed out.
    pub fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// The size in bytes of the next record, where it alone is larger than a piece may be.
    pub fn needs(&self) -> Option<usize> {
        match &self.open.as_ref()?.state {
            State::Packed(packed) => packed.needs(&self.limits),
            State::Plain(_) | State::Message(_) | State::Wrapper(_) => None,
        }
    }

    /// The next wire batch, `None` at the end or where the rest is cut off.
    fn peek(&self) -> Result<Option<WireBatch>, RecordsError> {
        let rest = &self.bytes[self.at..];
        match WireBatch::read(rest) {
            _ if rest.is_empty() => Ok(None),
            Err(RecordsError::Truncated { .. }) if self.at > 0 => Ok(None),
            other => other.map(Some),
        }
    }

    /// Adds to `piece` from the wire batch at `self.at`.
    fn advance(&mut self, piece: &mut Piece) -> Result<Advance, RecordsError> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => match self.begin(piece)? {
                ControlFlow::Continue(open) => open,
                ControlFlow::Break(advance) => return Ok(advance),
            },
        };
        let before = piece.records.len();
        match self.read(&mut open.state, piece) {
            Ok(true) => {
                self.pass(open.size, open.next_offset);
                Ok(Advance::Done)
            }
            Ok(false) => {
                self.next_offset = self.next_offset.max(open.state.next_offset());
                self.open = Some(open);
                Ok(Advance::Full)
            }
            Err(error) => {
                piece.records.truncate(before);
                Err(error)
            }
        }
    }

    /// Begins to read the next wire batch, unless it is left out or does not fit into `piece`.
    fn begin(&mut self, piece: &mut Piece) -> Result<ControlFlow<Advance, Open>, RecordsError> {
        let Some(batch) = self.peek()? else { return Ok(ControlFlow::Break(Advance::End)) };
        let (size, next_offset) = (batch.size(), batch.next_offset());
        let bytes = &self.bytes[self.at..self.at + size];
        if self.check_crc {
            batch.check_crc(bytes)?;
        }
        let is_left_out = match &batch {
            WireBatch::Batch(header) => {
                let is_aborted = self.read_committed && self.aborted.advance(header, bytes);
                header.is_control() || is_aborted
            }
            WireBatch::Message(_) => false,
        };
        if is_left_out || next_offset <= self.next_offset {
            self.leader_epoch = batch.leader_epoch();
            self.pass(size, next_offset);
            return Ok(ControlFlow::Break(Advance::Done));
        }
        let compression = batch.compression()?;
        let is_message = matches!(batch, WireBatch::Message(_));
        let kind = Kind { compression, is_copied: is_message || compression != Compression::None };
        let before = if kind.is_copied { piece.unpacked.len() } else { self.at - piece.start };
        if piece.records.is_empty() {
            *piece = Piece::new(kind, self.at);
        } else if kind != piece.kind || before + size > self.limits.max_bytes {
            return Ok(ControlFlow::Break(Advance::Full));
        }
        self.leader_epoch = batch.leader_epoch();
        let state = match batch {
            WireBatch::Batch(header) if kind.is_copied => {
                State::Packed(Packed::new(&header, self.wire(size), compression)?)
            }
            WireBatch::Batch(header) => State::Plain(Plain::new(&header, self.at)),
            WireBatch::Message(message) if compression == Compression::None => State::Message(message),
            WireBatch::Message(outer) => {
                let wrapper = Wrapper::new(outer, &self.wire(size), self.check_crc)?;
                State::Wrapper(Box::new(wrapper))
            }
        };
        Ok(ControlFlow::Continue(Open { kind, size, next_offset, state }))
    }

    /// The wire batch at `self.at`.
    fn wire(&self, size: usize) -> Bytes {
        self.bytes.slice(self.at..self.at + size)
    }

    /// Adds to `piece` until it is full (`false`) or the wire batch is at its end.
    fn read(&self, state: &mut State, piece: &mut Piece) -> Result<bool, RecordsError> {
        let (limits, from) = (&self.limits, self.next_offset);
        match state {
            State::Plain(plain) => plain.read(&self.bytes, piece, limits, from),
            State::Packed(packed) => packed.read(piece, limits, from),
            State::Wrapper(wrapper) => wrapper.read(piece, limits, from),
            State::Message(message) => {
                message.add_to(piece, &self.bytes[self.at..], message.offset, message.timestamp());
                Ok(true)
            }
        }
    }

    /// Moves past a wire batch.
    fn pass(&mut self, size: usize, next_offset: i64) {
        self.at += size;
        self.next_offset = self.next_offset.max(next_offset);
    }

    /// A piece that begins where the last one ended.
    fn begin_piece(&self) -> Piece {
        match &self.open {
            Some(Open { kind, state: State::Plain(plain), .. }) => Piece::new(*kind, plain.at()),
            Some(open) => Piece::new(open.kind, self.at),
            None => Piece::default(),
        }
    }

    fn finish(&self, piece: Piece) -> Assembled {
        let compression = piece.kind.compression;
        let (records, buffer, memory) = piece.finish(&self.bytes);
        let Assembler { next_offset, leader_epoch, .. } = *self;
        Assembled { buffer, records, next_offset, leader_epoch, compression, memory }
    }
}

impl State {
    /// The offset after the last record read.
    fn next_offset(&self) -> i64 {
        match self {
            State::Plain(plain) => plain.next_offset(),
            State::Packed(packed) => packed.next_offset(),
            State::Message(message) => message.offset,
            State::Wrapper(wrapper) => wrapper.next_offset(),
        }
    }
}

impl Iterator for Assembler {
    type Item = Result<Assembled, RecordsError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.failed.take() {
            return Some(Err(error));
        }
        let mut piece = self.begin_piece();
        let mut moved = false;
        while !self.limits.are_reached(&piece) {
            match self.advance(&mut piece) {
                Ok(Advance::Done) => moved = true,
                Ok(Advance::Full) => {
                    moved = true;
                    break;
                }
                Ok(Advance::End) => break,
                Err(error) => {
                    self.at = self.bytes.len();
                    if !moved {
                        return Some(Err(error));
                    }
                    // What was read before is handed out first.
                    self.failed = Some(error);
                    break;
                }
            }
        }
        moved.then(|| Ok(self.finish(piece)))
    }
}

impl fmt::Debug for Assembler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Assembler").field("next_offset", &self.next_offset).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "assemble_tests.rs"]
mod tests;
