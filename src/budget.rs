//! The memory budget: every batch on the road holds a share of it, and reading waits for a share.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The unit of account in bytes; a semaphore counts at most `u32::MAX` of them at once.
const UNIT: usize = 1024;

/// The memory that all batches on the road may hold together; clones share it.
#[derive(Clone, Debug)]
pub struct Budget {
    free: Arc<Semaphore>,
    units: u32,
}

impl Budget {
    /// A budget of `bytes`, at least one unit of 1 KiB.
    pub fn new(bytes: usize) -> Budget {
        let units = (bytes / UNIT).clamp(1, u32::MAX as usize >> 3) as u32;
        Budget { free: Arc::new(Semaphore::new(units as usize)), units }
    }

    /// Waits for `bytes` of memory. What exceeds the whole budget waits for all of it, so that a
    /// single large batch passes alone rather than never.
    pub async fn acquire(&self, bytes: usize) -> Permit {
        let free = Arc::clone(&self.free);
        let share = free.acquire_many_owned(self.units_for(bytes)).await;
        Permit { share: Some(share.expect("the semaphore is never closed")) }
    }

    /// Takes `bytes` of memory if they are free now.
    pub fn try_acquire(&self, bytes: usize) -> Option<Permit> {
        let free = Arc::clone(&self.free);
        free.try_acquire_many_owned(self.units_for(bytes)).ok().map(|share| Permit { share: Some(share) })
    }

    /// The bytes in use now.
    pub fn used(&self) -> usize {
        (self.units as usize - self.free.available_permits()) * UNIT
    }

    /// The whole budget in bytes.
    pub fn capacity(&self) -> usize {
        self.units as usize * UNIT
    }

    fn units_for(&self, bytes: usize) -> u32 {
        bytes.div_ceil(UNIT).min(self.units as usize) as u32
    }
}

/// A share of a [`Budget`], given back on drop.
#[derive(Debug, Default)]
pub struct Permit {
    share: Option<OwnedSemaphorePermit>,
}

impl Permit {
    /// A permit for nothing, where no budget applies.
    pub fn none() -> Permit {
        Permit { share: None }
    }

    /// The share's size.
    pub fn bytes(&self) -> usize {
        self.share.as_ref().map_or(0, |share| share.num_permits() * UNIT)
    }

    /// Splits off a permit for `bytes`, or for what is left if that is less.
    pub fn split(&mut self, bytes: usize) -> Permit {
        let Some(share) = &mut self.share else { return Permit::none() };
        let units = bytes.div_ceil(UNIT).min(share.num_permits());
        Permit { share: share.split(units) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ashare_is_given_back_on_drop() {
        let budget = Budget::new(10 * UNIT);
        let share = budget.try_acquire(7 * UNIT - 1).unwrap();
        assert_eq!(budget.used(), 7 * UNIT);
        assert!(budget.try_acquire(4 * UNIT).is_none());
        drop(share);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_permit_splits_into_what_it_has() {
        let budget = Budget::new(10 * UNIT);
        let mut whole = budget.try_acquire(5 * UNIT).unwrap();
        let (first, second) = (whole.split(3 * UNIT - 1), whole.split(3 * UNIT));
        drop(whole);
        assert_eq!(budget.used(), 5 * UNIT);
        drop(first);
        assert_eq!(budget.used(), 2 * UNIT);
        drop(second);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn what_exceeds_the_budget_passes_alone() {
        let budget = Budget::new(10 * UNIT);
        let all = budget.try_acquire(usize::MAX).unwrap();
        assert_eq!(budget.used(), budget.capacity());
        assert!(budget.try_acquire(1).is_none());
        drop(all);
    }
}
