//! Exactly once on Apache Kafka: what readers of committed records see, whatever happens to the instance.

mod support;

use std::{
    process::Child,
    time::{Duration, Instant},
};

use support::{Cluster, Names, expect, pause, setting, signal, start, wait};

const EXACT: [&str; 2] = ["--delivery", "exactly-once"];

fn generate(cluster: &Cluster, names: &Names, count: &str, rate: &str) -> Child {
    let arguments = ["generate", "--brokers", &cluster.brokers, "--topic", &names.source, "--count", count];
    cluster.create(&names.source, 3, &[]);
    start(&[&arguments[..], &["--keys", "zipf", "--rate", rate]].concat())
}

fn transform(cluster: &Cluster, names: &Names, more: &[&str]) -> Child {
    start(&names.run(cluster, &[&EXACT[..], more].concat()))
}

const LONG: Duration = Duration::from_secs(120);

#[test]
fn everything_is_there_once_with_every_strategy() {
    let cluster = Cluster::kafka();
    let names = Names::new("exact");
    assert_eq!(wait(&mut generate(&cluster, &names, "30000", "1000000"), LONG), 0);
    for strategy in [&["serial"][..], &["pipeline"], &["worker", "--workers", "3", "--order", "none"]] {
        let fresh = Names::new("exact-out");
        let names = Names { source: names.source.clone(), ..fresh };
        names.catch_up(&cluster, &[&EXACT[..], &["--strategy"], strategy].concat());
        names.expect_clean(&cluster, "partition");
        assert_eq!(cluster.committed(&names.group, &names.source).values().sum::<i64>(), 30_000);
    }
}

#[test]
fn killed_at_random_moments_each_record_is_seen_once() {
    let cluster = Cluster::kafka();
    let rounds = setting("ROUNDS", 12);
    let names = Names::new("exact-killed");
    let count = (rounds * 40_000).to_string();
    let mut generating = generate(&cluster, &names, &count, "25000");
    pause(Duration::from_millis(500));
    let instance = ["-X", "group.instance.id=one", "-X", "session.timeout.ms=6000"];
    let mut killed = 0;
    while killed < rounds {
        let mut mill = transform(&cluster, &names, &instance);
        pause(Duration::from_millis(rand::random_range(300..1800)));
        assert_eq!(mill.try_wait().unwrap(), None, "it runs until it is killed");
        mill.kill().unwrap();
        mill.wait().unwrap();
        killed += 1;
    }
    assert_eq!(wait(&mut generating, LONG), 0);
    names.catch_up(&cluster, &[&EXACT[..], &instance].concat());
    names.expect_clean(&cluster, "partition");
}

#[test]
fn stopped_at_random_moments_it_ends_soon_and_each_record_is_seen_once() {
    let cluster = Cluster::kafka();
    let names = Names::new("exact-stopped");
    let mut generating = generate(&cluster, &names, "300000", "40000");
    pause(Duration::from_millis(500));
    for _ in 0..8 {
        let mut mill = transform(&cluster, &names, &[]);
        pause(Duration::from_millis(rand::random_range(300..1300)));
        let asked = Instant::now();
        signal(&mill, "-TERM");
        assert_eq!(wait(&mut mill, LONG), 0);
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    }
    assert_eq!(wait(&mut generating, LONG), 0);
    names.catch_up(&cluster, &EXACT);
    names.expect_clean(&cluster, "partition");
}

#[test]
fn members_come_and_go_and_each_record_is_seen_once() {
    let cluster = Cluster::kafka();
    let names = Names::new("exact-members");
    let mut generating = generate(&cluster, &names, "400000", "40000");
    pause(Duration::from_millis(500));
    let mut first = transform(&cluster, &names, &[]);
    for _ in 0..4 {
        let mut other = transform(&cluster, &names, &[]);
        pause(Duration::from_millis(2000));
        signal(&other, "-TERM");
        assert_eq!(wait(&mut other, LONG), 0);
    }
    assert_eq!(wait(&mut generating, LONG), 0);
    first.kill().unwrap();
    first.wait().unwrap();
    names.catch_up(&cluster, &EXACT);
    names.expect_clean(&cluster, "partition");
}

#[test]
fn an_instance_that_is_replaced_stops() {
    let cluster = Cluster::kafka();
    let names = Names::new("exact-replaced");
    assert_eq!(wait(&mut generate(&cluster, &names, "1000", "100000"), LONG), 0);
    // The same transactional id in another group: only the coordinator of transactions knows of both.
    let instance = ["-X", "group.instance.id=one", "-X"];
    let id = format!("transactional.id={}", names.group);
    let mut first = transform(&cluster, &names, &[&instance[..], &[&id]].concat());
    pause(Duration::from_secs(3));
    let other = Names { group: format!("{}-2", names.group), ..names.clone() };
    let mut second = transform(&cluster, &other, &[&instance[..], &[&id]].concat());
    pause(Duration::from_secs(2));
    expect(&["generate", "--brokers", &cluster.brokers, "--topic", &names.source, "--count", "1000"], 0);
    let since = Instant::now();
    let ended = loop {
        if let Some(ended) = first.try_wait().unwrap() {
            break ended;
        }
        assert!(since.elapsed() < Duration::from_secs(20), "it goes on");
        pause(Duration::from_millis(50));
    };
    assert!(!ended.success());
    for _ in 0..5 {
        let more = ["generate", "--brokers", &cluster.brokers, "--topic", &names.source, "--count", "1000"];
        expect(&more, 0);
        pause(Duration::from_millis(500));
        assert_eq!(second.try_wait().unwrap(), None, "the other one goes on");
    }
    second.kill().unwrap();
    second.wait().unwrap();
}
