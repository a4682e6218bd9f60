//! The partitions being read: where, from whom, and when next. Pure.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use tokio::time::Instant;

use super::{Start, request::Wanted};
use crate::{
    backoff::Backoff,
    batch::{AssignmentId, TopicPartition},
    engine::native::metadata::Leader,
};

/// How often a batch may be read corrupt before that counts as its state.
pub(super) const CORRUPTIONS: u32 = 4;

/// All partitions being read.
#[derive(Debug, Default)]
pub(super) struct Table {
    slots: BTreeMap<TopicPartition, Slot>,
    /// The leaders with a request in flight.
    busy: HashSet<i32>,
    /// Counts what was served, so that no partition waits behind the others for ever.
    served: u64,
}

/// One partition being read.
#[derive(Debug)]
pub(super) struct Slot {
    pub assignment: AssignmentId,
    /// The next offset to fetch.
    pub position: i64,
    /// The epoch of the leader that appended the last batch read; -1 when unknown (KIP-320).
    pub epoch: i32,
    /// The newest leader epoch for which the position is known to be good.
    pub checked_epoch: i32,
    pub failures: u32,
    pub corruptions: u32,
    state: State,
    not_before: Option<Instant>,
    last_served: u64,
    /// How much larger records are in memory than on the wire, in percent.
    expansion: Arc<AtomicUsize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nobody to ask yet.
    Leaderless,
    /// A question is under way: for the leader, for records, or for the right position.
    Busy(Option<Leader>),
    Ready(Leader),
}

impl Table {
    pub fn add(&mut self, start: Start) {
        let slot = Slot {
            assignment: start.assignment,
            position: start.position,
            epoch: start.epoch,
            checked_epoch: -1,
            failures: 0,
            corruptions: 0,
            state: State::Leaderless,
            not_before: None,
            last_served: 0,
            expansion: Arc::new(AtomicUsize::new(100)),
        };
        self.slots.insert(start.partition, slot);
    }

    pub fn remove(&mut self, partitions: &BTreeSet<TopicPartition>) {
        self.slots.retain(|partition, _| !partitions.contains(partition));
    }

    /// The slot of an assignment, if it is still being read.
    pub fn slot(&mut self, partition: &TopicPartition, assignment: AssignmentId) -> Option<&mut Slot> {
        self.slots.get_mut(partition).filter(|slot| slot.assignment == assignment)
    }

    /// The number of brokers that lead what is being read, at least 1.
    pub fn leaders(&self) -> usize {
        let leaders = self.slots.values().filter_map(|slot| match slot.state {
            State::Ready(leader) | State::Busy(Some(leader)) => Some(leader.broker),
            State::Leaderless | State::Busy(None) => None,
        });
        leaders.collect::<HashSet<_>>().len().max(1)
    }

    /// The partitions whose leader has to be looked up now; they count as busy from here on.
    pub fn without_leader(&mut self, now: Instant) -> impl Iterator<Item = (&TopicPartition, &Slot)> {
        self.slots.iter_mut().filter_map(move |(partition, slot)| {
            let is_due = slot.state == State::Leaderless && slot.is_due(now);
            is_due.then(|| {
                slot.state = State::Busy(None);
                (partition, &*slot)
            })
        })
    }

    /// What to fetch now, by leader, longest unserved first; it counts as busy from here on.
    pub fn ready(&mut self, now: Instant) -> HashMap<i32, Vec<Wanted>> {
        let mut requests: HashMap<i32, Vec<(u64, Wanted)>> = HashMap::new();
        for (partition, slot) in &mut self.slots {
            let State::Ready(leader) = slot.state else { continue };
            if slot.is_due(now) && !self.busy.contains(&leader.broker) {
                slot.state = State::Busy(Some(leader));
                let wanted = Wanted {
                    partition: partition.clone(),
                    assignment: slot.assignment,
                    position: slot.position,
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

    /// Notes that a leader's request is over.
    pub fn answered(&mut self, broker: i32) {
        self.busy.remove(&broker);
        self.served += 1;
        let served = self.served;
        for slot in self.slots.values_mut().filter(|slot| slot.last_served == u64::MAX) {
            slot.last_served = served;
        }
    }

    /// When a partition that waits is due.
    pub fn next_wake(&self, now: Instant) -> Option<Instant> {
        let waiting = self.slots.values().filter(|slot| !matches!(slot.state, State::Busy(_)));
        waiting.filter_map(|slot| slot.not_before).filter(|due| *due > now).min()
    }
}

impl Slot {
    fn is_due(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|due| due <= now)
    }

    /// The leader is known and is being asked about the position.
    pub fn busy(&mut self, leader: Leader) {
        self.state = State::Busy(Some(leader));
    }

    /// The leader is known; its log is the one that the position is of.
    pub fn ready(&mut self, leader: Leader) {
        self.checked_epoch = self.checked_epoch.max(leader.epoch);
        self.state = State::Ready(leader);
    }

    /// The leader still has what was read.
    pub fn checked(&mut self) {
        if let State::Busy(Some(leader)) = self.state {
            self.ready(leader);
        }
    }

    /// Moves on after a fetch.
    pub fn advance(&mut self, next: i64, epoch: i32) {
        if next > self.position {
            (self.corruptions, self.last_served) = (0, u64::MAX);
        }
        self.position = next;
        self.epoch = self.epoch.max(epoch);
        self.failures = 0;
        self.checked();
    }

    /// Goes on elsewhere.
    pub fn jump(&mut self, position: i64) {
        self.position = position;
        self.checked();
    }

    /// Waits, longer each time, and asks for the leader again; returns the pause.
    pub fn fail(&mut self, backoff: Backoff) -> Duration {
        self.failures += 1;
        let pause = backoff.pause(self.failures);
        self.not_before = Some(Instant::now() + pause);
        self.state = State::Leaderless;
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn what_belongs_to_an_earlier_assignment_finds_nothing() {
        let (mut table, all) = table(1);
        assert!(table.slot(&all[0], AssignmentId(0)).is_none());
        table.remove(&BTreeSet::from([all[0].clone()]));
        assert!(table.slot(&all[0], AssignmentId(1)).is_none());
    }
}
