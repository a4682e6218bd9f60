//! Snappy as the Java client frames it: a header, then blocks that each follow their length.
//!
//! Other clients (librdkafka among them) write one block without any frame; both are read.

use std::io;

use super::compression::too_large;

/// What a framed stream starts with; a plain block cannot, its length would not match.
const MAGIC: &[u8; 8] = b"\x82SNAPPY\0";
/// The magic, then the version of the framing and the oldest compatible one.
const STREAM_HEADER: &[u8; 16] = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
/// The Java client's block size.
const BLOCK: usize = 32 * 1024;
/// The most that one compressed byte can stand for: a copy of 64 bytes takes at least 3.
const MAX_RATIO: usize = 22;

/// Appends `input` compressed and framed to `out`.
pub(super) fn compress(input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let mut encoder = snap::raw::Encoder::new();
    out.extend_from_slice(STREAM_HEADER);
    for block in input.chunks(BLOCK) {
        let at = out.len();
        out.resize(at + 4 + snap::raw::max_compress_len(block.len()), 0);
        let len = encoder.compress(block, &mut out[at + 4..])?;
        out[at..at + 4].copy_from_slice(&(len as u32).to_be_bytes());
        out.truncate(at + 4 + len);
    }
    Ok(())
}

/// Appends `input` decompressed to `out`, at most `limit` bytes of it.
pub(super) fn decompress(input: &[u8], out: &mut Vec<u8>, limit: usize) -> io::Result<()> {
    if !input.starts_with(MAGIC) {
        return decompress_block(input, out, limit);
    }
    let before = out.len();
    let mut rest = input;
    while !rest.is_empty() {
        // Streams may follow each other, so a header may stand wherever a block may.
        if rest.starts_with(MAGIC) {
            rest = rest.get(STREAM_HEADER.len()..).ok_or_else(cut_off)?;
            continue;
        }
        let (len, after) = rest.split_first_chunk::<4>().ok_or_else(cut_off)?;
        let len = u32::from_be_bytes(*len) as usize;
        let (block, after) = after.split_at_checked(len).ok_or_else(cut_off)?;
        rest = after;
        decompress_block(block, out, limit - (out.len() - before))?;
    }
    Ok(())
}

fn decompress_block(block: &[u8], out: &mut Vec<u8>, limit: usize) -> io::Result<()> {
    let len = snap::raw::decompress_len(block)?;
    if len > limit || len > block.len().saturating_mul(MAX_RATIO) {
        return Err(too_large(limit.min(block.len().saturating_mul(MAX_RATIO))));
    }
    let at = out.len();
    out.resize(at + len, 0);
    snap::raw::Decoder::new().decompress(block, &mut out[at..])?;
    Ok(())
}

fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "a snappy block is cut off")
}
