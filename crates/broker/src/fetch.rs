//! Fetch: whole record batches out of the logs, waiting until there are enough.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::{
    error::ResponseError,
    messages::{ApiKey, FetchRequest, fetch_request::FetchPartition},
};
use tokio::time::{Instant, timeout_at};
use topicmill_records::put_unsigned_varint;
use uuid::Uuid;

use super::{core::Core, frame::FrameBuilder, log::StoredBatch, throttle::millis, topics::Topic};

/// The longest wait and the largest answer, whatever the request says.
const MAX_WAIT: Duration = Duration::from_secs(5 * 60);
const MAX_BYTES: usize = 64 << 20;

/// What was read for a request.
#[derive(Debug, Default)]
pub struct Fetched {
    throttle: Duration,
    error: i16,
    topics: Vec<FetchedTopic>,
}

#[derive(Debug)]
struct FetchedTopic {
    name: String,
    id: Uuid,
    partitions: Vec<FetchedPartition>,
}

#[derive(Debug)]
struct FetchedPartition {
    number: i32,
    error: i16,
    start: i64,
    end: i64,
    last_stable: i64,
    batches: Vec<StoredBatch>,
    /// The producer's id and the first offset of aborted transactions, for a reader that leaves out
    /// their records.
    aborted: Vec<(i64, i64)>,
}

/// Reads what a request asks for; `forced` is a fault's error code for the whole of it, or 0. There
/// are no incremental sessions (KIP-227): the answer's session id is 0, so clients name all
/// partitions.
pub async fn fetch(core: &Core, request: &FetchRequest, forced: i16) -> Fetched {
    if request.session_id != 0 {
        let error = ResponseError::FetchSessionIdNotFound.code();
        return Fetched { error, ..Fetched::default() };
    }
    let named = request.topics.iter().map(|topic| topic.partitions.len()).sum();
    core.seen.partitions(ApiKey::Fetch, named);
    let faults = meet(core, request, forced);
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)).min(MAX_WAIT);
    let deadline = Instant::now() + wait;
    let enough = usize::try_from(request.min_bytes).unwrap_or(0);
    let mut changes = core.store.changes();
    loop {
        changes.borrow_and_update();
        let round = read(core, request, &faults);
        if round.size >= enough || round.failed || Instant::now() >= deadline {
            return Fetched { topics: round.topics, ..Fetched::default() };
        }
        // Either way the next round decides.
        let _ = timeout_at(deadline, changes.changed()).await;
    }
}

/// The faults of each part, counted once however often the logs are read.
fn meet(core: &Core, request: &FetchRequest, forced: i16) -> Vec<i16> {
    let parts = request.topics.iter().flat_map(|asked| {
        let found = core.topics.named(&asked.topic, asked.topic_id);
        let name = found.map_or_else(|_| asked.topic.to_string(), |topic| topic.name.to_string());
        let code = core.faults.meet_topic(ApiKey::Fetch, &name, forced);
        let meet = move |number| core.faults.meet_partition(ApiKey::Fetch, &name, number, code);
        asked.partitions.iter().map(move |part| meet(part.partition))
    });
    parts.collect()
}

/// One reading of all partitions of a request.
struct Round {
    topics: Vec<FetchedTopic>,
    size: usize,
    limit: usize,
    failed: bool,
}

/// The fault of each partition, an error code or 0.
fn read(core: &Core, request: &FetchRequest, faults: &[i16]) -> Round {
    let read_committed = request.isolation_level == 1;
    let mut faults = faults.iter().copied();
    let limit = usize::try_from(request.max_bytes).unwrap_or(0).min(MAX_BYTES);
    let mut round = Round { topics: Vec::with_capacity(request.topics.len()), size: 0, limit, failed: false };
    for asked in &request.topics {
        let topic = core.topics.named(&asked.topic, asked.topic_id).map_err(|error| error.code());
        let partitions = asked.partitions.iter().map(|part| {
            let fetched = match faults.next() {
                None | Some(0) => topic.as_ref().map_err(|code| *code).and_then(|topic| {
                    read_partition(topic, part, read_committed, &round).map_err(|error| error.code())
                }),
                Some(fault) => Err(fault),
            };
            let fetched = fetched.unwrap_or_else(|error| FetchedPartition::failed(part.partition, error));
            round.failed |= fetched.error != 0;
            round.size += fetched.batches.iter().map(StoredBatch::size).sum::<usize>();
            fetched
        });
        let partitions = partitions.collect();
        round.topics.push(FetchedTopic { name: asked.topic.to_string(), id: asked.topic_id, partitions });
    }
    round
}

/// Reads one log, no more than the round has left; readers of committed records get nothing that is
/// not stable yet.
fn read_partition(
    topic: &Topic,
    part: &FetchPartition,
    read_committed: bool,
    round: &Round,
) -> Result<FetchedPartition, ResponseError> {
    let partition = topic.partition(part.partition).ok_or(ResponseError::UnknownTopicOrPartition)?;
    let log = partition.log();
    log.check_leader(part.current_leader_epoch)?;
    let (start, end, last_stable) = (log.start(), log.end(), log.last_stable());
    let before = if read_committed { last_stable } else { end };
    let max = usize::try_from(part.partition_max_bytes).unwrap_or(0);
    let max = max.min(round.limit.saturating_sub(round.size));
    let batches = log.read(part.fetch_offset, before, max, round.size == 0)?;
    let aborted = match batches.last() {
        Some(last) if read_committed => log.aborted(part.fetch_offset, last.last_offset + 1),
        _ => Vec::new(),
    };
    Ok(FetchedPartition { number: part.partition, error: 0, start, end, last_stable, batches, aborted })
}

impl Fetched {
    /// Nothing, telling the client to be quiet for some time (KIP-219).
    pub fn throttled(throttle: Duration) -> Fetched {
        Fetched { throttle, ..Fetched::default() }
    }

    /// Writes the answer, with batches by reference: the one message that is too large to be
    /// copied.
    pub fn encode(self, builder: &mut FrameBuilder, version: i16) {
        let compact = version >= 12;
        let out = &mut builder.tail;
        out.put_i32(millis(self.throttle));
        if version >= 7 {
            out.put_i16(self.error);
            out.put_i32(0); // session id
        }
        put_len(out, self.topics.len(), compact);
        for topic in self.topics {
            let out = &mut builder.tail;
            if version >= 13 {
                out.put_slice(topic.id.as_bytes());
            } else if compact {
                put_len(out, topic.name.len(), true);
                out.put_slice(topic.name.as_bytes());
            } else {
                out.put_i16(topic.name.len() as i16);
                out.put_slice(topic.name.as_bytes());
            }
            put_len(out, topic.partitions.len(), compact);
            for partition in topic.partitions {
                partition.encode(builder, version);
            }
            put_tags(builder, compact);
        }
        put_tags(builder, compact);
    }
}

impl FetchedPartition {
    fn failed(number: i32, error: i16) -> FetchedPartition {
        let (start, end, last_stable) = (-1, -1, -1);
        let (batches, aborted) = (Vec::new(), Vec::new());
        FetchedPartition { number, error, start, end, last_stable, batches, aborted }
    }

    fn encode(self, builder: &mut FrameBuilder, version: i16) {
        let compact = version >= 12;
        let out = &mut builder.tail;
        out.put_i32(self.number);
        out.put_i16(self.error);
        out.put_i64(self.end);
        out.put_i64(self.last_stable);
        if version >= 5 {
            out.put_i64(self.start);
        }
        put_len(out, self.aborted.len(), compact);
        for (producer_id, first_offset) in &self.aborted {
            out.put_i64(*producer_id);
            out.put_i64(*first_offset);
            if compact {
                out.put_u8(0); // no tagged fields
            }
        }
        if version >= 11 {
            out.put_i32(-1); // preferred read replica
        }
        put_len(out, self.batches.iter().map(StoredBatch::size).sum(), compact);
        for batch in &self.batches {
            builder.tail.put_slice(&batch.patch());
            builder.put(batch.rest());
        }
        put_tags(builder, compact);
    }
}

/// The length of an array or of bytes: fixed, or a varint of one more (KIP-482).
fn put_len(out: &mut BytesMut, len: usize, compact: bool) {
    if compact {
        put_unsigned_varint(out, len as u64 + 1);
    } else {
        out.put_i32(len as i32);
    }
}

/// No tagged fields.
fn put_tags(builder: &mut FrameBuilder, compact: bool) {
    if compact {
        builder.put(Bytes::from_static(&[0]));
    }
}
