//! The memory budget: every fetched response and every batch in the pipeline holds a share of it,
//! and reading waits for one.
//!
//! Architecture invariant: whoever holds a batch's share never waits for another one, so every
//! batch comes to its end and gives its share back. Only those wait that have handed nothing out
//! yet: a request, for the share of its response; and the decoder of a response, for the share of
//! the next batch. The latter does not wait forever either: when no batch is in the pipeline, so
//! that nothing will be given back, the next one passes.

use std::{
    mem::{size_of, take},
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::{Mutex as Turn, Notify};
use topicmill_records::buffers;

use crate::{batch::Record, transform::expected_output};

/// What a batch costs in bytes, from being decoded until its output is acknowledged: `memory` for
/// bytes of its own (not those of the response), the spans of its records, and the expected output.
/// What the output takes beyond that is charged when it is there.
pub fn cost(memory: usize, bytes: usize, records: usize) -> usize {
    memory + records * size_of::<Record>() + buffers::memory_of(expected_output(bytes, records))
}

/// What a byte of a response is expected to cost before its records are known, in percent: the byte
/// itself, the record's spans, and an output half as large again. What it really [costs](cost) is
/// learned from each response, as an [`expansion`].
const PER_BYTE_PERCENT: usize = 380;

/// The expansion of records that cost what was expected, and the greatest that is believed.
const EXPANSIONS_PERCENT: RangeInclusive<usize> = 100..=10_000;

/// What a response of `size` bytes is expected to cost with everything made of it, where its
/// records have cost `expansion_percent` of the expectation.
pub fn expected_cost(size: usize, expansion_percent: usize) -> usize {
    buffers::memory_of(size) + size * (PER_BYTE_PERCENT - 100) / 100 * expansion_percent / 100
}

/// The size of a response that costs about `bytes` with everything made of it.
pub fn affordable(bytes: usize) -> usize {
    bytes * 100 / PER_BYTE_PERCENT
}

/// What `size` bytes of a response have cost, relative to the expectation in percent; `cost` is
/// what they have cost with everything made of them.
pub fn expansion(size: usize, cost: usize) -> usize {
    let percent = cost.saturating_mul(100 * 100) / (size.max(1) * PER_BYTE_PERCENT);
    percent.clamp(*EXPANSIONS_PERCENT.start(), *EXPANSIONS_PERCENT.end())
}

/// The memory that all batches in the pipeline may hold together; clones share it.
#[derive(Clone, Debug)]
pub struct Budget {
    shared: Arc<BudgetShared>,
}

#[derive(Debug)]
struct BudgetShared {
    capacity: usize,
    state: Mutex<BudgetState>,
    /// Notified when something is given back.
    freed: Notify,
    /// Whose turn it is to wait for a share, so that nobody is overtaken.
    requests: Turn<()>,
    /// Whose turn it is to wait for a batch's share.
    batches: Turn<()>,
}

#[derive(Debug, Default)]
struct BudgetState {
    /// The bytes in use.
    used: usize,
    /// The batches in the pipeline.
    batches: usize,
}

impl Budget {
    /// A budget of `bytes`, at least one.
    pub fn new(bytes: usize) -> Budget {
        let shared = BudgetShared {
            capacity: bytes.max(1),
            state: Mutex::default(),
            freed: Notify::new(),
            requests: Turn::default(),
            batches: Turn::default(),
        };
        Budget { shared: Arc::new(shared) }
    }

    /// Waits for `bytes` of memory. A share that exceeds the whole budget waits until nothing is in
    /// use, so that it passes alone rather than never. Cancel-safe.
    pub async fn acquire(&self, bytes: usize) -> Permit {
        let _turn = self.shared.requests.lock().await;
        self.when(|| self.try_acquire(bytes)).await
    }

    /// Takes `bytes` of memory if they are free now.
    pub fn try_acquire(&self, bytes: usize) -> Option<Permit> {
        let mut state = self.shared.state.lock();
        (state.used == 0 || self.fits(&state, bytes)).then(|| self.hand_out(&mut state, bytes, false))
    }

    /// Waits for the share of a batch: `bytes`, as many of them as possible out of `reserve`. When
    /// no other batch is in the pipeline, the missing ones are handed out whether or not they are
    /// free: nothing would be given back to wait for. Cancel-safe.
    pub async fn acquire_batch(&self, reserve: &mut Permit, bytes: usize) -> Permit {
        let reserved = reserve.bytes().min(bytes);
        let missing = bytes - reserved;
        let mut share = if missing == 0 {
            self.hand_out(&mut self.shared.state.lock(), 0, true)
        } else {
            let _turn = self.shared.batches.lock().await;
            let take = || {
                let mut state = self.shared.state.lock();
                let may = state.batches == 0 || self.fits(&state, missing);
                may.then(|| self.hand_out(&mut state, missing, true))
            };
            self.when(take).await
        };
        share.merge(reserve.split(reserved));
        share
    }

    /// Hands out `bytes` that are in use already, or that nobody can wait for, whether or not they
    /// are free.
    pub fn overdraw(&self, bytes: usize) -> Permit {
        self.hand_out(&mut self.shared.state.lock(), bytes, false)
    }

    /// The bytes in use now. They may exceed [`capacity`](Budget::capacity): a larger batch passes
    /// alone, and output may become larger than expected.
    pub fn used(&self) -> usize {
        self.shared.state.lock().used
    }

    /// Whether more than half is in use: then something is held up.
    pub fn is_strained(&self) -> bool {
        self.used() > self.capacity() / 2
    }

    /// The whole budget in bytes.
    pub fn capacity(&self) -> usize {
        self.shared.capacity
    }

    fn fits(&self, state: &BudgetState, bytes: usize) -> bool {
        state.used.saturating_add(bytes) <= self.shared.capacity
    }

    fn hand_out(&self, state: &mut BudgetState, bytes: usize, is_batch: bool) -> Permit {
        state.used = state.used.saturating_add(bytes);
        state.batches += usize::from(is_batch);
        Permit { budget: Some(self.clone()), bytes: AtomicUsize::new(bytes), is_batch }
    }

    /// Waits until `take` returns something, which it may do after each time that a share comes
    /// back.
    async fn when(&self, take: impl Fn() -> Option<Permit>) -> Permit {
        loop {
            let freed = self.shared.freed.notified();
            let mut freed = std::pin::pin!(freed);
            // Before the check: what is given back right after it must not be missed.
            freed.as_mut().enable();
            if let Some(permit) = take() {
                return permit;
            }
            freed.await;
        }
    }
}

impl BudgetShared {
    fn give_back(&self, bytes: usize, is_batch: bool) {
        let mut state = self.state.lock();
        state.used = state.used.saturating_sub(bytes);
        state.batches -= usize::from(is_batch);
        drop(state);
        self.freed.notify_waiters();
    }
}

/// A share of a [`Budget`], given back on drop.
#[derive(Debug, Default)]
pub struct Permit {
    budget: Option<Budget>,
    bytes: AtomicUsize,
    is_batch: bool,
}

impl Permit {
    /// A permit for nothing, where no budget applies.
    pub fn none() -> Permit {
        Permit::default()
    }

    /// The bytes that it is for.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Splits off a permit for `bytes`, or for what is left if that is less.
    pub fn split(&mut self, bytes: usize) -> Permit {
        let bytes = bytes.min(self.bytes());
        *self.bytes.get_mut() -= bytes;
        Permit { budget: self.budget.clone(), bytes: AtomicUsize::new(bytes), is_batch: false }
    }

    /// Adds a permit of the same budget.
    pub fn merge(&mut self, mut other: Permit) {
        let bytes = take(other.bytes.get_mut());
        *self.bytes.get_mut() += bytes;
    }

    /// Corrects the share for something that takes `now` bytes instead of `before`: the excess is
    /// given back; what is missing is taken at once, whether or not it is free.
    pub fn charge(&self, before: usize, now: usize) {
        let Some(budget) = &self.budget else { return };
        if now > before {
            let more = now - before;
            self.bytes.fetch_add(more, Ordering::Relaxed);
            budget.shared.state.lock().used += more;
        } else {
            let less = (before - now).min(self.bytes());
            self.bytes.fetch_sub(less, Ordering::Relaxed);
            budget.shared.give_back(less, false);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(budget) = &self.budget {
            let bytes = take(self.bytes.get_mut());
            if bytes > 0 || self.is_batch {
                budget.shared.give_back(bytes, self.is_batch);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_share_is_given_back_on_drop() {
        let budget = Budget::new(10_000);
        let share = budget.try_acquire(7_000).unwrap();
        assert_eq!(budget.used(), 7_000);
        assert!(budget.try_acquire(3_001).is_none());
        drop(share);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_permit_splits_into_what_it_has() {
        let budget = Budget::new(10_000);
        let mut whole = budget.try_acquire(5_000).unwrap();
        let (first, second) = (whole.split(3_000), whole.split(3_000));
        assert_eq!((first.bytes(), second.bytes(), whole.bytes()), (3_000, 2_000, 0));
        drop(whole);
        assert_eq!(budget.used(), 5_000);
        drop(first);
        assert_eq!(budget.used(), 2_000);
        drop(second);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn what_exceeds_the_budget_passes_alone() {
        let budget = Budget::new(10_000);
        let small = budget.try_acquire(1).unwrap();
        assert!(budget.acquire(20_000).now_or_never().is_none());
        drop(small);
        let all = budget.acquire(20_000).now_or_never().unwrap();
        assert_eq!(budget.used(), 20_000);
        assert!(budget.try_acquire(1).is_none());
        drop(all);
        assert!(budget.try_acquire(1).is_some());
    }

    #[test]
    fn a_batch_takes_what_is_reserved_first_and_waits_for_the_rest() {
        let budget = Budget::new(10_000);
        let mut reserve = budget.try_acquire(3_000).unwrap();
        let first = budget.acquire_batch(&mut reserve, 2_000).now_or_never().unwrap();
        assert_eq!((first.bytes(), reserve.bytes(), budget.used()), (2_000, 1_000, 3_000));
        let second = budget.acquire_batch(&mut reserve, 8_000).now_or_never().unwrap();
        assert_eq!((second.bytes(), reserve.bytes(), budget.used()), (8_000, 0, 10_000));
        assert!(budget.acquire_batch(&mut reserve, 1).now_or_never().is_none());
        drop(second);
        let third = budget.acquire_batch(&mut reserve, 8_000).now_or_never().unwrap();
        drop((first, third));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_batch_passes_when_no_other_is_on_the_road_whatever_else_holds_the_budget() {
        let budget = Budget::new(10_000);
        // Responses that wait behind the one that is taken apart: they cannot give anything back.
        let waiting = budget.try_acquire(9_000).unwrap();
        let mut reserve = budget.try_acquire(1_000).unwrap();
        let first = budget.acquire_batch(&mut reserve, 30_000).now_or_never().unwrap();
        assert_eq!(budget.used(), 39_000);
        assert!(budget.acquire_batch(&mut reserve, 1).now_or_never().is_none());
        drop(first);
        assert!(budget.acquire_batch(&mut reserve, 2_000).now_or_never().is_some());
        drop((waiting, reserve));
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn who_waits_is_told_when_something_is_given_back() {
        let budget = Budget::new(10_000);
        let mut held = budget.acquire(10_000).await;
        let waiting = tokio::spawn({
            let budget = budget.clone();
            async move { budget.acquire(4_000).await }
        });
        tokio::task::yield_now().await;
        drop(held.split(2_000));
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        held.charge(8_000, 6_000);
        assert_eq!(waiting.await.unwrap().bytes(), 4_000);
    }

    #[test]
    fn what_turns_out_larger_is_charged_at_once_and_what_is_less_given_back() {
        let budget = Budget::new(10_000);
        let share = budget.try_acquire(9_000).unwrap();
        share.charge(5_000, 8_000);
        assert_eq!((share.bytes(), budget.used()), (12_000, 12_000));
        assert!(budget.try_acquire(1).is_none());
        share.charge(8_000, 1_000);
        assert_eq!(budget.used(), 5_000);
        drop(share);
        assert_eq!(budget.used(), 0);
    }
}
