//! One partition in trouble among others.

use topicmill_broker::{ApiKey, Broker, Fault, FaultAction};

use crate::{
    IMPATIENT, broker, expect_undisturbed, stall, stop,
    support::{Names, goods, program::Running},
    until_committed, with_topics,
};

const PARTITIONS: i32 = 4;

/// The partition that is in trouble.
const LAST: i32 = PARTITIONS - 1;

const NOT_ENOUGH_REPLICAS: i16 = 19;

#[test]
fn a_destination_partition_in_trouble_stops_no_other_and_goes_on_after_it() {
    type Act = fn(&Broker, &str);
    let ways: [(&str, Act, Act); 2] = [
        (
            "without a leader",
            |broker, topic| broker.set_leaderless(topic, LAST, true).unwrap(),
            |broker, topic| broker.set_leaderless(topic, LAST, false).unwrap(),
        ),
        (
            "with too few replicas",
            |broker, topic| {
                let refused = FaultAction::Error(NOT_ENOUGH_REPLICAS);
                broker.inject(Fault::always(ApiKey::Produce, refused).on_partition(topic, LAST));
            },
            |broker, _| broker.clear_faults(),
        ),
    ];
    for (how, break_it, mend_it) in ways {
        let names = Names::new("destination");
        let cluster = with_topics(&names, PARTITIONS);
        let produce = |partition| cluster.produce(&names.source, partition, &goods(1000));
        (0..PARTITIONS).for_each(produce);
        break_it(broker(&cluster), &names.destination);
        let mill = Running::run(&cluster, &names, &IMPATIENT);
        let took = until_committed(&cluster, &names, 0..LAST, 1000);
        eprintln!("{how}: the others are through after {took:?}");
        stall();
        (0..PARTITIONS).for_each(produce);
        let took = until_committed(&cluster, &names, 0..LAST, 2000);
        eprintln!("{how}: and again after {took:?}");
        assert_eq!(cluster.committed(&names.group, &names.source).get(&LAST).copied().unwrap_or(0), 0);
        expect_undisturbed(&cluster, &mill);
        mend_it(broker(&cluster), &names.destination);
        let took = until_committed(&cluster, &names, LAST..PARTITIONS, 2000);
        eprintln!("{how}: the partition is through {took:?} after it");
        expect_undisturbed(&cluster, &mill);
        stop(mill);
        names.expect_clean(&cluster, "partition");
    }
}

#[test]
fn a_source_partition_without_a_leader_keeps_no_other_from_starting() {
    let names = Names::new("source");
    let cluster = with_topics(&names, PARTITIONS);
    (0..PARTITIONS).for_each(|partition| cluster.produce(&names.source, partition, &goods(1000)));
    broker(&cluster).set_leaderless(&names.source, LAST, true).unwrap();
    let mill = Running::run(&cluster, &names, &[]);
    let took = until_committed(&cluster, &names, 0..LAST, 1000);
    eprintln!("the others are through after {took:?}");
    mill.until_status("/readyz", 503, &format!("{}[{LAST}]", names.source));
    broker(&cluster).set_leaderless(&names.source, LAST, false).unwrap();
    let took = until_committed(&cluster, &names, LAST..PARTITIONS, 1000);
    eprintln!("the partition is through {took:?} after its return");
    mill.until_status("/readyz", 200, "ok");
    expect_undisturbed(&cluster, &mill);
    assert_eq!(
        mill.metric("topicmill_rebalances_total"),
        Some(1.0),
        "its return is no change of the assignment"
    );
    stop(mill);
    names.expect_clean(&cluster, "partition");
}
