//! The leader epochs of what is committed (KIP-320). Pure.

use std::collections::VecDeque;

/// The changes of the leader that are remembered at most, between two commits.
const KEPT: usize = 64;

/// The leader epochs of a partition's records, from about the last commit on. With the one that is
/// committed beside an offset, who reads on from there notices when the log was truncated meanwhile.
#[derive(Debug, Default)]
pub(super) struct Epochs {
    /// The fetch that met each epoch first: the offset that it began at. Both ascend.
    met: VecDeque<(i64, i32)>,
}

impl Epochs {
    /// Notes that the last batch of what was fetched from the offset `from` on is of `epoch`.
    pub fn fetched(&mut self, from: i64, epoch: i32) {
        if self.met.back().is_some_and(|(_, last)| *last >= epoch) {
            return;
        }
        if self.met.len() == KEPT {
            self.met.pop_front();
        }
        self.met.push_back((from, epoch));
    }

    /// The epoch of the record before the offset `next`, or one that was met in the same fetch: a
    /// leader answers for it with the end of the last epoch that is not after it, so that a later
    /// one is safe. -1 when none is known.
    pub fn before(&self, next: i64) -> i32 {
        self.met.iter().rev().find(|(from, _)| *from < next).map_or(-1, |(_, epoch)| *epoch)
    }

    /// Forgets what no commit beyond `next` needs.
    pub fn committed(&mut self, next: i64) {
        while self.met.get(1).is_some_and(|(from, _)| *from < next) {
            self.met.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_has_the_epoch_of_the_record_before_it() {
        let mut epochs = Epochs::default();
        assert_eq!(epochs.before(10), -1);
        for (from, epoch) in [(10, 3), (20, 3), (30, 5), (40, 4)] {
            epochs.fetched(from, epoch);
        }
        let before = |epochs: &Epochs| [10, 11, 30, 31, 50].map(|next| epochs.before(next));
        assert_eq!(before(&epochs), [-1, 3, 3, 5, 5]);
        epochs.committed(30);
        assert_eq!(before(&epochs), [-1, 3, 3, 5, 5]);
        epochs.committed(31);
        assert_eq!(before(&epochs), [-1, -1, -1, 5, 5]);
    }

    #[test]
    fn the_oldest_are_forgotten_when_there_are_too_many() {
        let mut epochs = Epochs::default();
        (0..KEPT as i32 + 1).for_each(|epoch| epochs.fetched(i64::from(epoch), epoch));
        assert_eq!((epochs.met.len(), epochs.before(1), epochs.before(2)), (KEPT, -1, 1));
    }
}
