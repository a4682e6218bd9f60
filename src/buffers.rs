//! Large buffers, used again: the system hands out a fresh one page by page, each at the price of
//! a fault, which at millions of records a second is a tenth of all the work.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// Smaller buffers are the allocator's.
const LEAST: usize = 64 << 10;
/// Capacities are rounded up to this, so that buffers fit again.
const GRAIN: usize = 256 << 10;
/// The memory that idle buffers hold at most.
const MOST_IDLE: usize = 12 << 20;

static IDLE: Mutex<Idle> = Mutex::new(Idle { buffers: Vec::new(), bytes: 0 });

struct Idle {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

/// An empty buffer with room for `capacity` bytes at least.
pub fn take(capacity: usize) -> Vec<u8> {
    if capacity < LEAST {
        return Vec::with_capacity(capacity);
    }
    let capacity = capacity.next_multiple_of(GRAIN);
    let mut idle = idle();
    // Not one far too large: it would be missing where it fits.
    let fits = |buffer: &Vec<u8>| (capacity..=2 * capacity).contains(&buffer.capacity());
    match idle.buffers.iter().rposition(fits) {
        Some(index) => {
            let buffer = idle.buffers.swap_remove(index);
            idle.bytes -= buffer.capacity();
            buffer
        }
        None => Vec::with_capacity(capacity),
    }
}

/// Makes a filled buffer shareable; its memory is used again when the last share is gone.
pub fn share(buffer: Vec<u8>) -> Bytes {
    if buffer.capacity() < LEAST { Bytes::from(buffer) } else { Bytes::from_owner(Lent(buffer)) }
}

/// A buffer that comes back.
struct Lent(Vec<u8>);

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut buffer = std::mem::take(&mut self.0);
        let mut idle = idle();
        if idle.bytes + buffer.capacity() <= MOST_IDLE {
            buffer.clear();
            idle.bytes += buffer.capacity();
            idle.buffers.push(buffer);
        }
    }
}

fn idle() -> MutexGuard<'static, Idle> {
    IDLE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_buffer_comes_back_empty_and_a_small_one_is_not_kept() {
        // Of a size that no other test asks for.
        let size = 7 * GRAIN;
        let mut buffer = take(size - 1);
        assert!(buffer.is_empty() && buffer.capacity() >= size);
        buffer.extend_from_slice(b"content");
        let memory = buffer.as_ptr();
        let shared = share(buffer);
        let part = shared.slice(3..);
        drop(shared);
        assert_eq!(&part[..], b"tent", "a share keeps it");
        drop(part);
        let again = take(size - 100);
        assert_eq!((again.as_ptr(), again.len()), (memory, 0));
        assert_eq!(take(10).capacity(), 10);
    }

    #[test]
    fn idle_buffers_are_bounded() {
        let lent: Vec<Bytes> = (0..40).map(|_| share(take(4 * GRAIN))).collect();
        drop(lent);
        assert!(idle().bytes <= MOST_IDLE);
    }
}
