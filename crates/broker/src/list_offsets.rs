//! Where things are in a log: ListOffsets and OffsetForLeaderEpoch.

use kafka_protocol::{
    error::ResponseError,
    messages::{
        ApiKey, ListOffsetsRequest, ListOffsetsResponse, OffsetForLeaderEpochRequest,
        OffsetForLeaderEpochResponse,
        list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse},
        offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult},
    },
};

use super::{core::Core, log::Log};

/// Special timestamps of a request.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;

/// Answers offsets by place or timestamp; `forced` is a fault's error code, or 0.
pub fn list_offsets(
    core: &Core,
    request: &ListOffsetsRequest,
    version: i16,
    forced: i16,
) -> ListOffsetsResponse {
    let read_committed = request.isolation_level == 1;
    let topics = request.topics.iter().map(|topic| {
        let code = core.faults.meet_topic(ApiKey::ListOffsets, &topic.name, forced);
        let partitions = topic.partitions.iter().map(|part| {
            let number = part.partition_index;
            let response = ListOffsetsPartitionResponse::default().with_partition_index(number);
            let code = core.faults.meet_partition(ApiKey::ListOffsets, &topic.name, number, code);
            let found = with_log(core, &topic.name, number, code, |log| {
                log.check_leader(part.current_leader_epoch)?;
                let (offset, timestamp) = locate(log, part.timestamp, read_committed)?;
                Ok((offset, timestamp, epoch(log, part.timestamp, offset)))
            });
            match found {
                Err(code) => response.with_error_code(code).with_offset(-1).with_timestamp(-1),
                Ok((offset, timestamp, epoch)) => response
                    .with_offset(offset)
                    .with_timestamp(timestamp)
                    .with_leader_epoch(if version >= 4 { epoch } else { -1 }),
            }
        });
        ListOffsetsTopicResponse::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    ListOffsetsResponse::default().with_topics(topics.collect())
}

/// The leader epoch of what was found: the leader's for the end, else the record's.
fn epoch(log: &Log, timestamp: i64, offset: i64) -> i32 {
    match timestamp {
        LATEST => log.leader_epoch(),
        _ if offset < 0 => -1,
        _ => log.epoch_at(offset),
    }
}

/// The offset and timestamp of a place, -1 and -1 when nothing is there.
fn locate(log: &Log, timestamp: i64, read_committed: bool) -> Result<(i64, i64), ResponseError> {
    let before = if read_committed { log.last_stable() } else { log.end() };
    let readable =
        |found: Option<(i64, i64)>| found.filter(|(offset, _)| *offset < before).unwrap_or(NOTHING);
    match timestamp {
        LATEST => Ok((before, -1)),
        EARLIEST => Ok((log.start(), -1)),
        EARLIEST_LOCAL => Ok((log.local_start(), -1)),
        MAX_TIMESTAMP => Ok(readable(log.at_max_timestamp())),
        LATEST_TIERED => Ok(NOTHING),
        timestamp if timestamp >= 0 => Ok(readable(log.at_timestamp(timestamp))),
        _ => Err(ResponseError::UnsupportedVersion),
    }
}

const NOTHING: (i64, i64) = (-1, -1);

/// Answers where an epoch ended (KIP-320).
pub fn epoch_ends(
    core: &Core,
    request: &OffsetForLeaderEpochRequest,
    forced: i16,
) -> OffsetForLeaderEpochResponse {
    let topics = request.topics.iter().map(|topic| {
        let code = core.faults.meet_topic(ApiKey::OffsetForLeaderEpoch, &topic.topic, forced);
        let partitions = topic.partitions.iter().map(|part| {
            let number = part.partition;
            let response = EpochEndOffset::default().with_partition(number);
            let code = core.faults.meet_partition(ApiKey::OffsetForLeaderEpoch, &topic.topic, number, code);
            let found = with_log(core, &topic.topic, number, code, |log| {
                log.check_leader(part.current_leader_epoch)?;
                Ok(log.end_of_epoch(part.leader_epoch))
            });
            let (error, (epoch, end)) = match found {
                Ok(found) => (0, found.unwrap_or((-1, -1))),
                Err(code) => (code, (-1, -1)),
            };
            response.with_error_code(error).with_leader_epoch(epoch).with_end_offset(end)
        });
        OffsetForLeaderTopicResult::default()
            .with_topic(topic.topic.clone())
            .with_partitions(partitions.collect())
    });
    OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
}

fn with_log<T>(
    core: &Core,
    topic: &str,
    partition: i32,
    forced: i16,
    then: impl FnOnce(&Log) -> Result<T, ResponseError>,
) -> Result<T, i16> {
    if forced != 0 {
        return Err(forced);
    }
    let topic = core.topics.get(topic);
    let partition = topic.as_ref().and_then(|topic| topic.partition(partition));
    let partition = partition.ok_or(ResponseError::UnknownTopicOrPartition.code())?;
    then(&partition.log()).map_err(|error| error.code())
}
