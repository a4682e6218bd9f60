//! Frames of the protocol: a length of four bytes, then that many bytes. Large parts are never copied.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The largest request in bytes unless set, as Kafka's `socket.request.max.bytes`.
pub const MAX_FRAME: usize = 100 << 20;

/// What is at most this long is copied rather than written as a piece of its own.
const COPY_MAX: usize = 1024;

/// Reads one frame of at most `max` bytes; `None` when the peer has closed the connection between
/// two of them.
///
/// # Errors
/// When the connection fails, or `InvalidData` for a length that cannot be.
pub async fn read(stream: &mut (impl AsyncRead + Unpin), max: usize) -> io::Result<Option<Bytes>> {
    let mut length = [0; 4];
    if stream.read(&mut length[..1]).await? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut length[1..]).await?;
    let length = i32::from_be_bytes(length);
    let Some(size) = usize::try_from(length).ok().filter(|size| (8..=max).contains(size)) else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a request of {length} bytes")));
    };
    let mut frame = BytesMut::with_capacity(size);
    let mut limited = stream.take(size as u64);
    while frame.len() < size {
        if limited.read_buf(&mut frame).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(Some(frame.freeze()))
}

/// A frame to be written: pieces that go to the socket one after the other.
#[derive(Debug, Default)]
pub struct Frame {
    pieces: VecDeque<Bytes>,
    remaining: usize,
}

impl Buf for Frame {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(piece);
            count += 1;
        }
        count
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.remaining, "advanced past the end of a frame");
        self.remaining -= count;
        while let Some(piece) = self.pieces.front_mut() {
            if count < piece.len() {
                piece.advance(count);
                return;
            }
            count -= piece.len();
            self.pieces.pop_front();
        }
    }
}

/// Builds a [`Frame`]; its length is put in front at the end.
#[derive(Debug)]
pub struct FrameBuilder {
    frame: Frame,
    /// What follows the last piece.
    pub tail: BytesMut,
}

impl FrameBuilder {
    /// A frame that holds nothing yet.
    pub fn new() -> FrameBuilder {
        FrameBuilder { frame: Frame::default(), tail: BytesMut::with_capacity(512) }
    }

    /// Adds bytes, by reference when they are many.
    pub fn put(&mut self, bytes: Bytes) {
        if bytes.len() <= COPY_MAX {
            self.tail.put_slice(&bytes);
            return;
        }
        self.flush();
        self.push(bytes);
    }

    /// The whole frame.
    pub fn finish(mut self) -> Frame {
        self.flush();
        let length = Bytes::copy_from_slice(&(self.frame.remaining as u32).to_be_bytes());
        self.frame.remaining += length.len();
        self.frame.pieces.push_front(length);
        self.frame
    }

    fn flush(&mut self) {
        if !self.tail.is_empty() {
            let tail = self.tail.split().freeze();
            self.push(tail);
        }
    }

    fn push(&mut self, bytes: Bytes) {
        self.frame.remaining += bytes.len();
        self.frame.pieces.push_back(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_frame_of_pieces_reads_back_as_one() {
        let large = Bytes::from(vec![7; COPY_MAX + 1]);
        let mut builder = FrameBuilder::new();
        builder.tail.put_slice(b"before..");
        builder.put(large.clone());
        builder.put(Bytes::from_static(b"after"));
        let mut frame = builder.finish();
        let mut written = Vec::new();
        while frame.has_remaining() {
            let step = frame.chunk().len().min(100);
            written.extend_from_slice(&frame.chunk()[..step]);
            frame.advance(step);
        }
        let read = read(&mut &written[..], MAX_FRAME).await.unwrap().unwrap();
        assert_eq!(read, [b"before..".as_slice(), &large, b"after"].concat());
    }

    #[tokio::test]
    async fn impossible_lengths_are_refused() {
        for length in [-1, 0, 7, MAX_FRAME as i32 + 1, i32::MAX] {
            let error = read(&mut &length.to_be_bytes()[..], MAX_FRAME).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{length}");
        }
        assert!(read(&mut &b""[..], MAX_FRAME).await.unwrap().is_none());
        let cut_off = read(&mut &b"\x00\x00\x00\x10abc"[..], MAX_FRAME).await.unwrap_err();
        assert_eq!(cut_off.kind(), io::ErrorKind::UnexpectedEof);
    }
}
