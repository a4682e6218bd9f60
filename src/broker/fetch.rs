//! Fetch: whole record batches out of the logs, waiting until there are enough.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::{
    error::ResponseError,
    messages::{
        ApiKey, FetchRequest,
        fetch_request::{FetchPartition, FetchTopic},
    },
};
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::{
    core::Core,
    frame::FrameBuilder,
    log::{LEADER_EPOCH, StoredBatch},
};

/// The longest wait and the largest answer, whatever is asked for.
const MAX_WAIT: Duration = Duration::from_secs(5 * 60);
const MAX_BYTES: usize = 64 << 20;

/// What was read for a request.
#[derive(Debug, Default)]
pub struct Fetched {
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
}

/// Reads what a request asks for; `forced` is a fault's error code for all of it, or 0. There are
/// no incremental sessions (KIP-227): the answer's session id is 0, so that clients name all partitions.
pub async fn fetch(core: &Core, request: &FetchRequest, forced: i16) -> Fetched {
    if request.session_id != 0 {
        let error = ResponseError::FetchSessionIdNotFound.code();
        return Fetched { error, topics: Vec::new() };
    }
    let faults: Vec<i16> = request
        .topics
        .iter()
        .map(|topic| {
            let found = core.topics.named(&topic.topic, topic.topic_id);
            let name = found.as_ref().map_or(&*topic.topic.0, |found| &found.name);
            core.faults.meet_topic(ApiKey::Fetch, name).unwrap_or(forced)
        })
        .collect();
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)).min(MAX_WAIT);
    let deadline = Instant::now() + wait;
    let enough = usize::try_from(request.min_bytes).unwrap_or(0);
    let mut appends = core.store.appends();
    loop {
        appends.borrow_and_update();
        let round = read(core, request, &faults);
        if round.size >= enough || round.failed || Instant::now() >= deadline {
            return Fetched { error: 0, topics: round.topics };
        }
        // Either way the next round decides.
        let _ = timeout_at(deadline, appends.changed()).await;
    }
}

/// One look at all partitions of a request.
struct Round {
    topics: Vec<FetchedTopic>,
    size: usize,
    limit: usize,
    failed: bool,
}

fn read(core: &Core, request: &FetchRequest, faults: &[i16]) -> Round {
    let limit = usize::try_from(request.max_bytes).unwrap_or(0).min(MAX_BYTES);
    let mut round = Round { topics: Vec::with_capacity(request.topics.len()), size: 0, limit, failed: false };
    for (asked, fault) in request.topics.iter().zip(faults) {
        let topic = read_topic(core, asked, *fault, &mut round);
        round.topics.push(topic);
    }
    round
}

fn read_topic(core: &Core, asked: &FetchTopic, fault: i16, round: &mut Round) -> FetchedTopic {
    let found = core.topics.named(&asked.topic, asked.topic_id).map_err(|error| error.code());
    let found = if fault == 0 { found } else { Err(fault) };
    let partitions = asked.partitions.iter().map(|part| {
        let partition = found.as_ref().map_err(|code| *code).and_then(|topic| {
            topic.partition(part.partition).ok_or(ResponseError::UnknownTopicOrPartition.code())
        });
        let mut fetched = FetchedPartition {
            number: part.partition,
            error: 0,
            start: -1,
            end: -1,
            last_stable: -1,
            batches: Vec::new(),
        };
        match partition {
            Err(code) => fetched.error = code,
            Ok(partition) => {
                let log = partition.log();
                (fetched.start, fetched.end, fetched.last_stable) =
                    (log.start(), log.end(), log.last_stable());
                let max = usize::try_from(part.partition_max_bytes).unwrap_or(0);
                let max = max.min(round.limit.saturating_sub(round.size));
                let batches =
                    check_epoch(part).and_then(|()| log.read(part.fetch_offset, max, round.size == 0));
                match batches {
                    Ok(batches) => fetched.batches = batches,
                    Err(error) => fetched.error = error.code(),
                }
            }
        }
        round.failed |= fetched.error != 0;
        round.size += fetched.batches.iter().map(StoredBatch::size).sum::<usize>();
        fetched
    });
    let partitions = partitions.collect();
    FetchedTopic { name: asked.topic.to_string(), id: asked.topic_id, partitions }
}

/// Refuses who knows another leader (KIP-320).
fn check_epoch(part: &FetchPartition) -> Result<(), ResponseError> {
    match part.current_leader_epoch {
        -1 | LEADER_EPOCH => Ok(()),
        epoch if epoch > LEADER_EPOCH => Err(ResponseError::UnknownLeaderEpoch),
        _ => Err(ResponseError::FencedLeaderEpoch),
    }
}

impl Fetched {
    /// Writes the answer, batches by reference: the one message that is too large to be copied.
    pub fn encode(self, builder: &mut FrameBuilder, version: i16) {
        let compact = version >= 12;
        let out = &mut builder.tail;
        out.put_i32(0); // throttle time
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
        put_len(out, 0, compact); // aborted transactions
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
    if !compact {
        out.put_i32(len as i32);
        return;
    }
    let mut rest = len as u32 + 1;
    while rest >= 0x80 {
        out.put_u8(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.put_u8(rest as u8);
}

/// No tagged fields.
fn put_tags(builder: &mut FrameBuilder, compact: bool) {
    if compact {
        builder.put(Bytes::from_static(&[0]));
    }
}
