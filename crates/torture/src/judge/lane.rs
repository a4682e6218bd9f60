//! A sequence of events that must be seen once each and in order.

use std::{collections::BTreeSet, ops::Range};

/// The most events that are remembered as passed over; more are counted as lost at once.
const MISSING_MAX: usize = 1 << 20;

/// What has been seen of a sequence. Its members are some of the numbers from 0; which ones, each
/// function is told anew.
#[derive(Clone, Debug, Default)]
pub(super) struct Lane {
    /// Every member from here on is to come.
    next: u64,
    /// Members below that have not been seen.
    missing: BTreeSet<u64>,
    /// Members that were too many to remember.
    forgotten: u64,
}

/// What it means that an event is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// It is the one that comes next.
    Next,
    /// It comes next but for this many that should have come before.
    Early(u64),
    /// It comes after one that should have come later.
    Late,
    /// It has been seen before.
    Twice,
}

impl Lane {
    /// Takes note of a member.
    pub fn see(&mut self, seq: u64, member: impl Fn(u64) -> bool) -> Sight {
        if seq < self.next {
            return if self.missing.remove(&seq) { Sight::Late } else { Sight::Twice };
        }
        let mut passed = 0;
        for skipped in (self.next..seq).filter(|&seq| member(seq)) {
            passed += 1;
            if self.missing.len() < MISSING_MAX {
                self.missing.insert(skipped);
            } else {
                self.forgotten += 1;
            }
        }
        self.next = seq + 1;
        if passed == 0 { Sight::Next } else { Sight::Early(passed) }
    }

    /// How many members below `end` have not been seen.
    pub fn unseen(&self, end: u64, member: impl Fn(u64) -> bool) -> u64 {
        let to_come = (self.next..end).filter(|&seq| member(seq)).count() as u64;
        self.missing.range(..end).count() as u64 + self.forgotten + to_come
    }

    /// The first member of a range that has not been seen.
    pub fn first_unseen(&self, of: Range<u64>, member: impl Fn(u64) -> bool) -> Option<u64> {
        if of.is_empty() {
            return None;
        }
        let passed = self.missing.range(of.clone()).next().copied();
        passed.or_else(|| (self.next.max(of.start)..of.end).find(|&seq| member(seq)))
    }
}
