//! Where a group goes on that was told to start at the end.

use crate::support::{
    Cluster, Names, expect, goods,
    program::{Running, SOON},
};

/// A static member takes its partitions back at once after a kill (KIP-345).
const LATEST: [&str; 4] = ["-X", "auto.offset.reset=latest", "-X", "group.instance.id=one"];

/// 30 records that are not asked for.
fn with_old_records() -> (Cluster, Names) {
    let (cluster, names) = (Cluster::embedded(), Names::new("latest"));
    cluster.create(&names.source, 1, &[]);
    cluster.produce(&names.source, 0, &goods(30));
    (cluster, names)
}

/// The records since the first start are transformed, and no other.
fn goes_on(cluster: &Cluster, names: &Names) {
    assert_eq!(cluster.committed(&names.group, &names.source).get(&0), Some(&30));
    let lag = ["lag", "--brokers", &cluster.brokers, "--group", &names.group, "--json"];
    let shown: serde_json::Value = serde_json::from_str(expect(&lag, 0).trim()).unwrap();
    assert_eq!(shown["lag"], 0, "{shown}");
    cluster.produce(&names.source, 0, &goods(7));
    names.catch_up(cluster, &LATEST);
    assert_eq!(cluster.consume(&names.destination, 0).len(), 7);
}

#[test]
fn a_stop_before_the_first_record_skips_nothing_afterwards() {
    let (cluster, names) = with_old_records();
    // No tick would commit in time.
    let mill = Running::run(&cluster, &names, &[&LATEST[..], &["--commit-interval", "1h"]].concat());
    mill.until_metric("topicmill_partitions_assigned", 1.0);
    mill.signal("-TERM");
    assert_eq!(mill.end(SOON).0, 0);
    goes_on(&cluster, &names);
}

#[test]
fn a_run_that_finds_nothing_to_do_skips_nothing_afterwards() {
    let (cluster, names) = with_old_records();
    names.catch_up(&cluster, &LATEST);
    goes_on(&cluster, &names);
}

#[test]
fn a_kill_soon_after_the_start_skips_nothing_afterwards() {
    let (cluster, names) = with_old_records();
    let mill = Running::run(&cluster, &names, &[&LATEST[..], &["--commit-interval", "1h"]].concat());
    mill.until_metric("topicmill_commits_total", 1.0);
    mill.signal("-KILL");
    mill.end(SOON);
    goes_on(&cluster, &names);
}
