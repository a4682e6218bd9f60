//! The partitions being read: where, from whom, and when next. Pure.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use tokio::time::Instant;
use uuid::Uuid;

use super::{Start, request::Wanted};
use crate::{
    backoff::Backoff,
    batch::{AssignmentId, TopicPartition},
    engine::native::metadata::Leader,
};

/// How often a batch may be read corrupt before that counts as its state.
pub(super) const CORRUPTIONS: u32 = 4;

/// How often, and for how long at least, a leader has to say that there is nothing below an offset
/// before that is believed.
const NOTHING: (u32, Duration) = (3, Duration::from_secs(2));

/// How often the bytes asked of a leader are halved at most.
const HALVINGS: u32 = 8;

/// After how many answers in time a leader is asked for twice as much again.
const PROVEN: u32 = 32;

/// All partitions being read.
#[derive(Debug, Default)]
pub(super) struct Table {
    slots: BTreeMap<TopicPartition, Slot>,
    /// The leaders with a request in flight.
    busy: HashSet<i32>,
    /// The leaders that did not answer in time.
    slow: HashMap<i32, Slow>,
    /// The partitions that are not to be fetched now.
    full: Arc<BTreeSet<TopicPartition>>,
    /// Counts what was served, so that no partition waits behind the others for ever.
    served: u64,
}

/// How much less a leader is asked for.
#[derive(Debug, Default)]
struct Slow {
    halvings: u32,
    answers: u32,
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
    /// The topic that is read (KIP-516).
    pub topic: Option<Uuid>,
    /// Whether it is told that the partition cannot be read.
    pub is_troubled: bool,
    /// Since when, and how often, the leader has said that there is nothing below an offset.
    nothing: Option<(i64, Instant, u32)>,
    is_full: bool,
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
    /// Nothing more is read.
    Halted,
}

impl Table {
    pub fn add(&mut self, start: Start) {
        let slot = Slot {
            topic: start.topic,
            is_troubled: false,
            nothing: None,
            is_full: self.full.contains(&start.partition),
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

    /// Forgets partitions, unless they are read under a later assignment. Whether it did.
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
    pub fn slot(&mut self, partition: &TopicPartition, assignment: AssignmentId) -> Option<&mut Slot> {
        self.slots.get_mut(partition).filter(|slot| slot.assignment == assignment)
    }

    /// The number of brokers that lead what is being read, at least 1.
    pub fn leaders(&self) -> usize {
        let leaders = self.slots.values().filter_map(|slot| match slot.state {
            State::Ready(leader) | State::Busy(Some(leader)) => Some(leader.broker),
            State::Leaderless | State::Busy(None) | State::Halted => None,
        });
        leaders.collect::<HashSet<_>>().len().max(1)
    }

    /// The partitions whose leader has to be looked up now; they count as busy from here on.
    pub fn without_leader(&mut self, now: Instant) -> impl Iterator<Item = (TopicPartition, AssignmentId)> {
        self.slots.iter_mut().filter_map(move |(partition, slot)| {
            let is_due = slot.state == State::Leaderless && slot.is_due(now);
            is_due.then(|| {
                slot.state = State::Busy(None);
                (partition.clone(), slot.assignment)
            })
        })
    }

    /// What to fetch now, by leader, longest unserved first; it counts as busy from here on.
    pub fn ready(&mut self, now: Instant) -> HashMap<i32, Vec<Wanted>> {
        let mut requests: HashMap<i32, Vec<(u64, Wanted)>> = HashMap::new();
        for (partition, slot) in &mut self.slots {
            let State::Ready(leader) = slot.state else { continue };
            if slot.is_due(now) && !slot.is_full && !self.busy.contains(&leader.broker) {
                slot.state = State::Busy(Some(leader));
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

    /// How often the bytes to ask a leader for are halved.
    pub fn halvings(&self, broker: i32) -> u32 {
        self.slow.get(&broker).map_or(0, |slow| slow.halvings)
    }

    /// Asks a leader that did not answer in time for half as much from now on.
    pub fn timed_out(&mut self, broker: i32) {
        let slow = self.slow.entry(broker).or_default();
        *slow = Slow { halvings: (slow.halvings + 1).min(HALVINGS), answers: 0 };
    }

    /// Asks a leader that was slow for more, once it has proved that it can.
    pub fn in_time(&mut self, broker: i32) {
        let Some(slow) = self.slow.get_mut(&broker) else { return };
        slow.answers += 1;
        if slow.answers >= PROVEN {
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
        for slot in self.slots.values_mut().filter(|slot| slot.last_served == u64::MAX) {
            slot.last_served = served;
        }
    }

    /// When a partition that waits is due.
    pub fn next_wake(&self, now: Instant) -> Option<Instant> {
        let waiting = self.slots.values().filter(|slot| slot.state.waits());
        waiting.filter_map(|slot| slot.not_before).filter(|due| *due > now).min()
    }
}

impl State {
    fn waits(self) -> bool {
        matches!(self, State::Leaderless | State::Ready(_))
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
        self.checked_epoch = leader.epoch;
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
            (self.corruptions, self.last_served, self.nothing) = (0, u64::MAX, None);
        }
        self.position = next;
        self.epoch = self.epoch.max(epoch);
        self.failures = 0;
        self.checked();
    }

    /// Goes on elsewhere; what was read last is not the record before it.
    pub fn jump(&mut self, position: i64) {
        (self.position, self.epoch) = (position, -1);
        (self.failures, self.nothing) = (0, None);
        self.checked();
    }

    /// The leader says that it has nothing below `end`; whether that is to be believed. An answer
    /// may be empty for other reasons, so it takes several, over some time.
    pub fn is_nothing_until(&mut self, end: i64, now: Instant) -> Option<i64> {
        let (until, since, times) = self.nothing.unwrap_or((end, now, 0));
        self.nothing = Some((until, since, times + 1));
        (times + 1 >= NOTHING.0 && now.duration_since(since) >= NOTHING.1).then_some(until)
    }

    /// Reads no more.
    pub fn halt(&mut self) {
        self.state = State::Halted;
    }

    /// The leader that is being asked.
    pub fn leader(&self) -> Option<Leader> {
        match self.state {
            State::Busy(leader) => leader,
            State::Ready(leader) => Some(leader),
            State::Leaderless | State::Halted => None,
        }
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
            for _ in 0..PROVEN {
                table.in_time(1);
            }
            assert_eq!(table.halvings(1), expected);
        }
        for _ in 0..100 {
            table.timed_out(1);
        }
        assert_eq!(table.halvings(1), HALVINGS);
    }

    #[test]
    fn that_a_log_has_nothing_is_believed_when_it_is_said_again_and_again() {
        let (mut table, all) = table(1);
        let slot = table.slot(&all[0], AssignmentId(1)).unwrap();
        let now = Instant::now();
        let after = |millis| now + Duration::from_millis(millis);
        assert_eq!(slot.is_nothing_until(9, now), None);
        assert_eq!(slot.is_nothing_until(9, after(10)), None);
        assert_eq!(slot.is_nothing_until(9, after(20)), None, "a moment proves nothing");
        // What has come to the log meanwhile is another matter.
        assert_eq!(slot.is_nothing_until(12, after(2500)), Some(9));
        slot.advance(12, 3);
        assert_eq!(slot.is_nothing_until(20, after(9000)), None);
    }

    #[test]
    fn an_epoch_that_falls_is_checked_as_well() {
        let (mut table, all) = table(1);
        let slot = table.slot(&all[0], AssignmentId(1)).unwrap();
        slot.advance(4, LEADER.epoch);
        assert!(!slot.needs_check(LEADER));
        for epoch in [LEADER.epoch - 1, LEADER.epoch + 1] {
            assert!(slot.needs_check(Leader { epoch, ..LEADER }));
        }
        slot.jump(9);
        assert!(!slot.needs_check(Leader { epoch: 9, ..LEADER }), "nothing is known of what was read");
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
