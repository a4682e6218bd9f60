//! How much of each partition is under way, and which of them move: the window's shares. Pure.
//!
//! Every look at a lane costs the same however many partitions there are; only
//! [`look`](Lanes::look), which the mill calls a few times a second, goes through those that have
//! anything under way.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    time::Duration,
};

use tokio::time::Instant;

use crate::batch::TopicPartition;

/// Who has something under way and has got no answer for so long does not move.
pub const STALLED_AFTER: Duration = Duration::from_millis(1500);

/// No share is smaller than this part of the window: among many partitions that write little, one
/// that writes much still keeps the brokers busy.
const LEAST_SHARE: usize = 8;

/// What is under way, by the partition that it comes from.
#[derive(Debug)]
pub(super) struct Lanes {
    window: usize,
    lanes: BTreeMap<TopicPartition, Lane>,
    /// The lanes that have anything under way.
    busy: usize,
    /// The bytes under way of the lanes that move.
    bytes: usize,
    /// The batches under way of the lanes that move.
    flights: usize,
}

#[derive(Debug)]
struct Lane {
    flights: usize,
    bytes: usize,
    /// When an answer came last, or when the first flight began if none came since.
    moved: Instant,
    pace: Pace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    Moves,
    /// No answer has come for a while.
    Stalled,
    /// Answers come again, or may: one batch at a time until one comes in time.
    Tried,
}

impl Lanes {
    /// Shares of a window of so many bytes.
    pub fn new(window: usize) -> Lanes {
        Lanes { window, lanes: BTreeMap::new(), busy: 0, bytes: 0, flights: 0 }
    }

    /// A batch takes off.
    pub fn take_off(&mut self, partition: &TopicPartition) {
        let lane = match self.lanes.entry(partition.clone()) {
            Entry::Occupied(lane) => lane.into_mut(),
            Entry::Vacant(none) => {
                none.insert(Lane { flights: 0, bytes: 0, moved: Instant::now(), pace: Pace::Moves })
            }
        };
        if lane.flights == 0 {
            lane.moved = Instant::now();
            self.busy += 1;
        }
        lane.flights += 1;
        self.flights += usize::from(lane.pace != Pace::Stalled);
    }

    /// Some bytes of a batch that took off are sent.
    pub fn send(&mut self, partition: &TopicPartition, bytes: usize) {
        let Some(lane) = self.lanes.get_mut(partition) else { return };
        lane.bytes += bytes;
        if lane.pace != Pace::Stalled {
            self.bytes += bytes;
        }
    }

    /// They are answered, well or not.
    pub fn answer(&mut self, partition: &TopicPartition, bytes: usize) {
        let Some(lane) = self.lanes.get_mut(partition) else { return };
        lane.bytes -= bytes;
        if lane.pace != Pace::Stalled {
            self.bytes -= bytes;
        }
    }

    /// A batch lands; `flew` is how long it was under way when all of it was acknowledged.
    pub fn land(&mut self, partition: &TopicPartition, flew: Option<Duration>) {
        let Some(lane) = self.lanes.get_mut(partition) else { return };
        let was_stalled = lane.pace == Pace::Stalled;
        lane.flights -= 1;
        if let Some(flew) = flew {
            lane.moved = Instant::now();
            lane.pace = match lane.pace {
                Pace::Stalled => Pace::Tried,
                Pace::Tried if flew < STALLED_AFTER => Pace::Moves,
                pace => pace,
            };
        }
        if lane.flights == 0 {
            self.busy -= 1;
            if lane.pace == Pace::Stalled {
                lane.pace = Pace::Tried;
            }
        }
        match (was_stalled, lane.pace == Pace::Stalled) {
            (false, _) => self.flights -= 1,
            (true, false) => {
                self.flights += lane.flights;
                self.bytes += lane.bytes;
            }
            (true, true) => {}
        }
        if lane.flights == 0 && lane.pace == Pace::Moves {
            self.lanes.remove(partition);
        }
    }

    /// Finds those that move no more, and returns all that do not.
    pub fn look(&mut self) -> Vec<TopicPartition> {
        let now = Instant::now();
        let mut stalled = Vec::new();
        for (partition, lane) in &mut self.lanes {
            let waits = lane.flights > 0 && now.saturating_duration_since(lane.moved) >= STALLED_AFTER;
            if waits && lane.pace != Pace::Stalled {
                lane.pace = Pace::Stalled;
                self.flights -= lane.flights;
                self.bytes -= lane.bytes;
            }
            if lane.pace == Pace::Stalled {
                stalled.push(partition.clone());
            }
        }
        stalled
    }

    /// Whether the lanes that move leave room in the window.
    pub fn has_room(&self) -> bool {
        self.bytes < self.window
    }

    /// The batches under way of the lanes that move.
    pub fn flights(&self) -> usize {
        self.flights
    }

    /// Whether a partition has its share of the window.
    pub fn is_full(&self, partition: &TopicPartition) -> bool {
        self.lanes.get(partition).is_some_and(|lane| match lane.pace {
            Pace::Stalled => true,
            Pace::Tried => lane.flights > 0,
            Pace::Moves => self.busy > 1 && lane.bytes >= self.share(),
        })
    }

    /// Whether nothing of a partition is under way.
    pub fn is_idle(&self, partition: &TopicPartition) -> bool {
        self.lanes.get(partition).is_none_or(|lane| lane.flights == 0)
    }

    /// The whole window for one alone, half of it beside one or two others, and so on: more than
    /// their part for each, as few fill it.
    fn share(&self) -> usize {
        self.window / (self.busy / 2 + 1).min(LEAST_SHARE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p(number: i32) -> TopicPartition {
        TopicPartition::new("t", number)
    }

    fn fly(lanes: &mut Lanes, number: i32, bytes: usize) {
        lanes.take_off(&p(number));
        lanes.send(&p(number), bytes);
    }

    fn land(lanes: &mut Lanes, number: i32, bytes: usize, flew: Duration) {
        lanes.answer(&p(number), bytes);
        lanes.land(&p(number), Some(flew));
    }

    #[tokio::test(start_paused = true)]
    async fn one_alone_has_the_whole_window_and_beside_others_a_share() {
        let mut lanes = Lanes::new(800);
        fly(&mut lanes, 0, 799);
        assert!(lanes.has_room() && !lanes.is_full(&p(0)));
        fly(&mut lanes, 1, 1);
        assert!(!lanes.has_room() && lanes.is_full(&p(0)) && !lanes.is_full(&p(1)));
        for number in 2..100 {
            fly(&mut lanes, number, 1);
        }
        fly(&mut lanes, 1, 98);
        assert!(!lanes.is_full(&p(1)), "an eighth at least");
        fly(&mut lanes, 1, 1);
        assert!(lanes.is_full(&p(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_move_takes_no_room_from_the_others() {
        let mut lanes = Lanes::new(800);
        fly(&mut lanes, 0, 500);
        fly(&mut lanes, 1, 400);
        assert!(!lanes.has_room());
        tokio::time::advance(STALLED_AFTER / 2).await;
        land(&mut lanes, 1, 400, STALLED_AFTER / 2);
        fly(&mut lanes, 1, 300);
        assert_eq!(lanes.look(), []);
        tokio::time::advance(STALLED_AFTER / 2).await;
        assert_eq!(lanes.look(), [p(0)]);
        assert!(lanes.has_room() && lanes.flights() == 1);
        assert!(lanes.is_full(&p(0)) && !lanes.is_full(&p(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_moves_again_is_tried_with_one_batch_at_a_time() {
        let mut lanes = Lanes::new(800);
        fly(&mut lanes, 0, 100);
        fly(&mut lanes, 0, 100);
        tokio::time::advance(STALLED_AFTER).await;
        assert_eq!(lanes.look(), [p(0)]);
        land(&mut lanes, 0, 100, STALLED_AFTER);
        assert!(lanes.is_full(&p(0)) && lanes.flights() == 1, "it moves, slowly");
        land(&mut lanes, 0, 100, STALLED_AFTER);
        assert!(!lanes.is_full(&p(0)) && lanes.is_idle(&p(0)));
        fly(&mut lanes, 0, 10);
        assert!(lanes.is_full(&p(0)));
        land(&mut lanes, 0, 10, Duration::ZERO);
        fly(&mut lanes, 0, 10);
        assert!(!lanes.is_full(&p(0)));
        land(&mut lanes, 0, 10, Duration::ZERO);
        assert!(lanes.lanes.is_empty() && (lanes.busy, lanes.bytes, lanes.flights) == (0, 0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_leaves_its_lane_to_be_tried() {
        let mut lanes = Lanes::new(800);
        fly(&mut lanes, 0, 100);
        tokio::time::advance(STALLED_AFTER).await;
        lanes.look();
        lanes.answer(&p(0), 100);
        lanes.land(&p(0), None);
        assert!(lanes.is_idle(&p(0)) && !lanes.is_full(&p(0)) && lanes.look().is_empty());
        fly(&mut lanes, 0, 100);
        assert!(lanes.is_full(&p(0)));
        assert_eq!((lanes.busy, lanes.bytes, lanes.flights), (1, 100, 1));
    }
}
