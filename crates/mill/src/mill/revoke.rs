//! Giving partitions up: what is in flight is finished and committed first, then they are released.

use std::collections::BTreeMap;

use tokio::{sync::oneshot, time::Instant};

use super::Mill;
use crate::{
    batch::TopicPartition,
    engine::{Assignment, EngineError, ErrorKind, Sink, Source},
    offsets::Halt,
};

/// Partitions that the source waits to give up.
pub(super) struct Revoking {
    pub(super) partitions: Vec<TopicPartition>,
    pub(super) release: oneshot::Sender<()>,
}

impl Revoking {
    /// Whether the source has stopped waiting.
    fn is_late(&self) -> bool {
        self.release.is_closed()
    }
}

impl<S: Source, K: Sink> Mill<S, K> {
    /// Takes partitions, possibly none. Whether any is new rather than read again.
    pub(super) fn assign(&mut self, assignments: &[Assignment]) -> bool {
        // The source has stopped waiting for the release of what it assigns again: that goes first.
        self.release_settled();
        self.health.assigned();
        let mut are_new = assignments.is_empty();
        let mut is_change = are_new;
        let lost = std::mem::take(&mut self.just_lost);
        for assignment in assignments {
            let again =
                self.before_truncation(assignment, &lost).or_else(|| self.newer_than_told(assignment));
            let assignment = &match again {
                None => assignment.clone(),
                Some((position, _)) => Assignment { position, is_committed: true, ..assignment.clone() },
            };
            let partition = &assignment.partition;
            self.leave(partition);
            let is_new = self.offsets.assign(assignment);
            are_new |= is_new;
            is_change |= is_new && !assignment.is_late;
            self.metrics.partitions_assigned.inc_by(i64::from(is_new));
            self.forget_stop(partition);
            self.rewound(partition);
            self.goal.begin_again(partition);
            if assignment.is_committed {
                self.goal.committed(partition, assignment.position);
            }
            if let Some((_, why)) = again {
                self.ask_again(assignment, why);
            }
            self.refresh_room(partition);
        }
        // A rewound partition changes no ownership, and neither does one whose position became known
        // after those of others. What was given up before belongs to the rebalance that assigns these.
        if are_new && !std::mem::take(&mut self.rebalancing) && is_change {
            self.metrics.rebalances.inc();
        }
        are_new
    }

    /// Where a partition is to begin, and why, if its log was truncated, and reading is to go on at its end, which lies
    /// beyond what is committed:
    ///   1. everything below 90 is committed, and the output of 90 to 99 is under way;
    ///   2. the log is truncated at 97, and the assignment is over: that output does not count;
    ///   3. were 97 committed, as a position that was chosen is, 90 to 96 would never be written.
    ///
    /// So it begins at what is committed.
    fn before_truncation(
        &self,
        assignment: &Assignment,
        lost: &BTreeMap<TopicPartition, i64>,
    ) -> Option<(i64, &'static str)> {
        let committed = lost.get(&assignment.partition).copied();
        let committed = committed.filter(|it| !assignment.is_committed && *it < assignment.position)?;
        Some((committed, "its log was truncated, and what lies before its end is not all committed"))
    }

    /// What is committed of a partition, and what is wrong, if a coordinator tells an older offset of it to the member
    /// that holds it:
    ///   1. 90 is committed, the next transaction is aborted, and another node takes the group over;
    ///   2. it has 90 in its log, but not yet that its replicas have it, and answers with what it is certain of (80);
    ///   3. were reading to begin there, 80 to 89 would be written again.
    ///
    /// Who gets partitions anew is answered once all before is certain.
    fn newer_than_told(&self, assignment: &Assignment) -> Option<(i64, &'static str)> {
        let committed = self.offsets.position(&assignment.partition)?.committed?;
        (assignment.is_committed && assignment.position < committed)
            .then_some((committed, "the coordinator of the group tells an older offset than was committed"))
    }

    /// Has a partition read again that was just assigned: nothing is written of what is read until then.
    fn ask_again(&mut self, assignment: &Assignment, why: &str) {
        let Assignment { partition, id, .. } = assignment;
        if self.offsets.halt(partition, *id, Halt::Rewinding) {
            let error = EngineError::new(ErrorKind::Retriable, why).at(partition);
            self.rewind(partition, *id, &error, Instant::now());
        }
    }

    /// Partitions are to be given up, or are gone.
    pub(super) fn begin_rebalance(&mut self) {
        if !std::mem::replace(&mut self.rebalancing, true) {
            self.metrics.rebalances.inc();
        }
    }

    /// Forgets partitions: nothing of theirs is written any more that has not been sent.
    pub(super) fn forget(&mut self, partitions: &[TopicPartition]) {
        // What is in a transaction can neither be taken out of it, nor committed without its offsets.
        let is_torn = partitions.iter().any(|partition| self.offsets.has_progressed(partition));
        for partition in partitions {
            self.metrics.lag.gone(partition);
            self.leave(partition);
            // A partition that is lost may have been revoked and forgotten already.
            let Some(assignment) = self.offsets.remove(partition) else { continue };
            self.delivery.forget(partition, assignment);
            self.metrics.partitions_assigned.dec();
            self.forget_stop(partition);
            self.end_rewind(partition);
            self.goal.begin_again(partition);
            self.refresh_room(partition);
        }
        if self.offsets.is_empty() {
            self.health.unassigned();
        }
        if is_torn {
            let text = "partitions were taken away before what was sent of them was committed";
            self.begin_abort(&EngineError::new(ErrorKind::Retriable, text));
        }
    }

    /// Releases what is settled, or what the source no longer waits for.
    pub(super) fn release_settled(&mut self) {
        let offsets = &self.offsets;
        let settled: Vec<Revoking> = self
            .revoking
            .extract_if(.., |revoking| {
                revoking.is_late()
                    || revoking.partitions.iter().all(|partition| offsets.is_settled(partition))
            })
            .collect();
        for revoking in settled {
            if revoking.is_late() {
                tracing::warn!(
                    partitions = revoking.partitions.len(),
                    names = super::names(&revoking.partitions),
                    "given up before everything was acknowledged; the rest will be read again"
                );
            }
            self.forget(&revoking.partitions);
            // The source may have stopped waiting meanwhile, and then needs no release.
            let _ = revoking.release.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::{
        batch::AssignmentId,
        engine::SourceEvent,
        mill::{
            simulation::{self, PARTITIONS, World},
            tests::mill_with_assignments,
        },
    };

    /// A mill that has everything assigned and is told to give it up.
    fn revoking() -> (Arc<Mutex<World>>, Mill<impl Source, impl Sink>, oneshot::Receiver<()>) {
        let (world, mut mill, _) = mill_with_assignments();
        let (release, released) = oneshot::channel();
        mill.take(SourceEvent::Revoked { partitions: all(), release }).unwrap();
        (world, mill, released)
    }

    fn all() -> Vec<TopicPartition> {
        (0..PARTITIONS).map(simulation::source).collect()
    }

    #[test]
    fn what_is_given_up_too_late_leaves_the_next_assignment_alone() {
        let (world, mut mill, released) = revoking();
        drop(released);
        let again = world.lock().unwrap().assign(0..PARTITIONS);
        mill.take(SourceEvent::Assigned(again)).unwrap();
        mill.release_settled();
        assert!(all().iter().all(|partition| mill.offsets.position(partition).is_some()));
        assert_eq!(mill.metrics.partitions_assigned.get(), i64::from(PARTITIONS));
    }

    #[test]
    fn what_a_truncated_log_still_has_beyond_what_is_committed_is_read_again() {
        let (_world, mut mill, _) = mill_with_assignments();
        let partition = simulation::source(0);
        let at = |id: u64, position: i64, is_committed: bool| {
            let (partition, id) = (partition.clone(), AssignmentId(id));
            SourceEvent::Assigned(vec![Assignment { partition, id, position, is_committed, is_late: false }])
        };
        mill.take(at(100, 90, true)).unwrap();
        mill.take(SourceEvent::Lost(vec![partition.clone()])).unwrap();
        mill.take(at(101, 97, false)).unwrap();
        assert!(mill.offsets.unplaced().iter().all(|offset| offset.partition != partition));
        assert_eq!(mill.offsets.halted(&partition), Some(Halt::Rewinding));
        assert_eq!(mill.offsets.position(&partition).unwrap().committed, Some(90));
        // A position that is chosen before what was committed is committed as ever.
        mill.take(SourceEvent::Lost(vec![partition.clone()])).unwrap();
        mill.take(at(102, 80, false)).unwrap();
        assert_eq!(mill.offsets.halted(&partition), None);
        assert!(mill.offsets.unplaced().iter().any(|offset| offset.partition == partition));
    }

    #[test]
    fn what_is_lost_while_it_is_given_up_counts_once() {
        let (_world, mut mill, released) = revoking();
        drop(released);
        mill.take(SourceEvent::Lost(all())).unwrap();
        mill.release_settled();
        assert_eq!(mill.metrics.partitions_assigned.get(), 0);
    }
}
