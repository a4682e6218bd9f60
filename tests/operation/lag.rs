//! `lag`, and the lag among the metrics.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
    time::Duration,
};

use serde_json::Value;
use topicmill_broker::{ApiKey, Fault, FaultAction};

use crate::support::{Cluster, Names, TestRecord, command, expect, good, goods, program::Running, topicmill};

fn lag(cluster: &Cluster, group: &str, more: &[&str]) -> Vec<Value> {
    let arguments = ["lag", "--brokers", &cluster.brokers, "--group", group, "--json"];
    let output = topicmill(&[&arguments, more].concat());
    let shown = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn broker(cluster: &Cluster) -> &topicmill_broker::Broker {
    cluster.embedded.as_ref().unwrap()
}

#[test]
fn every_topic_of_a_group_is_told_of_and_a_group_that_is_missing_is_an_error() {
    let cluster = Cluster::embedded();
    let (one, other) = (Names::new("lag-one"), Names { group: String::new(), ..Names::new("lag-other") });
    let other = Names { group: one.group.clone(), ..other };
    for names in [&one, &other] {
        cluster.create(&names.source, 2, &[]);
        cluster.produce(&names.source, 0, &goods(10));
        names.catch_up(&cluster, &[]);
    }
    cluster.produce(&other.source, 1, &goods(5));
    let all = lag(&cluster, &one.group, &[]);
    let of = |topic: &str| all.iter().filter(|of| of["topic"] == topic).count();
    assert_eq!((of(&one.source), of(&other.source)), (2, 2), "{all:?}");
    assert_eq!(all.iter().map(|of| of["lag"].as_i64().unwrap()).sum::<i64>(), 5);
    let filtered = lag(&cluster, &one.group, &["--source", &other.source]);
    assert!(filtered.len() == 2 && filtered.iter().all(|of| of["topic"] == *other.source), "{filtered:?}");
    let said = expect(&["lag", "--brokers", &cluster.brokers, "--group", "nobodys"], 1);
    assert!(said.contains("the group nobodys does not exist"), "{said}");
}

#[test]
fn a_topic_that_a_member_reads_is_told_of_before_anything_is_committed() {
    let (cluster, names) = (Cluster::embedded(), Names::new("lag"));
    cluster.create(&names.source, 2, &[]);
    cluster.produce(&names.source, 0, &goods(10));
    // COORDINATOR_NOT_AVAILABLE: where it begins would be committed at once.
    broker(&cluster).inject(Fault::always(ApiKey::OffsetCommit, FaultAction::Error(15)));
    let mill = Running::run(&cluster, &names, &[]);
    mill.until_metric("topicmill_partitions_assigned", 2.0);
    let all = lag(&cluster, &names.group, &[]);
    assert_eq!(all.iter().map(|of| of["lag"].as_i64().unwrap()).sum::<i64>(), 10, "{all:?}");
}

#[test]
fn a_partition_that_cannot_be_asked_hides_no_other() {
    let (cluster, names) = (Cluster::embedded(), Names::new("lag"));
    cluster.create(&names.source, 3, &[]);
    for partition in 0..3 {
        cluster.produce(&names.source, partition, &goods(10));
    }
    names.catch_up(&cluster, &[]);
    cluster.produce(&names.source, 0, &goods(3));
    broker(&cluster).set_leaderless(&names.source, 1, true).unwrap();
    let all = lag(&cluster, &names.group, &[]);
    assert_eq!(all.len(), 3, "{all:?}");
    assert_eq!((&all[0]["lag"], &all[2]["lag"]), (&3.into(), &0.into()));
    assert_eq!(
        (&all[1]["committed"], &all[1]["end"], &all[1]["lag"]),
        (&10.into(), &Value::Null, &Value::Null)
    );
    assert!(all[1]["note"].as_str().is_some_and(|note| !note.is_empty()), "{}", all[1]);
}

#[test]
fn the_start_of_the_log_an_open_transaction_and_a_missing_time_are_known() {
    let (cluster, names) = (Cluster::embedded(), Names::new("lag"));
    cluster.create(&names.source, 3, &[]);
    for partition in 0..3 {
        cluster.produce(&names.source, partition, &goods(10));
    }
    names.catch_up(&cluster, &[]);
    let timeless = TestRecord { timestamp: -1, ..good(0) };
    cluster.produce(&names.source, 0, &vec![timeless; 2]);
    cluster.produce(&names.source, 1, &goods(20));
    broker(&cluster).delete_records(&names.source, 1, 25).unwrap();
    broker(&cluster).hold_stable_offset(&names.source, 2, Some(10)).unwrap();
    cluster.produce(&names.source, 2, &goods(7));
    let all = lag(&cluster, &names.group, &[]);
    assert_eq!((&all[0]["lag"], &all[0]["lag_seconds"]), (&2.into(), &Value::Null));
    assert_eq!(all[1]["lag"], 5, "what is gone is no lag");
    let behind = (&all[2]["lag"], &all[2]["stable_end"], &all[2]["end"]);
    assert_eq!(behind, (&7.into(), &10.into(), &17.into()));
    assert!(all[2]["note"].as_str().unwrap().contains("7 behind an open transaction"), "{}", all[2]);
}

/// Of all the members of a group, one exports the lag of a partition.
#[test]
fn the_sum_over_all_members_is_the_lag() {
    let (cluster, names) = (Cluster::embedded(), Names::new("sum"));
    cluster.create(&names.source, 4, &[]);
    broker(&cluster).inject(Fault::always(ApiKey::Produce, FaultAction::Error(19)).on(&names.destination));
    // What cannot be finished is not waited for long when the second one joins.
    let first = Running::run(&cluster, &names, &["--drain-timeout", "2s"]);
    first.until_metric("topicmill_partitions_assigned", 4.0);
    let old = TestRecord { timestamp: 1_700_000_000_000, ..good(0) };
    for partition in 0..4 {
        cluster.produce(&names.source, partition, &vec![old.clone(); 25]);
    }
    first.until_metric("topicmill_lag_records", 100.0);
    let second = Running::run(&cluster, &names, &["--drain-timeout", "1s"]);
    first.until_metric("topicmill_partitions_assigned", 2.0);
    first.until_metric("topicmill_lag_records", 50.0);
    second.until_metric("topicmill_lag_records", 50.0);
    let age = second.metric("topicmill_lag_seconds").unwrap();
    assert!(age > 1e6, "the records are of the past: {age}");
    let (_, page) = first.get("/metrics");
    assert!(!page.contains("kafka_consumergroup_lag"), "{page}");
}

#[test]
fn what_stands_behind_an_open_transaction_is_lag() {
    let (cluster, names) = (Cluster::embedded(), Names::new("open"));
    cluster.create(&names.source, 1, &[]);
    cluster.produce(&names.source, 0, &goods(10));
    let mill = Running::run(&cluster, &names, &[]);
    mill.until_metric("topicmill_records_written_total", 10.0);
    mill.until_metric("topicmill_lag_records", 0.0);
    broker(&cluster).hold_stable_offset(&names.source, 0, Some(10)).unwrap();
    cluster.produce(&names.source, 0, &goods(7));
    mill.until_metric("topicmill_lag_records", 7.0);
    assert!(mill.metric("topicmill_lag_seconds").is_none_or(|age| age > 0.0));
    assert_eq!(lag(&cluster, &names.group, &[])[0]["lag"], 7);
    broker(&cluster).hold_stable_offset(&names.source, 0, None).unwrap();
    mill.until_metric("topicmill_lag_records", 0.0);
}

#[test]
fn what_is_not_known_is_absent() {
    let (cluster, names) = (Cluster::embedded(), Names::new("absent"));
    cluster.create(&names.source, 1, &[]);
    cluster.produce(&names.source, 0, &goods(10));
    let mill = Running::run(&cluster, &names, &[]);
    mill.until_metric("topicmill_lag_records", 0.0);
    broker(&cluster).inject(Fault::everywhere(FaultAction::Freeze));
    let start = std::time::Instant::now();
    while mill.metric("topicmill_lag_records").is_some() {
        // Before the session ends, with which the partition is not this process's any more.
        assert!(start.elapsed() < Duration::from_secs(30), "it shows what it knew");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn thousands_of_partitions_are_asked_in_few_requests() {
    let (cluster, names) = (Cluster::embedded(), Names::new("many"));
    cluster.create(&names.source, 4000, &[]);
    cluster.produce(&names.source, 0, &goods(1));
    names.catch_up(&cluster, &[]);
    for partition in 0..50 {
        cluster.produce(&names.source, partition, &goods(2));
    }
    let before = broker(&cluster).seen(ApiKey::ListOffsets).requests;
    let all = lag(&cluster, &names.group, &[]);
    assert_eq!(all.iter().map(|of| of["lag"].as_i64().unwrap()).sum::<i64>(), 100);
    assert_eq!(all.iter().filter(|of| of["lag_seconds"].is_number()).count(), 50);
    let asked = broker(&cluster).seen(ApiKey::ListOffsets).requests - before;
    assert!(asked <= 6, "{asked} times for the offsets of one broker");
}

#[test]
fn what_is_watched_is_shown_again_and_again() {
    let (cluster, names) = (Cluster::embedded(), Names::new("lag"));
    cluster.create(&names.source, 1, &[]);
    cluster.produce(&names.source, 0, &goods(10));
    names.catch_up(&cluster, &[]);
    let lag = ["lag", "--brokers", &cluster.brokers, "--group", &names.group, "--json", "--watch", "100ms"];
    let mut watching = command(&lag).stdout(Stdio::piped()).spawn().unwrap();
    let shown = BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut lags = shown.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap()["lag"].clone());
    assert_eq!(lags.next(), Some(0.into()));
    cluster.produce(&names.source, 0, &goods(5));
    assert!(lags.take(600).any(|lag| lag == 5), "what is new is not shown");
    watching.kill().unwrap();
    watching.wait().unwrap();
}
