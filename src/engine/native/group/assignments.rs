//! What this member holds right now: shared by the group, the fetcher and every commit.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, MutexGuard},
};

use crate::{
    batch::{AssignmentId, TopicPartition},
    engine::Offset,
};

/// Who this member is to the coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::engine::native) struct Identity {
    /// The member id that the coordinator gave; empty before.
    pub member: String,
    /// The group's generation of the last rebalance that completed; -1 before.
    pub generation: i32,
}

impl Default for Identity {
    fn default() -> Identity {
        Identity { member: String::new(), generation: -1 }
    }
}

/// The partitions assigned to this member, with the number of each assignment.
#[derive(Debug, Default)]
pub(in crate::engine::native) struct Assignments {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    identity: Identity,
    held: HashMap<TopicPartition, Held>,
    last: u64,
}

#[derive(Debug)]
struct Held {
    assignment: AssignmentId,
    /// Whether batches still go to the consumer of events; no more once a revoke has begun.
    is_reading: bool,
    /// The greatest offset that the coordinator agreed to, -1 before any.
    committed: i64,
}

impl Assignments {
    /// Holds a partition under a new number, greater than all before.
    pub fn add(&self, partition: &TopicPartition) -> AssignmentId {
        self.lock().add(partition)
    }

    /// Gives a partition a new number, unless `assignment` is not being read any more. `tell` is
    /// called before anybody can stop or remove the partition, so what it says comes before theirs.
    pub fn renew(
        &self,
        partition: &TopicPartition,
        assignment: AssignmentId,
        tell: impl FnOnce(AssignmentId),
    ) -> Option<AssignmentId> {
        let mut inner = self.lock();
        let renewed = inner.is_reading(partition, assignment).then(|| inner.add(partition))?;
        tell(renewed);
        Some(renewed)
    }

    /// Stops the intake of partitions; commits for them still count.
    pub fn stop_reading(&self, partitions: &BTreeSet<TopicPartition>) {
        let mut inner = self.lock();
        for partition in partitions {
            if let Some(held) = inner.held.get_mut(partition) {
                held.is_reading = false;
            }
        }
    }

    /// Gives partitions up: nothing of them can be committed any more.
    pub fn remove(&self, partitions: &BTreeSet<TopicPartition>) {
        let mut inner = self.lock();
        for partition in partitions {
            inner.held.remove(partition);
        }
    }

    /// Whether batches of this assignment still go to the consumer of events.
    pub fn is_reading(&self, partition: &TopicPartition, assignment: AssignmentId) -> bool {
        self.lock().is_reading(partition, assignment)
    }

    /// Sets who this member is from now on.
    pub fn set_identity(&self, identity: Identity) {
        self.lock().identity = identity;
    }

    /// Who this member is, and those of `offsets` that it may commit: of an assignment that it
    /// still has, and not behind what is committed already.
    pub(super) fn committable(&self, offsets: &[Offset]) -> (Identity, Vec<Offset>) {
        let inner = self.lock();
        let commit = |offset: &Offset| {
            let held = inner.held.get(&offset.partition)?;
            let counts = held.assignment == offset.assignment && held.committed < offset.next;
            counts.then(|| offset.clone())
        };
        (inner.identity.clone(), offsets.iter().filter_map(commit).collect())
    }

    /// Remembers what the coordinator agreed to.
    pub(super) fn committed(&self, offsets: &[Offset]) {
        let mut inner = self.lock();
        for offset in offsets {
            if let Some(held) = inner.held(&offset.partition, offset.assignment) {
                held.committed = held.committed.max(offset.next);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no panic while locked")
    }
}

impl Inner {
    fn add(&mut self, partition: &TopicPartition) -> AssignmentId {
        self.last += 1;
        let assignment = AssignmentId(self.last);
        let held = Held { assignment, is_reading: true, committed: -1 };
        self.held.insert(partition.clone(), held);
        assignment
    }

    fn held(&mut self, partition: &TopicPartition, assignment: AssignmentId) -> Option<&mut Held> {
        self.held.get_mut(partition).filter(|held| held.assignment == assignment)
    }

    fn is_reading(&self, partition: &TopicPartition, assignment: AssignmentId) -> bool {
        self.held.get(partition).is_some_and(|held| held.is_reading && held.assignment == assignment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset(partition: &TopicPartition, assignment: AssignmentId, next: i64) -> Offset {
        Offset { partition: partition.clone(), assignment, next, leader_epoch: -1 }
    }

    fn committable(assignments: &Assignments, offsets: &[Offset]) -> Vec<Offset> {
        assignments.committable(offsets).1
    }

    #[test]
    fn only_the_current_assignment_commits_and_only_forwards() {
        let assignments = Assignments::default();
        let partition = TopicPartition::new("t", 0);
        let first = assignments.add(&partition);
        assignments.committed(&[offset(&partition, first, 10)]);
        let asked = [offset(&partition, first, 10), offset(&partition, first, 11)];
        assert_eq!(committable(&assignments, &asked), asked[1..]);

        let second = assignments.add(&partition);
        assert!(second > first);
        assert_eq!(committable(&assignments, &asked), []);
        assert_eq!(committable(&assignments, &[offset(&partition, second, 5)]).len(), 1);
    }

    #[test]
    fn a_revoked_partition_commits_until_it_is_given_up() {
        let assignments = Assignments::default();
        let partition = TopicPartition::new("t", 0);
        let all = BTreeSet::from([partition.clone()]);
        let assignment = assignments.add(&partition);
        assert!(assignments.is_reading(&partition, assignment));
        assignments.stop_reading(&all);
        assert!(!assignments.is_reading(&partition, assignment));
        assert_eq!(assignments.renew(&partition, assignment, |_| panic!("it is revoked")), None);
        assert_eq!(committable(&assignments, &[offset(&partition, assignment, 1)]).len(), 1);
        assignments.remove(&all);
        assert_eq!(committable(&assignments, &[offset(&partition, assignment, 1)]), []);
    }
}
