//! What the poll thread passes to the reader of a source: events in order, and which partitions are
//! owned.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use parking_lot::{Condvar, Mutex};
use tokio::sync::{Notify, oneshot};
use topicmill_mill::{
    batch::{AssignmentId, PartitionBatch, TopicPartition},
    budget::Permit,
    engine::{Assignment, EngineError, Offset, SourceEvent},
};

/// The most batches that may wait; the budget bounds their bytes.
const MAX_BATCHES: usize = 64;

/// The queue from the poll thread to `Source::next`, with the assignments that decide what in it
/// still counts.
#[derive(Debug)]
pub(super) struct Inbox {
    topic: Arc<str>,
    state: Mutex<State>,
    wake: Notify,
    commit_ended: Condvar,
    version: AtomicU64,
    closing: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    held: BTreeMap<i32, Held>,
    last_assignment: u64,
    /// A rebalance adds at most two, and waits for the answer to `Revoked`.
    changes: VecDeque<SourceEvent>,
    batches: VecDeque<(PartitionBatch, Permit)>,
    failure: Option<EngineError>,
    committing: bool,
}

/// A partition that is held.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    /// The number of the assignment.
    pub assignment: AssignmentId,
    /// The offset that reading started at.
    pub start: i64,
    /// Whether librdkafka's position is known to belong to this assignment rather than an earlier
    /// one.
    pub position_counts: bool,
    /// False once it is being revoked: commits still count, batches do not.
    readable: bool,
}

/// Where reading of a partition starts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    pub partition: i32,
    pub position: i64,
    /// Whether the group has committed the position.
    pub is_committed: bool,
}

impl Inbox {
    /// An empty inbox for the partitions of `topic`.
    pub fn new(topic: Arc<str>) -> Inbox {
        Inbox {
            topic,
            state: Mutex::default(),
            wake: Notify::new(),
            commit_ended: Condvar::new(),
            version: AtomicU64::new(0),
            closing: AtomicBool::new(false),
        }
    }

    /// The next event; with `room` false no batch.
    pub async fn next(&self, room: bool) -> Result<SourceEvent, EngineError> {
        loop {
            if let Some(event) = self.pop(room) {
                return event;
            }
            self.wake.notified().await;
        }
    }

    /// Changes first, so that a batch never comes before the assignment it was read under.
    fn pop(&self, room: bool) -> Option<Result<SourceEvent, EngineError>> {
        let mut state = self.state.lock();
        if let Some(change) = state.changes.pop_front() {
            return Some(Ok(change));
        }
        if let Some(failure) = &state.failure {
            return Some(Err(failure.clone()));
        }
        if room {
            state.batches.pop_front().map(|(batch, memory)| Ok(SourceEvent::Batch(batch, memory)))
        } else {
            None
        }
    }

    /// The topic that is read.
    pub fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// Whether another batch may wait.
    pub fn has_room(&self) -> bool {
        self.state.lock().batches.len() < MAX_BATCHES
    }

    /// Queues a batch, unless its assignment has ended.
    pub fn push(&self, batch: PartitionBatch, memory: Permit) {
        let mut state = self.state.lock();
        let current = state.held.get(&batch.origin.partition);
        if current.is_some_and(|held| held.readable && held.assignment == batch.assignment) {
            state.batches.push_back((batch, memory));
            self.wake.notify_one();
        }
    }

    /// How `partition` is held, if it may be read now.
    pub fn held(&self, partition: i32) -> Option<Held> {
        self.state.lock().held.get(&partition).filter(|held| held.readable).copied()
    }

    /// From now on librdkafka's position of `partition` belongs to its current assignment.
    pub fn position_counts(&self, partition: i32) {
        if let Some(held) = self.state.lock().held.get_mut(&partition) {
            held.position_counts = true;
        }
    }

    /// Ends the source with `failure`; the first one counts.
    pub fn fail(&self, failure: EngineError) {
        self.state.lock().failure.get_or_insert(failure);
        self.wake.notify_one();
    }

    /// Asks the poll thread to end.
    pub fn close(&self) {
        self.closing.store(true, Relaxed);
    }

    /// Whether the poll thread is to end.
    pub fn is_closing(&self) -> bool {
        self.closing.load(Relaxed)
    }

    /// Grows with every change of the assignment.
    pub fn version(&self) -> u64 {
        self.version.load(Relaxed)
    }

    /// Notes the partitions assigned, each with the offset that reading starts at.
    pub fn assign(&self, partitions: &[Start]) {
        let mut state = self.state.lock();
        state.last_assignment += 1;
        let assignment = AssignmentId(state.last_assignment);
        let mut assigned = Vec::with_capacity(partitions.len());
        for &Start { partition, position, is_committed } in partitions {
            let held = Held { assignment, start: position, position_counts: false, readable: true };
            state.held.insert(partition, held);
            let partition = self.partition(partition);
            let is_late = false;
            assigned.push(Assignment { partition, id: assignment, position, is_committed, is_late });
        }
        state.changes.push_back(SourceEvent::Assigned(assigned));
        self.changed();
    }

    /// Notes that the group adds no partition; the reader gets an event if it has none.
    pub fn assign_nothing(&self) {
        if self.state.lock().held.is_empty() {
            self.assign(&[]);
        }
    }

    /// Tells the reader that `partitions` are to be revoked; resolves when it has released them.
    pub fn begin_revoke(&self, partitions: &[i32]) -> oneshot::Receiver<()> {
        let (release, released) = oneshot::channel();
        let mut state = self.state.lock();
        for partition in partitions {
            if let Some(held) = state.held.get_mut(partition) {
                held.readable = false;
            }
        }
        state.batches.retain(|(batch, _)| !partitions.contains(&batch.origin.partition));
        let partitions = partitions.iter().map(|&partition| self.partition(partition)).collect();
        state.changes.push_back(SourceEvent::Revoked { partitions, release });
        self.changed();
        released
    }

    /// Gives up revoked partitions, once a commit in flight has ended or `deadline` has passed.
    /// Later commits leave them out, so that none reaches the coordinator after the next owner's.
    pub fn end_revoke(&self, partitions: &[i32], deadline: Instant) {
        let mut state = self.state.lock();
        while state.committing {
            if self.commit_ended.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
        state.held.retain(|partition, _| !partitions.contains(partition));
        self.changed();
    }

    /// Notes that `partitions` are gone already.
    pub fn lose(&self, partitions: &[i32]) {
        let mut state = self.state.lock();
        state.held.retain(|partition, _| !partitions.contains(partition));
        state.batches.retain(|(batch, _)| !partitions.contains(&batch.origin.partition));
        let partitions = partitions.iter().map(|&partition| self.partition(partition)).collect();
        state.changes.push_back(SourceEvent::Lost(partitions));
        self.changed();
    }

    /// The offsets that may be committed now. Until [`end_commit`](Inbox::end_commit), revoked
    /// partitions are kept.
    pub fn begin_commit(&self, offsets: Vec<Offset>) -> Vec<Offset> {
        let mut state = self.state.lock();
        state.committing = true;
        let counts = |offset: &Offset| {
            let held = state.held.get(&offset.partition.partition);
            held.is_some_and(|held| held.assignment == offset.assignment)
        };
        offsets.into_iter().filter(counts).collect()
    }

    /// Ends what `begin_commit` began.
    pub fn end_commit(&self) {
        self.state.lock().committing = false;
        self.commit_ended.notify_all();
    }

    fn partition(&self, partition: i32) -> TopicPartition {
        TopicPartition { topic: Arc::clone(&self.topic), partition }
    }

    fn changed(&self) {
        self.version.fetch_add(1, Relaxed);
        self.wake.notify_one();
    }
}
