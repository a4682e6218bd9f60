//! Where things are in a log: ListOffsets and OffsetForLeaderEpoch.

use kafka_protocol::{
    error::ResponseError,
    messages::{
        ListOffsetsRequest, ListOffsetsResponse, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
        list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse},
        offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult},
    },
};

use super::{
    core::Core,
    log::{LEADER_EPOCH, Log},
    topics::Topics,
};

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
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|part| {
            let response = ListOffsetsPartitionResponse::default().with_partition_index(part.partition_index);
            let read_committed = request.isolation_level == 1;
            let found = with_log(&core.topics, &topic.name, part.partition_index, forced, |log| {
                locate(log, part.timestamp, read_committed)
            });
            match found.and_then(|found| found.map_err(|error| error.code())) {
                Err(code) => response.with_error_code(code).with_offset(-1).with_timestamp(-1),
                Ok((offset, timestamp)) => response
                    .with_offset(offset)
                    .with_timestamp(timestamp)
                    .with_leader_epoch(if version >= 4 { LEADER_EPOCH } else { -1 }),
            }
        });
        ListOffsetsTopicResponse::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    ListOffsetsResponse::default().with_topics(topics.collect())
}

/// The offset and timestamp of a place, -1 and -1 when nothing is there.
fn locate(log: &Log, timestamp: i64, read_committed: bool) -> Result<(i64, i64), ResponseError> {
    match timestamp {
        LATEST if read_committed => Ok((log.last_stable(), -1)),
        LATEST => Ok((log.end(), -1)),
        EARLIEST | EARLIEST_LOCAL => Ok((log.start(), -1)),
        MAX_TIMESTAMP => Ok(log.at_max_timestamp().unwrap_or((-1, -1))),
        LATEST_TIERED => Ok((-1, -1)),
        timestamp if timestamp >= 0 => Ok(log.at_timestamp(timestamp).unwrap_or((-1, -1))),
        _ => Err(ResponseError::UnsupportedVersion),
    }
}

/// Answers where an epoch ended (KIP-320); there is only ever one.
pub fn epoch_ends(
    core: &Core,
    request: &OffsetForLeaderEpochRequest,
    forced: i16,
) -> OffsetForLeaderEpochResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|part| {
            let response = EpochEndOffset::default().with_partition(part.partition);
            let end = with_log(&core.topics, &topic.topic, part.partition, forced, |log| log.end());
            match end {
                Err(code) => response.with_error_code(code).with_leader_epoch(-1).with_end_offset(-1),
                Ok(end) if part.leader_epoch == LEADER_EPOCH => {
                    response.with_leader_epoch(LEADER_EPOCH).with_end_offset(end)
                }
                Ok(_) => response.with_leader_epoch(-1).with_end_offset(-1),
            }
        });
        OffsetForLeaderTopicResult::default()
            .with_topic(topic.topic.clone())
            .with_partitions(partitions.collect())
    });
    OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
}

fn with_log<T>(
    topics: &Topics,
    topic: &str,
    partition: i32,
    forced: i16,
    then: impl FnOnce(&Log) -> T,
) -> Result<T, i16> {
    if forced != 0 {
        return Err(forced);
    }
    let topic = topics.get(topic);
    let partition = topic.as_ref().and_then(|topic| topic.partition(partition));
    partition.map(|partition| then(&partition.log())).ok_or(ResponseError::UnknownTopicOrPartition.code())
}
