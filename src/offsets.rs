//! From acknowledged to committable: what of each partition is final, per assignment. Pure.
//!
//! Architecture invariant: an offset becomes committable only when every batch below it was
//! acknowledged under the assignment that is current now.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use crate::{
    batch::{AssignmentId, PartitionBatch, TopicPartition},
    budget::Permit,
    engine::{Assignment, Offset},
};

/// The progress of every partition assigned to this process.
#[derive(Debug, Default)]
pub struct Offsets {
    partitions: BTreeMap<TopicPartition, Progress>,
}

/// What a batch on the road is known by. Each part that the batch is split into holds a clone;
/// the batch is acknowledged when every part is. The batch's share of the memory budget is
/// given back with the last clone.
#[derive(Clone, Debug)]
pub struct Ticket {
    partition: TopicPartition,
    assignment: AssignmentId,
    number: u64,
    _memory: Arc<Permit>,
}

impl Ticket {
    /// The partition that the batch was read from.
    pub fn partition(&self) -> &TopicPartition {
        &self.partition
    }
}

#[derive(Debug)]
struct Progress {
    assignment: AssignmentId,
    /// Everything below is acknowledged.
    acknowledged: i64,
    /// The leader epoch of the last record that is acknowledged; -1 when unknown.
    epoch: i32,
    /// What the coordinator agreed to; `None` when the position that reading started at is not
    /// committed yet.
    committed: Option<i64>,
    /// The batches that are not acknowledged, or stand behind one that is not.
    pending: VecDeque<Pending>,
    /// The number of the first pending batch.
    first: u64,
    /// Nothing more of this partition is taken or committed.
    frozen: bool,
}

#[derive(Debug)]
struct Pending {
    next_offset: i64,
    leader_epoch: i32,
    parts_left: usize,
}

impl Offsets {
    /// Starts a partition anew under `assignment`; acknowledgements of earlier ones are void.
    pub fn assign(&mut self, assignment: &Assignment) {
        let progress = Progress {
            assignment: assignment.id,
            acknowledged: assignment.position,
            epoch: -1,
            committed: assignment.is_committed.then_some(assignment.position),
            pending: VecDeque::new(),
            first: 0,
            frozen: false,
        };
        self.partitions.insert(assignment.partition.clone(), progress);
    }

    /// Forgets a partition; acknowledgements for it are void from now on. Whether it was assigned.
    pub fn remove(&mut self, partition: &TopicPartition) -> bool {
        self.partitions.remove(partition).is_some()
    }

    /// Takes a batch on the road. `None` when it is stale or its partition frozen: then it must
    /// be dropped. Call in the order in which the batches were read.
    pub fn begin(&mut self, batch: &PartitionBatch, memory: Permit) -> Option<Ticket> {
        let progress = self.partitions.get_mut(&batch.origin)?;
        if progress.assignment != batch.assignment || progress.frozen {
            return None;
        }
        let number = progress.first + progress.pending.len() as u64;
        let PartitionBatch { next_offset, leader_epoch, .. } = *batch;
        progress.pending.push_back(Pending { next_offset, leader_epoch, parts_left: 1 });
        Some(Ticket {
            partition: batch.origin.clone(),
            assignment: batch.assignment,
            number,
            _memory: Arc::new(memory),
        })
    }

    /// Says that the batch of `ticket` is split into `parts`, each to be acknowledged.
    pub fn split(&mut self, ticket: &Ticket, parts: usize) {
        if let Some(pending) = self.pending_mut(ticket) {
            pending.parts_left = parts;
        }
    }

    /// Counts one acknowledged part of a batch. Void for an earlier assignment.
    pub fn acknowledge(&mut self, ticket: Ticket) {
        let Some(pending) = self.pending_mut(&ticket) else { return };
        pending.parts_left = pending.parts_left.saturating_sub(1);
        let progress = self.partitions.get_mut(&ticket.partition).expect("it has a pending batch");
        while let Some(done) = progress.pending.pop_front_if(|pending| pending.parts_left == 0) {
            progress.acknowledged = done.next_offset;
            progress.epoch = done.leader_epoch;
            progress.first += 1;
        }
    }

    /// Stops a partition where it is: what was acknowledged stays committable, nothing more is
    /// taken. Whether this stopped it: not when it was stopped before, nor for an earlier assignment.
    pub fn freeze(&mut self, ticket: &Ticket) -> bool {
        let Some(progress) = self.partitions.get_mut(&ticket.partition) else { return false };
        let stops = progress.assignment == ticket.assignment && !progress.frozen;
        progress.frozen |= stops;
        stops
    }

    /// The number of stopped partitions.
    pub fn frozen(&self) -> usize {
        self.partitions.values().filter(|progress| progress.frozen).count()
    }

    /// What can be committed and is not yet.
    pub fn committable(&self) -> Vec<Offset> {
        self.partitions
            .iter()
            .filter(|(_, progress)| !progress.is_committed())
            .map(|(partition, progress)| Offset {
                partition: partition.clone(),
                assignment: progress.assignment,
                next: progress.acknowledged,
                leader_epoch: progress.epoch,
            })
            .collect()
    }

    /// Notes what the coordinator agreed to.
    pub fn committed(&mut self, offsets: &[Offset]) {
        for offset in offsets {
            if let Some(progress) = self.partitions.get_mut(&offset.partition)
                && progress.assignment == offset.assignment
            {
                progress.committed = progress.committed.max(Some(offset.next));
            }
        }
    }

    /// Whether nothing of `partition` is waited for: no batch on the road, nothing to commit.
    /// Batches of a frozen partition are not waited for.
    pub fn is_settled(&self, partition: &TopicPartition) -> bool {
        self.partitions.get(partition).is_none_or(Progress::is_settled)
    }

    /// Whether that holds for every partition.
    pub fn all_settled(&self) -> bool {
        self.partitions.values().all(Progress::is_settled)
    }

    /// Acknowledged and committed offset of a partition, `None` when it is not assigned.
    pub fn position(&self, partition: &TopicPartition) -> Option<Position> {
        self.partitions.get(partition).map(|progress| Position {
            acknowledged: progress.acknowledged,
            committed: progress.committed,
            frozen: progress.frozen,
        })
    }

    fn pending_mut(&mut self, ticket: &Ticket) -> Option<&mut Pending> {
        let progress = self.partitions.get_mut(&ticket.partition)?;
        if progress.assignment != ticket.assignment {
            return None;
        }
        let index = ticket.number.checked_sub(progress.first)?;
        progress.pending.get_mut(index as usize)
    }
}

/// How far a partition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Everything below this offset is acknowledged.
    pub acknowledged: i64,
    /// Everything below this offset is committed; `None` when nothing is.
    pub committed: Option<i64>,
    /// Whether the partition is stopped.
    pub frozen: bool,
}

impl Progress {
    fn is_settled(&self) -> bool {
        (self.pending.is_empty() || self.frozen) && self.is_committed()
    }

    fn is_committed(&self) -> bool {
        self.committed >= Some(self.acknowledged)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn assignment(assignment: u64, position: i64) -> Assignment {
        let partition = TopicPartition::new("t", 0);
        Assignment { partition, id: AssignmentId(assignment), position, is_committed: true }
    }

    fn batch(assignment: u64, next_offset: i64) -> PartitionBatch {
        PartitionBatch {
            origin: TopicPartition::new("t", 0),
            assignment: AssignmentId(assignment),
            next_offset,
            ..PartitionBatch::default()
        }
    }

    fn begin(offsets: &mut Offsets, batch: &PartitionBatch) -> Option<Ticket> {
        offsets.begin(batch, Permit::none())
    }

    fn next(offsets: &Offsets) -> Option<i64> {
        offsets.committable().first().map(|offset| offset.next)
    }

    #[test]
    fn an_acknowledgement_of_an_earlier_assignment_never_commits() {
        let mut offsets = Offsets::default();
        offsets.assign(&assignment(1, 0));
        let old = begin(&mut offsets, &batch(1, 10)).unwrap();
        offsets.assign(&assignment(2, 0));
        offsets.acknowledge(old);
        assert_eq!(next(&offsets), None);
        assert!(begin(&mut offsets, &batch(1, 20)).is_none(), "a stale batch is refused");
        let new = begin(&mut offsets, &batch(2, 5)).unwrap();
        offsets.acknowledge(new);
        assert_eq!(next(&offsets), Some(5));
    }

    #[test]
    fn a_frozen_partition_commits_what_stands_before_the_failure_and_no_more() {
        let mut offsets = Offsets::default();
        offsets.assign(&assignment(1, 0));
        let [a, b, c] = [10, 20, 30].map(|next| begin(&mut offsets, &batch(1, next)).unwrap());
        assert!(offsets.freeze(&b));
        offsets.acknowledge(c);
        assert_eq!(next(&offsets), None);
        offsets.acknowledge(a);
        assert_eq!(next(&offsets), Some(10));
        assert!(begin(&mut offsets, &batch(1, 40)).is_none());
        assert!(!offsets.all_settled());
        offsets.committed(&offsets.committable());
        assert!(offsets.all_settled());
    }

    #[test]
    fn a_split_batch_counts_when_all_its_parts_do() {
        let mut offsets = Offsets::default();
        offsets.assign(&assignment(1, 7));
        let ticket = begin(&mut offsets, &batch(1, 9)).unwrap();
        offsets.split(&ticket, 3);
        offsets.acknowledge(ticket.clone());
        offsets.acknowledge(ticket.clone());
        assert_eq!(next(&offsets), None);
        offsets.acknowledge(ticket);
        assert_eq!(next(&offsets), Some(9));
    }

    proptest! {
        /// Whatever the order of acknowledgements, the committable offset is that of the longest
        /// prefix of acknowledged batches.
        #[test]
        fn the_committable_offset_is_the_acknowledged_prefix(
            sizes in prop::collection::vec(1i64..50, 1..40),
            shuffle in any::<prop::sample::Index>(),
            keys in prop::collection::vec(any::<u32>(), 40),
        ) {
            let mut offsets = Offsets::default();
            offsets.assign(&assignment(3, 100));
            let mut at = 100;
            let ends: Vec<i64> = sizes.iter().map(|size| { at += size; at }).collect();
            let mut tickets: Vec<(usize, Ticket)> = Vec::new();
            for (i, end) in ends.iter().enumerate() {
                tickets.push((i, begin(&mut offsets, &batch(3, *end)).unwrap()));
            }
            tickets.sort_by_key(|(i, _)| keys[*i]);
            let stop = shuffle.index(tickets.len() + 1);
            let mut done = vec![false; ends.len()];
            for (i, ticket) in tickets.into_iter().take(stop) {
                offsets.acknowledge(ticket);
                done[i] = true;
                let prefix = done.iter().take_while(|done| **done).count();
                let expected = prefix.checked_sub(1).map(|last| ends[last]);
                prop_assert_eq!(next(&offsets), expected);
            }
        }
    }
}
