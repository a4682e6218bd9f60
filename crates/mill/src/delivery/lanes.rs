//! How much of each partition is in flight, and which partitions make progress: their shares of the
//! window. Pure.
//!
//! Every operation costs the same however many partitions there are, except [`look`](Lanes::look),
//! which the mill calls a few times a second: it goes through those that have anything in flight.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    time::Duration,
};

use tokio::time::Instant;

use crate::batch::TopicPartition;

/// A partition that has something in flight and has had no answer for this long is stalled.
pub const STALLED_AFTER: Duration = Duration::from_millis(1500);

/// No share is smaller than this part of the window: among many partitions that write little, one
/// that writes much can still keep the brokers busy.
const LEAST_SHARE: usize = 8;

/// What is in flight, by the partition that it comes from.
#[derive(Debug)]
pub(super) struct Lanes {
    window: usize,
    lanes: BTreeMap<TopicPartition, Lane>,
    /// The lanes that have anything in flight.
    busy: usize,
    /// The bytes in flight of the lanes that make progress.
    bytes: usize,
    /// The batches in flight of the lanes that make progress.
    flights: usize,
}

#[derive(Debug)]
struct Lane {
    flights: usize,
    bytes: usize,
    /// When the last answer came, or when the first batch was sent if none has come since.
    moved: Instant,
    pace: Pace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    Moves,
    /// No answer has come for a while.
    Stalled,
    /// Answers come again, or may: one batch at a time until one is answered in time.
    Tried,
}

impl Lanes {
    /// The shares of a window of this many bytes.
    pub fn new(window: usize) -> Lanes {
        Lanes { window, lanes: BTreeMap::new(), busy: 0, bytes: 0, flights: 0 }
    }

    /// A batch begins.
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

    /// Some bytes of a batch that has begun are sent.
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

    /// A batch ends; `flew` is how long it was in flight if all of it was acknowledged.
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

    /// Finds lanes that have stalled, and returns all that are.
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

    /// Whether the lanes that make progress leave room in the window.
    pub fn has_room(&self) -> bool {
        self.bytes < self.window
    }

    /// The batches in flight of the lanes that make progress.
    pub fn flights(&self) -> usize {
        self.flights
    }

    /// Whether a partition has used its share of the window.
    pub fn is_full(&self, partition: &TopicPartition) -> bool {
        self.lanes.get(partition).is_some_and(|lane| match lane.pace {
            Pace::Stalled => true,
            Pace::Tried => lane.flights > 0,
            Pace::Moves => self.busy > 1 && lane.bytes >= self.share(),
        })
    }

    /// Whether nothing of a partition is in flight.
    pub fn is_idle(&self, partition: &TopicPartition) -> bool {
        self.lanes.get(partition).is_none_or(|lane| lane.flights == 0)
    }

    /// The whole window for a single partition, half of it beside one or two others, and so on:
    /// more than an equal part for each, as few use all of theirs.
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
