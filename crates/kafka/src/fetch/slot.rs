//! One partition being read. Pure.

use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use tokio::time::Instant;
use topicmill_mill::{backoff::Backoff, batch::AssignmentId};
use uuid::Uuid;

use super::Start;
use crate::metadata::Leader;

/// How often at least a leader has to report that there is nothing below an offset before it is
/// believed.
const NOTHING_ANSWERS_MIN: u32 = 3;

/// For how long at least it has to report it.
const NOTHING_TIME_MIN: Duration = Duration::from_secs(2);

/// One partition being read.
#[derive(Debug)]
pub(super) struct PartitionSlot {
    pub assignment: AssignmentId,
    /// The next offset to fetch.
    pub position: i64,
    /// The epoch of the leader that appended the last batch read; -1 when unknown (KIP-320).
    pub epoch: i32,
    /// The newest leader epoch for which the position is known to be good.
    pub checked_epoch: i32,
    pub failures: u32,
    pub corruptions: u32,
    /// The topic being read (KIP-516).
    pub topic: Option<Uuid>,
    /// Whether the partition is reported as failing.
    pub is_troubled: bool,
    /// Since when, and how often, the leader has reported that there is nothing below an offset.
    nothing: Option<(i64, Instant, u32)>,
    pub is_full: bool,
    pub state: SlotState,
    pub not_before: Option<Instant>,
    pub last_served: u64,
    /// What records cost in memory relative to the expectation, in percent.
    pub expansion: Arc<AtomicUsize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlotState {
    /// The leader is not known.
    Leaderless,
    /// A question is in flight: for the leader, for records, or for the right position.
    Busy(Option<Leader>),
    Ready(Leader),
    /// Nothing more is read.
    Halted,
}

impl SlotState {
    pub fn waits(self) -> bool {
        matches!(self, SlotState::Leaderless | SlotState::Ready(_))
    }
}

impl PartitionSlot {
    pub fn new(start: &Start) -> PartitionSlot {
        PartitionSlot {
            assignment: start.assignment,
            position: start.position,
            epoch: start.epoch,
            checked_epoch: -1,
            failures: 0,
            corruptions: 0,
            topic: start.topic,
            is_troubled: false,
            nothing: None,
            is_full: false,
            state: SlotState::Leaderless,
            not_before: None,
            last_served: 0,
            expansion: Arc::new(AtomicUsize::new(100)),
        }
    }

    pub fn is_due(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|due| due <= now)
    }

    /// The leader is known and is being asked about the position.
    pub fn busy(&mut self, leader: Leader) {
        self.state = SlotState::Busy(Some(leader));
    }

    /// The leader is known; its log is the one that the position is of.
    pub fn ready(&mut self, leader: Leader) {
        self.checked_epoch = leader.epoch;
        self.state = SlotState::Ready(leader);
    }

    /// The leader still has what was read.
    pub fn checked(&mut self) {
        if let SlotState::Busy(Some(leader)) = self.state {
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

    /// Continues elsewhere; what was read last is not the record before the new position.
    pub fn jump(&mut self, position: i64) {
        (self.position, self.epoch) = (position, -1);
        (self.failures, self.nothing) = (0, None);
        self.checked();
    }

    /// The leader reports that it has nothing below `end`; returns `end` once that is to be
    /// believed. An answer may be empty for other reasons, so it takes several, over some time.
    pub fn is_nothing_until(&mut self, end: i64, now: Instant) -> Option<i64> {
        let (until, since, times) = self.nothing.unwrap_or((end, now, 0));
        self.nothing = Some((until, since, times + 1));
        (times + 1 >= NOTHING_ANSWERS_MIN && now.duration_since(since) >= NOTHING_TIME_MIN).then_some(until)
    }

    /// Reads no more.
    pub fn halt(&mut self) {
        self.state = SlotState::Halted;
    }

    /// The leader that is being asked.
    pub fn leader(&self) -> Option<Leader> {
        match self.state {
            SlotState::Busy(leader) => leader,
            SlotState::Ready(leader) => Some(leader),
            SlotState::Leaderless | SlotState::Halted => None,
        }
    }

    /// Waits, longer each time, and asks for the leader again; returns the pause.
    pub fn fail(&mut self, backoff: Backoff) -> Duration {
        self.failures += 1;
        let pause = backoff.pause(self.failures);
        self.not_before = Some(Instant::now() + pause);
        self.state = SlotState::Leaderless;
        pause
    }

    /// Whether the position has to be checked before reading from `leader` (KIP-320). A lower epoch
    /// belongs to another log under the same name, or to a broker that is behind.
    pub fn needs_check(&self, leader: Leader) -> bool {
        self.epoch >= 0 && leader.epoch != self.checked_epoch
    }
}

#[cfg(test)]
mod tests {
    use topicmill_mill::batch::TopicPartition;

    use super::*;

    const LEADER: Leader = Leader { broker: 1, epoch: 3 };

    fn slot() -> PartitionSlot {
        let (partition, assignment) = (TopicPartition::new("t", 0), AssignmentId(1));
        let mut slot =
            PartitionSlot::new(&Start { partition, assignment, position: 0, epoch: -1, topic: None });
        slot.ready(LEADER);
        slot
    }

    #[test]
    fn that_a_log_has_nothing_is_believed_when_it_is_said_again_and_again() {
        let mut slot = slot();
        let now = Instant::now();
        let after = |millis| now + Duration::from_millis(millis);
        assert_eq!(slot.is_nothing_until(9, now), None);
        assert_eq!(slot.is_nothing_until(9, after(10)), None);
        assert_eq!(slot.is_nothing_until(9, after(20)), None, "a moment proves nothing");
        // What has been added to the log meanwhile is another matter.
        assert_eq!(slot.is_nothing_until(12, after(2500)), Some(9));
        slot.advance(12, 3);
        assert_eq!(slot.is_nothing_until(20, after(9000)), None);
    }

    #[test]
    fn an_epoch_that_falls_is_checked_as_well() {
        let mut slot = slot();
        slot.advance(4, LEADER.epoch);
        assert!(!slot.needs_check(LEADER));
        for epoch in [LEADER.epoch - 1, LEADER.epoch + 1] {
            assert!(slot.needs_check(Leader { epoch, ..LEADER }));
        }
        slot.jump(9);
        assert!(!slot.needs_check(Leader { epoch: 9, ..LEADER }), "nothing is known of what was read");
    }
}
