//! Transactions: what readers of committed records see, and what is committed with it.

use super::{Plant, World};
use crate::{
    batch::{TopicPartition, TransactionNumber},
    engine::{Offset, Stake},
};

/// What is known of a record in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its transaction is alive.
    Open(TransactionNumber),
    Visible,
    Aborted,
}

/// A record that was sent in a transaction.
pub(super) struct Sent {
    pub standing: Standing,
    pub to: TopicPartition,
    /// The partition of the source that it is of.
    pub origin: i32,
    pub offset: i64,
}

impl World {
    /// Puts offsets into a transaction, unless a partition of them has gone to somebody else.
    pub fn stake(&mut self, transaction: TransactionNumber, stake: &Stake) -> bool {
        let is_current =
            |offset: &Offset| self.generations.get(&offset.partition.partition) == Some(&offset.assignment.0);
        if !stake.offsets.iter().all(|(offset, _)| is_current(offset)) {
            return false;
        }
        self.pending.insert(transaction, stake.offsets.iter().map(|(offset, _)| offset.clone()).collect());
        true
    }

    /// Commits a transaction, unless it was aborted meanwhile. Whose the partitions are does not matter any more.
    pub fn commit_transaction(&mut self, transaction: TransactionNumber) -> bool {
        let Some(offsets) = self.pending.remove(&transaction) else { return false };
        self.transactions += 1;
        if self.plant != Some(Plant::OffsetsAloneAreCommitted) {
            self.set(|of| *of == Standing::Open(transaction), Standing::Visible);
        }
        for offset in &offsets {
            self.note(offset);
        }
        self.check_atomic();
        self.change();
        true
    }

    /// Whether the committed offset of one of these partitions is about to change (`require_stable`).
    pub fn is_unstable(&self, partitions: &[i32]) -> bool {
        let mut pending = self.pending.values().flatten();
        pending.any(|offset| partitions.contains(&offset.partition.partition))
    }

    /// Aborts what is not committed.
    pub fn abort(&mut self) {
        let becomes =
            if self.plant == Some(Plant::AbortsAreVisible) { Standing::Visible } else { Standing::Aborted };
        self.set(|of| matches!(of, Standing::Open(_)), becomes);
        self.pending.clear();
        self.change();
    }

    /// Changes how records stand, and what a reader of committed records sees with it.
    fn set(&mut self, which: impl Fn(&Standing) -> bool, to: Standing) {
        if !self.exact {
            return;
        }
        self.sent.iter_mut().filter(|sent| which(&sent.standing)).for_each(|sent| sent.standing = to);
        self.sent.retain(|sent| sent.standing != Standing::Aborted);
        self.logs.clear();
        for Sent { standing, to, origin, offset } in &self.sent {
            if *standing == Standing::Visible {
                self.logs.entry((to.clone(), *origin)).or_default().push(*offset);
            }
        }
    }

    /// What is visible is committed, and is there once, in order.
    fn check_atomic(&mut self) {
        for ((to, origin), offsets) in &self.logs {
            let committed = self.committed.get(origin).copied().unwrap_or(0);
            let is_letters = &*to.topic == "letters";
            let is_ordered = is_letters || offsets.is_sorted();
            for offset in offsets {
                let due = if is_letters { 1 } else { self.due_in(to, *origin, *offset) };
                let found = if *offset >= committed {
                    format!("{to}: {offset} of {origin} is visible beyond {committed}")
                } else if self.count_in(to, *origin, *offset) > due || !is_ordered {
                    format!("{to}: twice, or out of order: {offsets:?} of {origin}")
                } else {
                    continue;
                };
                self.violation.get_or_insert(found);
                return;
            }
        }
    }
}
