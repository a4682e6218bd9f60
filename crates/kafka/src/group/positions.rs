//! Where to start reading: the committed offsets, or what `auto.offset.reset` says. `choose` is pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use kafka_protocol::messages::{
    OffsetFetchRequest, TopicName, offset_fetch_request::OffsetFetchRequestTopic,
};
use topicmill_mill::{
    batch::TopicPartition,
    engine::{EngineError, ErrorKind, OffsetReset},
};
use uuid::Uuid;

use super::{
    coordinator::{Coordinator, GroupRefusal},
    note::Note,
    protocol::by_topic,
};
use crate::{
    OffsetAt,
    cluster::Lane,
    memory::{First, Memory},
    metadata::Topic,
    topic_lookup::look_up,
};

/// Where to start reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub offset: i64,
    /// The leader epoch of the record before the offset; -1 when unknown (KIP-320).
    pub leader_epoch: i32,
    /// Whether the group has committed it; otherwise it was chosen by policy.
    pub is_committed: bool,
}

/// An offset that the group has committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Committed {
    pub offset: i64,
    pub leader_epoch: i32,
    pub note: Note,
}

/// What is known of a topic, and of what the group has committed for it.
#[derive(Debug)]
pub(super) struct Survey {
    pub topic: Topic,
    pub committed: BTreeMap<i32, Result<Committed, EngineError>>,
}

/// Where to read a partition from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// Here.
    At(Position),
    /// At this place, which has to be looked up.
    Ask(OffsetAt),
    /// At the end, as seen by a group that has never read the topic.
    First,
    /// Nowhere: the policy is `none`.
    Refuse,
}

/// Asks for the topic, and for what the group has committed for the partitions `numbers`. With a
/// policy other than `earliest` it asks about all partitions, as the policy is for a topic that the
/// group has never read.
pub(super) async fn survey(
    coordinator: &Coordinator,
    memory: &Memory,
    name: &Arc<str>,
    numbers: &BTreeSet<i32>,
    reset: OffsetReset,
) -> Result<Survey, GroupRefusal> {
    let look_up = || look_up(&coordinator.cluster, name, memory, &coordinator.troubles);
    let mut topic = look_up().await?.topic().clone();
    let mut asked = numbers.clone();
    if reset != OffsetReset::Earliest {
        asked.extend(topic.partitions.keys());
    }
    let committed = committed(coordinator, name, &asked).await?;
    let is_other = |committed: &Result<Committed, EngineError>| {
        committed.as_ref().is_ok_and(|committed| committed.is_of_another(topic.id))
    };
    if committed.values().any(is_other) {
        // What is known here of the topic may be older than the commit.
        coordinator.cluster.invalidate();
        topic = look_up().await?.topic().clone();
    }
    Ok(Survey { topic, committed })
}

impl Committed {
    /// Whether the offset belongs to a topic of the same name that no longer exists.
    pub fn is_of_another(&self, topic: Option<Uuid>) -> bool {
        self.note.topic.zip(topic).is_some_and(|(noted, topic)| noted != topic)
    }
}

impl Survey {
    /// Where to read partition `number` from. `first` is what this process saw of the topic when
    /// the group had never read it; `is_anew` says that the topic has replaced another.
    ///
    /// The policy is for a topic that the group has never read. A partition that was added later,
    /// and any of a topic that was created again, is read from its beginning: its records arrived
    /// while the group was there.
    pub fn choose(
        &self,
        number: i32,
        reset: OffsetReset,
        first: Option<&First>,
        is_anew: bool,
    ) -> Result<Choice, EngineError> {
        match self.committed.get(&number) {
            Some(Err(error)) => return Err(error.clone()),
            Some(Ok(committed)) if committed.is_of_another(self.topic.id) => {
                return Ok(Choice::Ask(OffsetAt::Earliest));
            }
            Some(Ok(Committed { offset, leader_epoch, .. })) => {
                let (offset, leader_epoch) = (*offset, *leader_epoch);
                return Ok(Choice::At(Position { offset, leader_epoch, is_committed: true }));
            }
            None if reset == OffsetReset::Earliest || is_anew => {
                return Ok(Choice::Ask(OffsetAt::Earliest));
            }
            None => {}
        }
        if let Some(first) = first {
            return Ok(match first.ends.get(&number) {
                Some(end) => Choice::At(Position { offset: *end, leader_epoch: -1, is_committed: false }),
                None if number < first.partitions => Choice::First,
                None => Choice::Ask(OffsetAt::Earliest),
            });
        }
        // An offset that cannot be read now exists all the same.
        let notes =
            self.committed.values().map(|committed| committed.as_ref().map_or(None, |c| c.note.first));
        Ok(match (self.committed.is_empty(), reset) {
            // Another member saw the topic first, and does not read this partition.
            (false, OffsetReset::Latest) if notes.flatten().max().is_some_and(|first| number < first) => {
                Choice::First
            }
            (false, _) => Choice::Ask(OffsetAt::Earliest),
            (true, OffsetReset::None) => Choice::Refuse,
            (true, OffsetReset::Earliest | OffsetReset::Latest) => Choice::First,
        })
    }

    /// The number of partitions that the group saw first, if it started at their ends.
    pub fn first(&self) -> Option<i32> {
        let committed = self.committed.values().filter_map(|committed| committed.as_ref().ok());
        committed
            .filter(|committed| !committed.is_of_another(self.topic.id))
            .filter_map(|c| c.note.first)
            .max()
    }
}

/// The policy does not let a partition start.
pub(super) fn refused(partition: &TopicPartition) -> EngineError {
    let text = "the group has committed no offset, and auto.offset.reset is none";
    EngineError::new(ErrorKind::Fatal, text).at(partition)
}

/// The committed offsets; waits for transactions that are about to commit some (KIP-447).
async fn committed(
    coordinator: &Coordinator,
    name: &str,
    numbers: &BTreeSet<i32>,
) -> Result<BTreeMap<i32, Result<Committed, EngineError>>, GroupRefusal> {
    let partitions: Vec<_> = numbers.iter().map(|number| TopicPartition::new(name, *number)).collect();
    let topic = |(name, partitions): (TopicName, Vec<i32>)| {
        OffsetFetchRequestTopic::default().with_name(name).with_partition_indexes(partitions)
    };
    let request = OffsetFetchRequest::default()
        .with_group_id(coordinator.group_id())
        .with_topics(Some(by_topic(&partitions).into_iter().map(topic).collect()))
        .with_require_stable(true);
    let limit = coordinator.cluster.settings.request_timeout;
    let response = coordinator.call(Lane::Control, request, limit).await?;
    let what = "fetching committed offsets";
    coordinator.agreed(response.error_code, what)?;
    let mut committed = BTreeMap::new();
    for partition in response.topics.into_iter().flat_map(|topic| topic.partitions) {
        let number = partition.partition_index;
        match coordinator.agreed(partition.error_code, what) {
            Ok(()) if partition.committed_offset < 0 => {}
            Ok(()) => {
                let note = Note::decode(partition.metadata.as_deref().unwrap_or_default());
                let (offset, leader_epoch) = (partition.committed_offset, partition.committed_leader_epoch);
                committed.insert(number, Ok(Committed { offset, leader_epoch, note }));
            }
            Err(refusal) => {
                committed
                    .insert(number, Err(EngineError::from(refusal).at(&TopicPartition::new(name, number))));
            }
        }
    }
    Ok(committed)
}

#[cfg(test)]
#[path = "positions_tests.rs"]
mod tests;
