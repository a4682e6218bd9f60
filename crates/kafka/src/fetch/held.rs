//! What keeps a response in memory: every slice of it does, so each holds its share of the budget.

use std::sync::Arc;

use bytes::Bytes;
use topicmill_mill::budget::{Budget, Permit};
use topicmill_records::buffers;

/// The bytes that are copied sooner than thought about.
const TINY_BYTES: usize = 4 << 10;

/// The most bytes that are copied to free a response when memory is short: what fits into a core's
/// cache. More bytes are worth the share of the response that they hold.
const SMALL_BYTES: usize = 64 << 10;

/// Bytes and the share of the memory that is held as long as any slice of them lives.
struct HeldBytes {
    bytes: Bytes,
    _share: Arc<Permit>,
}

impl AsRef<[u8]> for HeldBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The share of a response of `size` bytes, taken out of `permit` as far as that goes: the response
/// may be larger than requested (KIP-74).
pub(crate) fn share_of(budget: &Budget, permit: &mut Permit, size: usize) -> Arc<Permit> {
    let size = buffers::memory_of(size);
    let mut share = permit.split(size);
    share.merge(budget.overdraw(size - share.bytes()));
    Arc::new(share)
}

/// `bytes` of a response, holding its share of the memory.
pub(crate) fn tied(bytes: Bytes, response: &Arc<Permit>) -> Bytes {
    Bytes::from_owner(HeldBytes { bytes, _share: Arc::clone(response) })
}

/// `bytes` of a response of `size` bytes, holding its share of the memory; or a copy, where they
/// are so few that a batch that is held up would keep the whole response for next to nothing.
/// Copying always would cost more than fetching.
pub(super) fn tied_or_copied(budget: &Budget, bytes: Bytes, size: usize, response: &Arc<Permit>) -> Bytes {
    let is_tiny = bytes.len() <= TINY_BYTES && bytes.len() * 16 < size;
    let is_small = bytes.len() <= SMALL_BYTES && bytes.len() * 2 < size && budget.is_strained();
    if is_tiny || is_small {
        let share = Arc::new(budget.overdraw(bytes.len()));
        return tied(Bytes::copy_from_slice(&bytes), &share);
    }
    tied(bytes, response)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The budget, a response of `size` bytes, and its share.
    fn response(size: usize) -> (Budget, Bytes, Arc<Permit>) {
        let budget = Budget::new(16 << 20);
        let mut permit = budget.try_acquire(1000).unwrap();
        let share = share_of(&budget, &mut permit, size);
        (budget, vec![7; size].into(), share)
    }

    #[test]
    fn a_slice_holds_the_share_of_the_whole_response() {
        let (budget, bytes, share) = response(1 << 20);
        let (first, second) = (tied(bytes.slice(..1000), &share), tied(bytes.slice(1000..), &share));
        drop((share, bytes));
        assert_eq!(budget.used(), 1 << 20);
        drop(first);
        let part = second.slice(5..6);
        drop(second);
        assert_eq!(budget.used(), 1 << 20);
        drop(part);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn what_is_tiny_or_held_up_among_much_is_copied_and_holds_itself_alone() {
        let (budget, bytes, share) = response(1 << 20);
        let part = |len| tied_or_copied(&budget, bytes.slice(..len), bytes.len(), &share);
        let tiny = part(1000);
        let shared = part(60_000);
        assert_eq!(shared.as_ptr(), bytes.as_ptr());
        let others = budget.try_acquire(8 << 20).unwrap();
        let copied = part(60_000);
        assert_ne!(copied.as_ptr(), bytes.as_ptr());
        let much = part(100_000);
        assert_eq!(much.as_ptr(), bytes.as_ptr());
        drop((shared, much, others, share));
        assert_eq!(budget.used(), 61_000);
        assert_eq!((copied.len(), tiny.len()), (60_000, 1000));
    }
}
