//! What must hold when things go wrong: processes killed and stopped, groups rebalanced, a slow
//! sink, a broker that misbehaves. `ROUNDS` (3 unless set) and `EVENTS` (40000) make it longer.

mod support;

use std::{
    process::Child,
    time::{Duration, Instant},
};

use support::{Cluster, Names, engines, expect, pause, peak_memory, setting, signal, start, wait};
use topicmill_broker::{ApiKey, Fault, FaultAction};

fn rounds() -> u64 {
    setting("ROUNDS", 3)
}

fn events() -> u64 {
    setting("EVENTS", 40_000)
}

/// A generator beside the transformer, with the number of each event as its key, that takes
/// about `seconds` for all of [`events`].
fn generate(cluster: &Cluster, names: &Names, partitions: &str, seconds: u64) -> Child {
    cluster.create(&names.source, partitions.parse().unwrap(), &[]);
    let (count, rate) = (events().to_string(), (events() / seconds.max(1)).to_string());
    let arguments = ["generate", "--brokers", &cluster.brokers, "--topic", &names.source, "--count", &count];
    start(&[&arguments[..], &["--rate", &rate, "--keys", "sequence"]].concat())
}

/// The events, by their number, that stand in partition 0 of the destination: whether each
/// number below the number of events does, and how many records there are.
fn written(cluster: &Cluster, names: &Names) -> (Vec<bool>, usize) {
    let mut there = vec![false; events() as usize];
    let records = cluster.consume(&names.destination, 0);
    for record in &records {
        let number: usize = std::str::from_utf8(record.key.as_ref().unwrap()).unwrap().parse().unwrap();
        there[number] = true;
    }
    (there, records.len())
}

#[test]
fn killed_at_random_moments_nothing_is_lost_and_no_commit_was_ahead() {
    for cluster in Cluster::all() {
        for engine in engines() {
            let names = Names::new("killed");
            let mut generator = generate(&cluster, &names, "1", rounds());
            let mut explained = 0;
            for _ in 0..rounds() {
                // A static member takes its partitions back at once (KIP-345).
                let member =
                    ["-X", "group.instance.id=one", "--engine", engine, "--commit-interval", "100ms"];
                let mut mill = start(&names.run(&cluster, &member));
                pause(Duration::from_millis(rand::random_range(300..1500)));
                mill.kill().unwrap();
                mill.wait().unwrap();
                let committed = cluster.committed(&names.group, &names.source).get(&0).copied().unwrap_or(0);
                if cluster.runtime.block_on(cluster.client().topic(&names.destination)).unwrap().is_none() {
                    assert_eq!(committed, 0);
                    continue;
                }
                let (there, _) = written(&cluster, &names);
                let first_missing = there.iter().position(|there| !there).unwrap_or(there.len());
                assert!(
                    committed <= first_missing as i64,
                    "{committed} is committed and {first_missing} not written"
                );
                explained += there.iter().filter(|there| **there).count() as i64 - committed;
            }
            assert_eq!(wait(&mut generator, Duration::from_secs(120)), 0);
            names.catch_up(&cluster, &["-X", "group.instance.id=one", "--engine", engine]);
            let (found, _) = names.verify(&cluster, "partition");
            for kind in ["missing", "reordered", "corrupt", "phantom", "misrouted"] {
                assert_eq!(found[kind], 0, "{kind} in {found}");
            }
            let duplicates = found["duplicates"].as_i64().unwrap();
            eprintln!(
                "{} {engine}: {duplicates} duplicates, {explained} explained by the replays",
                cluster.name
            );
            assert!(duplicates <= explained, "{duplicates} duplicates, {explained} explained");
        }
    }
}

#[test]
fn stopped_at_random_moments_nothing_is_lost_or_repeated() {
    for cluster in Cluster::all() {
        for engine in engines() {
            let names = Names::new("stopped");
            let mut generator = generate(&cluster, &names, "3", rounds());
            let mut longest = Duration::ZERO;
            for _ in 0..rounds() {
                let mut mill = start(&names.run(&cluster, &["--engine", engine]));
                pause(Duration::from_millis(rand::random_range(300..1500)));
                signal(&mill, "-TERM");
                let stopping = Instant::now();
                assert_eq!(wait(&mut mill, Duration::from_secs(30)), 0);
                longest = longest.max(stopping.elapsed());
            }
            assert_eq!(wait(&mut generator, Duration::from_secs(120)), 0);
            names.catch_up(&cluster, &["--engine", engine]);
            names.expect_clean(&cluster, "partition");
            eprintln!("{} {engine}: the longest stop took {longest:?}", cluster.name);
        }
    }
}

#[test]
fn members_come_and_go_and_the_order_stays() {
    for cluster in Cluster::all() {
        for strategy in ["range", "cooperative-sticky"] {
            let names = Names::new("members");
            let mut generator = generate(&cluster, &names, "6", 3 * rounds());
            let assignor = format!("partition.assignment.strategy={strategy}");
            let member = |number: u64| {
                // Every engine takes its turns, side by side in one group.
                let engine = engines()[number as usize % engines().len()];
                start(&names.run(&cluster, &["--engine", engine, "-X", &assignor]))
            };
            let mut members: Vec<Child> = (0..3).map(member).collect();
            for round in 0..rounds() {
                pause(Duration::from_millis(rand::random_range(1500..3000)));
                let mut leaving = members.remove(0);
                signal(&leaving, "-TERM");
                assert_eq!(wait(&mut leaving, Duration::from_secs(60)), 0);
                members.push(member(round));
            }
            assert_eq!(wait(&mut generator, Duration::from_secs(120)), 0);
            for mut member in members {
                signal(&member, "-TERM");
                assert_eq!(wait(&mut member, Duration::from_secs(60)), 0);
            }
            names.catch_up(&cluster, &[]);
            let (found, _) = names.verify(&cluster, "partition");
            eprintln!("{} {strategy}: {found}", cluster.name);
            for kind in ["missing", "reordered", "corrupt", "phantom", "misrouted"] {
                assert_eq!(found[kind], 0, "{kind} in {found}");
            }
        }
    }
}

#[test]
fn a_slow_sink_costs_neither_memory_nor_the_membership() {
    for engine in engines() {
        let cluster = Cluster::embedded();
        let names = Names::new("slow");
        assert_eq!(wait(&mut generate(&cluster, &names, "2", 1), Duration::from_secs(60)), 0);
        let broker = cluster.embedded.as_ref().unwrap();
        // At most 1 MB/s: all of it takes ten seconds or more, twice the session timeout.
        broker.limit_produce_rate(Some((events() * 12).min(1 << 20)));
        let session = ["-X", "session.timeout.ms=6000", "-X", "heartbeat.interval.ms=1000"];
        let memory = ["--memory", "32MiB", "--engine", engine, "--drain-timeout", "10m"];
        let mut mill = start(&names.run(&cluster, &[&session[..], &memory].concat()));
        pause(Duration::from_secs(3));
        let group = || cluster.runtime.block_on(cluster.client().group(&names.group)).unwrap();
        let member = group().members.first().map(|member| member.member.clone());
        assert!(member.is_some(), "{:?}", group());
        pause(Duration::from_secs(9));
        assert_eq!(group().members.first().map(|member| member.member.clone()), member, "the same member");
        let peak = peak_memory(&mill);
        eprintln!("{engine}: peak memory {} MiB", peak >> 20);
        assert!(peak <= (32 + 64) << 20, "{engine}: {peak} bytes");
        broker.limit_produce_rate(None);
        signal(&mill, "-TERM");
        assert_eq!(wait(&mut mill, Duration::from_secs(60)), 0);
        names.catch_up(&cluster, &["--engine", engine]);
        names.expect_clean(&cluster, "partition");
    }
}

/// Each way in which a broker may misbehave for a while.
fn faults() -> Vec<(&'static str, Vec<Fault>)> {
    let error = |api, code| Fault::once(api, FaultAction::Error(code)).after(3).times(4);
    let lost = |api| Fault::once(api, FaultAction::LoseResponse).after(2).times(2);
    vec![
        ("NOT_LEADER_OR_FOLLOWER on produce", vec![error(ApiKey::Produce, 6)]),
        ("NOT_LEADER_OR_FOLLOWER on fetch", vec![error(ApiKey::Fetch, 6)]),
        ("REQUEST_TIMED_OUT on produce", vec![error(ApiKey::Produce, 7)]),
        ("NOT_ENOUGH_REPLICAS on produce", vec![error(ApiKey::Produce, 19)]),
        (
            "OUT_OF_ORDER_SEQUENCE_NUMBER on produce",
            vec![Fault::once(ApiKey::Produce, FaultAction::Error(45)).after(3)],
        ),
        (
            "UNKNOWN_PRODUCER_ID on produce",
            vec![Fault::once(ApiKey::Produce, FaultAction::Error(59)).after(3)],
        ),
        ("the answer to produce is lost", vec![lost(ApiKey::Produce)]),
        ("the answer to fetch is lost", vec![lost(ApiKey::Fetch)]),
        ("the answer to a commit is lost", vec![lost(ApiKey::OffsetCommit)]),
        ("REBALANCE_IN_PROGRESS on heartbeat", vec![Fault::once(ApiKey::Heartbeat, FaultAction::Error(27))]),
        ("ILLEGAL_GENERATION on heartbeat", vec![Fault::once(ApiKey::Heartbeat, FaultAction::Error(22))]),
        ("UNKNOWN_MEMBER_ID on heartbeat", vec![Fault::once(ApiKey::Heartbeat, FaultAction::Error(25))]),
        ("ILLEGAL_GENERATION on commit", vec![Fault::once(ApiKey::OffsetCommit, FaultAction::Error(22))]),
        ("COORDINATOR_LOAD_IN_PROGRESS on commit", vec![error(ApiKey::OffsetCommit, 14)]),
        ("NOT_COORDINATOR on commit", vec![error(ApiKey::OffsetCommit, 16)]),
        (
            "slow answers",
            vec![Fault::always(ApiKey::Produce, FaultAction::Delay(Duration::from_millis(60))).times(20)],
        ),
    ]
}

#[test]
fn a_misbehaving_broker_costs_no_record_and_no_order() {
    for engine in engines() {
        for (what, faults) in faults() {
            let cluster = Cluster::embedded();
            let names = Names::new("misbehaving");
            let mut generator = generate(&cluster, &names, "3", 2);
            cluster.create(&names.destination, 3, &[]);
            let quick = ["-X", "heartbeat.interval.ms=300", "--commit-interval", "100ms", "--engine", engine];
            let mut mill = start(&names.run(&cluster, &quick));
            pause(Duration::from_millis(700));
            for fault in faults {
                let fault = match fault.api {
                    // The generator beside it has its own way to cope; here the mill's is tested.
                    Some(ApiKey::Produce) if matches!(fault.action, FaultAction::Error(_)) => {
                        fault.on(&names.destination)
                    }
                    _ => fault,
                };
                cluster.embedded.as_ref().unwrap().inject(fault);
            }
            assert_eq!(wait(&mut generator, Duration::from_secs(120)), 0, "{what}");
            let caught_up = Instant::now();
            while cluster.committed(&names.group, &names.source).values().sum::<i64>() < events() as i64 {
                assert!(caught_up.elapsed() < Duration::from_secs(60), "{engine}: {what}: no progress");
                assert!(mill.try_wait().unwrap().is_none(), "{engine}: {what}: the program ended");
                pause(Duration::from_millis(50));
            }
            signal(&mill, "-TERM");
            assert_eq!(wait(&mut mill, Duration::from_secs(30)), 0, "{what}");
            let (found, _) = names.verify(&cluster, "partition");
            eprintln!("{engine}: {what}: {} duplicates", found["duplicates"]);
            for kind in ["missing", "reordered", "corrupt", "phantom", "misrouted"] {
                assert_eq!(found[kind], 0, "{engine}: {what}: {kind} in {found}");
            }
        }
    }
}

#[test]
fn connections_closed_all_the_time_cost_no_record() {
    for engine in engines() {
        let cluster = Cluster::embedded();
        let names = Names::new("closed");
        let mut generator = generate(&cluster, &names, "3", 5);
        let mut mill = start(&names.run(&cluster, &["--engine", engine]));
        while generator.try_wait().unwrap().is_none() {
            pause(Duration::from_millis(rand::random_range(500..1500)));
            cluster.embedded.as_ref().unwrap().close_connections();
        }
        assert_eq!(generator.wait().unwrap().code(), Some(0));
        pause(Duration::from_secs(1));
        signal(&mill, "-TERM");
        assert_eq!(wait(&mut mill, Duration::from_secs(30)), 0);
        names.catch_up(&cluster, &["--engine", engine]);
        let (found, _) = names.verify(&cluster, "partition");
        for kind in ["missing", "reordered", "corrupt", "phantom", "misrouted"] {
            assert_eq!(found[kind], 0, "{engine}: {kind} in {found}");
        }
    }
}

#[test]
fn without_a_broker_the_program_says_so_in_time() {
    let names = Names::new("nobody");
    let mut cluster = Cluster::embedded();
    drop(cluster.embedded.take());
    let arguments = names.run(&cluster, &["--connect-timeout", "1s"]);
    let shown = expect(&arguments, 75);
    assert!(shown.contains(&cluster.brokers), "{shown}");
}
