//! Decompresses the records of a batch piece by piece: little is in memory at once, however large
//! the whole is.

use std::io::{self, Read};

use bytes::Bytes;

use super::{
    BatchHeader, Compression, HEADER_LEN, RecordsError,
    piece::{Limits, Piece},
    reader::{TRAILING, Walker, record_end},
};
use crate::buffers::Buffer;

/// How much to decompress before reading the records in it, so that they are still cached.
const STEP_BYTES: usize = 128 << 10;

/// A compressed batch while it is read.
pub(super) struct Packed {
    walker: Walker,
    stream: Stream,
    /// What has been decompressed and belongs to the next piece.
    carry: Vec<u8>,
}

impl Packed {
    /// Starts to read `batch`, which `header` heads.
    pub(super) fn new(
        header: &BatchHeader,
        batch: Bytes,
        codec: Compression,
    ) -> Result<Packed, RecordsError> {
        let stream = Stream::new(batch.slice(HEADER_LEN..), codec, header.base_offset)?;
        Ok(Packed { walker: Walker::new(header), stream, carry: Vec::new() })
    }

    /// The offset after the last record read.
    pub(super) fn next_offset(&self) -> i64 {
        self.walker.next_offset()
    }

    /// The size in bytes of the next record, if it is so large that it gets a piece of its own.
    pub(super) fn needs(&self, limits: &Limits) -> Option<usize> {
        record_end(&self.carry, 0).filter(|end| *end > limits.max_bytes)
    }

    /// Adds to `piece` until it is full (`false`) or the batch is at its end.
    pub(super) fn read(
        &mut self,
        piece: &mut Piece,
        limits: &Limits,
        from_offset: i64,
    ) -> Result<bool, RecordsError> {
        let mut at = piece.unpacked.len();
        // The caller was told before of a record that is larger than any piece.
        let told = self.needs(limits);
        piece.unpacked.reserve(at + told.unwrap_or(self.carry.len()));
        piece.unpacked.extend(&std::mem::take(&mut self.carry));
        loop {
            let (unpacked, most) = (&piece.unpacked, limits.records_left(piece));
            let is_all = self.stream.is_at_end;
            self.walker.step(unpacked, &mut at, is_all, from_offset, most, &mut piece.records)?;
            if self.walker.is_done() {
                return self.end(piece, at).map(|()| true);
            }
            let waiting = unpacked.len() - at;
            let is_large = || record_end(unpacked, at).is_some_and(|end| end - at > limits.max_bytes);
            let is_full = at >= limits.max_bytes || limits.records_left(piece) == 0;
            if is_full || (is_large() && (at > 0 || told.is_none())) {
                self.carry = unpacked[at..].to_vec();
                piece.unpacked.set_len(at);
                return Ok(false);
            }
            self.stream.fill(&mut piece.unpacked, at + STEP_BYTES.max(2 * waiting))?;
        }
    }

    /// Checks that nothing follows the last record, which ends at `at`.
    fn end(&mut self, piece: &mut Piece, at: usize) -> Result<(), RecordsError> {
        self.stream.fill(&mut piece.unpacked, at + 1)?;
        if piece.unpacked.len() > at { Err(self.walker.malformed(TRAILING)) } else { Ok(()) }
    }
}

/// A decompressor and where it stands.
pub(super) struct Stream {
    reader: Box<dyn Read + Send>,
    /// Nothing follows.
    pub(super) is_at_end: bool,
    codec: Compression,
    base_offset: i64,
}

impl Stream {
    /// Decompresses `packed`, which is of the batch at `base_offset`.
    pub(super) fn new(packed: Bytes, codec: Compression, base_offset: i64) -> Result<Stream, RecordsError> {
        match codec.reader(packed) {
            Ok(reader) => Ok(Stream { reader, is_at_end: false, codec, base_offset }),
            Err(error) => Err(failed(base_offset, codec, &error)),
        }
    }

    /// Appends to `out` until it has `until` bytes or the input ends.
    pub(super) fn fill(&mut self, out: &mut Buffer, until: usize) -> Result<(), RecordsError> {
        if self.is_at_end || out.len() >= until {
            return Ok(());
        }
        out.reserve(until);
        while out.len() < until {
            let len = out.len();
            match self.reader.read(&mut out.memory()[len..until]) {
                Ok(0) => {
                    self.is_at_end = true;
                    break;
                }
                Ok(read) => out.set_len(len + read),
                Err(error) => return Err(self.failed(&error)),
            }
        }
        Ok(())
    }

    fn failed(&self, error: &io::Error) -> RecordsError {
        failed(self.base_offset, self.codec, error)
    }

    /// The reader alone, for looking through bytes without keeping them.
    pub(super) fn look_through<T>(
        mut self,
        look: impl FnOnce(&mut dyn Read) -> io::Result<T>,
    ) -> Result<T, RecordsError> {
        look(&mut *self.reader).map_err(|error| self.failed(&error))
    }
}

fn failed(base_offset: i64, codec: Compression, error: &io::Error) -> RecordsError {
    RecordsError::Decompress { base_offset, codec: codec.as_str(), message: error.to_string() }
}
