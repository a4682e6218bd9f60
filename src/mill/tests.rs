//! What a mill tells of itself.

use tokio::time::sleep;

use super::{simulation::*, *};
use crate::{
    engine::Assignment,
    strategy::{Order, StrategyKind},
};

#[test]
fn a_mill_that_seldom_commits_is_alive() {
    let world = Arc::new(std::sync::Mutex::new(World::new(1, 0)));
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

/// A mill in which the first of all partitions is stopped.
fn stopped() -> (Mill<impl Source, impl Sink>, Assignment) {
    let world = Arc::new(std::sync::Mutex::new(World::new(1, 0)));
    let mut mill = mill(&world, &settings(StrategyKind::Serial, Order::Partition));
    let assignments = world.lock().unwrap().assign_all();
    mill.take(SourceEvent::Assigned(assignments.clone()));
    let partition = assignments[0].partition.clone();
    let mut batch = PartitionBatch {
        origin: partition.clone(),
        generation: assignments[0].generation,
        next_offset: 1,
        buffer: Default::default(),
        records: Vec::new(),
        permit: Default::default(),
    };
    let ticket = mill.offsets.begin(&mut batch).unwrap();
    let stopped = Stopped { partition, offset: 0, topic: "letters".into(), reason: String::new() };
    mill.settle(Delivered::Stopped(ticket, stopped));
    (mill, assignments[0].clone())
}

#[test]
fn a_stopped_partition_that_is_given_away_is_no_longer_told() {
    let (mut mill, assignment) = stopped();
    assert_eq!((mill.metrics.partitions_stopped.get(), mill.health.ready().is_ok()), (1, false));
    mill.take(SourceEvent::Lost(vec![assignment.partition]));
    assert_eq!((mill.metrics.partitions_stopped.get(), mill.health.ready()), (0, Ok(())));
}

#[test]
fn a_new_start_forgets_what_was_stopped() {
    let (mill, _) = stopped();
    let (metrics, health) = (Arc::clone(&mill.metrics), Arc::clone(&mill.health));
    let (_stop, drain) = watch::channel(true);
    let ended = in_virtual_time(mill.run(drain));
    assert!(matches!(ended.result, Err(MillError::Stopped(_))));
    health.assigned();
    assert_eq!((metrics.partitions_stopped.get(), health.ready()), (0, Ok(())));
}
