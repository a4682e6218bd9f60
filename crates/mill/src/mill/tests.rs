//! What a mill reports about itself.

use std::sync::Mutex;

use tokio::time::sleep;

use simulation::Mishap;

use super::{simulation::*, *};
use crate::{
    budget::Budget,
    delivery,
    engine::{Assignment, ErrorKind},
    strategy::{Order, StrategyKind},
};

const SECOND: Duration = Duration::from_secs(1);

pub(super) fn world() -> Shared {
    Arc::new(Mutex::new(World::new(1, Order::Partition, false)))
}

/// A pipeline that commits once an hour unless it must sooner, and ends when it is caught up.
fn seldom() -> MillSettings {
    let settings = settings(StrategyKind::Pipeline, Order::Partition);
    MillSettings { commit_interval: Duration::from_secs(3600), ..settings }
}

/// How a mill ends in a world in which one thing goes wrong after some time, and its metrics.
pub(super) fn end_of(
    world: &Shared,
    settings: &MillSettings,
    after: Duration,
    mishap: Mishap,
) -> (Result<(), MillError>, Arc<Metrics>) {
    in_virtual_time(async {
        let mill = stepped(world, settings, 1, false);
        let metrics = Arc::clone(&mill.metrics);
        let drain = CancellationToken::new();
        let going_wrong = async {
            sleep(after).await;
            world.lock().unwrap().begin(&mishap);
        };
        let (ended, ()) = futures_util::future::join(mill.run(drain), going_wrong).await;
        (ended.result, metrics)
    })
}

#[test]
fn what_is_acknowledged_is_committed_before_anything_is_given_up() {
    let world = world();
    let (ended, _) = end_of(&world, &seldom(), Duration::from_millis(60), Mishap::BreakSink);
    assert!(ended.is_err_and(|error| error.is_retriable()));
    let world = world.lock().unwrap();
    for partition in 0..PARTITIONS {
        let committed = world.committed[&partition];
        assert!(committed > 0 && world.stands(partition, committed - 1), "{committed}");
    }
}

#[test]
fn commits_that_fail_are_tried_again_for_ever_and_told() {
    let world = world();
    in_virtual_time(async {
        let mill = stepped(&world, &seldom(), 1, false);
        let troubles = mill.troubles.clone();
        let drain = CancellationToken::new();
        world.lock().unwrap().begin(&Mishap::FailCommits(600_000));
        let looking = async {
            sleep(300 * SECOND).await;
            let now = troubles.now();
            let [(Place::Commit, trouble)] = &now[..] else { panic!("{now:?}") };
            let failures = trouble.attempts;
            assert!((60..100).contains(&failures), "{failures}: every five seconds, in the end");
        };
        let (ended, ()) = futures_util::future::join(mill.run(drain), looking).await;
        ended.result.unwrap();
        assert_eq!(troubles.now(), []);
    });
}

#[test]
fn a_commit_counts_for_what_the_coordinator_agreed_to_alone() {
    let world = world();
    in_virtual_time(async {
        let mill = stepped(&world, &seldom(), 1, false);
        let drain = CancellationToken::new();
        world.lock().unwrap().refused_commits = Some(1);
        let looking = async {
            sleep(60 * SECOND).await;
            let mut world = world.lock().unwrap();
            assert_eq!(world.committed.get(&1), None);
            [0, 2].into_iter().try_for_each(|partition| world.check_complete(partition)).unwrap();
            world.refused_commits = None;
        };
        let (ended, ()) = futures_util::future::join(mill.run(drain), looking).await;
        ended.result.unwrap();
    });
    world.lock().unwrap().check_complete(1).unwrap();
}

#[test]
fn commits_do_not_follow_each_other_closely_while_a_rebalance_waits() {
    let world = world();
    world.lock().unwrap().begin(&Mishap::Stall { partition: 0, for_ms: 3000 });
    // The first partition is given up, held up by its stalled output, while the others go on.
    let revoke = Mishap::Revoke(0, 60_000);
    let (ended, metrics) = end_of(&world, &seldom(), Duration::from_millis(20), revoke);
    ended.unwrap();
    let commits = metrics.commits.get();
    assert!((2..10).contains(&commits), "{commits} commits in 100 ms of work");
}

/// Two batches of a partition take as long as a transaction may; the aborts until all is committed.
fn aborts_where_it_takes_long(seed: u64) -> usize {
    let world = Arc::new(Mutex::new(World::new(seed, Order::Partition, false)));
    {
        let mut world = world.lock().unwrap();
        (world.exact, world.pace) = (true, SECOND);
    }
    let settings = MillSettings {
        transactions: Some(2 * SECOND),
        commit_interval: Duration::from_millis(100),
        ..settings(StrategyKind::Pipeline, Order::Partition)
    };
    let ended = in_virtual_time(async {
        let running = stepped(&world, &settings, seed, false).run(CancellationToken::new());
        tokio::time::timeout(600 * SECOND, running).await
    });
    let world = world.lock().unwrap();
    let (aborts, committed) = (world.aborts, world.transactions);
    ended.unwrap_or_else(|_| panic!("{aborts} aborts, {committed} commits")).result.unwrap();
    (0..PARTITIONS).try_for_each(|partition| world.check_complete(partition)).unwrap();
    aborts
}

#[test]
fn what_takes_too_long_in_one_transaction_is_committed_in_several() {
    let aborts: Vec<usize> = (0..50).map(aborts_where_it_takes_long).collect();
    assert!(aborts.iter().all(|aborts| (1..8).contains(aborts)), "{aborts:?}");
}

/// The time from each commit to the next where a tick comes during each.
fn gaps_between_commits(window: usize) -> Vec<Duration> {
    let world = world();
    {
        let mut world = world.lock().unwrap();
        (world.exact, world.coordinator_takes) = (true, Some(Duration::from_millis(12)));
    }
    let mut settings = settings(StrategyKind::Pipeline, Order::Partition);
    settings.transactions = Some(2 * SECOND);
    settings.commit_interval = Duration::from_millis(20);
    settings.routes.window = window;
    let commits = in_virtual_time(async {
        let mut changed = world.lock().unwrap().changed.subscribe();
        let mut running = std::pin::pin!(stepped(&world, &settings, 1, false).run(CancellationToken::new()));
        let mut commits = Vec::new();
        loop {
            tokio::select! {
                ended = &mut running => {
                    ended.result.unwrap();
                    return commits;
                }
                _ = changed.changed() => {
                    if world.lock().unwrap().transactions > commits.len() {
                        commits.push(Instant::now());
                    }
                }
            }
        }
    });
    commits.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[test]
fn a_commit_that_a_tick_comes_during_is_followed_by_the_next_at_once() {
    let gaps = gaps_between_commits(1 << 20);
    // Two questions to the coordinator, and what is under way lands within 6 ms.
    let most = Duration::from_millis(2 * 12 + 6);
    assert!(gaps.len() > 2 && gaps.iter().all(|gap| *gap <= most), "{gaps:?}");
}

#[test]
fn where_the_sink_is_the_bottleneck_the_next_commit_waits_for_a_tick() {
    let gaps = gaps_between_commits(1);
    let least = Duration::from_millis(2 * 20 - 6);
    assert!(gaps.iter().any(|gap| *gap >= least), "{gaps:?}");
}

#[test]
fn nobody_who_can_ask_for_a_stop_is_no_stop() {
    let world = world();
    in_virtual_time(async {
        let stop = CancellationToken::new();
        let drain = stop.child_token();
        drop(stop);
        mill(&world, &seldom()).run(drain).await.result.unwrap();
    });
    let world = world.lock().unwrap();
    (0..PARTITIONS).try_for_each(|partition| world.check_complete(partition)).unwrap();
}

#[test]
fn offsets_that_are_gone_are_counted_or_stop_their_partition() {
    for on_gap in [OnGap::Continue, OnGap::Stop] {
        let world = world();
        {
            let mut world = world.lock().unwrap();
            world.committed.insert(1, 0);
            world.chosen.insert(1, 0);
            world.log_start.insert(1, 25);
        }
        let settings = MillSettings { on_gap, ..seldom() };
        let (ended, metrics) = end_of(&world, &settings, SECOND, Mishap::FailCommits(0));
        let world = world.lock().unwrap();
        match on_gap {
            OnGap::Continue => {
                ended.unwrap();
                assert_eq!(metrics.skipped_total(), 25);
                world.check_complete(1).unwrap();
            }
            OnGap::Stop => {
                let said = ended.unwrap_err().to_string();
                assert!(said.contains("source[1] at offset 0: 25 offsets are gone"), "{said}");
                assert_eq!((metrics.skipped_total(), world.committed[&1]), (0, 0));
            }
        }
        [0, 2].into_iter().try_for_each(|partition| world.check_complete(partition)).unwrap();
    }
}

#[test]
fn what_cannot_be_read_stops_its_partition_alone() {
    let world = world();
    world.lock().unwrap().unreadable.insert(1, 33);
    let (ended, metrics) = end_of(&world, &seldom(), SECOND, Mishap::FailCommits(0));
    let said = ended.unwrap_err().to_string();
    assert!(said.contains("source[1] at offset 33: malformed"), "{said}");
    let world = world.lock().unwrap();
    assert_eq!(world.committed[&1], 33, "what stands before it is finished");
    [0, 2].into_iter().try_for_each(|partition| world.check_complete(partition)).unwrap();
    assert_eq!(metrics.restarts.get() + metrics.rewinds.get(), 0);
}

#[test]
fn a_partition_that_fails_is_rewound_alone_and_told_until_it_works() {
    let world = world();
    in_virtual_time(async {
        let settings = settings(StrategyKind::Pipeline, Order::Partition);
        let mill = stepped(&world, &settings, 1, false);
        let (metrics, troubles) = (Arc::clone(&mill.metrics), mill.troubles.clone());
        let drain = CancellationToken::new();
        let fails = Mishap::FailWriter { partition: 1, for_ms: 60_000, writes: false };
        world.lock().unwrap().begin(&fails);
        let looking = async {
            sleep(59 * SECOND).await;
            let world = world.lock().unwrap();
            [0, 2].into_iter().try_for_each(|partition| world.check_complete(partition)).unwrap();
            let now = troubles.now();
            let place = Place::Rewind(simulation::source(1));
            assert!(matches!(&now[..], [(at, trouble)] if *at == place && trouble.attempts > 10), "{now:?}");
        };
        let (ended, ()) = futures_util::future::join(mill.run(drain), looking).await;
        ended.result.unwrap();
        assert_eq!(troubles.now(), []);
        assert!(metrics.rewinds.get() > 10 && metrics.rebalances.get() == 1);
    });
    world.lock().unwrap().check_complete(1).unwrap();
}

#[test]
fn an_error_that_stays_ends_the_mill_though_it_is_of_a_partition() {
    let (_, mut mill, assigned) = mill_with_assignments();
    let Assignment { partition, id, .. } = &assigned[0];
    let failed = |mill: &mut Mill<_, _>, kind| {
        let ticket = mill.offsets.begin(&batch(0, *id, 0, 1), Permit::none()).unwrap();
        let error = EngineError::new(kind, "TOPIC_AUTHORIZATION_FAILED").at(partition);
        mill.settle(Delivered::Failed(crate::delivery::Failed { ticket, error, since: Instant::now() }))
    };
    assert!(failed(&mut mill, ErrorKind::Fatal).is_err());
    failed(&mut mill, ErrorKind::Retriable).unwrap();
    assert!(mill.room.full.contains(partition) && mill.rewinds.any_waits());
}

#[test]
fn a_rebalance_counts_once_and_who_has_lost_everything_is_not_ready() {
    let (world, mut mill, assigned) = mill_with_assignments();
    mill.health.beat();
    assert_eq!((mill.metrics.rebalances.get(), mill.health.ready()), (1, Ok(())));
    let partitions = assigned.into_iter().map(|of| of.partition).collect();
    mill.take(SourceEvent::Lost(partitions)).unwrap();
    assert!(mill.health.ready().is_err());
    let again = world.lock().unwrap().assign(0..PARTITIONS);
    mill.take(SourceEvent::Assigned(again.clone())).unwrap();
    assert_eq!((mill.metrics.rebalances.get(), mill.health.ready()), (2, Ok(())));
    mill.take(SourceEvent::Assigned(again)).unwrap();
    assert_eq!(mill.metrics.rebalances.get(), 2, "one that is rewound is none");
    assert_eq!(mill.metrics.partitions_assigned.get(), i64::from(PARTITIONS));
}

#[test]
fn a_partition_whose_position_is_known_later_is_no_other_rebalance() {
    let (world, mut mill, assigned) = mill_with_assignments();
    let partitions = assigned.into_iter().map(|of| of.partition).collect();
    mill.take(SourceEvent::Lost(partitions)).unwrap();
    let mut again = world.lock().unwrap().assign(0..PARTITIONS);
    let mut late = again.split_off(1);
    late.iter_mut().for_each(|assignment| assignment.is_late = true);
    mill.take(SourceEvent::Assigned(again)).unwrap();
    mill.take(SourceEvent::Assigned(late)).unwrap();
    assert_eq!(mill.metrics.rebalances.get(), 2);
    assert_eq!(mill.metrics.partitions_assigned.get(), i64::from(PARTITIONS));
}

#[test]
fn a_mill_that_seldom_commits_is_alive() {
    let world = world();
    let settings = MillSettings {
        commit_interval: Duration::from_secs(3600),
        until: None,
        ..settings(StrategyKind::Serial, Order::Partition)
    };
    let mill = mill(&world, &settings);
    let health = Arc::clone(&mill.health);
    in_virtual_time(async {
        let stop = CancellationToken::new();
        let drain = stop.child_token();
        let looking = async {
            sleep(Duration::from_secs(600)).await;
            assert_eq!(health.live(), Ok(()));
            stop.cancel();
        };
        let (ended, ()) = futures_util::future::join(mill.run(drain), looking).await;
        ended.result.unwrap();
    });
}

/// A mill to which everything is assigned.
pub(super) fn mill_with_assignments()
-> (Arc<Mutex<World>>, Mill<SimulatedSource, SimulatedSink>, Vec<Assignment>) {
    let world = world();
    // Where they begin is known to the group.
    world.lock().unwrap().committed = (0..PARTITIONS).map(|partition| (partition, 0)).collect();
    let mut mill = mill(&world, &settings(StrategyKind::Serial, Order::Partition));
    let assigned = world.lock().unwrap().assign(0..PARTITIONS);
    mill.take(SourceEvent::Assigned(assigned.clone())).unwrap();
    (world, mill, assigned)
}

/// The dead letter of `offset` is refused.
fn stopped(partition: &TopicPartition, offset: i64) -> delivery::RefusedLetter {
    delivery::RefusedLetter {
        partition: partition.clone(),
        offset,
        topic: "letters".into(),
        reason: String::new(),
    }
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

pub(super) fn exactly_once() -> MillSettings {
    let settings = settings(StrategyKind::Pipeline, Order::Partition);
    MillSettings { transactions: Some(SECOND), ..settings }
}

#[test]
fn exactly_once_a_stop_names_what_before_it_is_not_written() {
    for (settings, names_it) in
        [(exactly_once(), true), (settings(StrategyKind::Serial, Order::Partition), false)]
    {
        let world = world();
        world.lock().unwrap().committed = (0..PARTITIONS).map(|partition| (partition, 3)).collect();
        let mut mill = mill(&world, &settings);
        let assigned = world.lock().unwrap().assign(0..PARTITIONS);
        mill.take(SourceEvent::Assigned(assigned.clone())).unwrap();
        let Assignment { partition, id: assignment, .. } = &assigned[0];
        let ticket = mill.offsets.begin(&batch(0, *assignment, 3, 9), Permit::none()).unwrap();
        mill.settle(Delivered::Stopped(ticket, stopped(partition, 7))).unwrap();
        let said = mill.stopped[partition].to_string();
        assert!(said.contains("at offset 7"), "{said}");
        assert_eq!(said.contains("nothing of it is written from offset 3 on"), names_it, "{said}");
    }
}

#[test]
fn a_new_start_forgets_what_was_stopped() {
    let (mill, _) = stopped_mill();
    let (metrics, health) = (Arc::clone(&mill.metrics), Arc::clone(&mill.health));
    let drain = CancellationToken::new();
    drain.cancel();
    let ended = in_virtual_time(mill.run(drain));
    assert!(matches!(ended.result, Err(MillError::Stopped(_))));
    health.assigned();
    assert_eq!((metrics.partitions_stopped.get(), health.ready()), (0, Ok(())));
}

#[test]
fn a_stopped_partition_counts_until_it_is_given_up() {
    let (mut mill, partition) = stopped_mill();
    assert!(mill.room.full.contains(&partition), "it is not read in vain");
    mill.take(SourceEvent::Lost(vec![partition])).unwrap();
    assert_eq!((mill.metrics.partitions_stopped.get(), mill.health.ready()), (0, Ok(())));
    assert!(mill.is_drained().unwrap(), "its new owner tells how it ends");
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
