//! How a mill ends: what is in flight is finished, and what is acknowledged is committed.

use std::time::Duration;

use futures_util::FutureExt;

use super::{Mill, MillError};
use crate::{
    batch::TopicPartition,
    delivery::Delivered,
    engine::{Sink, Source},
};

/// How long the last commit of a mill that ends with an error may take.
const LAST_COMMIT: Duration = Duration::from_secs(5);

/// The same when the drain timeout has passed already.
const LATE_COMMIT: Duration = Duration::from_millis(500);

impl<S: Source, K: Sink> Mill<S, K> {
    /// Whether a drain is over: nothing is waited for, and everything acknowledged is committed.
    ///
    /// # Errors
    /// When it is over and a partition is stopped, or something that was read is not committed: whoever asks for a
    /// stop is to know. Beyond its goal a bounded run has promised nothing.
    pub(super) fn is_drained(&mut self) -> Result<bool, MillError> {
        if self.is_committing() || !self.offsets.all_settled() {
            return Ok(false);
        }
        if let Some((_, stopped)) = self.stopped.pop_first() {
            return Err(MillError::Stopped(stopped));
        }
        let partitions: Vec<TopicPartition> = self.offsets.partitions().cloned().collect();
        partitions.iter().for_each(|partition| self.leave(partition));
        if self.unfinished.is_empty() || self.goal.is_reached(&self.stopped) {
            return Ok(true);
        }
        let partitions = std::mem::take(&mut self.unfinished).into_iter().collect();
        Err(MillError::Unfinished { partitions })
    }

    /// In a drain: what was read of a partition under its present assignment is not waited for any more.
    pub(super) fn leave(&mut self, partition: &TopicPartition) {
        if self.is_draining && self.offsets.is_unfinished(partition) {
            self.unfinished.insert(partition.clone());
        }
    }

    pub(super) fn drain_timeout(&self) -> MillError {
        MillError::DrainTimeout { timeout: self.settings.drain_timeout, batches: self.delivery.in_flight() }
    }

    /// After an error: commits what is acknowledged, which would be read again otherwise.
    pub(super) async fn save(&mut self, error: &MillError) {
        let limit = match error {
            MillError::DrainTimeout { .. } => LATE_COMMIT,
            MillError::Engine(_) | MillError::Transform(_) => LAST_COMMIT.min(self.settings.drain_timeout),
            // It ends when everything is committed.
            MillError::Stopped(_) | MillError::Unfinished { .. } => return,
        };
        while let Some(delivered) = self.delivery.next(|ticket| self.offsets.is_wanted(ticket)).now_or_never()
        {
            // Exactly once, what is not committed by now is aborted when the sink is closed.
            if let Delivered::Acknowledged(acknowledged) = delivered
                && self.exact.is_none()
            {
                self.offsets.acknowledge(&acknowledged.ticket);
            }
        }
        self.last_commit(limit).await;
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        sync::{Arc, Mutex},
    };

    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{
        budget::Permit,
        engine::SourceEvent,
        mill::{
            Goal, MillSettings,
            simulation::{Mishap, Shared, World, batch, in_virtual_time, settings, source, stepped},
            tests::mill_with_assignments,
        },
        strategy::{Order, StrategyKind},
    };

    /// How a mill ends that is asked to stop while this is so, and the world that it leaves.
    fn stopped_during(mishap: &Mishap, is_exact: bool, seed: u64) -> (Result<(), MillError>, World) {
        let mut world = World::new(seed, Order::Partition, false);
        world.exact = is_exact;
        let world = Arc::new(Mutex::new(world));
        let settings = MillSettings {
            transactions: is_exact.then(|| Duration::from_secs(60)),
            until: None,
            ..settings(StrategyKind::Pipeline, Order::Partition)
        };
        let ended = in_virtual_time(async {
            let drain = CancellationToken::new();
            let stop = drain.clone();
            let going_wrong = async {
                tokio::time::sleep(Duration::from_millis(30)).await;
                world.lock().unwrap().begin(mishap);
                stop.cancel();
            };
            let mill = stepped(&world, &settings, seed, false);
            futures_util::future::join(mill.run(drain), going_wrong).await.0.result
        });
        (ended, Arc::into_inner(world).unwrap().into_inner().unwrap())
    }

    #[test]
    fn a_stop_ends_well_only_if_all_that_was_read_is_committed() {
        let fails = Mishap::FailWriter { partition: 1, for_ms: 60_000, writes: false };
        for (mishap, can_fail) in [(fails, true), (Mishap::Lose, true), (Mishap::FailCommits(0), false)] {
            for is_exact in [false, true] {
                let mut unfinished = 0;
                for seed in 0..20 {
                    let (ended, world) = stopped_during(&mishap, is_exact, seed);
                    match ended {
                        Ok(()) => world.check_finished().unwrap(),
                        Err(MillError::Unfinished { partitions }) => {
                            assert!(is_exact || mishap == Mishap::Lose || partitions == [source(1)]);
                            unfinished += 1;
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
                assert_eq!(unfinished > 0, can_fail, "{mishap:?} {is_exact}: {unfinished} of 20");
            }
        }
    }

    /// A mill in a drain, with a batch of its first partition under way.
    fn draining() -> (Shared, Mill<impl Source, impl Sink>, TopicPartition) {
        let (world, mut mill, assigned) = mill_with_assignments();
        mill.offsets.begin(&batch(0, assigned[0].id, 0, 1), Permit::none()).unwrap();
        mill.is_draining = true;
        (world, mill, assigned[0].partition.clone())
    }

    #[test]
    fn what_is_taken_away_or_assigned_again_during_a_stop_is_named() {
        for is_lost in [true, false] {
            let (world, mut mill, partition) = draining();
            let again = world.lock().unwrap().assign([0]);
            let event =
                if is_lost { SourceEvent::Lost(vec![partition]) } else { SourceEvent::Assigned(again) };
            mill.take(event).unwrap();
            let said = mill.is_drained().unwrap_err().to_string();
            assert!(said.contains("what was under way of source[0] failed"), "{said}");
        }
    }

    #[test]
    fn what_was_taken_away_before_a_stop_is_its_new_owners() {
        let (_world, mut mill, partition) = draining();
        mill.is_draining = false;
        mill.take(SourceEvent::Lost(vec![partition])).unwrap();
        mill.is_draining = true;
        assert!(mill.is_drained().unwrap());
    }

    #[test]
    fn what_a_bounded_run_has_read_beyond_its_goal_may_be_left() {
        let (_world, mut mill, partition) = draining();
        mill.goal = Goal::new(Some(BTreeMap::new()));
        mill.take(SourceEvent::Lost(vec![partition])).unwrap();
        assert!(mill.is_drained().unwrap());
    }
}
