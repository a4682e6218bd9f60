//! What a mill tells of itself.

use tokio::time::sleep;

use super::{simulation::*, *};
use crate::strategy::{Order, StrategyKind};

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

#[test]
fn a_new_start_forgets_what_was_stopped() {
    let world = Arc::new(std::sync::Mutex::new(World::new(1, 0)));
    let mut mill = mill(&world, &settings(StrategyKind::Serial, Order::Partition));
    let assigned = world.lock().unwrap().assign_all();
    let (partition, generation) = (assigned[0].partition.clone(), assigned[0].generation);
    mill.take(SourceEvent::Assigned(assigned));
    let ticket = mill.offsets.begin(&mut batch(0, generation, 0, 1)).unwrap();
    let stopped = Stopped { partition, offset: 0, topic: "letters".into(), reason: String::new() };
    mill.settle(Delivered::Stopped(ticket, stopped));
    let (metrics, health) = (Arc::clone(&mill.metrics), Arc::clone(&mill.health));
    assert!(metrics.partitions_stopped.get() == 1 && health.ready().is_err());
    let (_stop, drain) = watch::channel(true);
    let ended = in_virtual_time(mill.run(drain));
    assert!(matches!(ended.result, Err(MillError::Stopped(_))));
    health.assigned();
    assert_eq!((metrics.partitions_stopped.get(), health.ready()), (0, Ok(())));
}
