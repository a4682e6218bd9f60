//! The offsets that groups commit.

use std::time::Instant;

use kafka_protocol::{
    error::ResponseError,
    messages::{
        ApiKey, OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse,
        OffsetFetchRequest, OffsetFetchResponse, TopicName,
        offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic},
        offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic},
        offset_fetch_response::{
            OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
            OffsetFetchResponseTopic, OffsetFetchResponseTopics,
        },
    },
    protocol::StrBytes,
};

use super::{
    Groups,
    committed::{CommitPlace, CommittedOffset},
    group::{Group, State},
};
use crate::{
    faults::Faults,
    topics::{Topic, Topics},
};

/// The longest text that may be kept with an offset, as Kafka's `offset.metadata.max.bytes`.
const MAX_METADATA: usize = 4096;

impl Group {
    /// Checks that a commit comes from a member of this generation. A client without a group
    /// membership (generation -1) may commit while there are no members.
    fn admit_commit(&mut self, request: &OffsetCommitRequest, now: Instant) -> Result<(), ResponseError> {
        if request.generation_id_or_member_epoch < 0 && self.state == State::Empty {
            return Ok(());
        }
        let instance = request.group_instance_id.as_deref();
        self.hear_of(&request.member_id, instance, request.generation_id_or_member_epoch, now)?;
        match self.state {
            State::CompletingRebalance => Err(ResponseError::RebalanceInProgress),
            State::Empty | State::PreparingRebalance | State::Stable => Ok(()),
        }
    }
}

impl Groups {
    /// Commits offsets; `forced` is a fault's error code for all of them, or 0.
    pub fn commit(
        &self,
        request: &OffsetCommitRequest,
        topics: &Topics,
        faults: &Faults,
        forced: i16,
    ) -> OffsetCommitResponse {
        let now = Instant::now();
        self.with_or_create(&request.group_id, |group| {
            let admitted = if forced != 0 {
                Err(forced)
            } else {
                group
                    .as_mut()
                    .map_err(|error| error.code())
                    .and_then(|group| group.admit_commit(request, now).map_err(|error| error.code()))
            };
            let answered = request.topics.iter().map(|topic| {
                let known = topics.get(&topic.name);
                let code = faults.meet_topic(ApiKey::OffsetCommit, &topic.name, 0);
                let partitions = topic.partitions.iter().map(|part| {
                    let metadata = part.committed_metadata.as_deref().unwrap_or_default();
                    let (topic_name, number) = (&topic.name, part.partition_index);
                    let fault = faults.meet_partition(ApiKey::OffsetCommit, topic_name, number, code);
                    let checked =
                        admitted.and_then(|()| check_offset(known.as_deref(), number, metadata, fault));
                    if let (Ok(()), Ok(group)) = (checked, group.as_mut()) {
                        let committed = CommittedOffset {
                            offset: part.committed_offset,
                            leader_epoch: part.committed_leader_epoch,
                            metadata: metadata.to_owned(),
                            order: group.next_order(),
                        };
                        group.offsets.insert((topic.name.to_string(), part.partition_index), committed);
                    }
                    OffsetCommitResponsePartition::default()
                        .with_partition_index(part.partition_index)
                        .with_error_code(checked.err().unwrap_or(0))
                });
                OffsetCommitResponseTopic::default()
                    .with_name(topic.name.clone())
                    .with_partitions(partitions.collect())
            });
            OffsetCommitResponse::default().with_topics(answered.collect())
        })
    }

    /// Answers what was committed: for one group, or for several (KIP-709, since version 8). Where a
    /// transaction is about to commit more, whoever asks for stable offsets has to ask again
    /// (KIP-447).
    pub fn committed(&self, request: &OffsetFetchRequest, version: i16, forced: i16) -> OffsetFetchResponse {
        if version >= 8 {
            let groups = request.groups.iter().map(|asked| {
                let wanted = asked.topics.as_ref().map(|topics| {
                    topics.iter().map(|topic| (topic.name.clone(), topic.partition_indexes.clone())).collect()
                });
                let found = self.lookup(&asked.group_id, wanted, request.require_stable);
                let topics = found.into_iter().map(|(name, found)| {
                    let partitions = found.into_iter().map(|(number, offset, error)| {
                        OffsetFetchResponsePartitions::default()
                            .with_partition_index(number)
                            .with_committed_offset(offset.offset)
                            .with_committed_leader_epoch(offset.leader_epoch)
                            .with_metadata(Some(StrBytes::from_string(offset.metadata)))
                            .with_error_code(error)
                    });
                    OffsetFetchResponseTopics::default().with_name(name).with_partitions(partitions.collect())
                });
                OffsetFetchResponseGroup::default()
                    .with_group_id(asked.group_id.clone())
                    .with_error_code(forced)
                    .with_topics(if forced == 0 { topics.collect() } else { Vec::new() })
            });
            return OffsetFetchResponse::default().with_groups(groups.collect());
        }
        let wanted = request.topics.as_ref().map(|topics| {
            topics.iter().map(|topic| (topic.name.clone(), topic.partition_indexes.clone())).collect()
        });
        let found = self.lookup(&request.group_id, wanted, request.require_stable);
        let topics = found.into_iter().map(|(name, found)| {
            let partitions = found.into_iter().map(|(number, offset, error)| {
                OffsetFetchResponsePartition::default()
                    .with_partition_index(number)
                    .with_committed_offset(offset.offset)
                    .with_committed_leader_epoch(offset.leader_epoch)
                    .with_metadata(Some(StrBytes::from_string(offset.metadata)))
                    .with_error_code(if forced == 0 { error } else { forced })
            });
            OffsetFetchResponseTopic::default().with_name(name).with_partitions(partitions.collect())
        });
        OffsetFetchResponse::default().with_error_code(forced).with_topics(topics.collect())
    }

    /// The offsets of the wanted partitions, -1 where there is none; without `wanted` all of them.
    /// With an error code where they are not stable and should be.
    fn lookup(
        &self,
        group: &str,
        wanted: Option<Vec<(TopicName, Vec<i32>)>>,
        require_stable: bool,
    ) -> Vec<Found> {
        let look = |group: &Group, place: &CommitPlace| {
            if require_stable && group.is_unstable(place) {
                return (place.1, CommittedOffset::NONE, ResponseError::UnstableOffsetCommit.code());
            }
            (place.1, group.offsets.get(place).cloned().unwrap_or(CommittedOffset::NONE), 0)
        };
        self.with(group, |group| match wanted {
            None => {
                let mut all: Vec<Found> = Vec::new();
                let Some(group) = group else { return all };
                for place in group.offsets.keys() {
                    let found = look(group, place);
                    match all.last_mut() {
                        Some((name, partitions)) if *name.0 == *place.0 => partitions.push(found),
                        _ => all.push((TopicName(StrBytes::from_string(place.0.clone())), vec![found])),
                    }
                }
                all
            }
            Some(wanted) => wanted
                .into_iter()
                .map(|(name, partitions)| {
                    let found = partitions.into_iter().map(|partition| {
                        let place = (name.to_string(), partition);
                        let found = group.as_ref().map(|group| look(group, &place));
                        found.unwrap_or((partition, CommittedOffset::NONE, 0))
                    });
                    let found = found.collect();
                    (name, found)
                })
                .collect(),
        })
    }

    /// Forgets offsets, unless members of the group read the topic (KIP-496).
    pub fn delete_offsets(&self, request: &OffsetDeleteRequest) -> OffsetDeleteResponse {
        self.with(&request.group_id, |group| {
            let Some(group) = group else {
                let missing = ResponseError::GroupIdNotFound.code();
                return OffsetDeleteResponse::default().with_error_code(missing);
            };
            let answered = request.topics.iter().map(|topic| {
                let subscribed = group.subscribes(&topic.name);
                let partitions = topic.partitions.iter().map(|part| {
                    let error = if subscribed {
                        ResponseError::GroupSubscribedToTopic.code()
                    } else {
                        group.offsets.remove(&(topic.name.to_string(), part.partition_index));
                        0
                    };
                    OffsetDeleteResponsePartition::default()
                        .with_partition_index(part.partition_index)
                        .with_error_code(error)
                });
                OffsetDeleteResponseTopic::default()
                    .with_name(topic.name.clone())
                    .with_partitions(partitions.collect())
            });
            OffsetDeleteResponse::default().with_topics(answered.collect())
        })
    }

    /// Forgets all offsets of a topic that was deleted.
    pub fn forget_topic(&self, topic: &str) {
        for group in self.lock().values_mut() {
            group.offsets.retain(|(name, _), _| name != topic);
            for pending in group.pending.values_mut() {
                pending.retain(|(name, _), _| name != topic);
            }
        }
    }
}

/// A topic and its partitions, with what is committed and an error code or 0.
type Found = (TopicName, Vec<(i32, CommittedOffset, i16)>);

/// Whether an offset may be committed for a partition of `topic`, or the error code; `fault` is an
/// injected one, or 0.
pub fn check_offset(topic: Option<&Topic>, number: i32, metadata: &str, fault: i16) -> Result<(), i16> {
    if fault != 0 {
        return Err(fault);
    }
    if topic.is_none_or(|topic| topic.partition(number).is_none()) {
        return Err(ResponseError::UnknownTopicOrPartition.code());
    }
    if metadata.len() > MAX_METADATA {
        return Err(ResponseError::OffsetMetadataTooLarge.code());
    }
    Ok(())
}
