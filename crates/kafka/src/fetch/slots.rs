//! All partitions being read, in order. What goes through all of them may be done once for a request
//! or an answer, never once for each partition of it: tests count how often a partition is looked at.

use std::collections::{BTreeMap, btree_map};

use topicmill_mill::batch::TopicPartition;

use super::slot::PartitionSlot;

#[cfg(test)]
thread_local! {
    /// How often a partition was looked at by going through all of them, on this thread.
    pub static VISITS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// The partitions with their slots.
#[derive(Debug, Default)]
pub(super) struct Slots(BTreeMap<TopicPartition, PartitionSlot>);

impl Slots {
    pub fn insert(&mut self, partition: TopicPartition, slot: PartitionSlot) {
        self.0.insert(partition, slot);
    }

    pub fn remove(&mut self, partition: &TopicPartition) -> Option<PartitionSlot> {
        self.0.remove(partition)
    }

    pub fn get(&self, partition: &TopicPartition) -> Option<&PartitionSlot> {
        self.0.get(partition)
    }

    pub fn get_mut(&mut self, partition: &TopicPartition) -> Option<&mut PartitionSlot> {
        self.0.get_mut(partition)
    }

    /// Goes through all of them.
    pub fn iter(&self) -> btree_map::Iter<'_, TopicPartition, PartitionSlot> {
        self.visit();
        self.0.iter()
    }

    /// Goes through all of them.
    pub fn iter_mut(&mut self) -> btree_map::IterMut<'_, TopicPartition, PartitionSlot> {
        self.visit();
        self.0.iter_mut()
    }

    #[cfg_attr(not(test), expect(clippy::unused_self, reason = "only tests count"))]
    fn visit(&self) {
        #[cfg(test)]
        VISITS.set(VISITS.get() + self.0.len() as u64);
    }
}
