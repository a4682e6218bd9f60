//! The task that holds each partition's position and leader, and decides what to ask whom.

use std::{collections::BTreeSet, sync::Arc};

use kafka_protocol::ResponseError;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep_until},
};
use topicmill_mill::{
    batch::{AssignmentId, TopicPartition},
    budget::Permit,
    engine::{EngineError, ErrorKind, Gap, GapReason, Place, SourceEvent},
};
use uuid::Uuid;

use super::{
    FetchCommand, FetchShared, Start,
    parts::{FetchOutcome, Fetched, FetchedPart, PartitionAnswer, Wanted},
    reposition, request,
    scan::CORRUPT_READS_MAX,
    table::Table,
};
use crate::{error::KafkaError, metadata::Leader, offsets::REMOTE, topic_lookup::look_up};

/// Fetches the partitions that it is told to.
pub(super) struct Fetcher {
    pub shared: Arc<FetchShared>,
    pub parts: mpsc::Sender<Fetched>,
    pub table: Table,
    pub tasks: JoinSet<TaskDone>,
}

/// The result of one of the fetcher's tasks.
pub(super) enum TaskDone {
    /// The leaders of partitions.
    Leaders(Vec<(TopicPartition, AssignmentId, Result<LedPartition, EngineError>)>),
    /// A request is done.
    Answered { broker: i32, outcome: FetchOutcome, answers: Vec<(Wanted, PartitionAnswer)> },
    /// A position was checked.
    Repositioned(TopicPartition, AssignmentId, Result<reposition::PositionVerdict, EngineError>),
    /// An assignment was ended and begun again under this number, from there.
    Renewed(Start),
    /// An event was sent, and nothing follows.
    Told,
}

/// The leader of a partition, and the id of its topic.
pub(super) struct LedPartition {
    leader: Leader,
    topic: Option<Uuid>,
}

impl Fetcher {
    /// Fetches until the member has ended, or an error concerns all partitions.
    pub async fn run(
        mut self,
        mut commands: mpsc::Receiver<FetchCommand>,
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

    fn obey(&mut self, command: FetchCommand) {
        match command {
            FetchCommand::Start(starts) => starts.into_iter().for_each(|start| self.table.add(start)),
            FetchCommand::Stop(partitions) => {
                for (partition, assignment) in partitions {
                    if self.table.remove(&partition, assignment) {
                        self.shared.troubles.end(&Place::Fetch(partition));
                    }
                }
            }
            FetchCommand::Halt(partition, assignment) => {
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
            let FetchShared { topic, memory, troubles, client, .. } = &*shared;
            let found = look_up(client.cluster(), topic, memory, troubles).await;
            let led = |partition: &TopicPartition| {
                let topic = found.as_ref().map_err(Clone::clone)?.topic();
                let error = match topic.partitions.get(&partition.partition) {
                    Some(leader) if leader.broker >= 0 => {
                        return Ok(LedPartition { leader: *leader, topic: topic.id });
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
            TaskDone::Leaders(found.collect())
        });
    }

    /// Sends a request to each leader that has ready partitions and no request in flight.
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
                TaskDone::Answered { broker, outcome, answers }
            });
        }
    }

    fn handle(&mut self, done: TaskDone) -> Result<(), EngineError> {
        match done {
            TaskDone::Leaders(found) => self.found(found)?,
            TaskDone::Answered { broker, outcome, answers } => {
                match outcome {
                    FetchOutcome::Answered => self.table.in_time(broker),
                    FetchOutcome::TimedOut => self.table.timed_out(broker),
                    FetchOutcome::Failed => {}
                }
                for (wanted, answer) in answers {
                    self.answered(wanted, answer)?;
                }
                self.table.answered(broker);
            }
            TaskDone::Repositioned(partition, assignment, verdict) => {
                self.reposition(partition, assignment, verdict)?;
            }
            // If a revoke came in between, it has stopped the partition already.
            TaskDone::Renewed(start) => {
                if self.shared.assignments.is_reading(&start.partition, start.assignment) {
                    self.table.add(start);
                }
            }
            TaskDone::Told => {}
        }
        Ok(())
    }

    /// Takes the leaders of partitions that had none.
    fn found(
        &mut self,
        found: Vec<(TopicPartition, AssignmentId, Result<LedPartition, EngineError>)>,
    ) -> Result<(), EngineError> {
        let mut anew = Vec::new();
        for (partition, assignment, led) in found {
            let Some(slot) = self.table.slot(&partition, assignment) else { continue };
            match led {
                Ok(LedPartition { topic, .. })
                    if slot.topic.zip(topic).is_some_and(|(old, new)| old != new) =>
                {
                    self.table.remove(&partition, assignment);
                    anew.push((partition, Some(assignment)));
                }
                Ok(LedPartition { leader, topic }) => {
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
                // With room reserved first, no event of the member can come between
                // (`reposition::begin_again`).
                if let Ok(event) = shared.events.reserve().await {
                    shared.assignments.seek(anew, |lost| event.send(Ok(SourceEvent::Lost(lost))));
                }
                TaskDone::Told
            });
        }
        Ok(())
    }

    fn answered(&mut self, wanted: Wanted, answer: PartitionAnswer) -> Result<(), EngineError> {
        let Wanted { partition, assignment, position, .. } = wanted;
        let Some(slot) = self.table.slot(&partition, assignment) else { return Ok(()) };
        if slot.is_troubled && matches!(answer, PartitionAnswer::Data { .. }) {
            slot.is_troubled = false;
            self.shared.troubles.end(&Place::Fetch(partition.clone()));
        }
        match answer {
            PartitionAnswer::Data { next, epoch } => slot.advance(next, epoch),
            PartitionAnswer::Nothing { end } => match slot.is_nothing_until(end, Instant::now()) {
                None => slot.advance(position, -1),
                Some(to) => self.pass_nothing(partition, assignment, position, to),
            },
            PartitionAnswer::OutOfRange => self.look_into(partition, assignment, true),
            PartitionAnswer::Corrupt { good, epoch, error } => {
                slot.advance(good, epoch);
                slot.corruptions += 1;
                let error = format!("{error}; read {} times", slot.corruptions);
                if slot.corruptions >= CORRUPT_READS_MAX {
                    slot.halt();
                    let error = EngineError::new(ErrorKind::Fatal, error).at_offset(&partition, good);
                    self.hand_out(FetchedPart::Unreadable(partition, assignment, error));
                    return Ok(());
                }
                let error = EngineError::new(ErrorKind::Retriable, error).at_offset(&partition, good);
                self.retry(&partition, assignment, error)?;
            }
            PartitionAnswer::Failed(error) => self.retry(&partition, assignment, error)?,
        }
        Ok(())
    }

    /// Moves past offsets of which the leader has no batch, unless it merely does not have them
    /// here: it also answers without records while it waits for remote storage (KIP-405), or has
    /// read as much of it as it may (KIP-956).
    fn pass_nothing(&mut self, partition: TopicPartition, assignment: AssignmentId, position: i64, to: i64) {
        let (shared, parts) = (Arc::clone(&self.shared), self.parts.clone());
        self.tasks.spawn(async move {
            let verdict = match shared.client.is_local(&partition, position).await {
                Ok(true) => {
                    tracing::info!(%partition, position, to, "the log has no batch in between");
                    let part = FetchedPart::Nothing(partition.clone(), assignment, to);
                    let _ = parts.send(Fetched { permit: Permit::none(), parts: vec![part] }).await;
                    Ok(reposition::PositionVerdict::Forward(to))
                }
                Ok(false) => {
                    Err(EngineError::new(ErrorKind::Retriable, REMOTE).at_offset(&partition, position))
                }
                Err(error) => Err(error),
            };
            TaskDone::Repositioned(partition, assignment, verdict)
        });
    }

    /// Hands something out behind what was fetched before.
    fn hand_out(&mut self, part: FetchedPart) {
        let parts = self.parts.clone();
        self.tasks.spawn(async move {
            let _ = parts.send(Fetched { permit: Permit::none(), parts: vec![part] }).await;
            TaskDone::Told
        });
    }

    /// Asks the leader whether it has what was read from an earlier one (KIP-320), or why it does
    /// not have what was requested.
    fn look_into(&mut self, partition: TopicPartition, assignment: AssignmentId, is_out_of_range: bool) {
        let Some(slot) = self.table.slot(&partition, assignment) else { return };
        let Some(leader) = slot.leader() else { return };
        let (position, epoch, topic) = (slot.position, slot.epoch, slot.topic);
        let (shared, parts) = (Arc::clone(&self.shared), self.parts.clone());
        let doubt = reposition::Doubt { partition: partition.clone(), position, epoch, leader };
        self.tasks.spawn(async move {
            let verdict = if is_out_of_range {
                reposition::out_of_range(&shared, &doubt).await
            } else {
                reposition::truncated(&shared, &doubt).await
            };
            match verdict {
                Ok(reposition::PositionVerdict::Forward(to)) => {
                    let reason = GapReason::Retention;
                    let gap = Gap { partition: partition.clone(), assignment, from: position, to, reason };
                    let part = Fetched { permit: Permit::none(), parts: vec![FetchedPart::Gap(gap)] };
                    let _ = parts.send(part).await;
                }
                Ok(reposition::PositionVerdict::Back(position)) => {
                    let renewed = reposition::begin_again(&shared, &partition, assignment, position).await;
                    return match renewed {
                        Some(assignment) => {
                            TaskDone::Renewed(Start { partition, assignment, position, epoch: -1, topic })
                        }
                        None => TaskDone::Told,
                    };
                }
                _ => {}
            }
            TaskDone::Repositioned(partition, assignment, verdict)
        });
    }

    fn reposition(
        &mut self,
        partition: TopicPartition,
        assignment: AssignmentId,
        verdict: Result<reposition::PositionVerdict, EngineError>,
    ) -> Result<(), EngineError> {
        let Some(slot) = self.table.slot(&partition, assignment) else { return Ok(()) };
        match verdict {
            Ok(reposition::PositionVerdict::Stay) => slot.checked(),
            Ok(reposition::PositionVerdict::Forward(position)) => slot.jump(position),
            Ok(reposition::PositionVerdict::Later | reposition::PositionVerdict::Back(_)) => {
                let error = EngineError::new(ErrorKind::Retriable, "the leader does not know the offset yet");
                let position = slot.position;
                self.retry(&partition, assignment, error.at_offset(&partition, position))?;
            }
            Err(error) => self.retry(&partition, assignment, error)?,
        }
        Ok(())
    }

    /// Makes a partition wait and then look for its leader again, or passes on a fatal error.
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
