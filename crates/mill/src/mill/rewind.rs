//! Partitions that are read again from their committed offsets, each on its own, while the others
//! go on: after an error of the sink that concerns them alone, and when they hold memory that
//! others need.
//!
//! A partition that is to be rewound is halted, and what the sink has not sent of it is forgotten.
//! It waits until its backoff is over, until nothing of it is in flight (what was sent and arrives
//! late would be written twice) and until what is acknowledged of it is committed. Then the source
//! assigns it again, and it is on trial until something of it is acknowledged.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;
use tracing::{debug, warn};

use super::{Mill, MillError, exact::Exact};
use crate::{
    backoff::Backoff,
    batch::{AssignmentId, TopicPartition},
    delivery::Failed,
    engine::{EngineError, ErrorKind, Place, Sink, Source},
    offsets::Halt,
};

/// How long a rewind waits for a commit of what is acknowledged.
const COMMIT_LIMIT: Duration = Duration::from_secs(5);

/// The partitions that are rewound.
#[derive(Debug, Default)]
pub(super) struct Rewinds {
    of: BTreeMap<TopicPartition, Rewind>,
    /// How many wait.
    waiting: usize,
}

#[derive(Debug)]
struct Rewind {
    /// How often it has been rewound with nothing acknowledged in between.
    failures: u32,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It waits, at least until this time.
    Waiting(Instant),
    /// The source is looking up its committed offset.
    Asked,
    /// It is being read again.
    Tried,
}

impl Rewinds {
    /// Begins a rewind; the backoff counts from `since`, when the attempt that failed was made.
    pub(super) fn wait(&mut self, partition: &TopicPartition, backoff: Backoff, since: Instant) -> u32 {
        let failures = self.of.get(partition).map_or(0, |rewind| rewind.failures) + 1;
        self.forget(partition);
        let phase = Phase::Waiting(since + backoff.steady(failures));
        self.of.insert(partition.clone(), Rewind { failures, phase });
        self.waiting += 1;
        failures
    }

    /// Whether any is waiting, for a commit included.
    pub(super) fn any_waits(&self) -> bool {
        self.waiting > 0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// Whether the partition is not being read.
    pub(super) fn keeps_out(&self, partition: &TopicPartition) -> bool {
        self.of.get(partition).is_some_and(|rewind| rewind.phase != Phase::Tried)
    }

    /// Those whose backoff is over.
    fn due(&self) -> Vec<(TopicPartition, Instant)> {
        let now = Instant::now();
        let due = self.of.iter().filter_map(|(partition, rewind)| match rewind.phase {
            Phase::Waiting(due) if due <= now => Some((partition.clone(), due)),
            Phase::Waiting(_) | Phase::Asked | Phase::Tried => None,
        });
        due.collect()
    }

    fn set(&mut self, partition: &TopicPartition, phase: Phase) {
        if let Some(rewind) = self.of.get_mut(partition) {
            self.waiting -= usize::from(matches!(rewind.phase, Phase::Waiting(_)));
            rewind.phase = phase;
        }
    }

    /// Whether it was there.
    fn forget(&mut self, partition: &TopicPartition) -> bool {
        let rewind = self.of.remove(partition);
        self.waiting -= usize::from(rewind.as_ref().is_some_and(|of| matches!(of.phase, Phase::Waiting(_))));
        rewind.is_some()
    }
}

impl<S: Source, K: Sink> Mill<S, K> {
    /// Takes a failure. That of one partition concerns it alone.
    ///
    /// # Errors
    /// When it concerns all partitions, or would happen again.
    pub(super) fn fail(&mut self, failed: Failed) -> Result<(), MillError> {
        let Failed { ticket, error, since } = failed;
        if error.partition.is_none() {
            return Err(error.into());
        }
        if self.exact.is_some() && error.kind != ErrorKind::Fatal {
            self.begin_abort(&error);
            return Ok(());
        }
        if !self.offsets.is_current(&ticket) {
            return Ok(());
        }
        let halted = self.offsets.halted(ticket.partition());
        if halted.is_none() && error.kind == ErrorKind::Fatal {
            return Err(error.into());
        }
        if self.is_draining && halted == Some(Halt::Stopped) {
            // It will not be read again, so it stays stopped, now before this batch.
            self.offsets.halt_before(&ticket, Halt::Stopped);
        } else if self.offsets.halt_before(&ticket, Halt::Rewinding) {
            self.forget_stop(ticket.partition());
            self.rewind(ticket.partition(), ticket.assignment(), &error, since);
        }
        Ok(())
    }

    /// Has a halted partition read again.
    fn rewind(
        &mut self,
        partition: &TopicPartition,
        assignment: AssignmentId,
        error: &EngineError,
        since: Instant,
    ) {
        self.delivery.forget(partition, assignment);
        let failures = self.rewinds.wait(partition, self.settings.rewind_backoff, since);
        self.troubles.begin(Place::Rewind(partition.clone()), error);
        if failures == 1 {
            warn!(%partition, %error, "the partition is read again from its committed offset");
        } else {
            debug!(%partition, %error, failures, "the partition is read again once more");
        }
        self.refresh_room(partition);
    }

    /// Looks for partitions that make no progress; called a few times a second.
    pub(super) async fn look(&mut self) {
        let stalled = self.delivery.look();
        for partition in &stalled {
            self.refresh_room(partition);
        }
        match self.exact {
            None => self.take_back(&stalled),
            Some(_) => self.look_at_transactions(),
        }
        if !self.is_draining && self.rewinds.any_waits() {
            self.begin_again().await;
        }
    }

    /// Takes memory back from partitions that make no progress, when they hold more than they may.
    fn take_back(&mut self, stalled: &[TopicPartition]) {
        let going = stalled.iter().filter(|partition| self.offsets.halted(partition).is_none());
        let mut held: Vec<(usize, &TopicPartition)> =
            going.map(|partition| (self.offsets.memory(partition), partition)).collect();
        let mut total: usize = held.iter().map(|(bytes, _)| bytes).sum();
        if total <= self.settings.stalled_memory {
            return;
        }
        held.sort_unstable();
        while total > self.settings.stalled_memory
            && let Some((bytes, partition)) = held.pop()
        {
            total -= bytes;
            let Some(assignment) = self.offsets.position(partition).map(|of| of.assignment) else { continue };
            if self.offsets.halt(partition, assignment, Halt::Rewinding) {
                let message = "its output is not taken, and others need the memory that it holds";
                let error = EngineError::new(ErrorKind::Retriable, message).at(partition);
                self.rewind(partition, assignment, &error, Instant::now());
            }
        }
    }

    /// Starts those again whose time has come.
    async fn begin_again(&mut self) {
        let ready: Vec<TopicPartition> = self
            .rewinds
            .due()
            .into_iter()
            .filter(|(partition, due)| self.may_begin_again(partition, *due))
            .map(|(partition, _)| partition)
            .collect();
        if ready.is_empty() {
            return;
        }
        for partition in &ready {
            self.rewinds.set(partition, Phase::Asked);
        }
        self.metrics.rewinds.inc_by(ready.len() as u64);
        self.source.rewind(ready).await;
    }

    fn may_begin_again(&self, partition: &TopicPartition, due: Instant) -> bool {
        let may_send = self.exact.as_ref().is_none_or(Exact::is_open);
        let landed = may_send && self.delivery.is_idle(partition) && self.offsets.is_landed(partition);
        let Some(position) = self.offsets.position(partition) else { return false };
        // Without a commit the position would be chosen again, and could be a later one.
        let is_placed = position.committed.is_some();
        let is_committed = position.committed >= Some(position.acknowledged);
        landed && is_placed && (is_committed || due + COMMIT_LIMIT <= Instant::now())
    }

    /// A partition was assigned again, for whatever reason.
    pub(super) fn rewound(&mut self, partition: &TopicPartition) {
        self.rewinds.set(partition, Phase::Tried);
    }

    /// Something of a partition was acknowledged, or the partition is gone: it is failing no more.
    pub(super) fn end_rewind(&mut self, partition: &TopicPartition) {
        if !self.rewinds.is_empty() && self.rewinds.forget(partition) {
            self.troubles.end(&Place::Rewind(partition.clone()));
        }
    }
}
