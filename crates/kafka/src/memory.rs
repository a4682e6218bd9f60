//! What a process remembers of a group and its topic beyond the life of one source.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use parking_lot::Mutex;
use uuid::Uuid;

/// How many ids of topics that are gone are remembered.
const GONE_TOPICS_MAX: usize = 16;

/// The memory of one group and one topic that it reads; clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    inner: Arc<Mutex<MemoryState>>,
}

#[derive(Debug, Default)]
struct MemoryState {
    /// The member that could not leave.
    member: Option<String>,
    /// The topic that was seen last.
    topic: Option<Uuid>,
    /// Topics of the same name that are gone.
    gone: VecDeque<Uuid>,
    /// Where the topic ended when the group first saw it.
    first: Option<First>,
}

/// What a group saw of a topic that it starts to read at its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct First {
    /// The number of partitions.
    pub partitions: i32,
    /// Where they ended, as far as is known.
    pub ends: BTreeMap<i32, i64>,
}

/// How a topic's id relates to those seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sighting {
    /// It is the topic seen last, or the first one.
    Same,
    /// It has replaced this one.
    Anew(Uuid),
    /// It is gone: a broker that reports it is behind.
    Gone,
}

impl Memory {
    /// Keeps a member's id for the next source of this group.
    pub fn keep_member(&self, member: &str) {
        self.inner.lock().member = Some(member.to_owned());
    }

    /// The id of the member that could not leave; returned once.
    pub fn take_member(&self) -> Option<String> {
        self.inner.lock().member.take()
    }

    /// Notes the id that a broker reports for the topic's name.
    pub fn see(&self, topic: Option<Uuid>) -> Sighting {
        let Some(topic) = topic else { return Sighting::Same };
        let mut inner = self.inner.lock();
        if inner.gone.contains(&topic) {
            return Sighting::Gone;
        }
        match inner.topic.replace(topic) {
            Some(old) if old != topic => {
                inner.gone.push_back(old);
                if inner.gone.len() > GONE_TOPICS_MAX {
                    inner.gone.pop_front();
                }
                inner.first = None;
                Sighting::Anew(old)
            }
            _ => Sighting::Same,
        }
    }

    /// Whether the topic has replaced another one that was seen.
    pub fn is_anew(&self) -> bool {
        !self.inner.lock().gone.is_empty()
    }

    /// What the group saw at first, if this process was there.
    pub(super) fn first(&self) -> Option<First> {
        self.inner.lock().first.clone()
    }

    /// Notes that the group sees the topic for the first time.
    pub(super) fn begin_first(&self, partitions: i32) {
        self.inner.lock().first.get_or_insert_with(|| First { partitions, ends: BTreeMap::new() });
    }

    /// Notes where a partition ended at first; an earlier note is kept.
    pub(super) fn note_end(&self, partition: i32, end: i64) -> i64 {
        let mut inner = self.inner.lock();
        match &mut inner.first {
            Some(first) if partition < first.partitions => *first.ends.entry(partition).or_insert(end),
            _ => end,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_that_is_gone_does_not_come_back() {
        let memory = Memory::default();
        let [old, new] = [1, 2].map(|number| Some(Uuid::from_u128(number)));
        assert_eq!([memory.see(old), memory.see(None), memory.see(old)], [Sighting::Same; 3]);
        assert!(!memory.is_anew());
        assert_eq!(memory.see(new), Sighting::Anew(old.unwrap()));
        assert_eq!(
            [memory.see(new), memory.see(old), memory.see(new)],
            [Sighting::Same, Sighting::Gone, Sighting::Same]
        );
        assert!(memory.is_anew());
    }

    #[test]
    fn the_first_end_of_a_partition_stays() {
        let memory = Memory::default();
        assert_eq!(memory.note_end(0, 5), 5);
        memory.begin_first(2);
        memory.begin_first(3);
        assert_eq!([memory.note_end(0, 7), memory.note_end(0, 9), memory.note_end(2, 9)], [7, 7, 9]);
        let first = First { partitions: 2, ends: BTreeMap::from([(0, 7)]) };
        assert_eq!(memory.first(), Some(first));
    }
}
