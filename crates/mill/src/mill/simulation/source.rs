//! A source over the simulated cluster.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{oneshot, watch},
    time::{Instant, sleep_until},
};

use super::{
    Plant, Shared, World, batch, source,
    world::{Command, RECORDS},
};
use crate::{
    batch::{AssignmentId, TopicPartition},
    budget::Budget,
    clock::until,
    engine::{Assignment, EngineError, ErrorKind, Gap, GapReason, Offset, Room, Source, SourceEvent, Stake},
};

/// The memory that a batch holds.
const BATCH_MEMORY: usize = 2048;

/// A member of the group.
pub(in crate::mill) struct SimulatedSource {
    world: Shared,
    instance: usize,
    budget: Budget,
    events: VecDeque<SourceEvent>,
    positions: BTreeMap<i32, Position>,
    /// The assignments that have not ended, as far as this member knows.
    held: BTreeMap<i32, u64>,
    /// The partitions being revoked, until when, and the end of the release channel.
    revoking: Option<(Vec<i32>, Instant, oneshot::Receiver<()>)>,
    /// Those whose committed offsets are about to change.
    unstable: Vec<i32>,
    /// The generation that this member knows of.
    generation: i32,
    /// No batch before this time.
    next: Instant,
    changed: watch::Receiver<u64>,
}

#[derive(Clone, Copy)]
struct Position {
    assignment: u64,
    next: i64,
    is_unreadable: bool,
}

impl SimulatedSource {
    pub fn new(world: &Shared, budget: &Budget) -> SimulatedSource {
        let (changed, instance, generation) = {
            let mut world = world.lock().unwrap();
            let instance = world.starting;
            world.join(instance);
            (world.changed.subscribe(), instance, world.generation)
        };
        let mut source = SimulatedSource {
            world: Arc::clone(world),
            instance,
            budget: budget.clone(),
            events: VecDeque::new(),
            positions: BTreeMap::new(),
            held: BTreeMap::new(),
            revoking: None,
            unstable: Vec::new(),
            generation,
            next: Instant::now(),
            changed,
        };
        source.obey_all();
        source
    }

    fn assign(&mut self, partitions: impl IntoIterator<Item = i32>) {
        let partitions: Vec<i32> = partitions.into_iter().collect();
        if self.world.lock().unwrap().is_unstable(&partitions) {
            self.unstable.extend(partitions);
            return;
        }
        let assignments = self.world.lock().unwrap().assign(partitions);
        for Assignment { partition, id, position, .. } in &assignments {
            let position = Position { assignment: id.0, next: *position, is_unreadable: false };
            self.positions.insert(partition.partition, position);
            self.world.lock().unwrap().handed_out.remove(&partition.partition);
            self.held.insert(partition.partition, id.0);
        }
        self.events.push_back(SourceEvent::Assigned(assignments));
    }

    /// Does what the group wants; whether that was anything.
    fn obey_all(&mut self) -> bool {
        let mut has_obeyed = false;
        while let Some(command) = self.command() {
            self.obey(command);
            has_obeyed = true;
        }
        has_obeyed
    }

    /// What the group wants next: one revocation after the other.
    fn command(&mut self) -> Option<Command> {
        let mut world = self.world.lock().unwrap();
        let is_revoking = self.revoking.is_some();
        let generation = world.generation;
        let commands = world.commands.get_mut(&self.instance)?;
        let command = commands.pop_front_if(|next| !is_revoking || !matches!(next, Command::Revoke(..)));
        if command.is_some() || commands.is_empty() {
            self.generation = generation;
        }
        command
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Assign(partitions) => self.assign(partitions),
            Command::Lose => {
                let mut lost: Vec<i32> = self.positions.keys().copied().collect();
                if let Some((revoking, ..)) = self.revoking.take() {
                    lost.extend(revoking);
                }
                lost.append(&mut self.unstable);
                self.events.push_back(SourceEvent::Lost(lost.iter().copied().map(source).collect()));
                self.positions.clear();
                self.world.lock().unwrap().handed_out.clear();
                self.held.clear();
                self.world.lock().unwrap().join(self.instance);
            }
            Command::Revoke(given, patience) => {
                self.positions.retain(|partition, _| !given.contains(partition));
                // Whatever is not assigned yet has nothing to be finished.
                self.unstable.retain(|partition| !given.contains(partition));
                let (release, released) = oneshot::channel();
                let partitions = given.iter().copied().map(source).collect();
                self.events.push_back(SourceEvent::Revoked { partitions, release });
                self.revoking = Some((given, Instant::now() + Duration::from_millis(patience), released));
            }
        }
    }

    /// The group continues: the release came, or the group has waited long enough.
    fn end_revoke(&mut self, is_late: bool) {
        let Some((given, ..)) = self.revoking.take() else { return };
        let mut world = self.world.lock().unwrap();
        for partition in &given {
            let assignment = self.held.remove(partition).unwrap_or(0);
            if !is_late {
                end(&mut world, self.instance, *partition, assignment);
            }
            world.handed_out.remove(partition);
            world.give_up(self.instance, *partition);
        }
        if is_late {
            world.excuse(given);
        }
        world.balance();
    }

    /// Whether the mill has released them, or the group no longer waits.
    fn revoked(&mut self) -> Option<bool> {
        let (_, until, released) = self.revoking.as_mut()?;
        match released.try_recv() {
            Err(oneshot::error::TryRecvError::Empty) => (*until <= Instant::now()).then_some(true),
            Ok(()) | Err(oneshot::error::TryRecvError::Closed) => Some(false),
        }
    }

    /// What is to be handed out of some partition now.
    fn read(&mut self, room: &Room) -> Option<SourceEvent> {
        let mut world = self.world.lock().unwrap();
        let is_stuck = world.plant == Some(Plant::OneFullStopsAll) && !room.full.is_empty();
        if !room.is_open || is_stuck {
            return None;
        }
        let end = world.end();
        let open = self.positions.iter().filter(|(partition, position)| {
            position.next < end && !position.is_unreadable && !room.full.contains(&source(**partition))
        });
        let open: Vec<i32> = open.map(|(partition, _)| *partition).collect();
        let partition = *open.get(world.count(open.len().max(1) as i64 + 1) as usize - 1)?;
        let position = self.positions.get_mut(&partition)?;
        let assignment = AssignmentId(position.assignment);
        let start = world.start(partition);
        if position.next < start {
            let gap = Gap {
                partition: source(partition),
                assignment,
                from: position.next,
                to: start,
                reason: GapReason::Retention,
            };
            world.skip(partition, assignment.0, gap.from..gap.to);
            position.next = start;
            return Some(SourceEvent::Skipped(gap));
        }
        let unreadable = world.unreadable.get(&partition).copied().filter(|at| *at >= position.next);
        if unreadable == Some(position.next) {
            position.is_unreadable = true;
            let error = EngineError::new(ErrorKind::Fatal, "malformed");
            let error = error.at_offset(&source(partition), position.next);
            return Some(SourceEvent::Unreadable { assignment, error });
        }
        let memory = self.budget.try_acquire(BATCH_MEMORY)?;
        let next = (position.next + world.count(30)).min(end).min(unreadable.unwrap_or(RECORDS));
        let batch = batch(partition, assignment, position.next, next);
        position.next = next;
        world.handed_out.insert(partition, next);
        Some(SourceEvent::Batch(batch, memory))
    }

    /// Notes what the mill learns from an event.
    fn tell(&self, event: SourceEvent) -> SourceEvent {
        let mut world = self.world.lock().unwrap();
        match &event {
            SourceEvent::Assigned(assignments) => {
                for assignment in assignments {
                    end(&mut world, self.instance, assignment.partition.partition, assignment.id.0 - 1);
                }
            }
            SourceEvent::Lost(partitions) => {
                for partition in partitions {
                    // Whatever it owns is gone; a later assignment follows.
                    let next = self.held.get(&partition.partition).copied();
                    let last = next.map_or(world.last_assignment, |next| next - 1);
                    end(&mut world, self.instance, partition.partition, last);
                }
            }
            _ => {}
        }
        event
    }
}

/// An assignment has ended, and the mill knows.
fn end(world: &mut World, instance: usize, partition: i32, assignment: u64) {
    let over = world.over.entry((instance, partition)).or_default();
    *over = assignment.max(*over);
}

impl Source for SimulatedSource {
    async fn next(&mut self, room: &Room) -> Result<SourceEvent, EngineError> {
        loop {
            self.changed.mark_unchanged();
            if let Some(event) = self.events.pop_front() {
                return Ok(self.tell(event));
            }
            if let Some(is_late) = self.revoked() {
                self.end_revoke(is_late);
                continue;
            }
            if !self.unstable.is_empty() && !self.world.lock().unwrap().is_unstable(&self.unstable) {
                let stable = std::mem::take(&mut self.unstable);
                self.assign(stable);
                continue;
            }
            if self.obey_all() {
                continue;
            }
            let now = Instant::now();
            if self.next <= now {
                let delay = self.world.lock().unwrap().delay();
                self.next = now + delay;
                if let Some(event) = self.read(room) {
                    return Ok(event);
                }
            }
            // Until a batch may come, or until something changes while none may.
            let is_growing = self.world.lock().unwrap().end() < RECORDS;
            let may_read = room.is_open && (is_growing || self.is_any_open(room));
            let patience = self.revoking.as_ref().map(|(_, until, _)| *until);
            tokio::select! {
                biased;
                () = sleep_until(self.next.max(now + Duration::from_micros(100))), if may_read => {}
                () = until(patience) => {}
                _ = released(&mut self.revoking) => {
                    self.end_revoke(false);
                }
                _ = self.changed.changed() => {}
            }
        }
    }

    fn commit(
        &self,
        offsets: Vec<Offset>,
    ) -> impl Future<Output = Result<Vec<Offset>, EngineError>> + Send + 'static {
        let world = Arc::clone(&self.world);
        async move {
            let delay = world.lock().unwrap().delay();
            sleep_until(Instant::now() + delay).await;
            let mut world = world.lock().unwrap();
            if world.commits_fail() {
                return Err(EngineError::new(ErrorKind::Retriable, "the coordinator is loading"));
            }
            let mut agreed = Vec::new();
            for mut offset in offsets {
                if world.plant == Some(Plant::CommitsAheadOfOutput) {
                    let read = world.handed_out.get(&offset.partition.partition).copied();
                    offset.next = read.unwrap_or(0).max(offset.next);
                }
                if world.commit(&offset) {
                    agreed.push(offset);
                }
            }
            Ok(agreed)
        }
    }

    fn stake(&self, offsets: Vec<Offset>) -> Option<Stake> {
        // It may have lost one without knowing.
        let is_held =
            |offset: &Offset| self.held.get(&offset.partition.partition) == Some(&offset.assignment.0);
        let held = offsets.iter().all(is_held);
        let offsets = offsets.into_iter().map(|offset| (offset, Arc::from(""))).collect();
        held.then(|| Stake { offsets, generation: self.generation, ..Stake::default() })
    }

    async fn rewind(&mut self, partitions: Vec<TopicPartition>) {
        let assigned = partitions.iter().map(|partition| partition.partition);
        let assigned: BTreeSet<i32> = assigned.filter(|at| self.positions.contains_key(at)).collect();
        self.positions.retain(|partition, _| !assigned.contains(partition));
        self.held.retain(|partition, _| !assigned.contains(partition));
        {
            let mut world = self.world.lock().unwrap();
            // Who gets them meanwhile would be told the last ones.
            if !world.is_unstable(&assigned.iter().copied().collect::<Vec<_>>()) {
                world.tell_older(&assigned);
            }
        }
        self.assign(assigned);
    }

    async fn close(self) {
        self.world.lock().unwrap().leave(self.instance);
        // What the mill has not heard of cannot be committed.
        for event in self.events {
            if let SourceEvent::Assigned(assignments) = event {
                let unheard = assignments.iter().map(|assignment| assignment.partition.partition);
                self.world.lock().unwrap().excuse(unheard);
            }
        }
    }
}

impl SimulatedSource {
    fn is_any_open(&self, room: &Room) -> bool {
        self.positions.iter().any(|(partition, position)| {
            position.next < RECORDS && !position.is_unreadable && !room.full.contains(&source(*partition))
        })
    }
}

/// Resolves when the mill releases what is revoked.
async fn released(revoking: &mut Option<(Vec<i32>, Instant, oneshot::Receiver<()>)>) {
    match revoking {
        Some((_, _, released)) => {
            let _ = released.await;
        }
        None => std::future::pending().await,
    }
}
