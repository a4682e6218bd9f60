//! A partition in trouble costs no other anything.

use topicmill_broker::{ApiKey, Fault, FaultAction};

use crate::support::{
    Cluster, Names, goods,
    program::{Running, SOON},
};

const NOT_ENOUGH_REPLICAS: i16 = 19;

#[test]
fn a_partition_that_is_not_written_is_tried_again_alone() {
    let (cluster, names) = (Cluster::embedded(), Names::new("alone"));
    let broker = cluster.embedded.as_ref().unwrap();
    for topic in [&names.source, &names.destination] {
        cluster.create(topic, 6, &[]);
    }
    let fault = Fault::always(ApiKey::Produce, FaultAction::Error(NOT_ENOUGH_REPLICAS));
    let fault = broker.inject(fault.on_partition(&names.destination, 2));
    let quick = ["-X", "delivery.timeout.ms=2000", "-X", "request.timeout.ms=1000"];
    let mill = Running::run(&cluster, &names, &quick);
    (0..6).for_each(|partition| cluster.produce(&names.source, partition, &goods(100)));
    mill.until_metric("topicmill_records_written_total", 500.0);
    mill.until_metric("topicmill_rewinds_total", 1.0);
    for partition in [0, 1, 3, 4, 5] {
        cluster.produce(&names.source, partition, &goods(50));
    }
    mill.until_metric("topicmill_records_written_total", 750.0);
    mill.until_status("/readyz", 503, &format!("{}[2]", names.source));
    broker.lift(fault);
    mill.until_metric("topicmill_records_written_total", 850.0);
    mill.until_status("/readyz", 200, "ok");
    assert_eq!(mill.metric("topicmill_restarts_total"), Some(0.0));
    assert_eq!(mill.metric("topicmill_rebalances_total"), Some(1.0));
    mill.signal("-TERM");
    assert_eq!(mill.end(SOON).0, 0);
    // What was refused is not in the log: nothing is there twice.
    names.expect_clean(&cluster, "partition");
}
