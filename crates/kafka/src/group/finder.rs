//! Finds out where to start reading the assigned partitions, and has each read from there as soon
//! as that is known: one without a leader, or with a slow one, holds up no other. What cannot be
//! found out is asked for again, for as long as the partition is assigned.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep_until},
};
use topicmill_mill::{
    batch::{AssignmentId, TopicPartition},
    engine::{Assignment, EngineError, ErrorKind, OffsetReset, Place, SourceEvent},
};
use uuid::Uuid;

use super::{
    coordinator::Coordinator,
    note::Note,
    positions::{Choice, Position, Survey, refused, survey},
};
use crate::{
    Client, OffsetAt,
    assignments::{Assignments, Settled},
    fetch::{FetchCommand, Start},
    memory::Memory,
    topic_lookup::look_up,
};

/// How often a topic that is missing is looked for.
const MISSING_INTERVAL: Duration = Duration::from_secs(3);

/// How often a member without partitions checks that the topic still exists.
const IDLE_INTERVAL: Duration = Duration::from_secs(30);

/// Finds positions in the background.
#[derive(Debug)]
pub(super) struct Finder {
    pub client: Client,
    pub coordinator: Coordinator,
    pub assignments: Arc<Assignments>,
    pub memory: Memory,
    pub topic: Arc<str>,
    pub reset: OffsetReset,
    pub fetcher: mpsc::Sender<FetchCommand>,
    pub events: mpsc::Sender<Result<SourceEvent, EngineError>>,
    pub search: Search,
}

/// The state of the search.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// What is being asked for.
    busy: HashSet<AssignmentId>,
    /// What was asked for in vain.
    waiting: HashMap<TopicPartition, WaitingPosition>,
    /// What the fetcher was told to stop reading.
    stopped: HashSet<AssignmentId>,
    tasks: JoinSet<Answered>,
    /// When to check whether the topic exists.
    look: Option<Instant>,
}

#[derive(Debug)]
struct WaitingPosition {
    assignment: AssignmentId,
    failures: u32,
    due: Instant,
}

/// The answer to a question.
enum Answered {
    Survey(Vec<Settled>, Result<Survey, EngineError>),
    Offsets {
        asked: Vec<Settled>,
        is_first: bool,
        note: Arc<str>,
        topic: Option<Uuid>,
        answer: Result<BTreeMap<i32, Result<i64, EngineError>>, EngineError>,
    },
    Topic(Result<(), EngineError>),
}

/// A position, and the topic that it is of.
type Placed = (Position, Option<Uuid>);

impl Finder {
    /// Searches until an error concerns all partitions.
    pub async fn run(mut self) -> EngineError {
        loop {
            self.ask().await;
            let wake = self.wake();
            let result = tokio::select! {
                () = self.assignments.sought_anew() => Ok(()),
                Some(found) = self.search.tasks.join_next() => match found {
                    Ok(found) => self.take(found).await,
                    Err(error) => {
                        Err(EngineError::new(ErrorKind::Retriable, format!("finding positions: {error}")))
                    }
                },
                () = sleep_until(wake) => self.look(),
            };
            if let Err(error) = result {
                return error;
            }
        }
    }

    /// Asks for what is sought and due.
    async fn ask(&mut self) {
        let (sought, now) = (self.assignments.sought(), Instant::now());
        let all: HashSet<_> = sought.iter().map(|(_, assignment)| *assignment).collect();
        let Search { busy, waiting, stopped, tasks, .. } = &mut self.search;
        waiting.retain(|partition, waiting| {
            let is_sought = all.contains(&waiting.assignment);
            if !is_sought {
                self.coordinator.troubles.end(&Place::Fetch(partition.clone()));
            }
            is_sought
        });
        stopped.retain(|assignment| all.contains(assignment));
        // What was read under an earlier assignment is no longer wanted.
        let rewound: Vec<_> =
            sought.iter().filter(|(_, assignment)| stopped.insert(*assignment)).cloned().collect();
        let due: Vec<Settled> = sought
            .into_iter()
            .filter(|(partition, assignment)| {
                waiting.get(partition).is_none_or(|waiting| waiting.due <= now) && busy.insert(*assignment)
            })
            .collect();
        if !rewound.is_empty() {
            let _ = self.fetcher.send(FetchCommand::Stop(rewound)).await;
        }
        if due.is_empty() {
            return;
        }
        let (coordinator, memory) = (self.coordinator.clone(), self.memory.clone());
        let (topic, reset) = (Arc::clone(&self.topic), self.reset);
        tasks.spawn(async move {
            let numbers = due.iter().map(|(partition, _)| partition.partition).collect();
            let surveyed = survey(&coordinator, &memory, &topic, &numbers, reset).await;
            Answered::Survey(due, surveyed.map_err(EngineError::from))
        });
    }

    /// When to check again at the latest.
    fn wake(&mut self) -> Instant {
        let look = *self.search.look.get_or_insert_with(|| Instant::now() + MISSING_INTERVAL);
        let waiting = self.search.waiting.values();
        let idle = waiting.filter(|waiting| !self.search.busy.contains(&waiting.assignment));
        idle.map(|waiting| waiting.due).min().map_or(look, |due| due.min(look))
    }

    /// Checks whether the topic exists while nothing of it is read.
    fn look(&mut self) -> Result<(), EngineError> {
        if self.search.look.is_none_or(|look| look > Instant::now()) {
            return Ok(());
        }
        self.search.look = Some(Instant::now() + IDLE_INTERVAL);
        if self.assignments.is_empty() {
            let (coordinator, memory) = (self.coordinator.clone(), self.memory.clone());
            let topic = Arc::clone(&self.topic);
            self.search.tasks.spawn(async move {
                let Coordinator { cluster, troubles, .. } = &coordinator;
                cluster.invalidate();
                Answered::Topic(look_up(cluster, &topic, &memory, troubles).await.map(drop))
            });
        }
        Ok(())
    }

    async fn take(&mut self, found: Answered) -> Result<(), EngineError> {
        match found {
            Answered::Survey(asked, surveyed) => {
                for (_, assignment) in &asked {
                    self.search.busy.remove(assignment);
                }
                match surveyed {
                    Ok(survey) => self.choose(asked, &survey).await,
                    Err(error) => self.fail_all(asked, &error),
                }
            }
            Answered::Offsets { asked, is_first, note, topic, answer } => {
                for (_, assignment) in &asked {
                    self.search.busy.remove(assignment);
                }
                let mut answers = match answer {
                    Ok(answers) => answers,
                    Err(error) => return self.fail_all(asked, &error),
                };
                if is_first {
                    for (number, answer) in &mut answers {
                        if let Ok(end) = answer {
                            *end = self.memory.note_end(*number, *end);
                        }
                    }
                }
                let mut known = Vec::new();
                for place in asked {
                    match answers.get(&place.0.partition) {
                        Some(Ok(offset)) => {
                            let position =
                                Position { offset: *offset, leader_epoch: -1, is_committed: false };
                            known.push((place, (position, topic)));
                        }
                        Some(Err(error)) => self.fail(place, error)?,
                        None => self.fail(place, &unknown())?,
                    }
                }
                tracing::info!(
                    topic = &*self.topic,
                    partitions = known.len(),
                    at = if is_first { "their ends" } else { "their beginnings" },
                    "no committed offsets, starting by policy"
                );
                self.settle(known, &note).await;
                Ok(())
            }
            Answered::Topic(Err(error)) if error.kind == ErrorKind::Fatal => Err(error),
            Answered::Topic(seen) => {
                let pause = if seen.is_ok() { IDLE_INTERVAL } else { MISSING_INTERVAL };
                self.search.look = Some(Instant::now() + pause);
                Ok(())
            }
        }
    }

    /// Starts partitions that have a position, and asks the leaders of the rest.
    async fn choose(&mut self, asked: Vec<Settled>, survey: &Survey) -> Result<(), EngineError> {
        let id = survey.topic.id;
        let mut known: Vec<(Settled, Placed)> = Vec::new();
        let mut questions: BTreeMap<(bool, i32), Vec<Settled>> = BTreeMap::new();
        let is_anew = self.memory.is_anew();
        for place in asked {
            let number = place.0.partition;
            if survey.committed.get(&number).is_some_and(|c| c.as_ref().is_ok_and(|c| c.is_of_another(id))) {
                tracing::error!(partition = %place.0, ?id, "what the group has committed is of an earlier topic of this name; reading the new one from its beginning");
            }
            let leader = survey.topic.partitions.get(&number).map_or(-1, |leader| leader.broker);
            match survey.choose(number, self.reset, self.memory.first().as_ref(), is_anew) {
                Ok(Choice::At(position)) => known.push((place, (position, id))),
                Ok(Choice::Ask(_)) => questions.entry((false, leader)).or_default().push(place),
                Ok(Choice::First) => questions.entry((true, leader)).or_default().push(place),
                Ok(Choice::Refuse) => return Err(refused(&place.0)),
                Err(error) => self.fail(place, &error)?,
            }
        }
        if questions.keys().any(|(is_first, _)| *is_first) {
            let all = survey.topic.partitions.keys().max().map_or(0, |last| last + 1);
            self.memory.begin_first(survey.first().unwrap_or(all));
            // The ends of the others are noted as well: the member that reads them may be gone
            // before it commits them.
            for leader in survey.topic.partitions.values().map(|leader| leader.broker).filter(|id| *id >= 0) {
                questions.entry((true, leader)).or_default();
            }
        }
        let first = self.memory.first().map(|first| first.partitions).or(survey.first());
        let note: Arc<str> = Note { topic: id, first }.encode().into();
        for ((is_first, leader), asked) in questions {
            self.ask_leader(survey, asked, is_first, leader, Arc::clone(&note));
        }
        self.settle(known, &note).await;
        Ok(())
    }

    fn ask_leader(
        &mut self,
        survey: &Survey,
        asked: Vec<Settled>,
        is_first: bool,
        leader: i32,
        note: Arc<str>,
    ) {
        let mut numbers: BTreeSet<_> = asked.iter().map(|(partition, _)| partition.partition).collect();
        if is_first && leader >= 0 {
            let led = survey.topic.partitions.iter().filter(|(_, led)| led.broker == leader);
            numbers.extend(led.map(|(number, _)| *number));
        }
        self.search.busy.extend(asked.iter().map(|(_, assignment)| *assignment));
        let (client, name, topic) = (self.client.clone(), Arc::clone(&self.topic), survey.topic.id);
        let at = if is_first { OffsetAt::Latest } else { OffsetAt::Earliest };
        self.search.tasks.spawn(async move {
            let answer = client.ask_offsets(&name, &numbers, at).await;
            Answered::Offsets { asked, is_first, note, topic, answer }
        });
    }

    /// Has partitions read from their known positions, and sends the event.
    async fn settle(&mut self, known: Vec<(Settled, Placed)>, note: &Arc<str>) {
        if known.is_empty() {
            return;
        }
        for ((partition, _), _) in &known {
            if self.search.waiting.remove(partition).is_some() {
                self.coordinator.troubles.end(&Place::Fetch(partition.clone()));
            }
        }
        // With room for both first, the event is sent and the fetcher started under the lock that a
        // revoke needs as well: a partition that is being taken away is not started after it (see
        // `reposition::begin_again`). The event goes first, so that no batch overtakes it (see
        // `NativeSource::next`).
        let (Ok(event), Ok(command)) = (self.events.reserve().await, self.fetcher.reserve().await) else {
            return;
        };
        self.assignments.settle(known, note, |known, is_late| {
            let (mut assigned, mut starts) = (Vec::new(), Vec::new());
            for ((partition, id), (Position { offset, leader_epoch, is_committed }, topic)) in known {
                let (position, epoch) = (offset, leader_epoch);
                starts.push(Start { partition: partition.clone(), assignment: id, position, epoch, topic });
                assigned.push(Assignment { partition, id, position, is_committed, is_late });
            }
            event.send(Ok(SourceEvent::Assigned(assigned)));
            command.send(FetchCommand::Start(starts));
        });
    }

    fn fail_all(&mut self, asked: Vec<Settled>, error: &EngineError) -> Result<(), EngineError> {
        asked.into_iter().try_for_each(|place| self.fail(place, error))
    }

    /// Makes a partition wait, longer each time, or passes on a fatal error.
    fn fail(&mut self, place: Settled, error: &EngineError) -> Result<(), EngineError> {
        let (partition, assignment) = place;
        if error.kind == ErrorKind::Fatal {
            return Err(if error.partition.is_none() { error.clone().at(&partition) } else { error.clone() });
        }
        tracing::debug!(%partition, %error, "cannot find out yet where to read");
        self.coordinator.troubles.begin(Place::Fetch(partition.clone()), &error.message);
        let waiting = self.search.waiting.get(&partition).filter(|waiting| waiting.assignment == assignment);
        let failures = waiting.map_or(0, |waiting| waiting.failures) + 1;
        let due = Instant::now() + self.coordinator.cluster.settings.retry.pause(failures);
        self.search.waiting.insert(partition, WaitingPosition { assignment, failures, due });
        Ok(())
    }
}

fn unknown() -> EngineError {
    EngineError::new(ErrorKind::Retriable, "the cluster does not know the partition")
}
