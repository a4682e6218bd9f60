//! Offsets that wait for the end of a transaction (KIP-98, KIP-447).

use std::time::Instant;

use kafka_protocol::{
    error::ResponseError,
    messages::{
        ApiKey, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
        txn_offset_commit_response::{TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic},
    },
};

use super::{
    Groups,
    committed::{CommitPlace, CommittedOffset},
    group::{Group, State},
    offsets::check_offset,
};
use crate::{faults::Faults, topics::Topics, transactions::Outcome};

impl Group {
    /// Checks that offsets come from a member of this generation; a producer that says nothing of
    /// the group (before version 3) is believed. As in Kafka, the round does not matter.
    fn admit_pending(&mut self, request: &TxnOffsetCommitRequest, now: Instant) -> Result<(), ResponseError> {
        let instance = request.group_instance_id.as_deref();
        let is_told = request.generation_id >= 0 || !request.member_id.is_empty() || instance.is_some();
        if !is_told || (request.generation_id < 0 && self.state == State::Empty) {
            return Ok(());
        }
        self.hear_of(&request.member_id, instance, request.generation_id, now)
    }

    /// Whether an open transaction is about to commit an offset for a partition.
    pub fn is_unstable(&self, place: &CommitPlace) -> bool {
        self.pending.values().any(|offsets| offsets.contains_key(place))
    }

    /// A transaction has ended: the offsets of its producer count, or are forgotten.
    fn end_transaction(&mut self, producer_id: i64, outcome: Outcome) {
        let pending = self.pending.remove(&producer_id).unwrap_or_default();
        if outcome == Outcome::Abort {
            return;
        }
        for (place, offset) in pending {
            // What was committed since stays.
            let later = self.offsets.get(&place).is_some_and(|committed| committed.order > offset.order);
            if !later {
                self.offsets.insert(place, offset);
            }
        }
    }
}

/// The same error code for each offset.
fn refused(request: &TxnOffsetCommitRequest, code: i16) -> TxnOffsetCommitResponse {
    let answered = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|part| {
            TxnOffsetCommitResponsePartition::default()
                .with_partition_index(part.partition_index)
                .with_error_code(code)
        });
        TxnOffsetCommitResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    TxnOffsetCommitResponse::default().with_topics(answered.collect())
}

impl Groups {
    /// Keeps offsets until their transaction ends. `known` is the error code for a transaction that
    /// is not open.
    pub fn commit_in_transaction(
        &self,
        request: &TxnOffsetCommitRequest,
        topics: &Topics,
        faults: &Faults,
        known: Result<(), i16>,
        now: Instant,
    ) -> TxnOffsetCommitResponse {
        // A group is made for one who is in none, not for one who claims to be a member.
        let is_missing = self.with(&request.group_id, |group| group.is_none());
        let known = match known {
            Ok(()) if is_missing && request.generation_id >= 0 => {
                Err(ResponseError::IllegalGeneration.code())
            }
            known => known,
        };
        if let Err(code) = known {
            return refused(request, code);
        }
        self.with_or_create(&request.group_id, |group| {
            let admitted = match group {
                Ok(group) => group.admit_pending(request, now).map_err(|error| error.code()),
                Err(error) => Err(error.code()),
            };
            let answered = request.topics.iter().map(|topic| {
                let exists = topics.get(&topic.name);
                let code = faults.meet_topic(ApiKey::TxnOffsetCommit, &topic.name, 0);
                let partitions = topic.partitions.iter().map(|part| {
                    let number = part.partition_index;
                    let metadata = part.committed_metadata.as_deref().unwrap_or_default();
                    let fault = faults.meet_partition(ApiKey::TxnOffsetCommit, &topic.name, number, code);
                    let checked =
                        admitted.and_then(|()| check_offset(exists.as_deref(), number, metadata, fault));
                    if let (Ok(()), Ok(group)) = (checked, group.as_mut()) {
                        let offset = CommittedOffset {
                            offset: part.committed_offset,
                            leader_epoch: part.committed_leader_epoch,
                            metadata: metadata.to_owned(),
                            order: group.next_order(),
                        };
                        let pending = group.pending.entry(request.producer_id.0).or_default();
                        pending.insert((topic.name.to_string(), number), offset);
                    }
                    TxnOffsetCommitResponsePartition::default()
                        .with_partition_index(number)
                        .with_error_code(checked.err().unwrap_or(0))
                });
                TxnOffsetCommitResponseTopic::default()
                    .with_name(topic.name.clone())
                    .with_partitions(partitions.collect())
            });
            TxnOffsetCommitResponse::default().with_topics(answered.collect())
        })
    }

    /// The offset that a group has committed for a partition.
    pub fn committed_offset(&self, group: &str, topic: &str, partition: i32) -> Option<i64> {
        let place = (topic.to_owned(), partition);
        self.with(group, |group| group?.offsets.get(&place).map(|committed| committed.offset))
    }

    /// A transaction that had offsets of a group has ended.
    pub fn end_transaction(&self, group: &str, producer_id: i64, outcome: Outcome) {
        self.with(group, |group| {
            if let Some(group) = group {
                group.end_transaction(producer_id, outcome);
            }
        });
    }
}
