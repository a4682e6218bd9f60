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

use kafka_protocol::ResponseError;
use tokio::{
    sync::{mpsc, watch},
    task::{JoinError, JoinSet},
    time::{Instant, sleep_until},
};
use uuid::Uuid;

pub(super) use deliver::{Delivered, cost, settings as assemble_settings};
use request::{Answer, Outcome, Part};
pub(super) use request::{COST_PERCENT, FetchShape, Wanted, aborted, ask};
pub(super) use scan::{Scanned, scan};
use table::{Slot, Table};

use super::{
    Client,
    error::KafkaError,
    group::{Assignments, Memory, Task, look_up},
    metadata::Leader,
};
use crate::{
    batch::{AssignmentId, TopicPartition},
    budget::{Budget, Permit},
    engine::{EngineError, ErrorKind, Gap, GapReason, Place, SourceEvent, Troubles},
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
    /// The id of the topic that the position is of, if brokers tell (KIP-516).
    pub topic: Option<Uuid>,
}

/// What all parts of the fetcher share.
#[derive(Debug)]
pub(super) struct Shared {
    pub client: Client,
    pub shape: FetchShape,
    pub topic: Arc<str>,
    pub memory: Memory,
    pub troubles: Troubles,
    pub budget: Budget,
    pub assignments: Arc<Assignments>,
    pub events: mpsc::Sender<Result<SourceEvent, EngineError>>,
}

/// Tells the fetcher what to read.
#[derive(Debug)]
pub(super) struct FetchHandle {
    commands: mpsc::Sender<Command>,
}

/// The fetcher's tasks; dropped, they end.
#[derive(Debug)]
pub(super) struct Fetching {
    fetcher: Task<EngineError>,
    deliverer: Task<()>,
}

/// What the fetcher is told.
#[derive(Debug)]
pub(super) enum Command {
    /// Read these.
    Start(Vec<Start>),
    /// Read these no more, unless it is under a later assignment.
    Stop(Vec<(TopicPartition, AssignmentId)>),
    /// This assignment cannot be read any further.
    Halt(TopicPartition, AssignmentId),
}

impl FetchHandle {
    /// Starts the fetcher; the batches come through `batches`, and of the partitions that are
    /// `full` none is fetched.
    pub fn new(
        shared: Shared,
        batches: mpsc::Sender<Delivered>,
        full: watch::Receiver<Arc<BTreeSet<TopicPartition>>>,
    ) -> (FetchHandle, Fetching) {
        let (commands, receiver) = mpsc::channel(16);
        let (parts, fetched) = mpsc::channel(AHEAD);
        let shared = Arc::new(shared);
        let deliverer = deliver::run(Arc::clone(&shared), fetched, batches, commands.downgrade());
        let fetcher = Fetcher { shared, parts, table: Table::default(), tasks: JoinSet::new() };
        let fetching = Fetching {
            fetcher: Task(tokio::spawn(fetcher.run(receiver, full))),
            deliverer: Task(tokio::spawn(deliverer)),
        };
        (FetchHandle { commands }, fetching)
    }

    /// For whoever else tells the fetcher what to read.
    pub fn commands(&self) -> mpsc::Sender<Command> {
        self.commands.clone()
    }

    /// Reads these partitions no more.
    pub async fn stop(&self, partitions: &BTreeSet<TopicPartition>) {
        let all = partitions.iter().map(|partition| (partition.clone(), AssignmentId(u64::MAX)));
        let _ = self.commands.send(Command::Stop(all.collect())).await;
    }
}

impl Fetching {
    /// Waits until fetching has ended by itself, which it only does when something is wrong.
    pub async fn ended(&mut self) -> EngineError {
        let failed =
            |what: &str, error: JoinError| EngineError::new(ErrorKind::Retriable, format!("{what}: {error}"));
        tokio::select! {
            error = &mut self.fetcher.0 => error.unwrap_or_else(|error| failed("the fetcher has ended", error)),
            ended = &mut self.deliverer.0 => match ended {
                Ok(()) => EngineError::new(ErrorKind::Retriable, "nobody takes what was fetched"),
                Err(error) => failed("taking records apart has ended", error),
            },
        }
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
    /// Who leads what.
    Leaders(Vec<(TopicPartition, AssignmentId, Result<Led, EngineError>)>),
    /// A request is over.
    Answered { broker: i32, outcome: Outcome, answers: Vec<(Wanted, Answer)> },
    /// A position was looked into.
    Repositioned(TopicPartition, AssignmentId, Result<reposition::Verdict, EngineError>),
    /// An assignment was ended and begun anew under this number, from there.
    Renewed(Start),
    /// Something was told, and nothing follows.
    Told,
}

/// Who leads a partition of which topic.
struct Led {
    leader: Leader,
    topic: Option<Uuid>,
}

impl Fetcher {
    /// Fetches until nobody tells what to read any more, or until an error of all partitions.
    async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut full: watch::Receiver<Arc<BTreeSet<TopicPartition>>>,
    ) -> EngineError {
        loop {
            self.find_leaders();
            self.send_requests();
            let now = Instant::now();
            let wake = self.table.next_wake(now);
            let result = tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => {
                        self.obey(command);
                        Ok(())
                    }
                    None => return EngineError::new(ErrorKind::Retriable, "the member has ended"),
                },
                Ok(()) = full.changed() => {
                    self.table.leave_out(Arc::clone(&full.borrow_and_update()));
                    Ok(())
                }
                Some(done) = self.tasks.join_next() => match done {
                    Ok(done) => self.handle(done),
                    Err(error) => Err(EngineError::new(ErrorKind::Retriable, format!("fetching: {error}"))),
                },
                () = sleep_until(wake.unwrap_or(now)), if wake.is_some() => Ok(()),
            };
            if let Err(error) = result {
                return error;
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Start(starts) => starts.into_iter().for_each(|start| self.table.add(start)),
            Command::Stop(partitions) => {
                for (partition, assignment) in partitions {
                    if self.table.remove(&partition, assignment) {
                        self.shared.troubles.end(&Place::Fetch(partition));
                    }
                }
            }
            Command::Halt(partition, assignment) => {
                if let Some(slot) = self.table.slot(&partition, assignment) {
                    slot.halt();
                }
            }
        }
    }

    /// Looks up the leaders of partitions without one.
    fn find_leaders(&mut self) {
        let due: Vec<_> = self.table.without_leader(Instant::now()).collect();
        if due.is_empty() {
            return;
        }
        let shared = Arc::clone(&self.shared);
        self.tasks.spawn(async move {
            let Shared { topic, memory, troubles, client, .. } = &*shared;
            let found = look_up(client.cluster(), topic, memory, troubles).await;
            let led = |partition: &TopicPartition| {
                let topic = found.as_ref().map_err(Clone::clone)?.topic();
                let error = match topic.partitions.get(&partition.partition) {
                    Some(leader) if leader.broker >= 0 => {
                        return Ok(Led { leader: *leader, topic: topic.id });
                    }
                    Some(_) => KafkaError(ResponseError::LeaderNotAvailable),
                    None => KafkaError(ResponseError::UnknownTopicOrPartition),
                };
                Err(client.cluster().failed(error, "no leader", None))
            };
            let found = due.into_iter().map(|(partition, assignment)| {
                let led = led(&partition);
                (partition, assignment, led)
            });
            Done::Leaders(found.collect())
        });
    }

    /// Sends a request to every leader that has ready partitions and none in flight.
    fn send_requests(&mut self) {
        let ready = self.table.ready(Instant::now());
        if ready.is_empty() {
            return;
        }
        let share = self.shared.shape.share_of(&self.shared.budget, self.table.leaders());
        for (broker, wanted) in ready {
            let max = share >> self.table.halvings(broker);
            let (shared, parts) = (Arc::clone(&self.shared), self.parts.clone());
            self.tasks.spawn(async move {
                let (outcome, answers) = request::fetch(&shared, broker, wanted, max, &parts).await;
                Done::Answered { broker, outcome, answers }
            });
        }
    }

    fn handle(&mut self, done: Done) -> Result<(), EngineError> {
        match done {
            Done::Leaders(found) => self.found(found)?,
            Done::Answered { broker, outcome, answers } => {
                match outcome {
                    Outcome::Answered => self.table.in_time(broker),
                    Outcome::TimedOut => self.table.timed_out(broker),
                    Outcome::Failed => {}
                }
                for (wanted, answer) in answers {
                    self.answered(wanted, answer)?;
                }
                self.table.answered(broker);
            }
            Done::Repositioned(partition, assignment, verdict) => {
                self.reposition(partition, assignment, verdict)?;
            }
            // A revoke that came between has stopped the partition already.
            Done::Renewed(start) => {
                if self.shared.assignments.is_reading(&start.partition, start.assignment) {
                    self.table.add(start);
                }
            }
            Done::Told => {}
        }
        Ok(())
    }

    /// Takes the leaders of partitions that had none.
    fn found(
        &mut self,
        found: Vec<(TopicPartition, AssignmentId, Result<Led, EngineError>)>,
    ) -> Result<(), EngineError> {
        let mut anew = Vec::new();
        for (partition, assignment, led) in found {
            let Some(slot) = self.table.slot(&partition, assignment) else { continue };
            match led {
                Ok(Led { topic, .. }) if slot.topic.zip(topic).is_some_and(|(old, new)| old != new) => {
                    self.table.remove(&partition, assignment);
                    anew.push((partition, Some(assignment)));
                }
                Ok(Led { leader, topic }) => {
                    slot.topic = slot.topic.or(topic);
                    if slot.needs_check(leader) {
                        slot.busy(leader);
                        self.look_into(partition, assignment, false);
                    } else {
                        slot.ready(leader);
                    }
                }
                Err(error) => self.retry(&partition, assignment, error)?,
            }
        }
        if !anew.is_empty() {
            let shared = Arc::clone(&self.shared);
            self.tasks.spawn(async move {
                // With room first, nothing that the member says can come between.
                if let Ok(event) = shared.events.reserve().await {
                    shared.assignments.seek(anew, |lost| event.send(Ok(SourceEvent::Lost(lost))));
                }
                Done::Told
            });
        }
        Ok(())
    }

    fn answered(&mut self, wanted: Wanted, answer: Answer) -> Result<(), EngineError> {
        let Wanted { partition, assignment, position, .. } = wanted;
        let Some(slot) = self.table.slot(&partition, assignment) else { return Ok(()) };
        if slot.is_troubled && matches!(answer, Answer::Data { .. } | Answer::Nothing { .. }) {
            slot.is_troubled = false;
            self.shared.troubles.end(&Place::Fetch(partition.clone()));
        }
        match answer {
            Answer::Data { next, epoch } => slot.advance(next, epoch),
            Answer::Nothing { end } => match slot.is_nothing_until(end, Instant::now()) {
                None => slot.advance(position, -1),
                Some(to) => {
                    tracing::info!(%partition, position, to, "the log has no batch in between");
                    slot.jump(to);
                    self.hand_out(Part::Nothing(partition, assignment, to));
                }
            },
            Answer::OutOfRange => self.look_into(partition, assignment, true),
            Answer::Corrupt { good, epoch, error } => {
                slot.advance(good, epoch);
                slot.corruptions += 1;
                let error = format!("{error}; read {} times", slot.corruptions);
                if slot.corruptions >= table::CORRUPTIONS {
                    slot.halt();
                    let error = EngineError::new(ErrorKind::Fatal, error).at_offset(&partition, good);
                    self.hand_out(Part::Unreadable(partition, assignment, error));
                    return Ok(());
                }
                let error = EngineError::new(ErrorKind::Retriable, error).at_offset(&partition, good);
                self.retry(&partition, assignment, error)?;
            }
            Answer::Failed(error) => self.retry(&partition, assignment, error)?,
        }
        Ok(())
    }

    /// Hands something out behind what was fetched before.
    fn hand_out(&mut self, part: Part) {
        let parts = self.parts.clone();
        self.tasks.spawn(async move {
            let _ = parts.send(request::Fetched { permit: Permit::none(), parts: vec![part] }).await;
            Done::Told
        });
    }

    /// Asks the leader whether it has what was read from an earlier one (KIP-320), or why it does
    /// not have what was asked for.
    fn look_into(&mut self, partition: TopicPartition, assignment: AssignmentId, is_out_of_range: bool) {
        let Some(slot) = self.table.slot(&partition, assignment) else { return };
        let Some(leader) = slot.leader() else { return };
        let (position, epoch, topic) = (slot.position, slot.epoch, slot.topic);
        let (shared, parts) = (Arc::clone(&self.shared), self.parts.clone());
        let doubt = reposition::Doubt { partition: partition.clone(), position, epoch, leader };
        self.tasks.spawn(async move {
            let verdict = match is_out_of_range {
                true => reposition::out_of_range(&shared, &doubt).await,
                false => reposition::truncated(&shared, &doubt).await,
            };
            match verdict {
                Ok(reposition::Verdict::Forward(to)) => {
                    let reason = GapReason::Retention;
                    let gap = Gap { partition: partition.clone(), assignment, from: position, to, reason };
                    let part = request::Fetched { permit: Permit::none(), parts: vec![Part::Gap(gap)] };
                    let _ = parts.send(part).await;
                }
                Ok(reposition::Verdict::Back(position)) => {
                    let renewed = reposition::begin_again(&shared, &partition, assignment, position).await;
                    return match renewed {
                        Some(assignment) => {
                            Done::Renewed(Start { partition, assignment, position, epoch: -1, topic })
                        }
                        None => Done::Told,
                    };
                }
                _ => {}
            }
            Done::Repositioned(partition, assignment, verdict)
        });
    }

    fn reposition(
        &mut self,
        partition: TopicPartition,
        assignment: AssignmentId,
        verdict: Result<reposition::Verdict, EngineError>,
    ) -> Result<(), EngineError> {
        let Some(slot) = self.table.slot(&partition, assignment) else { return Ok(()) };
        match verdict {
            Ok(reposition::Verdict::Stay) => slot.checked(),
            Ok(reposition::Verdict::Forward(position)) => slot.jump(position),
            Ok(reposition::Verdict::Later | reposition::Verdict::Back(_)) => {
                let error = EngineError::new(ErrorKind::Retriable, "the leader does not know the offset yet");
                let position = slot.position;
                self.retry(&partition, assignment, error.at_offset(&partition, position))?;
            }
            Err(error) => self.retry(&partition, assignment, error)?,
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
        slot.is_troubled = true;
        let pause = slot.fail(self.shared.client.cluster().settings.retry);
        self.shared.troubles.begin(Place::Fetch(partition.clone()), &error.message);
        tracing::debug!(%error, ?pause, "cannot fetch yet");
        Ok(())
    }
}

impl Slot {
    /// Whether the position has to be checked before reading from `leader` (KIP-320). An epoch that
    /// falls is that of another log under the same name, or of a broker that is behind.
    fn needs_check(&self, leader: Leader) -> bool {
        self.epoch >= 0 && leader.epoch != self.checked_epoch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_of_a_task_is_told() {
        let forever = || Task(tokio::spawn(std::future::pending()));
        let panicking = || async { panic!("a bug") };
        let mut fetching = Fetching { fetcher: Task(tokio::spawn(panicking())), deliverer: forever() };
        let error = fetching.ended().await;
        assert_eq!(error.kind, ErrorKind::Retriable);
        assert!(error.message.contains("the fetcher has ended"), "{error}");
        let deliverer = Task(tokio::spawn(async { panic!("a bug") }));
        let mut fetching = Fetching { fetcher: Task(tokio::spawn(std::future::pending())), deliverer };
        let error = fetching.ended().await;
        assert_eq!(error.kind, ErrorKind::Retriable);
        assert!(error.message.contains("taking records apart"), "{error}");
    }
}
