//! Giving partitions up: first finish and commit what is under way, then let go.

use tokio::sync::oneshot;

use super::Mill;
use crate::{
    batch::TopicPartition,
    engine::{Sink, Source},
};

/// Partitions that the source waits to give up.
pub(super) struct Revoking {
    pub(super) partitions: Vec<TopicPartition>,
    pub(super) release: oneshot::Sender<()>,
}

impl Revoking {
    /// Whether the source has stopped waiting.
    fn is_late(&self) -> bool {
        self.release.is_closed()
    }
}

impl<S: Source, K: Sink> Mill<S, K> {
    /// Lets go of what is settled, or what the source no longer waits for.
    pub(super) fn release_settled(&mut self) {
        let offsets = &self.offsets;
        let settled: Vec<Revoking> = self
            .revoking
            .extract_if(.., |revoking| {
                revoking.is_late()
                    || revoking.partitions.iter().all(|partition| offsets.is_settled(partition))
            })
            .collect();
        for revoking in settled {
            if revoking.is_late() {
                tracing::warn!(
                    partitions = %super::list(&revoking.partitions),
                    "given up before everything was acknowledged; the rest will be read again"
                );
            }
            self.forget(&revoking.partitions);
            // The source may have stopped waiting meanwhile, which is all that sending asks of it.
            let _ = revoking.release.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::{
        delivery::{Delivered, Stopped},
        engine::SourceEvent,
        mill::simulation::{self, PARTITIONS, World},
        strategy::{Order, StrategyKind},
    };

    /// A mill that has everything assigned and is told to give it up.
    fn revoking() -> (Arc<Mutex<World>>, Mill<impl Source, impl Sink>, oneshot::Receiver<()>) {
        let world = Arc::new(Mutex::new(World::new(1, 0)));
        let settings = simulation::settings(StrategyKind::Serial, Order::Partition);
        let mut mill = simulation::mill(&world, &settings);
        mill.take(SourceEvent::Assigned(world.lock().unwrap().assign_all()));
        let (release, released) = oneshot::channel();
        mill.take(SourceEvent::Revoked { partitions: all(), release });
        (world, mill, released)
    }

    fn all() -> Vec<TopicPartition> {
        (0..PARTITIONS).map(simulation::source).collect()
    }

    #[test]
    fn what_is_given_up_too_late_leaves_the_next_assignment_alone() {
        let (world, mut mill, released) = revoking();
        drop(released);
        mill.take(SourceEvent::Assigned(world.lock().unwrap().assign_all()));
        mill.release_settled();
        assert!(all().iter().all(|partition| mill.offsets.position(partition).is_some()));
        assert_eq!(mill.metrics.partitions_assigned.get(), i64::from(PARTITIONS));
    }

    #[test]
    fn what_is_lost_while_it_is_given_up_counts_once() {
        let (_world, mut mill, released) = revoking();
        drop(released);
        mill.take(SourceEvent::Lost(all()));
        mill.release_settled();
        assert_eq!(mill.metrics.partitions_assigned.get(), 0);
    }

    #[test]
    fn a_stopped_partition_counts_until_it_is_given_up() {
        let world = Arc::new(Mutex::new(World::new(1, 0)));
        let settings = simulation::settings(StrategyKind::Serial, Order::Partition);
        let mut mill = simulation::mill(&world, &settings);
        let assigned = world.lock().unwrap().assign_all();
        let (partition, generation) = (assigned[0].partition.clone(), assigned[0].generation);
        mill.take(SourceEvent::Assigned(assigned));
        mill.health.beat();
        let ticket = mill.offsets.begin(&mut simulation::batch(0, generation, 0, 1)).unwrap();
        let (topic, reason) = ("letters".into(), String::new());
        let stopped = Stopped { partition: partition.clone(), offset: 0, topic, reason };
        mill.settle(Delivered::Stopped(ticket, stopped));
        assert_eq!(mill.metrics.partitions_stopped.get(), 1);
        assert!(mill.health.ready().is_err());
        mill.take(SourceEvent::Lost(vec![partition]));
        assert_eq!(mill.metrics.partitions_stopped.get(), 0);
        assert_eq!(mill.health.ready(), Ok(()));
    }
}
