//! Snappy as the Java client frames it: a header, then blocks, each preceded by its length.
//!
//! Other clients (librdkafka among them) write one block without a frame; both are read.

use std::io;

use super::error::too_large;

/// The start of a framed stream; a plain block cannot start so, as its length would not match.
const MAGIC: &[u8; 8] = b"\x82SNAPPY\0";
/// The magic, then the version of the framing and the oldest compatible one.
const STREAM_HEADER: &[u8; 16] = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
/// The Java client's block size.
const BLOCK_BYTES: usize = 32 * 1024;
/// The most bytes that one compressed byte can stand for: a copy of 64 bytes takes at least 3.
const RATIO_MAX: usize = 22;

/// Appends `input` compressed and framed to `out`.
pub(super) fn compress(input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let mut encoder = snap::raw::Encoder::new();
    out.extend_from_slice(STREAM_HEADER);
    for block in input.chunks(BLOCK_BYTES) {
        let at = out.len();
        out.resize(at + 4 + snap::raw::max_compress_len(block.len()), 0);
        let len = encoder.compress(block, &mut out[at + 4..])?;
        out[at..at + 4].copy_from_slice(&(len as u32).to_be_bytes());
        out.truncate(at + 4 + len);
    }
    Ok(())
}

/// Decompresses block by block. Without a frame there is one block, which comes at once.
pub(super) struct Reader<B> {
    input: B,
    /// Where the next block, or its length, starts; `None` when nothing is looked at yet.
    at: Option<usize>,
    block: Vec<u8>,
    /// The bytes of `block` that are read.
    read: usize,
}

impl<B: AsRef<[u8]>> Reader<B> {
    pub(super) fn new(input: B) -> Reader<B> {
        Reader { input, at: None, block: Vec::new(), read: 0 }
    }

    /// Decompresses the next block; `false` at the end.
    fn next_block(&mut self) -> io::Result<bool> {
        let input = self.input.as_ref();
        let mut at = match self.at {
            Some(at) => at,
            None if input.starts_with(MAGIC) => 0,
            None => {
                self.at = Some(input.len());
                decompress_block(input, &mut self.block)?;
                self.read = 0;
                return Ok(true);
            }
        };
        // Streams may follow one another, so a header may stand wherever a block may.
        while input[at..].starts_with(MAGIC) {
            at += STREAM_HEADER.len();
            if at > input.len() {
                return Err(cut_off());
            }
        }
        if at == input.len() {
            return Ok(false);
        }
        let (len, rest) = input[at..].split_first_chunk::<4>().ok_or_else(cut_off)?;
        let len = u32::from_be_bytes(*len) as usize;
        let block = rest.get(..len).ok_or_else(cut_off)?;
        decompress_block(block, &mut self.block)?;
        (self.at, self.read) = (Some(at + 4 + len), 0);
        Ok(true)
    }
}

impl<B: AsRef<[u8]>> io::Read for Reader<B> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.read == self.block.len() {
            if !self.next_block()? {
                return Ok(0);
            }
        }
        let rest = &self.block[self.read..];
        let len = rest.len().min(out.len());
        out[..len].copy_from_slice(&rest[..len]);
        self.read += len;
        Ok(len)
    }
}

/// Sets `out` to the contents of `block`.
fn decompress_block(block: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let len = snap::raw::decompress_len(block)?;
    let most = block.len().saturating_mul(RATIO_MAX);
    if len > most {
        return Err(too_large(most));
    }
    out.resize(len, 0);
    snap::raw::Decoder::new().decompress(block, out)?;
    Ok(())
}

fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "a snappy block is cut off")
}
