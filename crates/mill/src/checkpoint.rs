//! Which transaction commits what, exactly once. Pure.
//!
//! Two transactions are alive at most: one that is open, to which everything that is sent belongs, and one that
//! is sealed and ends. So batches are produced while the offsets of those before them are committed.
//!
//! ```text
//!             seal                                 landed                committed
//!   open ───────────────► sealed ──► staking ──► staked ──► committing ───────────► (gone)
//!    ▲ the next one opens   │ ◄── again ─┘          │           │ not committed
//!    └──────────────────────┤                       │           │
//!                           ▼     anything fails    ▼           ▼
//!                        aborting: nothing is sent; both end; everything is read again
//! ```
//!
//! - A transaction commits the offsets of exactly the batches that were sent in it: those that are committable
//!   when it is sealed, where a batch counts once it is sent.
//! - It is sealed only after the one before it was committed, so that a later one never commits without an
//!   earlier one: its batches stand behind those.
//! - Its offsets are staked while its last batches are under way: what the offsets are depends on what was sent, and
//!   an abort undoes both. Whoever gets a partition meanwhile waits for the transaction's end before it asks for
//!   the committed offset, and a stake of a generation that is over is refused (KIP-447).
//! - It commits only when every batch of it is acknowledged, its dead letters included, and the stake is held.
//! - A failure aborts both: the open one may hold what follows something that failed. But a commit that is under
//!   way is waited for first, as it may succeed; so is a stake, which is not to arrive in a later transaction.
//! - A commit without an answer may have succeeded all the same, which the abort finds out: the coordinator takes none
//!   of what is committed. Then its offsets hold.

use crate::{batch::TransactionNumber, engine::Offset};

/// The transactions that are alive.
#[derive(Debug, Default)]
pub struct Checkpoint {
    sealed: Option<Sealed>,
    abort: Abort,
}

#[derive(Debug)]
struct Sealed {
    transaction: TransactionNumber,
    offsets: Vec<Offset>,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Its offsets have to be staked.
    New,
    Staking,
    Staked,
    Committing,
    /// Its stake or its commit did not succeed, or nobody knows; the abort tells.
    Unknown,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Abort {
    #[default]
    No,
    /// Once no commit is under way.
    Wanted,
    UnderWay,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing yet.
    Wait,
    /// To make these offsets part of this transaction.
    Stake(TransactionNumber, Vec<Offset>),
    /// To commit this transaction.
    Commit(TransactionNumber),
    /// To abort everything that is not committed.
    Abort,
}

impl Checkpoint {
    /// Whether batches may be sent: not while an abort is wanted or under way.
    pub fn is_open(&self) -> bool {
        self.abort == Abort::No
    }

    /// Whether the open transaction may be sealed.
    pub fn is_idle(&self) -> bool {
        self.is_open() && self.sealed.is_none()
    }

    /// The open transaction holds the batches up to these offsets, and no more of them. Only while
    /// [idle](Checkpoint::is_idle).
    pub fn seal(&mut self, transaction: TransactionNumber, offsets: Vec<Offset>) {
        debug_assert!(self.is_idle(), "one at a time");
        self.sealed = Some(Sealed { transaction, offsets, phase: Phase::New });
    }

    /// Whether a transaction is sealed and its commit not under way.
    pub fn is_landing(&self) -> bool {
        self.sealed.as_ref().is_some_and(|sealed| !matches!(sealed.phase, Phase::Committing | Phase::Unknown))
    }

    /// What is to be done now; `is_landed` tells whether everything sent in a transaction is acknowledged.
    pub fn step(&mut self, is_landed: impl Fn(TransactionNumber) -> bool) -> Step {
        match (self.abort, &mut self.sealed) {
            (Abort::UnderWay, _)
            | (Abort::Wanted, Some(Sealed { phase: Phase::Staking | Phase::Committing, .. })) => Step::Wait,
            (Abort::Wanted, _) => {
                self.abort = Abort::UnderWay;
                Step::Abort
            }
            (Abort::No, Some(sealed)) => match sealed.phase {
                Phase::New => {
                    sealed.phase = Phase::Staking;
                    Step::Stake(sealed.transaction, sealed.offsets.clone())
                }
                Phase::Staked if is_landed(sealed.transaction) => {
                    sealed.phase = Phase::Committing;
                    Step::Commit(sealed.transaction)
                }
                Phase::Staking | Phase::Staked | Phase::Committing | Phase::Unknown => Step::Wait,
            },
            (Abort::No, None) => Step::Wait,
        }
    }

    /// The stake is held.
    pub fn staked(&mut self) {
        self.set(Phase::Staked);
    }

    fn set(&mut self, phase: Phase) {
        if let Some(sealed) = &mut self.sealed {
            sealed.phase = phase;
        }
    }

    /// The commit under way succeeded; returns its offsets.
    pub fn committed(&mut self) -> Vec<Offset> {
        self.sealed.take().map(|sealed| sealed.offsets).unwrap_or_default()
    }

    /// The stake is outdated: another is to be tried.
    pub fn again(&mut self) {
        self.set(Phase::New);
    }

    /// The stake or the commit under way did not succeed, or nobody knows.
    pub fn not_committed(&mut self) {
        self.set(Phase::Unknown);
    }

    /// Something failed. Whether this is the first to say so.
    pub fn fail(&mut self) -> bool {
        let is_first = self.abort == Abort::No;
        if is_first {
            self.abort = Abort::Wanted;
        }
        is_first
    }

    /// Everything that was not committed is aborted; returns the offsets of the transaction that turned out to be
    /// committed, if one did.
    pub fn aborted(&mut self, committed: Option<TransactionNumber>) -> Vec<Offset> {
        self.abort = Abort::No;
        let sealed = self.sealed.take().filter(|sealed| committed == Some(sealed.transaction));
        sealed.map(|sealed| sealed.offsets).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
