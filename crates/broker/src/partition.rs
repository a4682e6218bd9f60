//! A partition and the memory that all partitions share.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;
use topicmill_records::BatchHeader;

use super::{
    log::{Appended, Log},
    rules::{Admitted, Refused, Rules},
    transactions::Marker,
};

/// The least time between two warnings that records were dropped.
const WARNING_INTERVAL: Duration = Duration::from_secs(30);

/// A partition: its log behind a lock that is never held while waiting.
#[derive(Debug)]
pub struct Partition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's number.
    pub number: i32,
    log: Mutex<Log>,
    store: Arc<Store>,
}

impl Partition {
    /// An empty partition.
    pub fn new(topic: Arc<str>, number: i32, store: Arc<Store>) -> Arc<Partition> {
        Arc::new(Partition { topic, number, log: Mutex::default(), store })
    }

    /// The log, to read from.
    pub fn log(&self) -> MutexGuard<'_, Log> {
        // A panic while the lock was held leaves a log that is valid up to its last batch.
        self.log.lock()
    }

    /// Judges one batch before it is appended.
    ///
    /// # Errors
    /// What [`Rules::admit`] refuses, or when there is no leader.
    pub fn admit(&self, bytes: Bytes, rules: &Rules) -> Result<Admitted, Refused> {
        self.log().check_leader(-1)?;
        rules.admit(bytes)
    }

    /// Appends one batch, wakes the waiting readers and drops what no longer fits into memory.
    /// `may_begin` if a transaction may begin with it here.
    ///
    /// # Errors
    /// What [`Log::append`] refuses.
    pub fn append(self: &Arc<Self>, admitted: Admitted, may_begin: bool) -> Result<Appended, ResponseError> {
        let appended = self.log().append(admitted, may_begin)?;
        self.grown(appended.cost);
        Ok(appended)
    }

    /// Appends the end of a transaction, as [`Log::append_end`], and wakes the readers that wait
    /// for it.
    ///
    /// # Errors
    /// When there is no leader, or `InvalidProducerEpoch`.
    pub fn append_end(
        self: &Arc<Self>,
        marker: Marker,
        header: &BatchHeader,
        bytes: Bytes,
    ) -> Result<(), ResponseError> {
        let cost = self.log().append_end(marker, header, bytes)?;
        self.grown(cost);
        Ok(())
    }

    /// The log has grown by a batch of this memory in bytes; 0 for none.
    fn grown(self: &Arc<Self>, cost: usize) {
        if cost > 0 {
            self.store.account(self, cost);
            self.store.wake();
        }
    }

    /// Changes the log other than by an append, and wakes the readers that wait for one, so that
    /// each looks again. `change` returns the memory that it freed.
    pub fn change(&self, change: impl FnOnce(&mut Log) -> usize) {
        let freed = change(&mut self.log());
        self.store.used.fetch_sub(freed, Ordering::Relaxed);
        self.store.wake();
    }

    /// Moves the start of the log to `offset`.
    ///
    /// # Errors
    /// `OffsetOutOfRange` past the end.
    pub fn drop_below(&self, offset: i64) -> Result<(), ResponseError> {
        let mut moved = Ok(());
        self.change(|log| {
            let freed = log.drop_below(offset);
            moved = freed.map(|_| ());
            freed.unwrap_or(0)
        });
        moved
    }
}

impl Drop for Partition {
    fn drop(&mut self) {
        let cost = self.log().cost();
        self.store.used.fetch_sub(cost, Ordering::Relaxed);
    }
}

/// The memory that all partitions share, and a signal that one of them has changed.
#[derive(Debug)]
pub struct Store {
    limit: usize,
    used: AtomicUsize,
    /// One entry for every batch, oldest first.
    order: Mutex<VecDeque<Weak<Partition>>>,
    warned: Mutex<Option<Instant>>,
    changed: watch::Sender<u64>,
}

impl Store {
    /// Room for `limit` bytes of batches.
    pub fn new(limit: usize) -> Arc<Store> {
        Arc::new(Store {
            limit,
            used: AtomicUsize::new(0),
            order: Mutex::default(),
            warned: Mutex::default(),
            changed: watch::channel(0).0,
        })
    }

    /// Makes readers that wait for a change of any log look again.
    pub fn wake(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// Changes whenever a batch is appended anywhere, or a log changes otherwise.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The memory that all batches hold in bytes.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Forgets the order of batches whose partitions are gone.
    pub fn forget_deleted(&self) {
        self.order.lock().retain(|partition| partition.strong_count() > 0);
    }

    fn account(&self, partition: &Arc<Partition>, cost: usize) {
        self.used.fetch_add(cost, Ordering::Relaxed);
        self.order.lock().push_back(Arc::downgrade(partition));
        while self.used() > self.limit {
            let oldest = {
                let mut order = self.order.lock();
                // The newest batch stays, however large it is.
                if order.len() <= 1 {
                    return;
                }
                order.pop_front()
            };
            if let Some(partition) = oldest.and_then(|weak| weak.upgrade()) {
                let (freed, start) = {
                    let mut log = partition.log();
                    (log.drop_oldest(), log.start())
                };
                self.used.fetch_sub(freed, Ordering::Relaxed);
                self.warn(&partition, start);
            }
        }
    }

    fn warn(&self, partition: &Partition, start: i64) {
        let mut warned = self.warned.lock();
        if warned.is_none_or(|at| at.elapsed() >= WARNING_INTERVAL) {
            *warned = Some(Instant::now());
            tracing::warn!(
                topic = %partition.topic,
                partition = partition.number,
                log_start_offset = start,
                limit_bytes = self.limit,
                "the embedded broker's memory is full: the oldest records are dropped"
            );
        }
    }
}
