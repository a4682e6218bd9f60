//! The log of one partition: whole record batches as they were sent, in offset order.

use std::collections::VecDeque;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use topicmill_records::{BatchHeader, HEADER_LEN, layout, walk};

use super::{
    epochs::Epochs,
    open::LogTransactions,
    producers::{Admission, Producers},
    rules::Admitted,
    transactions::{Marker, Producer},
};

/// What a stored batch costs in memory besides its bytes.
const OVERHEAD: usize = 128;

/// A record batch in the log.
#[derive(Clone, Debug)]
pub struct StoredBatch {
    /// The offset of its first record.
    pub base_offset: i64,
    /// The offset of its last record.
    pub last_offset: i64,
    leader_epoch: i32,
    base_timestamp: i64,
    max_timestamp: i64,
    /// As it was received: what the broker decides is put in front when it is read.
    sent: Bytes,
}

impl StoredBatch {
    /// The bytes that the broker decides.
    pub fn patch(&self) -> [u8; layout::BROKER_LEN] {
        let mut patch = [0; layout::BROKER_LEN];
        layout::BASE_OFFSET.put(&mut patch, self.base_offset.to_be_bytes());
        layout::LENGTH.put(&mut patch, layout::LENGTH.of(&self.sent));
        layout::LEADER_EPOCH.put(&mut patch, self.leader_epoch.to_be_bytes());
        patch
    }

    /// The bytes that follow the patch.
    pub fn rest(&self) -> Bytes {
        self.sent.slice(layout::BROKER_LEN..)
    }

    /// The size in bytes.
    pub fn size(&self) -> usize {
        self.sent.len()
    }

    fn cost(&self) -> usize {
        self.sent.len() + OVERHEAD
    }

    /// Its offset, its producer, and whether it ends a transaction, if it is of one.
    fn transactional(&self) -> Option<(i64, Producer, bool)> {
        let header = BatchHeader::read(&self.sent).ok().filter(BatchHeader::is_transactional)?;
        let producer = Producer { id: header.producer_id, epoch: header.producer_epoch };
        Some((self.base_offset, producer, header.is_control()))
    }

    /// The offset and timestamp of the first record that is not older than `timestamp`. Of a
    /// compressed batch nothing but the header is read, so it answers with its first record.
    fn locate(&self, timestamp: i64) -> Option<(i64, i64)> {
        let first = (self.base_offset, self.base_timestamp);
        let header = BatchHeader::read(&self.sent).ok()?;
        if header.codec() != 0 {
            return Some(first);
        }
        let mut records = Vec::new();
        walk(&header, &self.sent, HEADER_LEN, self.sent.len(), 0, &mut records).ok()?;
        let shift = self.base_offset - header.base_offset;
        let found = records.iter().find(|record| record.timestamp >= timestamp);
        found.map(|record| (record.offset + shift, record.timestamp))
    }
}

/// The log of one partition.
#[derive(Debug, Default)]
pub struct Log {
    start: i64,
    end: i64,
    batches: VecDeque<StoredBatch>,
    producers: Producers,
    transactions: LogTransactions,
    epochs: Epochs,
    leaderless: bool,
    /// Where a test has opened a transaction that never ends.
    held: Option<i64>,
    /// What is below lies in remote storage that gives nothing, in a test.
    remote_below: i64,
}

/// What an append did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The offset of the batch's first record.
    pub base_offset: i64,
    /// The memory that it took in bytes; 0 for a duplicate.
    pub cost: usize,
    /// The time that the broker gave it, in milliseconds since the epoch; -1 for none.
    pub append_time: i64,
}

impl Log {
    /// The offset of the first record that is still there.
    pub fn start(&self) -> i64 {
        self.start
    }

    /// The offset that the next record gets: the high watermark, as there is one replica.
    pub fn end(&self) -> i64 {
        self.end
    }

    /// The offset below which every transaction is decided.
    pub fn last_stable(&self) -> i64 {
        let open = self.transactions.first_open();
        let held = [open, self.held].into_iter().flatten().min();
        held.map_or(self.end, |held| held.clamp(self.start, self.end))
    }

    /// Whether this producer has a transaction open here.
    pub fn has_open(&self, producer: Producer) -> bool {
        self.transactions.is_open(producer)
    }

    /// The producer's id and the first offset of each aborted transaction that has records from
    /// `from` to before `end`.
    pub fn aborted(&self, from: i64, end: i64) -> Vec<(i64, i64)> {
        self.transactions.aborted(from, end)
    }

    /// Whether anything is known of a producer.
    pub fn knows_producer(&self, id: i64) -> bool {
        self.producers.knows(id)
    }

    /// Forgets all producers that have no transaction open.
    pub fn forget_producers(&mut self) {
        self.producers.forget(|id| self.transactions.is_open_for(id));
    }

    /// Opens a transaction from `offset` on, or ends it.
    pub fn hold_stable_offset(&mut self, offset: Option<i64>) {
        self.held = offset;
    }

    /// The offset of the first record that is here rather than in remote storage.
    pub fn local_start(&self) -> i64 {
        self.start.max(self.remote_below.min(self.end))
    }

    /// Puts what is below `offset` into remote storage that gives nothing.
    pub fn hold_remote(&mut self, offset: i64) {
        self.remote_below = offset;
    }

    /// Whether the partition has no leader.
    pub fn is_leaderless(&self) -> bool {
        self.leaderless
    }

    /// Takes the leader away, or elects one; either makes a new epoch, as in Kafka.
    pub fn set_leaderless(&mut self, leaderless: bool) {
        match (self.leaderless, leaderless) {
            (false, true) => self.epochs.depose(),
            (true, false) => self.epochs.elect(self.end),
            (false, false) | (true, true) => {}
        }
        self.leaderless = leaderless;
    }

    /// The epoch of the leader.
    pub fn leader_epoch(&self) -> i32 {
        self.epochs.current()
    }

    /// The epoch that the record at `offset` was appended in.
    pub fn epoch_at(&self, offset: i64) -> i32 {
        self.epochs.at(offset)
    }

    /// The greatest epoch that is not above `epoch`, and where it ended (KIP-101).
    pub fn end_of_epoch(&self, epoch: i32) -> Option<(i32, i64)> {
        self.epochs.end_of(epoch, self.end)
    }

    /// Refuses a client when there is no leader, or when the leader epoch that it knows is another
    /// one (KIP-320); -1 means that it knows none.
    ///
    /// # Errors
    /// `NotLeaderOrFollower`, `FencedLeaderEpoch`, `UnknownLeaderEpoch`.
    pub fn check_leader(&self, known_epoch: i32) -> Result<(), ResponseError> {
        if self.leaderless {
            return Err(ResponseError::NotLeaderOrFollower);
        }
        match known_epoch {
            -1 => Ok(()),
            epoch if epoch < self.leader_epoch() => Err(ResponseError::FencedLeaderEpoch),
            epoch if epoch > self.leader_epoch() => Err(ResponseError::UnknownLeaderEpoch),
            _ => Ok(()),
        }
    }

    /// Appends a batch, unless its producer's sequence says otherwise. `may_begin` if a transaction
    /// may begin with it here, which the coordinator knows.
    ///
    /// # Errors
    /// The protocol's error for a batch that is out of order or fenced, or when there is no leader.
    /// `InvalidTxnState` for one of a transaction that is not open here, or one without where one is.
    pub fn append(&mut self, admitted: Admitted, may_begin: bool) -> Result<Appended, ResponseError> {
        self.check_leader(-1)?;
        let Admitted { header, bytes, append_time } = admitted;
        if let Admission::Duplicate { base_offset } = self.producers.check(&header)? {
            return Ok(Appended { base_offset, cost: 0, append_time });
        }
        let producer = Producer { id: header.producer_id, epoch: header.producer_epoch };
        let allowed = if header.is_transactional() {
            may_begin || self.transactions.is_open(producer)
        } else {
            !self.transactions.is_open_for(producer.id)
        };
        if !allowed {
            return Err(ResponseError::InvalidTxnState);
        }
        let base_offset = self.end;
        self.producers.appended(&header, base_offset);
        if header.is_transactional() {
            self.transactions.appended(producer, base_offset);
        }
        let cost = self.push(&header, bytes);
        Ok(Appended { base_offset, cost, append_time })
    }

    /// Appends the end of a transaction, the control batch `header` and `bytes`, and returns the
    /// memory that it took in bytes.
    ///
    /// # Errors
    /// When there is no leader, or `InvalidProducerEpoch`.
    pub fn append_end(
        &mut self,
        marker: Marker,
        header: &BatchHeader,
        bytes: Bytes,
    ) -> Result<usize, ResponseError> {
        self.check_leader(-1)?;
        let Producer { id, epoch } = marker.producer;
        self.producers.check_end(id, epoch)?;
        self.producers.ended(id, epoch, self.end);
        self.transactions.ended(marker, self.end);
        Ok(self.push(header, bytes))
    }

    /// Puts a batch at the end and returns the memory that it took in bytes.
    fn push(&mut self, header: &BatchHeader, bytes: Bytes) -> usize {
        let base_offset = self.end;
        self.end += i64::from(header.last_offset_delta) + 1;
        let batch = StoredBatch {
            base_offset,
            last_offset: self.end - 1,
            leader_epoch: self.leader_epoch(),
            base_timestamp: header.base_timestamp,
            max_timestamp: header.max_timestamp,
            sent: bytes,
        };
        let cost = batch.cost();
        self.batches.push_back(batch);
        cost
    }

    /// The batches from `offset` on that end below `before`, up to `max_size` bytes. The first is
    /// returned whatever its size when `at_least_one`, so that a reader always makes progress
    /// (KIP-74).
    ///
    /// # Errors
    /// `OffsetOutOfRange`.
    pub fn read(
        &self,
        offset: i64,
        before: i64,
        max_size: usize,
        at_least_one: bool,
    ) -> Result<Vec<StoredBatch>, ResponseError> {
        if offset < self.start || offset > self.end {
            return Err(ResponseError::OffsetOutOfRange);
        }
        if offset < self.local_start() {
            return Ok(Vec::new());
        }
        let from = self.batches.partition_point(|batch| batch.last_offset < offset);
        let mut size = 0;
        let fitting = self.batches.range(from..).enumerate().take_while(|(i, batch)| {
            size += batch.size();
            batch.last_offset < before && (size <= max_size || (*i == 0 && at_least_one))
        });
        Ok(fitting.map(|(_, batch)| batch.clone()).collect())
    }

    /// Drops the oldest batch and returns the memory it held in bytes.
    pub fn drop_oldest(&mut self) -> usize {
        let Some(batch) = self.batches.pop_front() else { return 0 };
        self.start = self.start.max(batch.last_offset + 1);
        self.transactions.drop_below(self.start);
        batch.cost()
    }

    /// Moves the start of the log to `offset` and returns the memory that became free in bytes.
    ///
    /// # Errors
    /// `OffsetOutOfRange` past the end.
    pub fn drop_below(&mut self, offset: i64) -> Result<usize, ResponseError> {
        if offset < 0 || offset > self.end {
            return Err(ResponseError::OffsetOutOfRange);
        }
        let mut freed = 0;
        while self.batches.front().is_some_and(|batch| batch.last_offset < offset) {
            freed += self.drop_oldest();
        }
        self.start = self.start.max(offset);
        Ok(freed)
    }

    /// A new leader has only what is below `offset`: whole batches from there on are lost, and
    /// the epoch is a new one. Returns the memory that became free in bytes.
    pub fn truncate(&mut self, offset: i64) -> usize {
        let mut freed = 0;
        while let Some(batch) = self.batches.pop_back_if(|batch| batch.last_offset >= offset) {
            self.end = batch.base_offset;
            freed += batch.cost();
        }
        self.start = self.start.min(self.end);
        self.producers.truncate(self.end);
        let left = self.batches.iter().filter_map(StoredBatch::transactional);
        self.transactions.truncate(self.start, self.end, left);
        self.epochs.elect(self.end);
        freed
    }

    /// The memory that the batches hold in bytes.
    pub fn cost(&self) -> usize {
        self.batches.iter().map(StoredBatch::cost).sum()
    }

    /// The offset and timestamp of the first record whose timestamp is at least `timestamp`.
    pub fn at_timestamp(&self, timestamp: i64) -> Option<(i64, i64)> {
        let mut candidates = self.batches.iter().filter(|batch| batch.max_timestamp >= timestamp);
        candidates.find_map(|batch| batch.locate(timestamp))
    }

    /// The offset and timestamp of the record with the greatest timestamp (KIP-734).
    pub fn at_max_timestamp(&self) -> Option<(i64, i64)> {
        let max_timestamp = self.batches.iter().map(|batch| batch.max_timestamp).max()?;
        self.at_timestamp(max_timestamp)
    }
}
