//! Reads one partition from an offset to another without a consumer group.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use kafka_protocol::ResponseError;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use topicmill_mill::{
    batch::{AssignmentId, PartitionBatch, TopicPartition},
    budget::{Budget, Permit, expected_cost},
    engine::{EngineError, ErrorKind},
};
use topicmill_records::AbortedTransaction;

use super::{
    Client, Isolation,
    error::check,
    fetch::{
        CORRUPT_READS_MAX, FetchShape, ResponsePieces, Scanned, Wanted, aborted, ask, scan, share_of, tied,
    },
    offsets::REMOTE,
};

/// How long to wait for a share of the budget before continuing without: readers that are merged
/// must not wait for one another forever.
const BUDGET_TIMEOUT: Duration = Duration::from_secs(1);

/// Reads a partition from one offset up to, not including, another.
#[derive(Debug)]
pub struct Reader {
    fetcher: Arc<RangeFetcher>,
    budget: Budget,
    /// The offset after the last one handed out.
    position: i64,
    until: i64,
    current: Option<ResponsePieces>,
    /// The request sent ahead, if there is one.
    ahead: JoinSet<Result<Option<Chunk>, EngineError>>,
}

#[derive(Debug)]
struct RangeFetcher {
    client: Client,
    partition: TopicPartition,
    until: i64,
    shape: FetchShape,
}

/// What a request brought.
#[derive(Debug)]
struct Chunk {
    from: i64,
    next: i64,
    bytes: Bytes,
    aborted: Vec<AbortedTransaction>,
    permit: Permit,
}

impl Reader {
    /// A reader of the offsets `from..until` of `partition`.
    pub fn new(
        client: &Client,
        partition: TopicPartition,
        from: i64,
        until: i64,
        isolation: Isolation,
        budget: Budget,
    ) -> Reader {
        let shape = FetchShape::new(&client.cluster().settings.fetch, isolation);
        let max_bytes = shape.max_partition_bytes.min(shape.share_of(&budget, 2) as i32);
        let shape = FetchShape { max_bytes, max_partition_bytes: max_bytes, ..shape };
        let fetcher = Arc::new(RangeFetcher { client: client.clone(), partition, until, shape });
        Reader { fetcher, budget, position: from, until, current: None, ahead: JoinSet::new() }
    }

    /// The next batch, or `None` once `until` is reached. Cancel-safe.
    ///
    /// # Errors
    /// When the partition cannot be read: gone, corrupt, out of range, no answer in time.
    pub async fn next(&mut self) -> Result<Option<(PartitionBatch, Permit)>, EngineError> {
        loop {
            if let Some(batch) = self.next_of_current().await? {
                return Ok(Some(batch));
            }
            if self.position >= self.until {
                return Ok(None);
            }
            if self.ahead.is_empty() {
                let cost = self.fetcher.cost();
                let share = timeout(BUDGET_TIMEOUT, self.budget.acquire(cost)).await;
                self.ask(self.position, share.unwrap_or_else(|_| self.budget.overdraw(cost)));
            }
            let Some(asked) = self.ahead.join_next().await else { continue };
            let text = |error| format!("reading: {error}");
            let asked = asked.map_err(|error| EngineError::new(ErrorKind::Fatal, text(error)))?;
            let Some(Chunk { from, next, bytes, aborted, mut permit }) = asked? else {
                self.position = self.until;
                return Ok(None);
            };
            if next < self.until
                && let Some(share) = self.budget.try_acquire(self.fetcher.cost())
            {
                self.ask(next, share);
            }
            let bytes = tied(bytes.clone(), &share_of(&self.budget, &mut permit, bytes.len()));
            let isolation = self.fetcher.shape.isolation;
            let pieces = ResponsePieces::new(bytes, from, aborted, isolation, &self.budget, permit);
            self.current = Some(pieces.with_patience(BUDGET_TIMEOUT));
        }
    }

    /// The next batch of the response at hand, cut off at `until`.
    async fn next_of_current(&mut self) -> Result<Option<(PartitionBatch, Permit)>, EngineError> {
        let partition = &self.fetcher.partition;
        while let Some(pieces) = self.current.as_mut().filter(|_| self.position < self.until) {
            let Some(piece) = pieces.next().await else { break };
            let (mut piece, share) = piece.map_err(|error| {
                let at = pieces.next_offset();
                let text = error.to_string();
                EngineError::new(ErrorKind::Fatal, text).from_cause(error).at_offset(partition, at)
            })?;
            self.position = piece.next_offset.min(self.until);
            piece.records.truncate(piece.records.partition_point(|record| record.offset < self.until));
            if piece.records.is_empty() {
                continue;
            }
            let batch = PartitionBatch {
                origin: partition.clone(),
                assignment: AssignmentId::default(),
                next_offset: self.position,
                leader_epoch: piece.leader_epoch,
                compression: piece.compression,
                buffer: piece.buffer,
                records: piece.records,
            };
            return Ok(Some((batch, share)));
        }
        self.current = None;
        Ok(None)
    }

    fn ask(&mut self, from: i64, permit: Permit) {
        let fetcher = Arc::clone(&self.fetcher);
        self.ahead.spawn(async move { fetcher.fetch(from, permit).await });
    }
}

impl RangeFetcher {
    /// The records from `from` on, or `None` when there are none left below `until`.
    async fn fetch(&self, from: i64, permit: Permit) -> Result<Option<Chunk>, EngineError> {
        let settings = &self.client.cluster().settings;
        let deadline = Instant::now() + settings.api_timeout;
        let (mut failures, mut corruptions, mut empty) = (0, 0, 0);
        loop {
            let error = match self.attempt(from).await {
                Ok(ReadAttempt::Records(Scanned { bytes, next, error: None, .. }, aborted)) => {
                    return Ok(Some(Chunk { from, next, bytes, aborted, permit }));
                }
                Ok(ReadAttempt::Records(Scanned { bytes, next, .. }, aborted)) if !bytes.is_empty() => {
                    return Ok(Some(Chunk { from, next, bytes, aborted, permit }));
                }
                Ok(ReadAttempt::Records(Scanned { error, .. }, _)) => {
                    corruptions += 1;
                    let kind =
                        if corruptions < CORRUPT_READS_MAX { ErrorKind::Retriable } else { ErrorKind::Fatal };
                    let text = error.map_or_else(String::new, |error| error.to_string());
                    EngineError::new(kind, text).at_offset(&self.partition, from)
                }
                // Twice: the end that the broker reports and what it sends are not one snapshot.
                Ok(ReadAttempt::Nothing { is_end: true }) if empty > 0 => {
                    match self.client.is_local(&self.partition, from).await {
                        Ok(true) => return Ok(None),
                        Ok(false) => {
                            EngineError::new(ErrorKind::Retriable, REMOTE).at_offset(&self.partition, from)
                        }
                        Err(error) => error,
                    }
                }
                Ok(ReadAttempt::Nothing { is_end }) => {
                    empty += u32::from(is_end);
                    if Instant::now() < deadline {
                        continue;
                    }
                    let text = format!("no records up to offset {} in time", self.until);
                    EngineError::new(ErrorKind::Retriable, text).at_offset(&self.partition, from)
                }
                Err(error) => error,
            };
            failures += 1;
            let pause = settings.retry.pause(failures);
            if error.kind == ErrorKind::Fatal || Instant::now() + pause >= deadline {
                return Err(error);
            }
            tracing::debug!(%error, ?pause, "reading again");
            sleep(pause).await;
        }
    }

    async fn attempt(&self, from: i64) -> Result<ReadAttempt, EngineError> {
        let cluster = self.client.cluster();
        let leader = cluster.leader(&self.partition).await?;
        let wanted = [Wanted::new(self.partition.clone(), from, leader.epoch)];
        let asked = ask(cluster, leader.broker, &wanted, self.shape).await;
        let response = asked.inspect_err(|_| cluster.invalidate())?;
        let Some(data) = response.partition(&self.partition) else {
            return Ok(ReadAttempt::Nothing { is_end: false });
        };
        check(data.error_code).map_err(|error| match error.0 {
            ResponseError::OffsetOutOfRange => {
                let (first, end) = (data.log_start_offset, data.high_watermark);
                let text =
                    format!("the log does not have this offset (it starts at {first} and ends at {end})");
                EngineError::new(ErrorKind::Fatal, text).at_offset(&self.partition, from)
            }
            _ => cluster.failed(error, "fetching", None).at_offset(&self.partition, from),
        })?;
        match data.records.as_ref().filter(|bytes| !bytes.is_empty()) {
            Some(bytes) => Ok(ReadAttempt::Records(scan(bytes, from), aborted(data))),
            None => {
                let end = match self.shape.isolation {
                    Isolation::ReadUncommitted => data.high_watermark,
                    Isolation::ReadCommitted => data.last_stable_offset,
                };
                Ok(ReadAttempt::Nothing { is_end: end >= self.until && !response.is_throttled() })
            }
        }
    }

    fn cost(&self) -> usize {
        expected_cost(self.shape.max_bytes as usize, 100)
    }
}

/// What one request brought.
enum ReadAttempt {
    Records(Scanned, Vec<AbortedTransaction>),
    /// No records; `is_end` when the log says that this is everything below `until`: the records
    /// that were there have been compacted away.
    Nothing {
        is_end: bool,
    },
}
