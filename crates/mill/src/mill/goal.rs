//! What a bounded run still has to reach. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::batch::TopicPartition;

/// The offsets to reach, of partitions that have not reached theirs yet.
#[derive(Debug)]
pub(super) struct Goal {
    /// `None` for a run without an end.
    left: Option<BTreeMap<TopicPartition, i64>>,
    /// Those that lack only the commit.
    acknowledged: BTreeSet<TopicPartition>,
}

impl Goal {
    pub(super) fn new(until: Option<BTreeMap<TopicPartition, i64>>) -> Goal {
        Goal { left: until, acknowledged: BTreeSet::new() }
    }

    /// Whether there is one.
    pub(super) fn is_set(&self) -> bool {
        self.left.is_some()
    }

    /// Everything of `partition` below `offset` is acknowledged.
    pub(super) fn acknowledged(&mut self, partition: &TopicPartition, offset: i64) {
        if self.end(partition).is_some_and(|end| offset >= end) && !self.acknowledged.contains(partition) {
            self.acknowledged.insert(partition.clone());
        }
    }

    /// Everything of `partition` below `offset` is committed, which is final.
    pub(super) fn committed(&mut self, partition: &TopicPartition, offset: i64) {
        if self.end(partition).is_some_and(|end| offset >= end)
            && let Some(left) = &mut self.left
        {
            left.remove(partition);
            self.acknowledged.remove(partition);
        }
    }

    /// A partition starts again, or is gone: what is not committed of it is read again.
    pub(super) fn begin_again(&mut self, partition: &TopicPartition) {
        self.acknowledged.remove(partition);
    }

    /// Whether nothing but commits is missing, apart from `stopped` partitions, and some commit is.
    pub(super) fn wants_commit<T>(&self, stopped: &BTreeMap<TopicPartition, T>) -> bool {
        !self.acknowledged.is_empty() && self.passes(&self.acknowledged, stopped)
    }

    /// Whether only `stopped` partitions have not reached it.
    pub(super) fn is_reached<T>(&self, stopped: &BTreeMap<TopicPartition, T>) -> bool {
        self.passes(&BTreeSet::new(), stopped)
    }

    fn passes<T>(&self, done: &BTreeSet<TopicPartition>, stopped: &BTreeMap<TopicPartition, T>) -> bool {
        // The count first: this is asked after every batch and must not go through every partition.
        self.left.as_ref().is_some_and(|left| {
            left.len() <= done.len() + stopped.len()
                && left.keys().all(|partition| done.contains(partition) || stopped.contains_key(partition))
        })
    }

    fn end(&self, partition: &TopicPartition) -> Option<i64> {
        self.left.as_ref()?.get(partition).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_reached_when_all_is_committed_or_stopped() {
        let [a, b] = [0, 1].map(|number| TopicPartition::new("t", number));
        let mut goal = Goal::new(Some(BTreeMap::from([(a.clone(), 10), (b.clone(), 20)])));
        let none: BTreeMap<TopicPartition, ()> = BTreeMap::new();
        let stopped = |partition: &TopicPartition| BTreeMap::from([(partition.clone(), ())]);
        goal.acknowledged(&a, 10);
        assert!(!goal.wants_commit(&none) && goal.wants_commit(&stopped(&b)));
        goal.acknowledged(&b, 25);
        assert!(goal.wants_commit(&none) && !goal.is_reached(&none));
        goal.begin_again(&b);
        assert!(!goal.wants_commit(&none));
        goal.committed(&a, 9);
        goal.committed(&b, 20);
        assert!(!goal.is_reached(&none) && goal.is_reached(&stopped(&a)));
        goal.committed(&a, 10);
        assert!(goal.is_reached(&none));
        assert!(!Goal::new(None).is_reached(&none) && Goal::new(Some(BTreeMap::new())).is_reached(&none));
    }
}
