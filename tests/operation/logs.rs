//! What stands on standard error when it is no terminal.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;
use topicmill_broker::{ApiKey, Fault, FaultAction};

use crate::support::{
    Cluster, Names, bad, good, goods,
    program::{Running, SOON, says},
};

fn broker(cluster: &Cluster) -> &topicmill_broker::Broker {
    cluster.embedded.as_ref().unwrap()
}

fn events(log: &[String]) -> Vec<Value> {
    log.iter().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

/// Fails when a field has two types.
fn expect_one_type_a_name(events: &[Value]) {
    let mut types: BTreeMap<&str, (&str, &Value)> = BTreeMap::new();
    for event in events {
        for (name, value) in event.as_object().unwrap() {
            let kind = match value {
                Value::Number(_) => "number",
                Value::String(_) => "string",
                Value::Bool(_) => "boolean",
                _ => panic!("{name} in {event}"),
            };
            let (known, of) = *types.entry(name).or_insert((kind, event));
            assert_eq!(known, kind, "{name} in {event} and in {of}");
        }
    }
}

#[test]
fn every_line_is_an_event_with_one_type_a_name() {
    let (cluster, names) = (Cluster::embedded(), Names::new("log"));
    cluster.create(&names.source, 100, &[]);
    cluster.produce(&names.source, 0, &[good(1), bad(), good(2), bad()]);
    let mill = Running::run(&cluster, &names, &["--until-caught-up"]);
    let (code, _, log) = mill.end(SOON);
    let events = events(&log);
    assert_eq!(code, 0, "{log:?}");
    expect_one_type_a_name(&events);
    let starting = events.iter().find(|event| says(event, "starting")).unwrap();
    for (field, value) in
        [("source", &names.source), ("destination", &names.destination), ("group", &names.group)]
    {
        assert_eq!(starting[field], **value, "{starting}");
    }
    let done = events.iter().find(|event| says(event, "done")).unwrap();
    assert_eq!((&done["dead_letters"], &done["skipped_offsets"]), (&2.into(), &0.into()));
    let assigned: Vec<_> = events.iter().filter(|event| event["message"] == "assigned").collect();
    assert_eq!(assigned.len(), 1, "{assigned:?}");
    assert_eq!(assigned[0]["partitions"], 100);
    assert!(log.len() < 25, "few lines for many partitions:\n{}", log.join("\n"));
}

#[test]
fn the_start_names_the_delivery_and_what_the_transactional_ids_begin_with() {
    let (cluster, names) = (Cluster::embedded(), Names::new("log"));
    cluster.create(&names.source, 1, &[]);
    let started = |more: &[&str]| {
        // With nothing to write it may end before its ids are begun.
        cluster.produce(&names.source, 0, &[good(1)]);
        let mill = Running::run(&cluster, &names, &[&["--until-caught-up"], more].concat());
        let (code, _, log) = mill.end(SOON);
        assert_eq!(code, 0, "{log:?}");
        events(&log).into_iter().find(|event| says(event, "starting")).unwrap()
    };
    let starting = started(&[]);
    assert_eq!(starting["delivery"], "at-least-once", "{starting}");
    assert!(starting.get("transactional_ids").is_none(), "{starting}");
    let exactly_once = ["--delivery", "exactly-once"];
    let starting = started(&exactly_once);
    assert_eq!(starting["delivery"], "exactly-once", "{starting}");
    assert_eq!(starting["transactional_ids"], format!("{}/", names.group), "{starting}");
    for (beginning, more) in [
        (format!("{}/a%2Fb/", names.group), &["-X", "group.instance.id=a/b"][..]),
        ("mine/one/".to_owned(), &["-X", "group.instance.id=one", "-X", "transactional.id=mine"]),
    ] {
        let starting = started(&[&exactly_once, more].concat());
        assert_eq!(starting["transactional_ids"], *beginning, "{starting}");
        for side in 0..2 {
            assert!(
                broker(&cluster).transaction(&format!("{beginning}{side}")).is_some(),
                "{beginning}{side}"
            );
        }
    }
}

/// It has a logger of its own, which asks of each level whether anybody wants it.
#[cfg(feature = "librdkafka")]
#[test]
fn librdkafka_swallows_no_event() {
    let (cluster, names) = (Cluster::embedded(), Names::new("log"));
    cluster.create(&names.source, 1, &[]);
    cluster.produce(&names.source, 0, &[good(1)]);
    let mill = Running::run(&cluster, &names, &["--engine", "librdkafka", "--until-caught-up"]);
    let (code, _, log) = mill.end(SOON);
    let log = events(&log);
    assert_eq!(code, 0, "{log:?}");
    for message in ["starting", "assigned", "done"] {
        assert!(log.iter().any(|event| says(event, message)), "{message} in {log:?}");
    }
    let mill = Running::run(&cluster, &names, &["--engine", "librdkafka", "-X", "acks=1"]);
    let (code, _, log) = mill.end(SOON);
    let events = events(&log);
    assert_eq!(code, 78);
    assert!(events.last().is_some_and(|last| last["level"] == "ERROR"), "{events:?}");
}

#[test]
fn the_end_of_a_run_that_fails_is_an_error_with_its_cause() {
    let (cluster, names) = (Cluster::embedded(), Names::new("log"));
    let (code, _, log) = Running::run(&cluster, &names, &[]).end(SOON);
    assert_eq!(code, 1);
    let events = events(&log);
    expect_one_type_a_name(&events);
    let last = events.last().unwrap();
    assert_eq!(last["level"], "ERROR", "{last}");
    assert!(last["error"].as_str().unwrap().contains("does not exist"), "{last}");
    let (code, _, log) = Running::run(&cluster, &names, &["--workers", "0"]).end(SOON);
    assert_eq!((code, events_of_level(&log, "ERROR")), (78, log.len()), "{log:?}");
    let (_, _, log) = Running::start(&names.run(&cluster, &["--log-level", "off"])).end(SOON);
    assert!(log.is_empty(), "{log:?}");
}

fn events_of_level(log: &[String], level: &str) -> usize {
    events(log).iter().filter(|event| event["level"] == level).count()
}

#[test]
fn dead_letters_are_told_at_once_and_counted() {
    let (cluster, names) = (Cluster::embedded(), Names::new("letters"));
    cluster.create(&names.source, 2, &[]);
    let mill = Running::run(&cluster, &names, &[]);
    mill.until_metric("topicmill_partitions_assigned", 2.0);
    cluster.produce(&names.source, 1, &[good(1), bad(), bad()]);
    mill.until_metric("topicmill_dead_letters_total", 2.0);
    // Within two seconds, and what a busy machine adds.
    mill.until("a warning", Duration::from_secs(4), |events| {
        events.iter().any(|event| says(event, "dead letters"))
    });
    let events = mill.events();
    let told: Vec<_> = events.iter().filter(|event| says(event, "dead letters;")).collect();
    assert_eq!((told.len(), &told[0]["level"]), (1, &"WARN".into()), "{told:?}");
    assert_eq!((&told[0]["dead_letters"], &told[0]["topic"]), (&2.into(), &(*names.source).into()));
    assert_eq!((&told[0]["partition"], &told[0]["offset"]), (&1.into(), &2.into()));
}

#[test]
fn what_waits_is_told_once_for_all_partitions() {
    let (cluster, names) = (Cluster::embedded(), Names::new("waits"));
    cluster.create(&names.source, 50, &[]);
    let mill = Running::run(&cluster, &names, &[]);
    mill.until_metric("topicmill_partitions_assigned", 50.0);
    broker(&cluster).inject(Fault::always(ApiKey::Produce, FaultAction::Error(19)).on(&names.destination));
    for partition in 0..50 {
        cluster.produce(&names.source, partition, &goods(1));
    }
    mill.until_metric("topicmill_batches_in_flight", 50.0);
    mill.until("a warning", Duration::from_secs(10), |events| {
        events.iter().any(|event| event["level"] == "WARN" && event["stage"] == "write")
    });
    std::thread::sleep(Duration::from_secs(5));
    let events = mill.events();
    let warnings: Vec<_> = events.iter().filter(|event| event["level"] == "WARN").collect();
    assert!(warnings.len() <= 5, "{warnings:?}");
    let of_many = |event: &&&Value| event["partitions"].as_u64().is_some_and(|partitions| partitions > 1);
    assert!(warnings.iter().any(|event| of_many(&event)), "one for all of them: {warnings:?}");
    expect_one_type_a_name(&events);
    broker(&cluster).clear_faults();
    mill.until_metric("topicmill_records_written_total", 50.0);
    mill.until_said("over: ");
}

#[test]
fn a_group_that_cannot_be_joined_is_told_once() {
    const COORDINATOR_NOT_AVAILABLE: i16 = 15;
    let (cluster, names) = (Cluster::embedded(), Names::new("join"));
    cluster.create(&names.source, 1, &[]);
    let away = FaultAction::Error(COORDINATOR_NOT_AVAILABLE);
    broker(&cluster).inject(Fault::always(ApiKey::JoinGroup, away));
    let mill = Running::run(&cluster, &names, &[]);
    let of_group = |events: &[Value]| {
        events.iter().filter(|event| event["level"] == "WARN").cloned().collect::<Vec<_>>()
    };
    mill.until("a warning", Duration::from_secs(10), |events| !of_group(events).is_empty());
    std::thread::sleep(Duration::from_secs(5));
    let told = of_group(&mill.events());
    assert_eq!((told.len(), &told[0]["stage"]), (1, &"group".into()), "{told:?}");
    broker(&cluster).clear_faults();
    mill.until_metric("topicmill_partitions_assigned", 1.0);
}

#[test]
fn an_admin_address_of_ones_own_must_be_free() {
    let (cluster, names) = (Cluster::embedded(), Names::new("admin"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("localhost:{}", taken.local_addr().unwrap().port());
    cluster.create(&names.source, 1, &[]);
    let (code, _, log) = Running::run_at(&address, &cluster, &names, &["--until-caught-up"]).end(SOON);
    assert_eq!(code, 1, "{log:?}");
    assert!(log.iter().any(|line| line.contains("[admin] listen, --admin")), "{log:?}");
}
