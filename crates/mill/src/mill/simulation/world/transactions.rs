//! Transactions: what readers of committed records see, and what is committed with it.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    super::spread::{Place, Topic},
    Log, Plant, World,
};
use crate::{
    batch::TransactionNumber,
    engine::{Offset, Stake},
};

/// How long a transaction may be open before the coordinator aborts it; longer than a mill waits.
const TIMEOUT: Duration = Duration::from_secs(3);

/// A transaction of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::mill) struct Named {
    pub instance: usize,
    pub number: TransactionNumber,
}

/// What is known of a record in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its transaction is alive.
    Open(Named),
    Visible,
    Aborted,
}

/// A record that was sent in a transaction.
pub(super) struct Sent {
    pub standing: Standing,
    pub to: Place,
    /// The partition of the source that it is of.
    pub origin: i32,
    pub offset: i64,
}

impl World {
    /// Puts offsets into a transaction, unless a partition of them has gone to somebody else.
    pub fn stake(&mut self, named: Named, stake: &Stake) -> bool {
        self.expire();
        let is_current =
            |offset: &Offset| self.generations.get(&offset.partition.partition) == Some(&offset.assignment.0);
        let is_checked = self.plant != Some(Plant::ZombiesCommit);
        if self.expired.contains(&named)
            || is_checked && !stake.offsets.iter().all(|(offset, _)| is_current(offset))
        {
            return false;
        }
        self.begun.entry(named).or_insert_with(Instant::now);
        self.pending.insert(named, stake.offsets.iter().map(|(offset, _)| offset.clone()).collect());
        true
    }

    /// Commits a transaction, unless it was aborted meanwhile. Whose the partitions are does not matter any more.
    pub fn commit_transaction(&mut self, named: Named) -> bool {
        self.expire();
        let Some(offsets) = self.pending.remove(&named) else { return false };
        self.begun.remove(&named);
        self.transactions += 1;
        if self.plant != Some(Plant::OffsetsAloneAreCommitted) {
            self.set(|of| *of == Standing::Open(named), Standing::Visible);
        }
        for offset in &offsets {
            self.note(offset);
        }
        self.check_atomic();
        self.change();
        true
    }

    /// Whether the committed offset of one of these partitions is about to change (`require_stable`).
    pub fn is_unstable(&mut self, partitions: &[i32]) -> bool {
        self.expire();
        if self.plant == Some(Plant::UnstableIsRead) {
            return false;
        }
        let mut pending = self.pending.values().flatten();
        pending.any(|offset| partitions.contains(&offset.partition.partition))
    }

    /// Whether nothing can be written in a transaction any more.
    pub fn is_expired(&mut self, named: Named) -> bool {
        self.expire();
        self.expired.contains(&named)
    }

    /// Aborts what an instance has not committed.
    pub fn abort(&mut self, instance: usize) {
        self.abort_where(|named| named.instance == instance);
        self.change();
    }

    /// Aborts what is open for too long.
    fn expire(&mut self) {
        let is_late = |begun: &Instant| begun.elapsed() > TIMEOUT;
        let late = self.begun.iter().filter(|(_, begun)| is_late(begun)).map(|(named, _)| *named);
        let late: Vec<Named> = late.collect();
        if !late.is_empty() {
            self.abort_where(|named| late.contains(named));
            self.expired.extend(late);
        }
    }

    fn abort_where(&mut self, which: impl Fn(&Named) -> bool) {
        let becomes =
            if self.plant == Some(Plant::AbortsAreVisible) { Standing::Visible } else { Standing::Aborted };
        self.set(|of| matches!(of, Standing::Open(named) if which(named)), becomes);
        self.pending.retain(|named, _| !which(named));
        self.begun.retain(|named, _| !which(named));
    }

    /// Changes how records stand, and what a reader of committed records sees with it.
    fn set(&mut self, which: impl Fn(&Standing) -> bool, to: Standing) {
        if !self.exact {
            return;
        }
        let mut is_change = false;
        for sent in self.sent.iter_mut().filter(|sent| which(&sent.standing)) {
            (sent.standing, is_change) = (to, true);
        }
        if !is_change {
            return;
        }
        self.sent.retain(|sent| sent.standing != Standing::Aborted);
        self.logs.clear();
        for Sent { to, origin, offset, .. } in
            self.sent.iter().filter(|sent| sent.standing == Standing::Visible)
        {
            self.logs.append(*to, *origin, *offset);
        }
    }

    /// What is visible is committed, and is there once, in order.
    fn check_atomic(&mut self) {
        let mut sorted = Vec::new();
        for Log { to, origin, offsets, .. } in self.logs.iter() {
            let committed = self.committed.get(origin).copied().unwrap_or(0);
            let is_letters = to.topic == Topic::Letters;
            sorted.clone_from(offsets);
            sorted.sort_unstable();
            let due = |offset: i64| if is_letters { 1 } else { self.due_in(*to, *origin, offset) };
            let is_twice = |same: &[i64]| same.len() > due(same[0]);
            let found = if let Some(beyond) = sorted.iter().find(|offset| **offset >= committed) {
                format!("{to}: {beyond} of {origin} is visible beyond {committed}")
            } else if sorted.chunk_by(i64::eq).any(is_twice) || !is_letters && sorted != *offsets {
                format!("{to}: twice, or out of order: {offsets:?} of {origin}")
            } else {
                continue;
            };
            self.violation.get_or_insert(found);
            return;
        }
    }
}
