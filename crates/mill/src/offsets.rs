//! From acknowledged to committable: what of each partition is final, per assignment. Pure.
//!
//! Architecture invariant: an offset becomes committable only when every batch below it was
//! acknowledged under the current assignment.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use tokio::time::Instant;

use crate::{
    batch::{AssignmentId, PartitionBatch, TopicPartition},
    budget::Permit,
    engine::{Assignment, Offset},
};

/// The progress of every partition assigned to this process.
#[derive(Debug, Default)]
pub struct Offsets {
    partitions: BTreeMap<TopicPartition, Progress>,
    /// Those that have something to commit.
    uncommitted: BTreeSet<TopicPartition>,
    /// The number of those whose position the group has not committed.
    unplaced: usize,
}

/// Identifies a batch in the pipeline. Each part that the batch is split into holds a clone; the
/// batch is acknowledged when every part is. The batch's share of the memory budget is given back
/// with the last clone.
#[derive(Clone, Debug)]
pub struct Ticket {
    partition: TopicPartition,
    assignment: AssignmentId,
    number: u64,
    memory: Arc<Permit>,
}

impl Ticket {
    /// Charges the batch's share of the memory for something that takes `now` bytes instead of
    /// `before`.
    pub fn charge(&self, before: usize, now: usize) {
        self.memory.charge(before, now);
    }

    /// The partition that the batch was read from.
    pub fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// The assignment under which it was read.
    pub fn assignment(&self) -> AssignmentId {
        self.assignment
    }
}

/// Why a partition takes nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halt {
    /// It is stopped for good.
    Stopped,
    /// It will be read again from the committed offset.
    Rewinding,
}

#[derive(Debug)]
struct Progress {
    assignment: AssignmentId,
    /// Where reading started.
    begin: i64,
    /// Everything below has been read.
    read: i64,
    /// Everything below is acknowledged.
    acknowledged: i64,
    /// The leader epoch of the last record that is acknowledged; -1 when unknown.
    epoch: i32,
    /// What the coordinator has agreed to; `None` while the position that reading started at is not
    /// committed.
    committed: Option<i64>,
    /// The batches that are not acknowledged, or stand behind one that is not.
    pending: VecDeque<Pending>,
    /// The number of the first pending batch.
    first: u64,
    /// Nothing more is taken, and the batches from this number on are not waited for.
    halt: Option<(Halt, u64)>,
}

#[derive(Debug)]
struct Pending {
    next_offset: i64,
    leader_epoch: i32,
    parts_left: usize,
    memory: usize,
    begun: Instant,
}

impl Offsets {
    /// Starts a partition under `assignment`; acknowledgements of earlier ones are void. Returns
    /// whether it was not assigned before.
    pub fn assign(&mut self, assignment: &Assignment) -> bool {
        let was_assigned = self.remove(&assignment.partition).is_some();
        let progress = Progress {
            assignment: assignment.id,
            begin: assignment.position,
            read: assignment.position,
            acknowledged: assignment.position,
            epoch: -1,
            committed: assignment.is_committed.then_some(assignment.position),
            pending: VecDeque::new(),
            first: 0,
            halt: None,
        };
        if !assignment.is_committed {
            self.unplaced += 1;
            self.uncommitted.insert(assignment.partition.clone());
        }
        self.partitions.insert(assignment.partition.clone(), progress);
        !was_assigned
    }

    /// Forgets a partition; acknowledgements for it are void from now on. Returns its assignment,
    /// if it was assigned.
    pub fn remove(&mut self, partition: &TopicPartition) -> Option<AssignmentId> {
        let progress = self.partitions.remove(partition)?;
        self.uncommitted.remove(partition);
        self.unplaced -= usize::from(progress.committed.is_none());
        Some(progress.assignment)
    }

    /// Begins a batch. `None` when it is stale or its partition is halted: then it must be dropped.
    /// Call in the order in which the batches were read.
    pub fn begin(&mut self, batch: &PartitionBatch, memory: Permit) -> Option<Ticket> {
        let progress = self.partitions.get_mut(&batch.origin)?;
        if progress.assignment != batch.assignment || progress.halt.is_some() {
            return None;
        }
        let number = progress.end();
        let PartitionBatch { next_offset, leader_epoch, .. } = *batch;
        progress.read = next_offset;
        let (bytes, begun) = (memory.bytes(), Instant::now());
        progress.pending.push_back(Pending {
            next_offset,
            leader_epoch,
            parts_left: 1,
            memory: bytes,
            begun,
        });
        Some(Ticket {
            partition: batch.origin.clone(),
            assignment: batch.assignment,
            number,
            memory: Arc::new(memory),
        })
    }

    /// Notes that the batch of `ticket` is split into `parts`, each to be acknowledged.
    pub fn split(&mut self, ticket: &Ticket, parts: usize) {
        if let Some(pending) = self.pending_mut(ticket) {
            pending.parts_left = parts;
        }
    }

    /// Counts one acknowledged part of a batch. Void for an earlier assignment.
    pub fn acknowledge(&mut self, ticket: &Ticket) {
        let Some(pending) = self.pending_mut(ticket) else { return };
        pending.parts_left = pending.parts_left.saturating_sub(1);
        let progress = self.partitions.get_mut(&ticket.partition).expect("it has a pending batch");
        let was_committed = progress.is_committed();
        while let Some(done) = progress.pending.pop_front_if(|pending| pending.parts_left == 0) {
            progress.acknowledged = done.next_offset;
            progress.epoch = done.leader_epoch;
            progress.first += 1;
        }
        if was_committed && !progress.is_committed() {
            self.uncommitted.insert(ticket.partition.clone());
        }
    }

    /// Whether the output of a batch still has to be sent: its assignment is the current one, it
    /// will not be read again under another one, and its partition is not stopped before it.
    pub fn is_wanted(&self, ticket: &Ticket) -> bool {
        self.current(ticket).is_some_and(|progress| match progress.halt {
            None => true,
            Some((Halt::Stopped, before)) => ticket.number < before,
            Some((Halt::Rewinding, _)) => false,
        })
    }

    /// Whether the assignment of a batch is still the current one.
    pub fn is_current(&self, ticket: &Ticket) -> bool {
        self.current(ticket).is_some()
    }

    /// Takes nothing more of a partition and waits for nothing from this batch on; what was
    /// acknowledged before stays committable. Returns whether this halts it: not when it was halted
    /// before, nor for an earlier assignment. A stopped partition whose stop lies behind this batch
    /// may still be read again.
    pub fn halt_before(&mut self, ticket: &Ticket, why: Halt) -> bool {
        let Some(progress) = self.partitions.get_mut(&ticket.partition) else { return false };
        if progress.assignment != ticket.assignment {
            return false;
        }
        match &mut progress.halt {
            Some((halt, before)) => {
                let comes_first = ticket.number < *before;
                *before = ticket.number.min(*before);
                let is_resumed = comes_first && *halt == Halt::Stopped && why == Halt::Rewinding;
                if is_resumed {
                    *halt = Halt::Rewinding;
                }
                is_resumed
            }
            none => {
                *none = Some((why, ticket.number));
                true
            }
        }
    }

    /// As [`halt_before`](Offsets::halt_before), behind everything that has begun.
    pub fn halt(&mut self, partition: &TopicPartition, assignment: AssignmentId, why: Halt) -> bool {
        let Some(progress) = self.partitions.get_mut(partition) else { return false };
        let halts = progress.assignment == assignment && progress.halt.is_none();
        if halts {
            progress.halt = Some((why, progress.end()));
        }
        halts
    }

    /// What of a partition counted as acknowledged and is not committed no longer counts: its transaction
    /// is aborted. Nothing more is taken of it, and nothing waited for. Returns its assignment.
    pub fn withdraw(&mut self, partition: &TopicPartition, why: Halt) -> Option<AssignmentId> {
        let progress = self.partitions.get_mut(partition)?;
        progress.acknowledged = progress.committed.unwrap_or(progress.begin);
        progress.epoch = -1;
        progress.halt = Some((why, progress.first));
        if progress.is_committed() {
            self.uncommitted.remove(partition);
        }
        Some(progress.assignment)
    }

    /// Whether batches of a partition count as acknowledged and are not committed.
    pub fn has_progressed(&self, partition: &TopicPartition) -> bool {
        let is_ahead = |of: &Progress| of.acknowledged > of.committed.unwrap_or(of.begin);
        self.partitions.get(partition).is_some_and(is_ahead)
    }

    /// Why a partition is halted, if it is.
    pub fn halted(&self, partition: &TopicPartition) -> Option<Halt> {
        self.partitions.get(partition)?.halt.map(|(why, _)| why)
    }

    /// What can be committed and has not been.
    pub fn committable(&self) -> Vec<Offset> {
        let all = self.uncommitted.iter().filter_map(|partition| self.partitions.get_key_value(partition));
        all.map(|(partition, progress)| Offset {
            partition: partition.clone(),
            assignment: progress.assignment,
            next: progress.acknowledged,
            leader_epoch: progress.epoch,
        })
        .collect()
    }

    /// The positions that were chosen and that the group has not committed.
    pub fn unplaced(&self) -> Vec<Offset> {
        let unplaced = self.partitions.iter().filter(|(_, progress)| progress.committed.is_none());
        let position = |(partition, progress): (&TopicPartition, &Progress)| Offset {
            partition: partition.clone(),
            assignment: progress.assignment,
            next: progress.begin,
            leader_epoch: -1,
        };
        unplaced.map(position).collect()
    }

    /// Whether there is anything to commit.
    pub fn has_uncommitted(&self) -> bool {
        !self.uncommitted.is_empty()
    }

    /// Whether a position was chosen that the group has not committed.
    pub fn has_unplaced(&self) -> bool {
        self.unplaced > 0
    }

    /// Notes what the coordinator has agreed to; returns those whose assignment is still the same.
    pub fn committed<'a>(&mut self, offsets: &'a [Offset]) -> Vec<&'a Offset> {
        let mut noted = Vec::new();
        for offset in offsets {
            if let Some(progress) = self.partitions.get_mut(&offset.partition)
                && progress.assignment == offset.assignment
            {
                self.unplaced -= usize::from(progress.committed.is_none());
                progress.committed = progress.committed.max(Some(offset.next));
                if progress.is_committed() {
                    self.uncommitted.remove(&offset.partition);
                }
                noted.push(offset);
            }
        }
        noted
    }

    /// Whether nothing of `partition` is waited for: no batch in the pipeline, nothing to commit.
    /// Batches behind a halt are not waited for.
    pub fn is_settled(&self, partition: &TopicPartition) -> bool {
        self.partitions.get(partition).is_none_or(Progress::is_settled)
    }

    /// Whether nothing of `partition` is in the pipeline any more; something may be left to commit.
    pub fn is_landed(&self, partition: &TopicPartition) -> bool {
        self.partitions.get(partition).is_none_or(Progress::is_landed)
    }

    /// Whether every partition is settled.
    pub fn all_settled(&self) -> bool {
        self.uncommitted.is_empty() && self.partitions.values().all(Progress::is_settled)
    }

    /// Whether anything that was read of `partition` is not committed, waited for or not.
    pub fn is_unfinished(&self, partition: &TopicPartition) -> bool {
        let is_behind = |of: &Progress| of.committed.unwrap_or(of.begin) < of.read;
        self.partitions.get(partition).is_some_and(is_behind)
    }

    /// The partitions assigned.
    pub fn partitions(&self) -> impl Iterator<Item = &TopicPartition> {
        self.partitions.keys()
    }

    /// Whether no partition is assigned.
    pub fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }

    /// Acknowledged and committed offset of a partition, `None` when it is not assigned.
    pub fn position(&self, partition: &TopicPartition) -> Option<Position> {
        self.partitions.get(partition).map(|progress| Position {
            assignment: progress.assignment,
            acknowledged: progress.acknowledged,
            committed: progress.committed,
        })
    }

    /// The memory that the batches of a partition hold, in bytes.
    pub fn memory(&self, partition: &TopicPartition) -> usize {
        let pending = self.partitions.get(partition).map(|progress| progress.pending.iter());
        pending.into_iter().flatten().map(|pending| pending.memory).sum()
    }

    /// When the oldest batch that is waited for was begun.
    pub fn oldest(&self) -> Option<Instant> {
        let waited_for = self.partitions.values().filter(|progress| !progress.is_landed());
        waited_for.filter_map(|progress| progress.pending.front()).map(|pending| pending.begun).min()
    }

    fn current(&self, ticket: &Ticket) -> Option<&Progress> {
        self.partitions.get(&ticket.partition).filter(|progress| progress.assignment == ticket.assignment)
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

/// The progress of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Under which assignment.
    pub assignment: AssignmentId,
    /// Everything below this offset is acknowledged.
    pub acknowledged: i64,
    /// Everything below this offset is committed; `None` when nothing is.
    pub committed: Option<i64>,
}

impl Progress {
    /// The number of the next batch.
    fn end(&self) -> u64 {
        self.first + self.pending.len() as u64
    }

    fn is_landed(&self) -> bool {
        self.pending.is_empty() || self.halt.is_some_and(|(_, before)| self.first >= before)
    }

    fn is_settled(&self) -> bool {
        self.is_landed() && self.is_committed()
    }

    fn is_committed(&self) -> bool {
        self.committed >= Some(self.acknowledged)
    }
}

#[cfg(test)]
mod tests;
