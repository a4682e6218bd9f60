//! The body of a request in pieces that are written without being joined: records are never copied.

use std::{collections::VecDeque, io::IoSlice};

use bytes::{Buf, Bytes};

/// Bytes in several pieces, in order.
#[derive(Debug, Default)]
pub struct FramePieces {
    /// No piece is empty.
    pieces: VecDeque<Bytes>,
    left: usize,
}

impl FramePieces {
    /// Adds a piece at the end.
    pub fn push(&mut self, piece: Bytes) {
        self.left += piece.len();
        if !piece.is_empty() {
            self.pieces.push_back(piece);
        }
    }

    /// Adds a piece in front.
    pub fn push_front(&mut self, piece: Bytes) {
        self.left += piece.len();
        if !piece.is_empty() {
            self.pieces.push_front(piece);
        }
    }
}

impl Buf for FramePieces {
    fn remaining(&self) -> usize {
        self.left
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let filled = slices.iter_mut().zip(&self.pieces);
        filled.map(|(slice, piece)| *slice = IoSlice::new(piece)).count()
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.left, "{count} of {} bytes", self.left);
        self.left -= count;
        while let Some(front) = self.pieces.front_mut() {
            if count < front.len() {
                return front.advance(count);
            }
            count -= front.len();
            self.pieces.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pieces_are_read_in_order_wherever_a_write_ends() {
        for step in 1..12 {
            let mut pieces = FramePieces::default();
            for piece in ["cd", "", "efg", "h"] {
                pieces.push(Bytes::from_static(piece.as_bytes()));
            }
            pieces.push_front(Bytes::from_static(b"ab"));
            assert_eq!(pieces.remaining(), 8);
            let mut slices = [IoSlice::new(&[]); 9];
            assert_eq!(pieces.chunks_vectored(&mut slices), 4);
            assert_eq!((&*slices[0], &*slices[3]), (&b"ab"[..], &b"h"[..]));
            let mut read = Vec::new();
            while pieces.has_remaining() {
                let count = step.min(pieces.remaining());
                let mut whole = Vec::new();
                pieces.pieces.iter().for_each(|piece| whole.extend_from_slice(piece));
                read.extend_from_slice(&whole[..count]);
                pieces.advance(count);
            }
            assert_eq!(read, b"abcdefgh");
            assert!(pieces.chunk().is_empty());
        }
    }
}
