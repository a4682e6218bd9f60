//! Writes small things one after another into memory that is already there.

use super::varint;

/// A position in a slice that has room for all that is put there.
pub(super) struct Cursor<'a> {
    room: &'a mut [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// At the start of `room`.
    #[inline]
    pub(super) fn new(room: &'a mut [u8]) -> Cursor<'a> {
        Cursor { room, at: 0 }
    }

    /// The number of bytes put.
    #[inline]
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Skips `count` bytes.
    #[inline]
    pub(super) fn skip(&mut self, count: usize) {
        self.at += count;
    }

    /// Puts one byte.
    #[inline]
    pub(super) fn byte(&mut self, byte: u8) {
        self.room[self.at] = byte;
        self.at += 1;
    }

    /// Puts a signed varint.
    #[inline]
    pub(super) fn varint(&mut self, value: i64) {
        let mut rest = varint::zigzag(value);
        if rest < 0x80 {
            return self.byte(rest as u8);
        }
        if rest < 0x4000 {
            self.room[self.at..self.at + 2].copy_from_slice(&[rest as u8 | 0x80, (rest >> 7) as u8]);
            self.at += 2;
            return;
        }
        while rest >= 0x80 {
            self.byte(rest as u8 | 0x80);
            rest >>= 7;
        }
        self.byte(rest as u8);
    }

    /// Puts `bytes`.
    #[inline]
    pub(super) fn slice(&mut self, bytes: &[u8]) {
        let end = self.at + bytes.len();
        copy(&mut self.room[self.at..end], bytes);
        self.at = end;
    }
}

/// Copies `from` to `to`, which has the same length. Keys and pieces of values mostly have some
/// tens of bytes: two overlapping copies of a fixed size cost less than a call for any size.
#[inline]
fn copy(to: &mut [u8], from: &[u8]) {
    match from.len() {
        65.. => to.copy_from_slice(from),
        33.. => ends::<32>(to, from),
        16.. => ends::<16>(to, from),
        8.. => ends::<8>(to, from),
        4.. => ends::<4>(to, from),
        _ => to.iter_mut().zip(from).for_each(|(to, from)| *to = *from),
    }
}

/// Copies the first `N` bytes and the last `N`.
#[inline]
fn ends<const N: usize>(to: &mut [u8], from: &[u8]) {
    if let (Some(to), Some(from)) = (to.first_chunk_mut::<N>(), from.first_chunk::<N>()) {
        *to = *from;
    }
    if let (Some(to), Some(from)) = (to.last_chunk_mut::<N>(), from.last_chunk::<N>()) {
        *to = *from;
    }
}
