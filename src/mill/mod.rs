//! The loop that turns: it takes batches from the source, has them transformed, delivers the
//! output and commits what is final.
//!
//! One task owns all the state, so that there is no lock and every decision has one place. It
//! never waits for one thing alone: assignments change, stops arrive and acknowledgements land
//! while anything else is under way.

mod error;
mod gap;
mod revoke;
mod tell;
mod work;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, future::pending, pin::Pin, sync::Arc, time::Duration};

pub use error::MillError;
pub use gap::OnGap;
use revoke::Revoking;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use tracing::{error, info, warn};
pub use work::WorkTime;

use crate::{
    admin::Health,
    batch::{PartitionBatch, TopicPartition},
    budget::Permit,
    console::troubles::names,
    delivery::{Acknowledged, Delivered, Delivery, Routes, Stopped},
    engine::{EngineError, ErrorKind, Gap, Offset, Room, Sink, Source, SourceEvent, Troubles},
    metrics::{Metrics, Stage},
    offsets::Offsets,
    strategy::{Job, Product, Strategy, StrategySettings},
};

/// How often the loop tells that it turns, if nothing else makes it turn.
const BEAT: Duration = Duration::from_secs(5);

/// A transformer between one source and one sink.
pub struct Mill<S, K> {
    source: S,
    strategy: Strategy,
    delivery: Delivery<K>,
    offsets: Offsets,
    settings: MillSettings,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    work: Arc<WorkTime>,
    commit: Option<Commit>,
    failed_commits: u32,
    revoking: Vec<Revoking>,
    stopped: Vec<Stopped>,
    /// Whether anything was committed: then a new start after an error is a fresh one.
    progressed: bool,
}

/// How a mill runs.
#[derive(Clone, Debug)]
pub struct MillSettings {
    /// The strategy and the transform.
    pub strategy: StrategySettings,
    /// Where output goes.
    pub routes: Routes,
    /// How often to commit.
    pub commit_interval: Duration,
    /// How long a stop waits for what is under way.
    pub drain_timeout: Duration,
    /// How many commits may fail one after the other.
    pub retries: u32,
    /// Stop once everything below these offsets is committed.
    pub until: Option<BTreeMap<TopicPartition, i64>>,
}

/// Who is told how a mill goes.
#[derive(Clone, Debug, Default)]
pub struct Observers {
    /// Numbers.
    pub metrics: Arc<Metrics>,
    /// Whether it is alive and has work.
    pub health: Arc<Health>,
    /// How long the work takes.
    pub work: Arc<WorkTime>,
    /// What does not work at the moment.
    pub troubles: Troubles,
}

/// How a mill ended, whether well or not.
#[derive(Debug)]
pub struct Ended {
    /// What went wrong, if anything did.
    pub result: Result<(), MillError>,
    /// Whether anything was committed.
    pub progressed: bool,
}

struct Commit {
    offsets: Vec<Offset>,
    started: Instant,
    answer: Pin<Box<dyn Future<Output = Result<(), EngineError>> + Send>>,
}

impl<S: Source, K: Sink> Mill<S, K> {
    /// A mill between `source` and `sink`.
    pub fn new(source: S, sink: K, settings: MillSettings, observers: Observers) -> Mill<S, K> {
        Mill {
            source,
            strategy: Strategy::new(&settings.strategy),
            delivery: Delivery::new(sink, settings.routes.clone()),
            offsets: Offsets::default(),
            settings,
            metrics: observers.metrics,
            health: observers.health,
            work: observers.work,
            commit: None,
            failed_commits: 0,
            revoking: Vec::new(),
            stopped: Vec::new(),
            progressed: false,
        }
    }

    /// Runs until `drain` turns true, the settings' offsets are reached, or something fails;
    /// then leaves the group and disconnects.
    pub async fn run(mut self, drain: watch::Receiver<bool>) -> Ended {
        let result = self.turn(drain).await;
        self.health.unassigned();
        self.health.stopped(false);
        self.metrics.batches_in_flight.set(0);
        self.metrics.partitions_assigned.set(0);
        self.metrics.partitions_stopped.set(0);
        self.metrics.lag.clear();
        self.delivery.close().await;
        self.source.close().await;
        Ended { result, progressed: self.progressed }
    }

    async fn turn(&mut self, mut drain: watch::Receiver<bool>) -> Result<(), MillError> {
        let mut ticks = interval(self.settings.commit_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut beats = interval(BEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut deadline: Option<Instant> = None;
        loop {
            self.advance(deadline.is_some());
            if deadline.is_none() && self.goal_committed() {
                deadline = Some(Instant::now() + self.settings.drain_timeout);
            }
            if deadline.is_some() && self.is_drained()? {
                return Ok(());
            }
            let is_open = deadline.is_none()
                && self.delivery.has_room()
                && self.strategy.has_room(self.delivery.in_flight());
            let room = Room { is_open, ..Room::default() };
            tokio::select! {
                biased;
                _ = drain.wait_for(|drain| *drain), if deadline.is_none() => {
                    deadline = Some(Instant::now() + self.settings.drain_timeout);
                }
                () = until(deadline) => return Err(self.drain_timeout()),
                answer = answer(&mut self.commit) => self.end_commit(answer)?,
                delivered = self.delivery.next() => self.settle(delivered?),
                product = self.strategy.next() => self.deliver(product?),
                _ = beats.tick() => self.health.beat(),
                _ = ticks.tick() => self.start_commit(),
                event = self.source.next(&room) => self.take(event?)?,
            }
        }
    }

    /// Takes what the source has to say.
    fn take(&mut self, event: SourceEvent) -> Result<(), EngineError> {
        match event {
            SourceEvent::Batch(batch, memory) => self.begin(batch, memory),
            SourceEvent::Skipped(gap) => self.pass_over(gap),
            SourceEvent::Unreadable { error, .. } => return Err(error),
            SourceEvent::Assigned(assignments) => {
                // The source has stopped waiting for what it assigns anew: that goes first.
                self.release_settled();
                self.health.assigned();
                self.metrics.rebalances.inc();
                self.metrics.partitions_assigned.inc_by(assignments.len() as i64);
                self.tell_assigned(&assignments);
                for assignment in &assignments {
                    self.offsets.assign(assignment);
                }
            }
            SourceEvent::Revoked { partitions, release } => {
                info!(
                    partitions = partitions.len(),
                    names = names(&partitions),
                    "revoked; what is under way is finished first"
                );
                self.revoking.push(Revoking { partitions, release });
            }
            SourceEvent::Lost(partitions) => {
                warn!(
                    partitions = partitions.len(),
                    names = names(&partitions),
                    "lost; what is not committed will be read again"
                );
                self.forget(&partitions);
            }
        }
        Ok(())
    }

    /// Goes on behind offsets that are not there.
    fn pass_over(&mut self, gap: Gap) {
        self.tell_gap(&gap);
        let Gap { partition: origin, assignment, to: next_offset, .. } = gap;
        let nothing =
            PartitionBatch { origin, assignment, next_offset, leader_epoch: -1, ..PartitionBatch::default() };
        self.begin(nothing, Permit::none());
    }

    /// Puts a batch on the road.
    fn begin(&mut self, batch: PartitionBatch, memory: Permit) {
        let Some(ticket) = self.offsets.begin(&batch, memory) else {
            self.metrics.stale_batches.inc();
            return;
        };
        self.work.batch();
        self.metrics.records_read.inc_by(batch.records.len() as u64);
        self.metrics.bytes_read.inc_by(batch.buffer.len() as u64);
        self.tell_read(&batch);
        if batch.records.is_empty() {
            self.offsets.acknowledge(ticket);
            return;
        }
        let parts = self.strategy.submit(Job { batch, ticket: ticket.clone() });
        self.offsets.split(&ticket, parts);
    }

    fn deliver(&mut self, product: Product) {
        self.metrics.stage(Stage::Transform, product.time);
        self.delivery.send(product);
        self.metrics.batches_in_flight.set(self.delivery.in_flight() as i64);
    }

    /// Takes the end of a batch's journey.
    fn settle(&mut self, delivered: Delivered) {
        self.metrics.batches_in_flight.set(self.delivery.in_flight() as i64);
        match delivered {
            Delivered::Acknowledged(acknowledged) => {
                self.tell_letters(&acknowledged);
                let Acknowledged { ticket, written, bytes, time, .. } = acknowledged;
                self.metrics.batches.inc();
                self.metrics.records_written.inc_by(written);
                self.metrics.bytes_written.inc_by(bytes);
                self.metrics.stage(Stage::Deliver, time);
                self.offsets.acknowledge(ticket);
            }
            Delivered::Stopped(ticket, stopped) => {
                if self.offsets.freeze(&ticket) {
                    error!("{stopped}");
                    self.tell_stopped();
                    self.stopped.push(stopped);
                }
            }
        }
    }

    /// Starts a commit when one must not wait for the next tick, and lets revoked partitions go.
    fn advance(&mut self, draining: bool) {
        if draining || !self.revoking.is_empty() || self.goal_acknowledged() {
            self.start_commit();
        }
        self.release_settled();
    }

    fn start_commit(&mut self) {
        if self.commit.is_some() {
            return;
        }
        let offsets = self.offsets.committable();
        if !offsets.is_empty() {
            let answer = Box::pin(self.source.commit(offsets.clone()));
            self.commit = Some(Commit { offsets, started: Instant::now(), answer });
        }
    }

    fn end_commit(&mut self, answer: Result<(), EngineError>) -> Result<(), MillError> {
        let Some(commit) = self.commit.take() else { return Ok(()) };
        self.metrics.stage(Stage::Commit, commit.started.elapsed());
        match answer {
            Ok(()) => {
                self.tell_committed(&commit.offsets);
                self.work.committed();
                self.offsets.committed(&commit.offsets);
                self.failed_commits = 0;
                self.progressed = true;
            }
            Err(error)
                if error.kind == ErrorKind::Retriable && self.failed_commits < self.settings.retries =>
            {
                warn!(%error, "the commit failed and is tried again");
                self.metrics.commit_failures.inc();
                self.failed_commits += 1;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Whether a drain is over: nothing is under way and everything acknowledged is committed.
    fn is_drained(&mut self) -> Result<bool, MillError> {
        if !self.offsets.all_settled() || self.commit.is_some() {
            return Ok(false);
        }
        match self.stopped.pop() {
            Some(stopped) => Err(MillError::Stopped(stopped)),
            None => Ok(true),
        }
    }

    fn goal_committed(&self) -> bool {
        self.goal_reached(|position, end| position.committed >= Some(end))
    }

    fn goal_acknowledged(&self) -> bool {
        self.goal_reached(|position, end| position.acknowledged >= end)
    }

    /// Whether every partition of the goal is assigned here and passes, or is stopped.
    fn goal_reached(&self, passes: impl Fn(crate::offsets::Position, i64) -> bool) -> bool {
        self.settings.until.as_ref().is_some_and(|goal| {
            goal.iter().all(|(partition, end)| {
                let position = self.offsets.position(partition);
                position.is_some_and(|position| position.frozen || passes(position, *end))
            })
        })
    }

    fn forget(&mut self, partitions: &[TopicPartition]) {
        self.metrics.rebalances.inc();
        for partition in partitions {
            // What is lost may have been on its way to be given up, and be forgotten already.
            self.metrics.lag.gone(partition);
            if self.offsets.remove(partition) {
                self.metrics.partitions_assigned.dec();
            }
        }
        self.tell_stopped();
    }

    fn tell_stopped(&self) {
        let stopped = self.offsets.frozen();
        self.metrics.partitions_stopped.set(stopped as i64);
        self.health.stopped(stopped > 0);
    }

    fn drain_timeout(&self) -> MillError {
        MillError::DrainTimeout { timeout: self.settings.drain_timeout, batches: self.delivery.in_flight() }
    }
}

/// The answer to the commit under way; waits as long as there is none.
async fn answer(commit: &mut Option<Commit>) -> Result<(), EngineError> {
    match commit {
        Some(commit) => commit.answer.as_mut().await,
        None => pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}
