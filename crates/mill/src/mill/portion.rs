//! Exactly once: how many batches may be sent in a transaction. Pure.
//!
//! As many as come, until one is aborted because it takes too long. What was in it is read again, and what has
//! come meanwhile with it, so that the next one would hold more, and take longer still: nothing would ever be
//! committed. So the next one holds half of what was acknowledged in time, at least one batch; with each commit
//! that takes less than half of the time, the one after may hold twice as much.
//!
//! What is sealed counts as well: in each partition, what is open waits for it, and its own time runs meanwhile.

/// What may be sent in the transactions of a mill.
#[derive(Debug)]
pub(super) struct Portion {
    /// The most batches in the transactions that are alive.
    most: usize,
    /// The batches in the transaction that is open, and in the one that is sealed.
    opened: usize,
    sealed: usize,
}

impl Portion {
    pub(super) fn new() -> Portion {
        Portion { most: usize::MAX, opened: 0, sealed: 0 }
    }

    /// A batch is sent in the open transaction.
    pub(super) fn sent(&mut self) {
        self.opened += 1;
    }

    /// Whether the open transaction has all that it may hold by now.
    pub(super) fn is_used_up(&self) -> bool {
        self.opened + self.sealed >= self.most
    }

    /// The open transaction is sealed; the next one is open.
    pub(super) fn seal(&mut self) {
        (self.opened, self.sealed) = (0, self.opened);
    }

    /// The sealed one is committed.
    pub(super) fn committed(&mut self, in_half_of_the_time: bool) {
        self.sealed = 0;
        if in_half_of_the_time {
            self.most = self.most.saturating_mul(2);
        }
    }

    /// They take too long, and so many of their batches are not acknowledged.
    pub(super) fn overdue(&mut self, in_flight: usize) {
        let acknowledged = (self.opened + self.sealed).saturating_sub(in_flight);
        self.most = (acknowledged / 2).min(self.most / 2).max(1);
    }

    /// Both are aborted.
    pub(super) fn aborted(&mut self) {
        (self.opened, self.sealed) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_falls_to_half_of_what_was_acknowledged_and_grows_with_what_is_committed_soon() {
        let mut portion = Portion::new();
        let send = |portion: &mut Portion, batches| (0..batches).for_each(|_| portion.sent());
        send(&mut portion, 30);
        portion.seal();
        send(&mut portion, 50);
        assert!(!portion.is_used_up(), "there is no limit");
        for (in_flight, most) in [(60, 10), (0, 5), (80, 1), (80, 1)] {
            portion.overdue(in_flight);
            assert_eq!(portion.most, most);
        }
        portion.aborted();
        for (soon, most) in [(true, 2), (false, 2), (true, 4)] {
            send(&mut portion, 1);
            portion.seal();
            portion.committed(soon);
            assert_eq!(portion.most, most);
        }
        send(&mut portion, 3);
        assert!(!portion.is_used_up());
        send(&mut portion, 1);
        assert!(portion.is_used_up());
        portion.seal();
        assert!(portion.is_used_up(), "what is sealed counts");
        portion.committed(false);
        assert!(!portion.is_used_up());
        (0..100).for_each(|_| portion.committed(true));
        send(&mut portion, 1000);
        assert!(!portion.is_used_up());
    }
}
