//! Which transaction commits what, exactly once. Pure.
//!
//! Two transactions are alive at most: one that is open, to which everything that is sent belongs, and one that
//! is sealed and ends. So batches are produced while the offsets of those before them are committed.
//!
//! ```text
//!             seal                 landed                committed
//!   open ───────────────► sealed ───────────► committing ───────────► (gone)
//!    ▲ the next one opens   │                     │ not committed
//!    └──────────────────────┤                     │
//!                           ▼ anything fails      ▼
//!                        aborting: nothing is sent; both end; everything is read again
//! ```
//!
//! - A transaction commits the offsets of exactly the batches that were sent in it: those that are committable
//!   when it is sealed, where a batch counts once it is sent.
//! - It is sealed only after the one before it was committed, so that a later one never commits without an
//!   earlier one: its batches stand behind those.
//! - It commits only when every batch of it is acknowledged, its dead letters included.
//! - A failure aborts both: the open one may hold what follows something that failed. But a commit that is under
//!   way is waited for first, as it may succeed.

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
    is_committing: bool,
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
    /// To commit this transaction with these offsets.
    Commit(TransactionNumber, Vec<Offset>),
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
        self.sealed = Some(Sealed { transaction, offsets, is_committing: false });
    }

    /// The transaction that is sealed and waits for acknowledgements.
    pub fn landing(&self) -> Option<TransactionNumber> {
        self.sealed.as_ref().filter(|sealed| !sealed.is_committing).map(|sealed| sealed.transaction)
    }

    /// What is to be done now; `is_landed` tells whether everything sent in a transaction is acknowledged.
    pub fn step(&mut self, is_landed: impl Fn(TransactionNumber) -> bool) -> Step {
        match (self.abort, &mut self.sealed) {
            (Abort::Wanted, Some(Sealed { is_committing: true, .. })) | (Abort::UnderWay, _) => Step::Wait,
            (Abort::Wanted, _) => {
                (self.abort, self.sealed) = (Abort::UnderWay, None);
                Step::Abort
            }
            (Abort::No, Some(sealed)) if !sealed.is_committing && is_landed(sealed.transaction) => {
                sealed.is_committing = true;
                Step::Commit(sealed.transaction, sealed.offsets.clone())
            }
            (Abort::No, _) => Step::Wait,
        }
    }

    /// The commit under way succeeded; returns its offsets.
    pub fn committed(&mut self) -> Vec<Offset> {
        self.sealed.take().map(|sealed| sealed.offsets).unwrap_or_default()
    }

    /// The commit under way did not succeed, or nobody knows.
    pub fn not_committed(&mut self) {
        self.sealed = None;
    }

    /// Something failed. Whether this is the first to say so.
    pub fn fail(&mut self) -> bool {
        let is_first = self.abort == Abort::No;
        if is_first {
            self.abort = Abort::Wanted;
        }
        is_first
    }

    /// Everything that was not committed is aborted.
    pub fn aborted(&mut self) {
        self.abort = Abort::No;
    }
}

#[cfg(test)]
mod tests;
