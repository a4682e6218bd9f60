//! What the answer to a fetch request means for each partition.

use std::collections::HashMap;

use bytes::Bytes;
use kafka_protocol::{
    ResponseError,
    messages::{FetchResponse, fetch_response::PartitionData},
};
use topicmill_mill::batch::TopicPartition;
use topicmill_records::AbortedTransaction;
use uuid::Uuid;

use super::{
    FetchShared,
    parts::{FetchedPart, PartitionAnswer, Records, Wanted},
    scan,
};
use crate::{Isolation, error::check};

/// The answer for `wanted`; records are added to `found`.
pub(super) fn read(
    shared: &FetchShared,
    wanted: &Wanted,
    data: &PartitionData,
    is_empty: bool,
    found: &mut Vec<FetchedPart>,
) -> PartitionAnswer {
    match check(data.error_code) {
        Ok(()) => {}
        Err(error) if error.0 == ResponseError::OffsetOutOfRange => return PartitionAnswer::OutOfRange,
        Err(error) => {
            return PartitionAnswer::Failed(shared.client.cluster().failed(error, "fetching", None));
        }
    }
    let Some(bytes) = data.records.as_ref().filter(|bytes| !bytes.is_empty()) else {
        let end = match shared.shape.isolation {
            Isolation::ReadUncommitted => data.high_watermark,
            Isolation::ReadCommitted => data.last_stable_offset,
        };
        if is_empty && end > wanted.position {
            return PartitionAnswer::Nothing { end };
        }
        return PartitionAnswer::Data { next: wanted.position, epoch: -1 };
    };
    let scanned = scan(bytes, wanted.position);
    if !scanned.bytes.is_empty() {
        let aborted = aborted(data);
        found.push(FetchedPart::Records(Records { wanted: wanted.clone(), bytes: scanned.bytes, aborted }));
    }
    match scanned.error {
        None => PartitionAnswer::Data { next: scanned.next, epoch: scanned.epoch },
        Some(error) => PartitionAnswer::Corrupt { good: scanned.next, epoch: scanned.epoch, error },
    }
}

/// The aborted transactions that a response lists for a partition (KIP-98).
pub(crate) fn aborted(data: &PartitionData) -> Vec<AbortedTransaction> {
    let aborted = data.aborted_transactions.iter().flatten().map(|aborted| AbortedTransaction {
        producer_id: aborted.producer_id.0,
        first_offset: aborted.first_offset,
    });
    aborted.collect()
}

/// A partition in a response: the name or the id of its topic, and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key<'a> {
    Named(&'a str, i32),
    Known(Uuid, i32),
}

/// A fetch response.
#[derive(Debug)]
pub(crate) struct FetchReply {
    pub(super) response: FetchResponse,
    /// Whether it names topics by id.
    pub(super) is_by_id: bool,
}

impl FetchReply {
    /// What it says of a partition.
    pub fn partition(&self, partition: &TopicPartition) -> Option<&PartitionData> {
        let topic = self.response.responses.iter().find(|topic| topic.topic.as_str() == &*partition.topic)?;
        topic.partitions.iter().find(|data| data.partition_index == partition.partition)
    }

    /// What it says of each partition, by [`key`](FetchReply::key).
    pub(super) fn by_partition(&self) -> HashMap<Key<'_>, &PartitionData> {
        let topics = self.response.responses.iter();
        let all = topics.flat_map(|topic| topic.partitions.iter().map(move |data| (topic, data)));
        all.map(|(topic, data)| {
            let number = data.partition_index;
            let key = if self.is_by_id {
                Key::Known(topic.topic_id, number)
            } else {
                Key::Named(topic.topic.as_str(), number)
            };
            (key, data)
        })
        .collect()
    }

    /// The key of a partition in the response.
    pub(super) fn key<'a>(&self, wanted: &'a Wanted) -> Key<'a> {
        let number = wanted.partition.partition;
        match wanted.topic.filter(|_| self.is_by_id) {
            Some(id) => Key::Known(id, number),
            None => Key::Named(&wanted.partition.topic, number),
        }
    }

    /// Whether no partition has records.
    pub(super) fn is_empty(&self) -> bool {
        let mut all = self.response.responses.iter().flat_map(|topic| &topic.partitions);
        all.all(|data| data.records.as_ref().is_none_or(Bytes::is_empty))
    }

    /// Whether the broker sent less than it has because of a quota (KIP-219).
    pub fn is_throttled(&self) -> bool {
        self.response.throttle_time_ms > 0
    }
}
