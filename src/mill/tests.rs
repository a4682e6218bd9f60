//! What a mill tells of itself.

use std::sync::Mutex;

use tokio::time::sleep;

use super::{simulation::*, *};
use crate::{
    budget::Budget,
    delivery,
    engine::Assignment,
    strategy::{Order, StrategyKind},
};

#[test]
fn a_mill_that_seldom_commits_is_alive() {
    let world = Arc::new(Mutex::new(World::new(1, Order::Partition, false)));
    let settings = MillSettings {
        commit_interval: Duration::from_secs(3600),
        until: None,
        ..settings(StrategyKind::Serial, Order::Partition)
    };
    let mill = mill(&world, &settings);
    let health = Arc::clone(&mill.health);
    in_virtual_time(async {
        let (stop, drain) = watch::channel(false);
        let looking = async {
            sleep(Duration::from_secs(600)).await;
            assert_eq!(health.live(), Ok(()));
            stop.send(true).unwrap();
        };
        let (ended, ()) = futures_util::future::join(mill.run(drain), looking).await;
        ended.result.unwrap();
    });
}

/// A mill of which nothing is known but that everything is assigned to it.
pub(super) fn mill_with_assignments()
-> (Arc<Mutex<World>>, Mill<SimulatedSource, SimulatedSink>, Vec<Assignment>) {
    let world = Arc::new(Mutex::new(World::new(1, Order::Partition, false)));
    let mut mill = mill(&world, &settings(StrategyKind::Serial, Order::Partition));
    let assigned = world.lock().unwrap().assign(0..PARTITIONS);
    mill.take(SourceEvent::Assigned(assigned.clone())).unwrap();
    (world, mill, assigned)
}

/// The dead letter of `offset` is refused.
fn stopped(partition: &TopicPartition, offset: i64) -> delivery::Stopped {
    delivery::Stopped { partition: partition.clone(), offset, topic: "letters".into(), reason: String::new() }
}

/// Such a mill, whose first partition is stopped before its first record.
fn stopped_mill() -> (Mill<SimulatedSource, SimulatedSink>, TopicPartition) {
    let (_, mut mill, assigned) = mill_with_assignments();
    let Assignment { partition, id: assignment, .. } = assigned[0].clone();
    mill.health.beat();
    let ticket = mill.offsets.begin(&batch(0, assignment, 0, 1), Permit::none()).unwrap();
    mill.settle(Delivered::Stopped(ticket, stopped(&partition, 0))).unwrap();
    assert!(mill.metrics.partitions_stopped.get() == 1 && mill.health.ready().is_err());
    (mill, partition)
}

#[test]
fn a_new_start_forgets_what_was_stopped() {
    let (mill, _) = stopped_mill();
    let (metrics, health) = (Arc::clone(&mill.metrics), Arc::clone(&mill.health));
    let (_stop, drain) = watch::channel(true);
    let ended = in_virtual_time(mill.run(drain));
    assert!(matches!(ended.result, Err(MillError::Stopped(_))));
    health.assigned();
    assert_eq!((metrics.partitions_stopped.get(), health.ready()), (0, Ok(())));
}

#[test]
fn a_stopped_partition_counts_until_it_is_given_up() {
    let (mut mill, partition) = stopped_mill();
    mill.take(SourceEvent::Lost(vec![partition])).unwrap();
    assert_eq!((mill.metrics.partitions_stopped.get(), mill.health.ready()), (0, Ok(())));
}

#[test]
fn a_stopped_partition_counts_once_and_keeps_no_memory() {
    let (_, mut mill, assigned) = mill_with_assignments();
    let Assignment { partition, id: assignment, .. } = &assigned[0];
    let budget = Budget::new(1 << 20);
    let under_way = [0, 1, 2].map(|offset| {
        let batch = batch(0, *assignment, offset, offset + 1);
        let memory = budget.try_acquire(1000).unwrap();
        mill.offsets.begin(&batch, memory).unwrap()
    });
    for (offset, ticket) in (0..).zip(under_way) {
        mill.settle(Delivered::Stopped(ticket, stopped(partition, offset))).unwrap();
    }
    assert_eq!((budget.used(), mill.metrics.partitions_stopped.get()), (0, 1));
}
