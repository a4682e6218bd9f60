//! Large buffers that are reused: the system hands out fresh memory page by page, each at the price
//! of a fault, which at millions of records a second is a tenth of all the work.

use std::{
    fmt,
    ops::{Deref, DerefMut},
};

use bytes::Bytes;
use parking_lot::Mutex;

/// Smaller buffers are left to the allocator.
const POOLED_BYTES_MIN: usize = 64 << 10;
/// Capacities are rounded up to a multiple of this, so that buffers can be reused.
const GRAIN_BYTES: usize = 256 << 10;
/// The most memory that idle buffers hold.
const IDLE_BYTES_MAX: usize = 24 << 20;

static IDLE: Mutex<Idle> = Mutex::new(Idle { buffers: Vec::new(), bytes: 0 });

struct Idle {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

impl Idle {
    /// Memory of at least `capacity` bytes, and not far more: it would be missing where it fits.
    fn take(&mut self, capacity: usize) -> Option<Vec<u8>> {
        let fits = |memory: &Vec<u8>| (capacity..=2 * capacity).contains(&memory.len());
        let memory = self.buffers.swap_remove(self.buffers.iter().rposition(fits)?);
        self.bytes -= memory.len();
        Some(memory)
    }

    /// Gives the memory back when there is too much of it.
    fn keep(&mut self, memory: Vec<u8>) -> Option<Vec<u8>> {
        if self.bytes + memory.len() > IDLE_BYTES_MAX {
            return Some(memory);
        }
        self.bytes += memory.len();
        self.buffers.push(memory);
        None
    }
}

/// Bytes that are written from front to back into memory that is already initialised.
///
/// All of the memory is initialised, also beyond the written bytes, if only with what an earlier
/// use left there: nothing has to be filled with zeros twice.
#[derive(Default)]
pub struct Buffer {
    memory: Vec<u8>,
    len: usize,
}

/// The memory in bytes that a [`Buffer`] with room for `capacity` bytes takes.
pub fn memory_of(capacity: usize) -> usize {
    if capacity < POOLED_BYTES_MIN { capacity } else { capacity.next_multiple_of(GRAIN_BYTES) }
}

impl Buffer {
    /// An empty buffer with room for `capacity` bytes at least.
    pub fn with_room(capacity: usize) -> Buffer {
        if capacity < POOLED_BYTES_MIN {
            return Buffer { memory: vec![0; capacity], len: 0 };
        }
        let capacity = memory_of(capacity);
        let used_before = IDLE.lock().take(capacity);
        Buffer { memory: used_before.unwrap_or_else(|| vec![0; capacity]), len: 0 }
    }

    /// All the memory: the bytes, and behind them room for more.
    #[inline]
    pub fn memory(&mut self) -> &mut [u8] {
        &mut self.memory
    }

    /// The size of the memory in bytes.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.memory.len()
    }

    /// Makes room for `capacity` bytes in all; the bytes stay.
    pub fn reserve(&mut self, capacity: usize) {
        if capacity > self.memory.len() {
            let mut larger = Buffer::with_room(capacity.max(2 * self.memory.len()));
            larger.memory[..self.len].copy_from_slice(&self.memory[..self.len]);
            larger.len = self.len;
            *self = larger;
        }
    }

    /// Makes the first `len` bytes of the memory the buffer's contents.
    ///
    /// # Panics
    /// When there is less memory.
    pub fn set_len(&mut self, len: usize) {
        assert!(len <= self.memory.len(), "{len} bytes in memory of {}", self.memory.len());
        self.len = len;
    }

    /// Appends `bytes`.
    pub fn extend(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        self.reserve(end);
        self.memory[self.len..end].copy_from_slice(bytes);
        self.len = end;
    }

    /// Makes the bytes shareable; the memory is reused when the last share is gone.
    pub fn share(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // Only buffers that `with_room` made: other sizes would fit nowhere.
        if !self.memory.is_empty() && self.memory.len().is_multiple_of(GRAIN_BYTES) {
            let too_much = IDLE.lock().keep(std::mem::take(&mut self.memory));
            // Freeing may be a system call, so not under the lock.
            drop(too_much);
        }
    }
}

impl From<Vec<u8>> for Buffer {
    fn from(memory: Vec<u8>) -> Buffer {
        Buffer { len: memory.len(), memory }
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Buffer {
        Buffer::from(self.to_vec())
    }
}

impl Deref for Buffer {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.memory[..self.len]
    }
}

impl DerefMut for Buffer {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[..self.len]
    }
}

impl AsRef<[u8]> for Buffer {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl PartialEq for Buffer {
    fn eq(&self, other: &Buffer) -> bool {
        **self == **other
    }
}

impl Eq for Buffer {}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_where_it_fits() {
        let mut idle = Idle { buffers: Vec::new(), bytes: 0 };
        [2 * GRAIN_BYTES, 8 * GRAIN_BYTES]
            .into_iter()
            .for_each(|size| assert_eq!(idle.keep(vec![1; size]), None));
        assert_eq!(idle.take(3 * GRAIN_BYTES), None, "one is too small and one far too large");
        assert_eq!(idle.take(5 * GRAIN_BYTES), Some(vec![1; 8 * GRAIN_BYTES]));
        assert_eq!((idle.take(5 * GRAIN_BYTES), idle.bytes), (None, 2 * GRAIN_BYTES));
    }

    #[test]
    fn a_share_of_the_bytes_holds_the_memory() {
        let mut buffer = Buffer::with_room(7 * GRAIN_BYTES - 1);
        assert_eq!(memory_of(7 * GRAIN_BYTES - 1), 7 * GRAIN_BYTES);
        // Another test may have left memory that is up to twice as large.
        assert!(buffer.is_empty() && (7..=14).contains(&(buffer.capacity() / GRAIN_BYTES)));
        buffer.memory()[..7].copy_from_slice(b"content");
        buffer.set_len(7);
        let shared = buffer.share();
        let part = shared.slice(3..);
        drop(shared);
        assert_eq!(&part[..], b"tent");
        assert_eq!(Buffer::with_room(10).capacity(), 10);
    }

    #[test]
    fn bytes_stay_when_room_is_made() {
        let mut buffer = Buffer::from(b"content".to_vec());
        buffer.reserve(100);
        assert!(buffer.capacity() >= 100);
        assert_eq!(&buffer[..], b"content");
        assert_eq!(buffer.clone(), buffer);
        buffer.memory()[7] = b's';
        buffer.set_len(8);
        assert_eq!(&buffer[..], b"contents");
    }

    #[test]
    fn idle_memory_is_bounded() {
        let lent: Vec<Bytes> = (0..40).map(|_| Buffer::with_room(4 * GRAIN_BYTES).share()).collect();
        drop(lent);
        assert!(IDLE.lock().bytes <= IDLE_BYTES_MAX);
    }
}
