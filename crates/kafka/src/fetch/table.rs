//! All partitions being read: which are next, and which leader to ask. Pure.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use tokio::time::Instant;
use topicmill_mill::batch::{AssignmentId, TopicPartition};

use super::{
    Start,
    parts::Wanted,
    slot::{PartitionSlot, SlotState},
    slots::Slots,
};

/// How often the bytes requested from a leader may be halved.
const HALVINGS_MAX: u32 = 8;

/// After this many answers in time a leader is asked for twice as much again.
const PROVEN_ANSWERS: u32 = 32;

/// All partitions being read.
#[derive(Debug, Default)]
pub(super) struct Table {
    slots: Slots,
    /// The leaders with a request in flight.
    busy: HashSet<i32>,
    /// The leaders that did not answer in time.
    slow: HashMap<i32, Slow>,
    /// The partitions that are not to be fetched now.
    full: Arc<BTreeSet<TopicPartition>>,
    /// Counts what was served, so that no partition waits behind the others forever.
    served: u64,
}

/// How much less a leader is asked for.
#[derive(Debug, Default)]
struct Slow {
    halvings: u32,
    answers: u32,
}

impl Table {
    pub fn add(&mut self, start: Start) {
        let mut slot = PartitionSlot::new(&start);
        slot.is_full = self.full.contains(&start.partition);
        self.slots.insert(start.partition, slot);
    }

    /// Forgets a partition, unless it is read under a later assignment; returns whether it did.
    pub fn remove(&mut self, partition: &TopicPartition, assignment: AssignmentId) -> bool {
        let is_over = self.slots.get(partition).is_some_and(|slot| slot.assignment <= assignment);
        is_over && self.slots.remove(partition).is_some()
    }

    /// Leaves out the partitions of `full`, and takes the others back in.
    pub fn leave_out(&mut self, full: Arc<BTreeSet<TopicPartition>>) {
        for partition in self.full.difference(&full) {
            if let Some(slot) = self.slots.get_mut(partition) {
                slot.is_full = false;
            }
        }
        for partition in full.difference(&self.full) {
            if let Some(slot) = self.slots.get_mut(partition) {
                slot.is_full = true;
            }
        }
        self.full = full;
    }

    /// The slot of an assignment, if it is still being read.
    pub fn slot(
        &mut self,
        partition: &TopicPartition,
        assignment: AssignmentId,
    ) -> Option<&mut PartitionSlot> {
        self.slots.get_mut(partition).filter(|slot| slot.assignment == assignment)
    }

    /// The number of brokers that lead what is being read, at least 1.
    pub fn leaders(&self) -> usize {
        let leaders = self.slots.iter().filter_map(|(_, slot)| match slot.state {
            SlotState::Ready(leader) | SlotState::Busy(Some(leader)) => Some(leader.broker),
            SlotState::Leaderless | SlotState::Busy(None) | SlotState::Halted => None,
        });
        leaders.collect::<HashSet<_>>().len().max(1)
    }

    /// The partitions whose leader has to be looked up now; they are busy from here on.
    pub fn without_leader(&mut self, now: Instant) -> impl Iterator<Item = (TopicPartition, AssignmentId)> {
        self.slots.iter_mut().filter_map(move |(partition, slot)| {
            let is_due = slot.state == SlotState::Leaderless && slot.is_due(now);
            is_due.then(|| {
                slot.state = SlotState::Busy(None);
                (partition.clone(), slot.assignment)
            })
        })
    }

    /// What to fetch now, by leader, longest unserved first; it is busy from here on.
    pub fn ready(&mut self, now: Instant) -> HashMap<i32, Vec<Wanted>> {
        let mut requests: HashMap<i32, Vec<(u64, Wanted)>> = HashMap::new();
        for (partition, slot) in self.slots.iter_mut() {
            let SlotState::Ready(leader) = slot.state else { continue };
            if slot.is_due(now) && !slot.is_full && !self.busy.contains(&leader.broker) {
                slot.state = SlotState::Busy(Some(leader));
                let wanted = Wanted {
                    partition: partition.clone(),
                    assignment: slot.assignment,
                    position: slot.position,
                    topic: slot.topic,
                    leader_epoch: leader.epoch,
                    expansion: Arc::clone(&slot.expansion),
                };
                requests.entry(leader.broker).or_default().push((slot.last_served, wanted));
            }
        }
        self.busy.extend(requests.keys());
        let in_turn = |mut wanted: Vec<(u64, Wanted)>| {
            wanted.sort_by_key(|(last_served, _)| *last_served);
            wanted.into_iter().map(|(_, wanted)| wanted).collect()
        };
        requests.into_iter().map(|(broker, wanted)| (broker, in_turn(wanted))).collect()
    }

    /// How often the bytes to request from a leader are halved.
    pub fn halvings(&self, broker: i32) -> u32 {
        self.slow.get(&broker).map_or(0, |slow| slow.halvings)
    }

    /// Asks a leader that did not answer in time for half as much from now on.
    pub fn timed_out(&mut self, broker: i32) {
        let slow = self.slow.entry(broker).or_default();
        *slow = Slow { halvings: (slow.halvings + 1).min(HALVINGS_MAX), answers: 0 };
    }

    /// Asks a slow leader for more, once it has shown that it can.
    pub fn in_time(&mut self, broker: i32) {
        let Some(slow) = self.slow.get_mut(&broker) else { return };
        slow.answers += 1;
        if slow.answers >= PROVEN_ANSWERS {
            *slow = Slow { halvings: slow.halvings - 1, answers: 0 };
        }
        if slow.halvings == 0 {
            self.slow.remove(&broker);
        }
    }

    /// Notes that a leader's request is over.
    pub fn answered(&mut self, broker: i32) {
        self.busy.remove(&broker);
        self.served += 1;
        let served = self.served;
        for (_, slot) in self.slots.iter_mut().filter(|(_, slot)| slot.last_served == u64::MAX) {
            slot.last_served = served;
        }
    }

    /// When a waiting partition is due.
    pub fn next_wake(&self, now: Instant) -> Option<Instant> {
        let waiting = self.slots.iter().filter(|(_, slot)| slot.state.waits());
        waiting.filter_map(|(_, slot)| slot.not_before).filter(|due| *due > now).min()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use topicmill_mill::backoff::Backoff;

    use super::*;
    use crate::metadata::Leader;

    const LEADER: Leader = Leader { broker: 1, epoch: 3 };

    fn table(partitions: i32) -> (Table, Vec<TopicPartition>) {
        let all: Vec<_> = (0..partitions).map(|number| TopicPartition::new("t", number)).collect();
        let mut table = Table::default();
        for partition in &all {
            table.add(Start {
                partition: partition.clone(),
                assignment: AssignmentId(1),
                position: 0,
                epoch: -1,
                topic: None,
            });
        }
        assert_eq!(table.without_leader(Instant::now()).count(), all.len());
        for partition in &all {
            table.slot(partition, AssignmentId(1)).unwrap().ready(LEADER);
        }
        (table, all)
    }

    #[test]
    fn a_leader_has_one_request_in_flight() {
        let (mut table, all) = table(2);
        assert_eq!(table.ready(Instant::now())[&1].len(), 2);
        table.slot(&all[0], AssignmentId(1)).unwrap().advance(5, 3);
        assert!(table.ready(Instant::now()).is_empty());
        table.answered(1);
        let wanted = &table.ready(Instant::now())[&1];
        assert_eq!(wanted.iter().map(|wanted| wanted.position).collect::<Vec<_>>(), [5]);
    }

    #[test]
    fn who_was_served_waits_behind_who_was_not() {
        let (mut table, all) = table(3);
        table.ready(Instant::now());
        for (partition, next) in all.iter().zip([9, 0, 0]) {
            table.slot(partition, AssignmentId(1)).unwrap().advance(next, 3);
        }
        table.answered(1);
        let order: Vec<_> = table.ready(Instant::now())[&1].iter().map(|w| w.partition.partition).collect();
        assert_eq!(order, [1, 2, 0]);
    }

    #[test]
    fn a_failure_asks_for_the_leader_again_later() {
        let (mut table, all) = table(1);
        table.ready(Instant::now());
        let backoff = Backoff { first: Duration::from_secs(1), most: Duration::from_secs(1) };
        table.slot(&all[0], AssignmentId(1)).unwrap().fail(backoff);
        table.answered(1);
        let now = Instant::now();
        assert_eq!(table.without_leader(now).count(), 0);
        let wake = table.next_wake(now).unwrap();
        assert_eq!(table.without_leader(wake).count(), 1);
    }

    #[test]
    fn what_is_full_is_left_out_until_it_is_not() {
        let (mut table, all) = table(3);
        let positions = |table: &mut Table| -> Vec<i32> {
            let ready = table.ready(Instant::now()).remove(&1).unwrap_or_default();
            table.answered(1);
            ready.iter().map(|wanted| wanted.partition.partition).collect()
        };
        table.leave_out(Arc::new(BTreeSet::from([all[1].clone()])));
        assert_eq!(positions(&mut table), [0, 2]);
        table.leave_out(Arc::new(BTreeSet::from([all[2].clone()])));
        assert_eq!(positions(&mut table), [1]);
        // An assignment that begins meanwhile is full as well.
        let (partition, assignment) = (all[2].clone(), AssignmentId(2));
        table.add(Start { partition, assignment, position: 0, epoch: -1, topic: None });
        table.slot(&all[2], assignment).unwrap().ready(LEADER);
        assert_eq!(positions(&mut table), [] as [i32; 0]);
        table.leave_out(Arc::default());
        assert_eq!(positions(&mut table), [2]);
    }

    #[test]
    fn a_slow_leader_is_asked_for_less_until_it_has_proved_that_it_can() {
        let mut table = Table::default();
        table.timed_out(1);
        table.timed_out(1);
        assert_eq!((table.halvings(1), table.halvings(2)), (2, 0));
        for expected in [1, 0] {
            for _ in 0..PROVEN_ANSWERS {
                table.in_time(1);
            }
            assert_eq!(table.halvings(1), expected);
        }
        for _ in 0..100 {
            table.timed_out(1);
        }
        assert_eq!(table.halvings(1), HALVINGS_MAX);
    }

    #[test]
    fn what_belongs_to_an_earlier_assignment_finds_nothing() {
        let (mut table, all) = table(1);
        assert!(table.slot(&all[0], AssignmentId(0)).is_none());
        assert!(!table.remove(&all[0], AssignmentId(0)));
        assert!(table.slot(&all[0], AssignmentId(1)).is_some());
        assert!(table.remove(&all[0], AssignmentId(1)));
        assert!(table.slot(&all[0], AssignmentId(1)).is_none());
    }
}
