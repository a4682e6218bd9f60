//! What the assignors of a classic consumer group work on: the members, and who reads what.

use std::collections::{BTreeMap, BTreeSet};

use topicmill_mill::batch::TopicPartition;

/// A member of the group as its subscription describes it.
#[derive(Clone, Debug, Default)]
pub(super) struct Member {
    /// The id that the coordinator gave it.
    pub id: String,
    /// Its `group.instance.id`, if it is a static member (KIP-345).
    pub instance: Option<String>,
    /// The topics that it reads.
    pub topics: BTreeSet<String>,
    /// The partitions that it has kept (KIP-429).
    pub owned: BTreeSet<TopicPartition>,
    /// The group's generation in which it got them; -1 when unknown (KIP-792).
    pub generation: i32,
}

/// The partitions of each member, by the member's id.
pub(super) type Plan = BTreeMap<String, BTreeSet<TopicPartition>>;

/// The partitions of a topic that has `count` of them.
pub(super) fn partitions(topic: &str, count: i32) -> impl Iterator<Item = TopicPartition> + use<> {
    let first = TopicPartition::new(topic, 0);
    (0..count).map(move |partition| TopicPartition { partition, ..first.clone() })
}

/// The share of a member.
pub(super) fn entry<'a>(plan: &'a mut Plan, member: &Member) -> &'a mut BTreeSet<TopicPartition> {
    plan.entry(member.id.clone()).or_default()
}
