//! Topics that change while the program runs.

use crate::support::{
    Cluster, Names, goods,
    program::{Running, SOON},
};

fn broker(cluster: &Cluster) -> &topicmill_broker::Broker {
    cluster.embedded.as_ref().unwrap()
}

fn partitions(cluster: &Cluster, topic: &str) -> i32 {
    cluster.runtime.block_on(cluster.client().topic(topic)).unwrap().unwrap().partitions
}

const SOON_NOTICED: [&str; 2] = ["-X", "metadata.max.age.ms=1000"];

#[test]
fn what_is_written_grows_with_the_source() {
    let (cluster, names) = (Cluster::embedded(), Names::new("grow"));
    cluster.create(&names.source, 1, &[]);
    let mill = Running::run(&cluster, &names, &SOON_NOTICED);
    mill.until_metric("topicmill_partitions_assigned", 1.0);
    broker(&cluster).add_partitions(&names.source, 3).unwrap();
    for partition in 0..3 {
        cluster.produce(&names.source, partition, &goods(5));
    }
    mill.until_metric("topicmill_records_written_total", 15.0);
    assert_eq!([&names.destination, &names.dead_letter].map(|topic| partitions(&cluster, topic)), [3, 3]);
    mill.signal("-TERM");
    assert_eq!(mill.end(SOON).0, 0);
    names.expect_clean(&cluster, "partition");
    // And at the start.
    broker(&cluster).add_partitions(&names.source, 4).unwrap();
    cluster.produce(&names.source, 3, &goods(5));
    names.catch_up(&cluster, &[]);
    assert_eq!(partitions(&cluster, &names.destination), 4);
}

#[test]
fn a_partition_without_counterpart_waits_and_the_others_go_on() {
    let (cluster, names) = (Cluster::embedded(), Names::new("grow"));
    for topic in [&names.source, &names.destination, &names.dead_letter] {
        cluster.create(topic, 1, &[]);
    }
    let mill = Running::run(&cluster, &names, &[&SOON_NOTICED[..], &["--no-create-topics"]].concat());
    mill.until_metric("topicmill_partitions_assigned", 1.0);
    broker(&cluster).add_partitions(&names.source, 2).unwrap();
    mill.until_metric("topicmill_partitions_assigned", 2.0);
    cluster.produce(&names.source, 1, &goods(5));
    mill.until_status("/readyz", 503, &format!("{}[1]", names.source));
    cluster.produce(&names.source, 0, &goods(7));
    mill.until_metric("topicmill_records_written_total", 7.0);
    assert_eq!(mill.metric("topicmill_restarts_total"), Some(0.0));
    for topic in [&names.destination, &names.dead_letter] {
        broker(&cluster).add_partitions(topic, 2).unwrap();
    }
    mill.until_metric("topicmill_records_written_total", 12.0);
    mill.until_status("/readyz", 200, "ok");
}

#[test]
fn a_run_to_the_end_of_an_emptied_log_ends_at_once() {
    let (cluster, names) = (Cluster::embedded(), Names::new("emptied"));
    cluster.create(&names.source, 1, &[]);
    cluster.produce(&names.source, 0, &goods(10));
    names.catch_up(&cluster, &[]);
    cluster.produce(&names.source, 0, &goods(90));
    broker(&cluster).delete_records(&names.source, 0, 100).unwrap();
    let (code, _, log) = Running::run(&cluster, &names, &["--until-caught-up"]).end(SOON);
    assert_eq!(code, 0, "{log:?}");
    // Those that are left are read, and the others counted.
    cluster.produce(&names.source, 0, &goods(20));
    broker(&cluster).delete_records(&names.source, 0, 105).unwrap();
    let (code, _, log) = Running::run(&cluster, &names, &["--until-caught-up"]).end(SOON);
    assert_eq!(code, 0, "{log:?}");
    assert!(log.iter().any(|line| line.contains(r#""skipped_offsets":95"#)), "{log:?}");
}
