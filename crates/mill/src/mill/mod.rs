//! The loop: it takes batches from the source, has them transformed, delivers the output and
//! commits what is final.
//!
//! One task owns all the state, so there is no lock, and every decision is made in one place. It
//! never waits for one thing alone: assignments change, stops arrive and acknowledgements come
//! while anything else is in flight.

mod commit;
mod error;
mod exact;
mod finish;
mod gap;
mod goal;
mod portion;
mod revoke;
mod rewind;
mod stop;
mod tell;
mod work;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use commit::Commits;
pub use error::MillError;
use exact::Exact;
pub use gap::OnGap;
use goal::Goal;
use revoke::Revoking;
use rewind::Rewinds;
pub use stop::{Stopped, Unwritten};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
pub use work::WorkTime;

use crate::{
    backoff::Backoff,
    batch::{PartitionBatch, TopicPartition},
    budget::Permit,
    clock::until,
    delivery::{Acknowledged, Delivered, Delivery, Routes},
    engine::{EngineError, ErrorKind, Gap, Place, Room, Sink, Source, SourceEvent, Troubles},
    health::Health,
    metrics::{Metrics, TimedStage},
    offsets::{Halt, Offsets, Ticket},
    sentences::names,
    strategy::{Job, Product, Strategy, StrategySettings},
};

/// How often the loop reports that it runs, if nothing else wakes it.
const BEAT: Duration = Duration::from_secs(5);

/// How often it looks for partitions that make no progress.
const LOOK: Duration = Duration::from_millis(250);

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
    troubles: Troubles,
    /// What the source may hand out.
    room: Room,
    goal: Goal,
    commits: Commits,
    /// `None` at least once.
    exact: Option<Exact>,
    rewinds: Rewinds,
    revoking: Vec<Revoking>,
    /// Partitions were given up, and the rebalance that took them has assigned none yet.
    rebalancing: bool,
    stopped: BTreeMap<TopicPartition, Stopped>,
    /// What was committed of partitions whose loss is the last that the source has told.
    just_lost: BTreeMap<TopicPartition, i64>,
    /// Nothing more is read; what is in flight is finished.
    is_draining: bool,
    /// What a drain leaves to be read again.
    unfinished: BTreeSet<TopicPartition>,
    /// Whether anything was committed: then the failures of earlier starts count no more.
    progressed: bool,
}

impl<S, K> fmt::Debug for Mill<S, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mill").field("settings", &self.settings).finish_non_exhaustive()
    }
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
    /// Exactly once: how long a transaction may wait for acknowledgements before it is aborted;
    /// less than the brokers' own limit. `None` is at least once.
    pub transactions: Option<Duration>,
    /// How long a stop waits for what is in flight.
    pub drain_timeout: Duration,
    /// The backoff before a partition that failed is read again.
    pub rewind_backoff: Backoff,
    /// The memory in bytes that partitions whose output is not taken may hold together.
    pub stalled_memory: usize,
    /// What to do about offsets that are gone.
    pub on_gap: OnGap,
    /// Stop once everything below these offsets is committed.
    pub until: Option<BTreeMap<TopicPartition, i64>>,
}

/// Whom a mill reports to.
#[derive(Clone, Debug, Default)]
pub struct Observers {
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Liveness and readiness.
    pub health: Arc<Health>,
    /// How long the work takes.
    pub work: Arc<WorkTime>,
    /// What is failing.
    pub troubles: Troubles,
}

/// How a mill ended.
#[derive(Debug)]
pub struct Ended {
    /// What went wrong, if anything.
    pub result: Result<(), MillError>,
    /// Whether anything was committed.
    pub progressed: bool,
}

impl<S: Source, K: Sink> Mill<S, K> {
    /// A mill between `source` and `sink`.
    pub fn new(source: S, sink: K, settings: MillSettings, observers: Observers) -> Mill<S, K> {
        let strategy = Strategy::new(&settings.strategy);
        Mill::with(source, sink, strategy, settings, observers)
    }

    fn with(
        source: S,
        sink: K,
        strategy: Strategy,
        settings: MillSettings,
        observers: Observers,
    ) -> Mill<S, K> {
        let mut delivery = Delivery::new(sink, settings.routes.clone());
        let exact = settings.transactions.map(Exact::new);
        if exact.is_some() {
            delivery.open_transactions();
        }
        Mill {
            source,
            strategy,
            delivery,
            offsets: Offsets::default(),
            metrics: observers.metrics,
            health: observers.health,
            work: observers.work,
            troubles: observers.troubles,
            room: Room::closed(),
            goal: Goal::new(settings.until.clone()),
            commits: Commits::default(),
            exact,
            rewinds: Rewinds::default(),
            revoking: Vec::new(),
            rebalancing: false,
            stopped: BTreeMap::new(),
            just_lost: BTreeMap::new(),
            is_draining: false,
            unfinished: BTreeSet::new(),
            progressed: false,
            settings,
        }
    }

    /// Runs until `drain` is cancelled, the settings' offsets are reached, or something fails;
    /// then leaves the group and disconnects.
    pub async fn run(mut self, drain: CancellationToken) -> Ended {
        let result = self.turn(drain).await;
        if let Err(error) = &result {
            self.save(error).await;
        }
        self.troubles.end_where(|place| matches!(place, Place::Rewind(_) | Place::Commit));
        self.health.unassigned();
        self.health.stopped(None);
        self.health.transforming(None);
        self.metrics.batches_in_flight.set(0);
        self.metrics.partitions_assigned.set(0);
        self.metrics.partitions_stopped.set(0);
        self.metrics.lag.clear();
        self.metrics.oldest_batch.set(0.0);
        self.metrics.transactions_open.set(0);
        self.delivery.close().await;
        self.source.close().await;
        Ended { result, progressed: self.progressed }
    }

    async fn turn(&mut self, drain: CancellationToken) -> Result<(), MillError> {
        let mut ticks = ticker(self.settings.commit_interval);
        let mut beats = ticker(BEAT);
        let mut looks = ticker(LOOK);
        let mut deadline: Option<Instant> = None;
        loop {
            if deadline.is_none() && self.goal.is_reached(&self.stopped) {
                deadline = Some(Instant::now() + self.settings.drain_timeout);
            }
            self.is_draining = deadline.is_some();
            let commit_at = self.hurry_commit();
            self.release_settled();
            self.step();
            let may_send = self.may_send();
            if self.is_draining && self.is_drained()? {
                return Ok(());
            }
            self.room.is_open = !self.is_draining
                && self.delivery.has_room()
                && self.strategy.has_room(self.delivery.moving());
            let try_at = self.exact.as_ref().and_then(Exact::next_try);
            let is_watched = self.delivery.in_flight() > 0 || self.rewinds.any_waits() || try_at.is_some();
            tokio::select! {
                biased;
                () = drain.cancelled(), if !self.is_draining => {
                    deadline = Some(Instant::now() + self.settings.drain_timeout);
                }
                () = until(deadline) => return Err(self.drain_timeout()),
                answer = self.commits.answer() => self.end_commit(answer)?,
                ended = exact::answer(&mut self.exact), if self.exact.is_some() => self.end_transaction(ended)?,
                delivered = self.delivery.next(|ticket| self.offsets.is_wanted(ticket)) => {
                    self.settle(delivered)?;
                }
                product = self.strategy.next(), if may_send => self.deliver(product?),
                _ = beats.tick() => self.beat(),
                _ = looks.tick(), if is_watched => self.look().await,
                // The next iteration commits.
                () = until(commit_at) => {}
                () = until(try_at) => {}
                _ = ticks.tick() => self.tick_commit(),
                event = self.source.next(&self.room) => self.take(event?)?,
            }
        }
    }

    fn beat(&self) {
        self.health.beat();
        let oldest = self.offsets.oldest().map_or(Duration::ZERO, |begun| begun.elapsed());
        self.metrics.oldest_batch.set(oldest.as_secs_f64());
        self.health.transforming(self.strategy.oldest_age());
    }

    /// Takes an event of the source.
    fn take(&mut self, event: SourceEvent) -> Result<(), EngineError> {
        if !matches!(event, SourceEvent::Assigned(_)) {
            self.just_lost.clear();
        }
        match event {
            SourceEvent::Batch(batch, memory) => {
                self.begin(batch, memory);
            }
            SourceEvent::Skipped(gap) => self.pass_over(gap),
            SourceEvent::Unreadable { assignment, error } => {
                let Some(partition) = error.partition.clone() else { return Err(error) };
                if self.offsets.halt(&partition, assignment, Halt::Stopped) {
                    self.stop(partition, Stopped::Unreadable(error));
                }
            }
            SourceEvent::Assigned(assignments) => {
                // Partitions whose release is overdue go first, in the log as well.
                let are_new = self.assign(&assignments);
                self.tell_assigned(&assignments, are_new);
            }
            SourceEvent::Revoked { partitions, release } => {
                info!(
                    partitions = partitions.len(),
                    names = names(&partitions),
                    "revoked; what is under way is finished first"
                );
                self.begin_rebalance();
                self.revoking.push(Revoking { partitions, release });
            }
            SourceEvent::Lost(partitions) => {
                warn!(
                    partitions = partitions.len(),
                    names = names(&partitions),
                    "lost; what is not committed will be read again"
                );
                self.begin_rebalance();
                let committed = |partition: &TopicPartition| {
                    Some((partition.clone(), self.offsets.position(partition)?.committed?))
                };
                self.just_lost = partitions.iter().filter_map(committed).collect();
                self.forget(&partitions);
            }
        }
        Ok(())
    }

    /// Continues after offsets that are gone, or stops before them.
    fn pass_over(&mut self, gap: Gap) {
        match self.settings.on_gap {
            OnGap::Continue => {
                let nothing = PartitionBatch {
                    origin: gap.partition.clone(),
                    assignment: gap.assignment,
                    next_offset: gap.to,
                    leader_epoch: -1,
                    ..PartitionBatch::default()
                };
                if self.begin(nothing, Permit::none()) {
                    self.tell_gap(&gap);
                }
            }
            OnGap::Stop => {
                if self.offsets.halt(&gap.partition, gap.assignment, Halt::Stopped) {
                    self.stop(gap.partition.clone(), Stopped::Gap(gap));
                }
            }
        }
    }

    /// Sends a batch on its way. Whether it is wanted.
    fn begin(&mut self, batch: PartitionBatch, memory: Permit) -> bool {
        let Some(ticket) = self.offsets.begin(&batch, memory) else {
            self.metrics.stale_batches.inc();
            return false;
        };
        self.work.batch();
        self.metrics.records_read.inc_by(batch.records.len() as u64);
        self.metrics.bytes_read.inc_by(batch.buffer.len() as u64);
        self.tell_read(&batch);
        if batch.records.is_empty() {
            self.acknowledge(&ticket);
            return true;
        }
        let parts = self.strategy.submit(Job { batch, ticket: ticket.clone() });
        self.offsets.split(&ticket, parts);
        true
    }

    fn deliver(&mut self, product: Product) {
        self.metrics.stage(TimedStage::Transform, product.time);
        let ticket = &product.job.ticket;
        if !self.offsets.is_wanted(ticket) {
            self.offsets.halt_before(ticket, Halt::Rewinding);
            return;
        }
        let partition = ticket.partition().clone();
        let ticket = self.exact.as_ref().map(|_| ticket.clone());
        self.delivery.send(product);
        if let Some(ticket) = ticket {
            self.sent(&ticket);
        }
        self.refresh_room(&partition);
        self.metrics.batches_in_flight.set(self.delivery.in_flight() as i64);
    }

    /// Takes the outcome of a batch.
    fn settle(&mut self, delivered: Delivered) -> Result<(), MillError> {
        self.metrics.batches_in_flight.set(self.delivery.in_flight() as i64);
        let partition = delivered.ticket().partition().clone();
        match delivered {
            Delivered::Acknowledged(acknowledged) => {
                self.tell_letters(&acknowledged);
                let Acknowledged { ticket, written, bytes, filtered, time, .. } = acknowledged;
                self.metrics.batches.inc();
                self.metrics.records_written.inc_by(written);
                self.metrics.bytes_written.inc_by(bytes);
                self.metrics.records_filtered.inc_by(filtered);
                self.metrics.stage(TimedStage::Deliver, time);
                if self.exact.is_none() {
                    self.acknowledge(&ticket);
                }
            }
            Delivered::Stopped(ticket, stopped) => {
                let reason = EngineError::new(ErrorKind::Retriable, stopped.to_string());
                if self.offsets.halt_before(&ticket, Halt::Stopped) {
                    let from = self.offsets.position(&partition).and_then(|position| position.committed);
                    let unwritten = self.exact.as_ref().map(|_| Unwritten { from });
                    self.stop(partition.clone(), Stopped::Letter { letter: stopped, unwritten });
                }
                self.begin_abort(&reason);
            }
            Delivered::Failed(failed) => self.fail(failed)?,
            Delivered::GivenUp(ticket) => {
                self.offsets.halt_before(&ticket, Halt::Rewinding);
            }
        }
        self.refresh_room(&partition);
        Ok(())
    }

    fn acknowledge(&mut self, ticket: &Ticket) {
        self.offsets.acknowledge(ticket);
        let partition = ticket.partition();
        if !self.offsets.is_current(ticket) {
            return;
        }
        if self.goal.is_set()
            && let Some(position) = self.offsets.position(partition)
        {
            self.goal.acknowledged(partition, position.acknowledged);
        }
        if self.exact.is_none() && !self.rewinds.keeps_out(partition) {
            self.end_rewind(partition);
        }
    }

    /// Notes whether the source may hand out batches of a partition.
    fn refresh_room(&mut self, partition: &TopicPartition) {
        let is_full = self.delivery.is_full(partition)
            || self.offsets.halted(partition).is_some()
            || self.rewinds.keeps_out(partition);
        if is_full != self.room.full.contains(partition) {
            if is_full {
                self.room.full.insert(partition.clone());
            } else {
                self.room.full.remove(partition);
            }
        }
    }
}

/// Ticks that do not catch up on missed ones.
fn ticker(every: Duration) -> Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
