//! The coordinator: all transactional ids, their clock and the ends that are to be written.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, Instant},
};

use kafka_protocol::error::ResponseError;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::{
    markers,
    state::{Ended, Initialised, Outcome, Participant, Phase, Producer, Transaction, Version},
};
use crate::core::Core;

/// The most transactional ids; beyond that, the one that has been silent longest is forgotten.
const MAX_IDS: usize = 10_000;

/// How soon the end of a transaction is tried again where a partition has no leader.
const MARKER_RETRY: Duration = Duration::from_millis(20);

/// The coordinator of transactions.
#[derive(Debug, Default)]
pub struct Transactions {
    all: Mutex<Coordinator>,
    /// Something is due sooner than the clock knows.
    sooner: Notify,
    /// The number of changes of the version that clients are told to speak. The first is 2 and an
    /// even number says 2, so that one number is both: the version and the epoch of it.
    changes: AtomicI64,
}

/// What is behind the lock.
#[derive(Debug, Default)]
pub struct Coordinator {
    by_id: BTreeMap<String, Entry>,
    /// How long after the decision an end is written.
    marker_delay: Duration,
    /// The number of transactions to abort when they are to be committed.
    to_abort: u64,
    /// When the clock looks again, unless it is told.
    wakes_at: Option<Instant>,
}

#[derive(Debug)]
struct Entry {
    transaction: Transaction,
    /// When its end is written, if it is decided.
    markers_at: Option<Instant>,
}

impl Transactions {
    /// The version that clients are told to speak, and the number of times that it was set.
    pub fn version(&self) -> (Version, i64) {
        let changes = self.changes.load(Ordering::Relaxed);
        (if changes % 2 == 0 { Version::Two } else { Version::One }, changes)
    }

    /// Tells clients to speak this version, when they ask the next time.
    pub fn set_version(&self, version: Version) {
        if self.version().0 != version {
            self.changes.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes ends this long after they are decided, from now on.
    pub fn delay_markers(&self, delay: Duration) {
        self.lock().marker_delay = delay;
    }

    /// Aborts this many transactions at the moment when they are to be committed.
    pub fn abort_next(&self, count: u64) {
        self.lock().to_abort = count;
    }

    /// The coordinator's state. Only logs and groups may be locked while it is held.
    pub fn lock(&self) -> MutexGuard<'_, Coordinator> {
        self.all.lock()
    }

    /// Does what is due, for as long as it is polled.
    pub async fn keep_time(&self, core: &Core) {
        loop {
            match self.pass_time(core, Instant::now()) {
                None => self.sooner.notified().await,
                Some(at) => tokio::select! {
                    () = tokio::time::sleep_until(at.into()) => {}
                    () = self.sooner.notified() => {}
                },
            }
        }
    }

    /// Does what is due by `now`, and returns when the next is.
    pub fn pass_time(&self, core: &Core, now: Instant) -> Option<Instant> {
        let (version, _) = self.version();
        let mut all = self.lock();
        let delay = all.marker_delay;
        for (id, entry) in &mut all.by_id {
            if entry.transaction.deadline().is_some_and(|deadline| deadline <= now) {
                tracing::info!(transactional_id = %id, "a transaction took too long and is aborted");
                entry.transaction.fence(version, now);
                entry.decided(core, delay, now);
            }
            if entry.markers_at.is_some_and(|at| at <= now) {
                entry.write(core, now);
            }
        }
        all.wakes_at = all.by_id.values().filter_map(Entry::due).min();
        all.wakes_at
    }

    /// The clock has to look by `due`.
    fn wake_by(&self, all: &mut Coordinator, due: Option<Instant>) {
        let Some(due) = due else { return };
        if all.wakes_at.is_none_or(|at| due < at) {
            all.wakes_at = Some(due);
            self.sooner.notify_one();
        }
    }

    /// Gives the producer of a transactional id its id and epoch.
    ///
    /// # Errors
    /// As [`Transaction::initialise`]; `ConcurrentTransactions` when a transaction had to be aborted
    /// first, `CoordinatorNotAvailable` when there are too many open ones.
    pub fn initialise(
        &self,
        core: &Core,
        id: &str,
        expected: Option<Producer>,
        timeout: Duration,
        now: Instant,
    ) -> Result<Producer, ResponseError> {
        let (version, _) = self.version();
        let mut all = self.lock();
        let entry = all.entry(id, now, || core.next_producer_id())?;
        let fresh = || core.next_producer_id();
        match entry.transaction.initialise(expected, timeout, version, now, fresh)? {
            Initialised::Ready(producer) => Ok(producer),
            Initialised::Aborting => {
                let due = all.decided(core, id, now);
                self.wake_by(&mut all, due);
                Err(ResponseError::ConcurrentTransactions)
            }
        }
    }

    /// Adds to a transaction what it is going to write to.
    ///
    /// # Errors
    /// As [`Transaction::add`]; `InvalidProducerIdMapping` for an id that is not known.
    pub fn add(
        &self,
        all: &mut Coordinator,
        id: &str,
        producer: Producer,
        participants: impl IntoIterator<Item = Participant>,
        now: Instant,
    ) -> Result<(), ResponseError> {
        let transaction = all.get_mut(id)?;
        transaction.add(producer, participants, now)?;
        let due = transaction.deadline();
        self.wake_by(all, due);
        Ok(())
    }

    /// Ends a transaction, and returns as which producer its own goes on.
    ///
    /// # Errors
    /// As [`Transaction::end`]; `InvalidProducerIdMapping` for an id that is not known.
    pub fn end(
        &self,
        core: &Core,
        id: &str,
        producer: Producer,
        outcome: Outcome,
        version: Version,
        now: Instant,
    ) -> Result<Producer, ResponseError> {
        let mut all = self.lock();
        let transaction = all.get_mut(id)?;
        let open = transaction.phase() == Phase::Ongoing && transaction.producer() == producer;
        if outcome == Outcome::Commit && open && all.to_abort > 0 {
            all.to_abort -= 1;
            let due = all.abort(core, id, self.version().0, now);
            self.wake_by(&mut all, due);
        }
        let fresh = || core.next_producer_id();
        match all.get_mut(id)?.end(producer, outcome, version, now, fresh)? {
            Ended::Before(producer) => Ok(producer),
            Ended::Decided(producer) => {
                let due = all.decided(core, id, now);
                self.wake_by(&mut all, due);
                Ok(producer)
            }
        }
    }

    /// Aborts the transaction that is open under this id, as after a timeout. Returns false if none
    /// is.
    pub fn abort(&self, core: &Core, id: &str, now: Instant) -> bool {
        let mut all = self.lock();
        let open = all.get(id).is_some_and(|transaction| transaction.phase() == Phase::Ongoing);
        let due = all.abort(core, id, self.version().0, now);
        self.wake_by(&mut all, due);
        open
    }
}

impl Coordinator {
    /// All transactional ids.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Transaction)> {
        self.by_id.iter().map(|(id, entry)| (id.as_str(), &entry.transaction))
    }

    /// The state of a transactional id.
    pub fn get(&self, id: &str) -> Option<&Transaction> {
        self.by_id.get(id).map(|entry| &entry.transaction)
    }

    /// The state of a transactional id, to change.
    ///
    /// # Errors
    /// `InvalidProducerIdMapping` for one that is not known.
    pub fn get_mut(&mut self, id: &str) -> Result<&mut Transaction, ResponseError> {
        let entry = self.by_id.get_mut(id).ok_or(ResponseError::InvalidProducerIdMapping)?;
        Ok(&mut entry.transaction)
    }

    /// Forgets a transactional id, unless it has a transaction that is not over.
    pub fn forget(&mut self, id: &str) -> bool {
        let over = self.by_id.get(id).is_some_and(Entry::is_over);
        over && self.by_id.remove(id).is_some()
    }

    fn entry(
        &mut self,
        id: &str,
        now: Instant,
        fresh: impl FnOnce() -> i64,
    ) -> Result<&mut Entry, ResponseError> {
        if self.by_id.len() >= MAX_IDS && !self.by_id.contains_key(id) {
            let over = self.by_id.iter().filter(|(_, entry)| entry.is_over());
            let silent = over.min_by_key(|(_, entry)| entry.transaction.changed());
            let silent = silent.map(|(id, _)| id.clone()).ok_or(ResponseError::CoordinatorNotAvailable)?;
            self.by_id.remove(&silent);
        }
        let new = || Entry { transaction: Transaction::new(fresh(), now), markers_at: None };
        Ok(self.by_id.entry(id.to_owned()).or_insert_with(new))
    }

    fn abort(&mut self, core: &Core, id: &str, version: Version, now: Instant) -> Option<Instant> {
        let delay = self.marker_delay;
        let entry = self.by_id.get_mut(id)?;
        if !entry.transaction.fence(version, now) {
            return None;
        }
        entry.decided(core, delay, now);
        entry.markers_at
    }

    fn decided(&mut self, core: &Core, id: &str, now: Instant) -> Option<Instant> {
        let delay = self.marker_delay;
        let entry = self.by_id.get_mut(id)?;
        entry.decided(core, delay, now);
        entry.markers_at
    }
}

impl Entry {
    fn is_over(&self) -> bool {
        matches!(self.transaction.phase(), Phase::Empty | Phase::Complete(_))
    }

    fn due(&self) -> Option<Instant> {
        self.markers_at.or_else(|| self.transaction.deadline())
    }

    /// The end is decided and has to be written: at once unless a test wants it late.
    fn decided(&mut self, core: &Core, delay: Duration, now: Instant) {
        if delay.is_zero() {
            self.write(core, now);
        } else {
            self.markers_at = Some(now + delay);
        }
    }

    fn write(&mut self, core: &Core, now: Instant) {
        self.markers_at = None;
        let Some(marker) = self.transaction.marker() else { return };
        let left = markers::write(core, marker, self.transaction.participants());
        self.markers_at = (!left.is_empty()).then(|| now + MARKER_RETRY);
        self.transaction.written(left, now);
    }
}
