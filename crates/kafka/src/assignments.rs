//! The partitions that this member holds right now: shared by the group, the fetcher and every
//! commit.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::Notify;
use topicmill_mill::{
    batch::{AssignmentId, TopicPartition},
    engine::Offset,
};

/// This member's identity towards the coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// The member id from the coordinator; empty before.
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
pub(super) struct Assignments {
    inner: Mutex<AssignmentsState>,
    /// There may be positions to find.
    sought: Notify,
}

#[derive(Debug, Default)]
struct AssignmentsState {
    identity: Identity,
    held: HashMap<TopicPartition, HeldPartition>,
    last: u64,
    /// The changes of the assignment that added partitions.
    changes: u64,
    /// The last of them of which any partition's position has become known.
    announced: u64,
}

#[derive(Debug)]
struct HeldPartition {
    assignment: AssignmentId,
    /// The change of the assignment that added it, or that was the last when it was sought again.
    change: u64,
    /// Whether batches still go to the consumer of events; not once a revoke has begun.
    is_reading: bool,
    /// Whether its position has yet to be found.
    is_sought: bool,
    /// The greatest offset that the coordinator has agreed to, -1 before any.
    committed: i64,
    /// The metadata of each committed offset.
    note: Arc<str>,
}

/// A partition whose position is now known.
pub(super) type Settled = (TopicPartition, AssignmentId);

/// An offset to commit, with its metadata.
pub(super) type Noted = (Offset, Arc<str>);

impl Assignments {
    /// Holds partitions, each under a new number that is greater than all before; their positions
    /// have to be found.
    pub fn add<'a>(&self, partitions: impl IntoIterator<Item = &'a TopicPartition>) {
        let mut inner = self.inner.lock();
        inner.changes += 1;
        for partition in partitions {
            inner.add(partition);
        }
        self.sought.notify_one();
    }

    /// Gives a partition whose new position is known a new number, unless `assignment` is no longer
    /// being read. `tell` is called under the lock, before anyone can stop or remove the partition,
    /// so that its events precede theirs.
    pub fn renew(
        &self,
        partition: &TopicPartition,
        assignment: AssignmentId,
        tell: impl FnOnce(AssignmentId),
    ) -> Option<AssignmentId> {
        let mut inner = self.inner.lock();
        if !inner.is_reading(partition, assignment) {
            return None;
        }
        let note = Arc::clone(&inner.held[partition].note);
        let renewed = inner.add(partition);
        let held = inner.held.get_mut(partition).expect("it was just added");
        (held.is_sought, held.note) = (false, note);
        tell(renewed);
        Some(renewed)
    }

    /// Ends the assignments of `partitions` that are being read and gives each a new number, whose
    /// position has to be found. With `only`, just those that still have this number. `tell` is
    /// called with them, if there are any, before anyone can stop or remove them.
    pub fn seek(
        &self,
        partitions: impl IntoIterator<Item = (TopicPartition, Option<AssignmentId>)>,
        tell: impl FnOnce(Vec<TopicPartition>),
    ) {
        let mut inner = self.inner.lock();
        let mut renewed = Vec::new();
        for (partition, only) in partitions {
            let held = inner.held.get(&partition).filter(|held| held.is_reading);
            if held.is_some_and(|held| only.is_none_or(|only| held.assignment == only)) {
                inner.add(&partition);
                renewed.push(partition);
            }
        }
        if !renewed.is_empty() {
            tell(renewed);
            self.sought.notify_one();
        }
    }

    /// The assignments whose positions are to be found.
    pub fn sought(&self) -> Vec<Settled> {
        let inner = self.inner.lock();
        let sought = inner.held.iter().filter(|(_, held)| held.is_sought && held.is_reading);
        let mut sought: Vec<_> =
            sought.map(|(partition, held)| (partition.clone(), held.assignment)).collect();
        sought.sort_unstable();
        sought
    }

    /// Waits until there may be new positions to find.
    pub async fn sought_anew(&self) {
        self.sought.notified().await;
    }

    /// Notes for which assignments the position is now known. `tell` gets those of `found` that are
    /// still being read, if there are any, before anyone can stop or remove the partitions, and
    /// whether the changes that added them have been announced by others.
    pub fn settle<T>(
        &self,
        mut found: Vec<(Settled, T)>,
        note: &Arc<str>,
        tell: impl FnOnce(Vec<(Settled, T)>, bool),
    ) {
        let mut inner = self.inner.lock();
        let mut change = 0;
        found.retain(|((partition, assignment), _)| {
            let held = inner.held(partition, *assignment).filter(|held| held.is_reading && held.is_sought);
            let Some(held) = held else { return false };
            (held.is_sought, held.note) = (false, Arc::clone(note));
            change = change.max(held.change);
            true
        });
        if !found.is_empty() {
            tell(found, change <= inner.announced);
            inner.announced = inner.announced.max(change);
        }
    }

    /// Stops the intake of partitions; commits for them still count.
    pub fn stop_reading(&self, partitions: &BTreeSet<TopicPartition>) {
        let mut inner = self.inner.lock();
        for partition in partitions {
            if let Some(held) = inner.held.get_mut(partition) {
                held.is_reading = false;
            }
        }
    }

    /// Gives partitions up: nothing of them can be committed any more.
    pub fn remove(&self, partitions: &BTreeSet<TopicPartition>) {
        let mut inner = self.inner.lock();
        for partition in partitions {
            inner.held.remove(partition);
        }
        // Nobody needs to look for their positions any more.
        self.sought.notify_one();
    }

    /// Whether batches of this assignment still go to the consumer of events.
    pub fn is_reading(&self, partition: &TopicPartition, assignment: AssignmentId) -> bool {
        self.inner.lock().is_reading(partition, assignment)
    }

    /// Whether this assignment is the partition's newest, or the partition is gone altogether.
    pub fn is_current(&self, partition: &TopicPartition, assignment: AssignmentId) -> bool {
        self.inner.lock().held.get(partition).is_none_or(|held| held.assignment == assignment)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.inner.lock().held.is_empty()
    }

    /// Sets this member's identity from now on.
    pub fn set_identity(&self, identity: Identity) {
        self.inner.lock().identity = identity;
    }

    /// This member's identity, and those of `offsets` that it may commit, with their metadata: of
    /// an assignment that it still has, and beyond what is committed already.
    pub(super) fn committable(&self, offsets: &[Offset]) -> (Identity, Vec<Noted>) {
        let inner = self.inner.lock();
        let commit = |offset: &Offset| {
            let held = inner.held.get(&offset.partition)?;
            let counts = held.assignment == offset.assignment && held.committed < offset.next;
            counts.then(|| (offset.clone(), Arc::clone(&held.note)))
        };
        (inner.identity.clone(), offsets.iter().filter_map(commit).collect())
    }

    /// This member's identity and the metadata of each of `offsets`; `None` when the assignment of one is over.
    pub(super) fn stake(&self, offsets: Vec<Offset>) -> Option<(Identity, Vec<Noted>)> {
        let inner = self.inner.lock();
        let noted = |offset: Offset| {
            let held = inner.held.get(&offset.partition)?;
            (held.assignment == offset.assignment).then(|| (offset, Arc::clone(&held.note)))
        };
        Some((inner.identity.clone(), offsets.into_iter().map(noted).collect::<Option<_>>()?))
    }

    /// Remembers what the coordinator has agreed to.
    pub(super) fn committed(&self, offsets: &[Noted]) {
        let mut inner = self.inner.lock();
        for (offset, _) in offsets {
            if let Some(held) = inner.held(&offset.partition, offset.assignment) {
                held.committed = held.committed.max(offset.next);
            }
        }
    }

    /// Those of `offsets` that the coordinator has agreed to, of assignments that are still held.
    pub(super) fn agreed(&self, mut offsets: Vec<Offset>) -> Vec<Offset> {
        let mut inner = self.inner.lock();
        offsets.retain(|offset| {
            let held = inner.held(&offset.partition, offset.assignment);
            held.is_some_and(|held| held.committed >= offset.next)
        });
        offsets
    }
}

impl AssignmentsState {
    fn add(&mut self, partition: &TopicPartition) -> AssignmentId {
        self.last += 1;
        let assignment = AssignmentId(self.last);
        let held = HeldPartition {
            assignment,
            change: self.changes,
            is_reading: true,
            is_sought: true,
            committed: -1,
            note: Arc::from(""),
        };
        self.held.insert(partition.clone(), held);
        assignment
    }

    fn held(&mut self, partition: &TopicPartition, assignment: AssignmentId) -> Option<&mut HeldPartition> {
        self.held.get_mut(partition).filter(|held| held.assignment == assignment)
    }

    fn is_reading(&self, partition: &TopicPartition, assignment: AssignmentId) -> bool {
        self.held.get(partition).is_some_and(|held| held.is_reading && held.assignment == assignment)
    }
}

#[cfg(test)]
impl Assignments {
    /// Holds a partition whose position is known.
    pub(super) fn hold(&self, partition: &TopicPartition) -> AssignmentId {
        let mut inner = self.inner.lock();
        let assignment = inner.add(partition);
        inner.held(partition, assignment).expect("it was just added").is_sought = false;
        assignment
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset(partition: &TopicPartition, assignment: AssignmentId, next: i64) -> Offset {
        Offset { partition: partition.clone(), assignment, next, leader_epoch: -1 }
    }

    fn committable(assignments: &Assignments, offsets: &[Offset]) -> Vec<Offset> {
        assignments.committable(offsets).1.into_iter().map(|(offset, _)| offset).collect()
    }

    fn no_note() -> Arc<str> {
        Arc::from("")
    }

    #[test]
    fn only_the_current_assignment_commits_and_only_forwards() {
        let assignments = Assignments::default();
        let partition = TopicPartition::new("t", 0);
        let first = assignments.hold(&partition);
        assignments.committed(&[(offset(&partition, first, 10), no_note())]);
        let asked = [offset(&partition, first, 10), offset(&partition, first, 11)];
        assert_eq!(committable(&assignments, &asked), asked[1..]);

        let second = assignments.hold(&partition);
        assert!(second > first);
        assert_eq!(committable(&assignments, &asked), []);
        assert_eq!(committable(&assignments, &[offset(&partition, second, 5)]).len(), 1);
    }

    #[test]
    fn a_position_itself_can_be_committed() {
        let assignments = Assignments::default();
        let partition = TopicPartition::new("t", 0);
        let assignment = assignments.hold(&partition);
        let position = [offset(&partition, assignment, 0)];
        assert_eq!(committable(&assignments, &position), position);
        assignments.committed(&[(position[0].clone(), no_note())]);
        assert_eq!(committable(&assignments, &position), []);
    }

    #[test]
    fn a_revoked_partition_commits_until_it_is_given_up() {
        let assignments = Assignments::default();
        let partition = TopicPartition::new("t", 0);
        let all = BTreeSet::from([partition.clone()]);
        let assignment = assignments.hold(&partition);
        assert!(assignments.is_reading(&partition, assignment));
        assignments.stop_reading(&all);
        assert!(!assignments.is_reading(&partition, assignment));
        assert_eq!(assignments.renew(&partition, assignment, |_| panic!("it is revoked")), None);
        assignments.seek([(partition.clone(), None)], |_| panic!("it is revoked"));
        assert_eq!(committable(&assignments, &[offset(&partition, assignment, 1)]).len(), 1);
        assignments.remove(&all);
        assert_eq!(committable(&assignments, &[offset(&partition, assignment, 1)]), []);
    }

    #[test]
    fn a_position_counts_only_for_the_assignment_that_it_was_sought_for() {
        let assignments = Assignments::default();
        let partition = TopicPartition::new("t", 0);
        assignments.add([&partition]);
        let first = assignments.sought();
        // A rewind while the position is being looked for: what is found does not belong to the new
        // assignment.
        assignments.seek([(partition.clone(), None)], |renewed| {
            assert_eq!(renewed, std::slice::from_ref(&partition))
        });
        let of = |found: &[Settled]| found.iter().map(|place| (place.clone(), 7)).collect::<Vec<_>>();
        assignments.settle(of(&first), &no_note(), |_, _| panic!("it is another assignment"));
        let second = assignments.sought();
        assert_ne!(first, second);
        let mut told = Vec::new();
        assignments.settle(of(&second), &no_note(), |found, is_late| {
            assert!(!is_late);
            told = found;
        });
        assert_eq!(told, of(&second));
        assert_eq!(assignments.sought(), []);
        // A revoke while the position is being looked for wins.
        assignments.seek([(partition.clone(), Some(second[0].1))], |_| {});
        let third = assignments.sought();
        assignments.stop_reading(&BTreeSet::from([partition]));
        assignments.settle(of(&third), &no_note(), |_, _| panic!("it is revoked"));
        assert_eq!(assignments.sought(), []);
    }

    #[test]
    fn a_position_that_is_found_after_others_of_the_same_change_is_late() {
        let assignments = Assignments::default();
        let [first, second, third] = [0, 1, 2].map(|number| TopicPartition::new("t", number));
        let find = |partition: &TopicPartition| {
            let sought = assignments.sought().into_iter().find(|(of, _)| of == partition).unwrap();
            let mut late = None;
            assignments.settle(vec![(sought, 7)], &no_note(), |_, is_late| late = Some(is_late));
            late.unwrap()
        };
        assignments.add([&first, &second]);
        assert_eq!((find(&first), find(&second)), (false, true));
        assignments.add([&third]);
        // A rewind is no change.
        assignments.seek([(first.clone(), None)], drop);
        assert_eq!((find(&third), find(&first)), (false, true));
    }
}
