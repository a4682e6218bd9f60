//! A seeded simulation: a mill between a source and a sink that fail, stall, lose assignments and
//! are killed at moments of virtual time. Whatever happens, nothing may be lost, no commit may run
//! ahead of the output, nothing of an assignment that has ended is sent, and the order may change
//! only through declared replays.
//!
//! A schedule that fails is printed with its seed, reduced to what it needs to fail.

mod schedule;
mod several;
mod sink;
mod source;
mod spread;
mod tests;
mod world;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
};

pub(super) use schedule::Mishap;
use schedule::{Decision, Schedule};
use several::Together;
pub(super) use sink::SimulatedSink;
pub(super) use source::SimulatedSource;
use spread::{Numbers, Spread};
use tokio::time::{error::Elapsed, timeout};
use topicmill_records::{Headers, NO_HEADERS};
use world::RECORDS;
pub(super) use world::{PARTITIONS, Shared, World};

use super::*;
use crate::{
    backoff::Backoff,
    batch::{AssignmentId, OutputBatch, Record, Span},
    budget::Budget,
    dead_letter,
    engine::Replaced,
    strategy::{OnPanic, Order, StrategyKind, stepped::Stepped},
    transform::TransformKind,
};

const FOREVER: Duration = Duration::from_secs(100_000_000);

/// No schedule takes longer, in virtual time.
const LONGEST: Duration = Duration::from_secs(600);

/// A deliberate fault, planted where the simulation stands in for code that could have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plant {
    /// What was read is committed, written or not.
    CommitsAheadOfOutput,
    /// A batch that failed counts as written.
    FailuresAreSkipped,
    /// Batches are written as they become ready.
    OrderIsLost,
    /// What was not sent of an assignment that has ended is sent.
    ForgetIsIgnored,
    /// A position that was chosen by policy counts as committed.
    PositionsCountAsCommitted,
    /// While one partition is full, nothing is read.
    OneFullStopsAll,
    /// What was sent in an aborted transaction becomes visible.
    AbortsAreVisible,
    /// The offsets of a transaction are committed, its output is not.
    OffsetsAloneAreCommitted,
    /// Who is no member any more, or of an older generation, commits.
    ZombiesCommit,
    /// Committed offsets are read while a transaction is about to change them.
    UnstableIsRead,
}

pub(super) fn source(partition: i32) -> TopicPartition {
    TopicPartition::new("source", partition)
}

/// Every tenth record is refused by the transform.
fn is_poison(offset: i64) -> bool {
    offset % 10 == 3
}

pub(super) fn batch(partition: i32, assignment: AssignmentId, from: i64, end: i64) -> PartitionBatch {
    let mut buffer = NO_HEADERS.to_vec();
    let records = (from..end)
        .map(|offset| {
            let text = offset.to_string();
            let value = Span::new(buffer.len() as u32, text.len() as u32);
            buffer.extend_from_slice(text.as_bytes());
            Record { offset, timestamp: offset, key: Span::NULL, value, headers: Span::new(0, 1) }
        })
        .collect();
    PartitionBatch {
        origin: source(partition),
        assignment,
        next_offset: end,
        buffer: buffer.into(),
        records,
        ..PartitionBatch::default()
    }
}

/// The source offsets that the records of a batch stand for.
fn offsets_of(batch: &OutputBatch, letters: bool) -> Vec<i64> {
    let mut offsets = Vec::new();
    for chunk in &batch.chunks {
        for record in chunk.records().unwrap() {
            let text = |bytes: &[u8]| std::str::from_utf8(bytes).unwrap().parse::<i64>().unwrap();
            let value = text(record.value.get(&chunk.bytes).unwrap());
            if letters {
                let headers = record.headers.get(&chunk.bytes).unwrap();
                let origin = Headers::new(headers).find(|(key, _)| *key == dead_letter::OFFSET.as_bytes());
                assert_eq!(text(origin.unwrap().1.unwrap()), value, "a dead letter names its origin");
            }
            offsets.push(value);
        }
    }
    offsets
}

/// A mill set up as in production, with a strategy that has threads.
pub(super) fn settings(kind: StrategyKind, order: Order) -> MillSettings {
    MillSettings {
        strategy: StrategySettings {
            kind,
            workers: 3,
            order,
            transform: TransformKind::custom(|| Box::new(Numbers)),
            on_panic: OnPanic::Stop,
            chunk_limit: 300,
        },
        routes: Routes {
            destination: "destination".into(),
            dead_letter: "letters".into(),
            group: "group".into(),
            protect: None,
            chunk_limit: 300,
            window: 2000,
            retries: 3,
            backoff: Backoff { first: Duration::ZERO, most: Duration::ZERO },
        },
        commit_interval: Duration::from_millis(20),
        transactions: None,
        drain_timeout: FOREVER,
        rewind_backoff: Backoff { first: Duration::from_millis(100), most: Duration::from_secs(3) },
        stalled_memory: usize::MAX,
        on_gap: OnGap::Continue,
        until: Some((0..PARTITIONS).map(|partition| (source(partition), RECORDS)).collect()),
    }
}

pub(super) fn mill(world: &Shared, settings: &MillSettings) -> Mill<SimulatedSource, SimulatedSink> {
    let source = SimulatedSource::new(world, &Budget::new(64 << 10));
    Mill::new(source, SimulatedSink::new(world), settings.clone(), Observers::default())
}

/// The same in virtual time only.
pub(super) fn stepped(
    world: &Shared,
    settings: &MillSettings,
    seed: u64,
    is_serial: bool,
) -> Mill<SimulatedSource, SimulatedSink> {
    let source = SimulatedSource::new(world, &Budget::new(64 << 10));
    let sink = SimulatedSink::new(world);
    let strategy = Strategy::Stepped(Stepped::new(&settings.strategy, seed, is_serial));
    Mill::with(source, sink, strategy, settings.clone(), Observers::default())
}

/// How a schedule went.
#[derive(Debug, Default)]
struct Course {
    starts: usize,
    rewinds: u64,
    records: usize,
    committed: usize,
    aborted: usize,
    outdated: usize,
    replaced: usize,
    /// The records if each is written once.
    due: usize,
}

/// Runs mills through a schedule until one reaches the goal.
///
/// # Errors
/// The promise that was broken.
fn run(schedule: &Schedule) -> Result<Course, String> {
    judged(|| in_virtual_time(async { timeout(LONGEST, Runner::new(schedule).run()).await }))
}

/// The same for several instances.
fn run_several(schedule: &Schedule) -> Result<Together, String> {
    judged(|| in_virtual_time(async { timeout(LONGEST, several::run(schedule)).await }))
}

fn judged<C>(running: impl FnOnce() -> Result<Result<C, String>, Elapsed>) -> Result<C, String> {
    match catch_unwind(AssertUnwindSafe(running)) {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err("it does not end".to_owned()),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            Err(format!("panic: {}", text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no message")))
        }
    }
}

struct Runner<'a> {
    schedule: &'a Schedule,
    world: Shared,
    settings: MillSettings,
    began: Instant,
    course: Course,
}

/// How a mill ended.
enum End {
    Done,
    /// It has to be started again.
    Again,
    /// A partition is stopped.
    Stopped,
}

impl Runner<'_> {
    fn new(schedule: &Schedule) -> Runner<'_> {
        let (world, settings) = (Arc::new(Mutex::new(schedule.world())), schedule.settings());
        Runner { schedule, world, settings, began: Instant::now(), course: Course::default() }
    }

    async fn run(mut self) -> Result<Course, String> {
        let mut left = self.schedule.decisions.iter().peekable();
        let stopped = loop {
            let ended = self.start(&mut left).await?;
            if let Some(violation) = self.world.lock().unwrap().violation() {
                return Err(violation);
            }
            match ended {
                End::Done => break false,
                End::Stopped => break true,
                End::Again => {}
            }
        };
        let world = self.world.lock().unwrap();
        for partition in 0..PARTITIONS {
            let unreadable = world.unreadable.get(&partition);
            match (world.check_complete(partition), unreadable) {
                (Ok(()), _) => {}
                // What is committed is written; what is not may have failed at the very end.
                (Err(_), Some(at)) if stopped && world.committed.get(&partition) <= Some(at) => {}
                (Err(error), _) => return Err(error),
            }
        }
        self.course.committed = world.transactions;
        self.course.aborted = world.aborts;
        self.course.outdated = world.outdated;
        self.course.records = world.logs.iter().map(|log| log.offsets.len()).sum();
        self.course.due = world.records_due();
        drop(world);
        Ok(self.course)
    }

    /// One process, from its start to its end.
    async fn start(
        &mut self,
        left: &mut std::iter::Peekable<std::slice::Iter<'_, Decision>>,
    ) -> Result<End, String> {
        self.course.starts += 1;
        let seed = self.schedule.seed + self.course.starts as u64;
        let mill = stepped(&self.world, &self.settings, seed, self.schedule.is_serial);
        let metrics = Arc::clone(&mill.metrics);
        let stop = CancellationToken::new();
        let mut running = std::pin::pin!(mill.run(stop.clone()));
        let ended = loop {
            let next = left.peek().map(|decision| self.began + decision.at);
            let alone = self.schedule.alone().map(|(_, until)| self.began + until);
            tokio::select! {
                ended = &mut running => break Some(ended),
                () = until(next), if next.is_some() => {
                    match left.next().map(|decision| &decision.what) {
                        Some(Mishap::Kill) => break None,
                        Some(Mishap::Stop) => {
                            stop.cancel();
                        }
                        Some(mishap) => self.world.lock().unwrap().begin(mishap),
                        None => {}
                    }
                }
                () = until(alone), if alone.is_some_and(|alone| alone > Instant::now()) => {
                    self.check_others()?;
                }
            }
        };
        self.course.rewinds += metrics.rewinds.get();
        let mut world = self.world.lock().unwrap();
        world.abort(0);
        let was_stopped = stop.is_cancelled();
        Ok(match ended {
            None => {
                world.generations.clear();
                world.excuse(0..PARTITIONS);
                End::Again
            }
            Some(Ended { result: Ok(()), .. }) if was_stopped => {
                world.check_finished()?;
                End::Again
            }
            // It said so.
            Some(Ended { result: Err(MillError::Unfinished { .. }), .. }) if was_stopped => End::Again,
            Some(Ended { result: Ok(()), .. }) => End::Done,
            Some(Ended { result: Err(MillError::Stopped(_)), .. }) if !world.unreadable.is_empty() => {
                if was_stopped {
                    End::Again
                } else {
                    End::Stopped
                }
            }
            Some(Ended { result: Err(error), .. }) if error.is_retriable() => {
                // The coordinator did not take what there was to commit.
                if world.commits_fail() {
                    world.excuse(0..PARTITIONS);
                }
                End::Again
            }
            Some(Ended { result: Err(MillError::Engine(error)), .. })
                if error.cause::<Replaced>().is_some() && !world.replaced.is_empty() =>
            {
                self.course.replaced += 1;
                if world.commits_fail() {
                    world.excuse(0..PARTITIONS);
                }
                End::Again
            }
            Some(Ended { result: Err(error), .. }) => return Err(format!("it ends: {error}")),
        })
    }

    /// While one partition was failing, the others have finished.
    fn check_others(&self) -> Result<(), String> {
        let Some((troubled, _)) = self.schedule.alone() else { return Ok(()) };
        let world = self.world.lock().unwrap();
        let others = (0..PARTITIONS).filter(|partition| !self.schedule.concerns(troubled, *partition));
        others.into_iter().try_for_each(|partition| {
            world.check_complete(partition).map_err(|error| format!("beside partition {troubled}: {error}"))
        })
    }
}

pub(super) fn in_virtual_time<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(future)
}
