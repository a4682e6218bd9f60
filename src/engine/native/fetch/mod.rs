//! Fetches assigned partitions in the background and hands out batches of them.
//!
//! One task holds each partition's position and leader (here and in `table`); a request per
//! leader is in flight at most (`request`), for all of its partitions that are ready; what comes
//! back is looked through (`scan`) so that the next request goes out while the records are taken
//! apart (`deliver`). A position that no longer exists is put right in `reposition`.

mod deliver;
mod reposition;
mod request;
mod scan;
mod table;

use std::{collections::BTreeSet, sync::Arc};

use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep_until},
};

pub(super) use deliver::{Delivered, cost, settings as assemble_settings};
use request::Answer;
pub(super) use request::{COST_PERCENT, FetchShape, Wanted, aborted, ask};
pub(super) use scan::{Scanned, scan};
use table::{Slot, Table};

use super::{
    Client,
    group::{Assignments, Task},
    metadata::Leader,
};
use crate::{
    batch::{AssignmentId, TopicPartition},
    budget::Budget,
    engine::{EngineError, ErrorKind, OffsetReset, SourceEvent},
};

/// The responses that wait to be taken apart; with the budget, this is what fetching ahead means.
const AHEAD: usize = 1;

/// Where to start reading an assigned partition.
#[derive(Clone, Debug)]
pub(super) struct Start {
    pub partition: TopicPartition,
    pub assignment: AssignmentId,
    pub position: i64,
    /// The leader epoch of the record before the position; -1 when unknown (KIP-320).
    pub epoch: i32,
}

/// What all parts of the fetcher share.
#[derive(Debug)]
pub(super) struct Shared {
    pub client: Client,
    pub shape: FetchShape,
    pub offset_reset: OffsetReset,
    pub budget: Budget,
    pub assignments: Arc<Assignments>,
    pub events: mpsc::Sender<Result<SourceEvent, EngineError>>,
}

/// Tells the fetcher what to read.
#[derive(Debug)]
pub(super) struct FetchHandle {
    commands: mpsc::Sender<Command>,
    _tasks: [Task; 2],
}

#[derive(Debug)]
enum Command {
    Start(Vec<Start>),
    Stop(BTreeSet<TopicPartition>),
}

impl FetchHandle {
    /// Starts the fetcher; the batches come through `batches`. It ends when the handle is dropped.
    pub fn new(shared: Shared, batches: mpsc::Sender<Delivered>) -> FetchHandle {
        let (commands, receiver) = mpsc::channel(16);
        let (parts, fetched) = mpsc::channel(AHEAD);
        let shared = Arc::new(shared);
        let deliverer = tokio::spawn(deliver::run(Arc::clone(&shared), fetched, batches));
        let fetcher = Fetcher { shared, parts, table: Table::default(), tasks: JoinSet::new() };
        FetchHandle { commands, _tasks: [Task(tokio::spawn(fetcher.run(receiver))), Task(deliverer)] }
    }

    /// Reads these partitions from their positions.
    pub async fn start(&self, starts: Vec<Start>) {
        let _ = self.commands.send(Command::Start(starts)).await;
    }

    /// Reads these partitions no more.
    pub async fn stop(&self, partitions: BTreeSet<TopicPartition>) {
        let _ = self.commands.send(Command::Stop(partitions)).await;
    }
}

struct Fetcher {
    shared: Arc<Shared>,
    parts: mpsc::Sender<request::Fetched>,
    table: Table,
    tasks: JoinSet<Done>,
}

/// What a task of the fetcher came back with.
enum Done {
    Leader(TopicPartition, AssignmentId, Result<Leader, EngineError>),
    Answered { broker: i32, answers: Vec<(Wanted, Answer)> },
    Repositioned(TopicPartition, AssignmentId, Result<reposition::Verdict, EngineError>),
}

impl Fetcher {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        loop {
            self.find_leaders();
            self.send_requests();
            let wake = self.table.next_wake(Instant::now());
            let result = tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Start(starts)) => {
                        starts.into_iter().for_each(|start| self.table.add(start));
                        Ok(())
                    }
                    Some(Command::Stop(partitions)) => {
                        self.table.remove(&partitions);
                        Ok(())
                    }
                    None => return,
                },
                Some(done) = self.tasks.join_next() => match done {
                    Ok(done) => self.handle(done).await,
                    Err(error) => Err(EngineError::new(ErrorKind::Fatal, format!("fetching: {error}"))),
                },
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => Ok(()),
            };
            if let Err(error) = result {
                let _ = self.shared.events.send(Err(error)).await;
            }
        }
    }

    /// Looks up the leaders of partitions without one.
    fn find_leaders(&mut self) {
        for (partition, slot) in self.table.without_leader(Instant::now()) {
            let (shared, assignment) = (Arc::clone(&self.shared), slot.assignment);
            let partition = partition.clone();
            self.tasks.spawn(async move {
                let found = shared.client.cluster().leader(&partition).await;
                Done::Leader(partition, assignment, found)
            });
        }
    }

    /// Sends a request to every leader that has ready partitions and none in flight.
    fn send_requests(&mut self) {
        let max = self.shared.shape.share_of(&self.shared.budget, self.table.leaders());
        for (broker, wanted) in self.table.ready(Instant::now()) {
            let (shared, parts) = (Arc::clone(&self.shared), self.parts.clone());
            self.tasks.spawn(async move {
                let answers = request::fetch(&shared, broker, wanted, max, &parts).await;
                Done::Answered { broker, answers }
            });
        }
    }

    async fn handle(&mut self, done: Done) -> Result<(), EngineError> {
        match done {
            Done::Leader(partition, assignment, found) => {
                let Some(slot) = self.table.slot(&partition, assignment) else { return Ok(()) };
                match found {
                    Ok(leader) if slot.needs_check(leader) => {
                        slot.busy(leader);
                        self.check_truncation(partition, assignment, leader);
                    }
                    Ok(leader) => slot.ready(leader),
                    Err(error) => self.retry(&partition, assignment, error)?,
                }
            }
            Done::Answered { broker, answers } => {
                let answered: Vec<_> =
                    answers.into_iter().map(|(wanted, answer)| self.answered(wanted, answer)).collect();
                self.table.answered(broker);
                return answered.into_iter().collect();
            }
            Done::Repositioned(partition, assignment, verdict) => match verdict {
                Ok(verdict) => self.reposition(partition, assignment, verdict).await?,
                Err(error) => self.retry(&partition, assignment, error)?,
            },
        }
        Ok(())
    }

    fn answered(&mut self, wanted: Wanted, answer: Answer) -> Result<(), EngineError> {
        let Wanted { partition, assignment, position, .. } = wanted;
        let Some(slot) = self.table.slot(&partition, assignment) else { return Ok(()) };
        match answer {
            Answer::Data { next, epoch } => slot.advance(next, epoch),
            Answer::OutOfRange => {
                let shared = Arc::clone(&self.shared);
                self.tasks.spawn(async move {
                    let verdict = reposition::out_of_range(&shared, &partition, position).await;
                    Done::Repositioned(partition, assignment, verdict)
                });
            }
            Answer::Corrupt { good, epoch, error } => {
                slot.advance(good, epoch);
                slot.corruptions += 1;
                let error = format!("{error}; read {} times", slot.corruptions);
                if slot.corruptions >= table::CORRUPTIONS {
                    return Err(EngineError::new(ErrorKind::Fatal, error).at_offset(&partition, good));
                }
                let error = EngineError::new(ErrorKind::Retriable, error).at_offset(&partition, good);
                self.retry(&partition, assignment, error)?;
            }
            Answer::Failed(error) => self.retry(&partition, assignment, error)?,
        }
        Ok(())
    }

    /// Asks the new leader whether it still has what was read from the old one (KIP-320).
    fn check_truncation(&mut self, partition: TopicPartition, assignment: AssignmentId, leader: Leader) {
        let Some(slot) = self.table.slot(&partition, assignment) else { return };
        let (shared, position, epoch) = (Arc::clone(&self.shared), slot.position, slot.epoch);
        self.tasks.spawn(async move {
            let verdict = reposition::truncated(&shared, &partition, position, epoch, leader).await;
            Done::Repositioned(partition, assignment, verdict)
        });
    }

    async fn reposition(
        &mut self,
        partition: TopicPartition,
        assignment: AssignmentId,
        verdict: reposition::Verdict,
    ) -> Result<(), EngineError> {
        let Some(slot) = self.table.slot(&partition, assignment) else { return Ok(()) };
        match verdict {
            reposition::Verdict::Stay => slot.checked(),
            reposition::Verdict::Forward(position) => slot.jump(position),
            reposition::Verdict::Back(position) => {
                self.table.remove(&BTreeSet::from([partition.clone()]));
                if let Some(assignment) =
                    reposition::begin_again(&self.shared, &partition, assignment, position).await
                {
                    self.table.add(Start { partition, assignment, position, epoch: -1 });
                }
            }
        }
        Ok(())
    }

    /// Lets a partition wait and then look for its leader again, or passes a fatal error on.
    fn retry(
        &mut self,
        partition: &TopicPartition,
        assignment: AssignmentId,
        error: EngineError,
    ) -> Result<(), EngineError> {
        let Some(slot) = self.table.slot(partition, assignment) else { return Ok(()) };
        let error = if error.partition.is_none() { error.at(partition) } else { error };
        if error.kind == ErrorKind::Fatal {
            return Err(error);
        }
        let pause = slot.fail(self.shared.client.cluster().settings.retry);
        match slot.failures {
            failures if failures.is_power_of_two() => tracing::warn!(%error, failures, "cannot fetch yet"),
            _ => tracing::debug!(%error, ?pause, "cannot fetch yet"),
        }
        Ok(())
    }
}

impl Slot {
    /// Whether the position has to be checked before reading from `leader` (KIP-320).
    fn needs_check(&self, leader: Leader) -> bool {
        self.epoch >= 0 && leader.epoch > self.checked_epoch
    }
}
