//! The whole path, over every engine and cluster: what goes in comes out, in order, once; what
//! cannot is a dead letter.

mod support;

use support::{Cluster, Names, START, TestRecord, engines, expect, topicmill};

/// Strategy and order, as flags.
const STRATEGIES: [(&[&str], &str); 5] = [
    (&["--strategy", "serial"], "partition"),
    (&["--strategy", "pipeline"], "partition"),
    (&["--strategy", "worker", "--workers", "3"], "partition"),
    (&["--strategy", "worker", "--workers", "3", "--order", "key"], "key"),
    (&["--strategy", "worker", "--workers", "3", "--order", "none"], "none"),
];

/// Name events on three partitions, with keys.
fn generate(cluster: &Cluster, names: &Names, count: &str, seed: &str) {
    let arguments = ["generate", "--brokers", &cluster.brokers, "--topic", &names.source, "--count", count];
    let more = ["--partitions", "3", "--keys", "zipf", "--seed", seed];
    expect(&[&arguments[..], &more].concat(), 0);
}

#[test]
fn every_strategy_writes_everything_once_and_in_order() {
    for cluster in Cluster::all() {
        for engine in engines() {
            let names = Names::new("strategies");
            generate(&cluster, &names, "20000", "1");
            for (strategy, order) in STRATEGIES {
                let fresh = Names::new("strategies-out");
                let names = Names { source: names.source.clone(), ..fresh };
                names.catch_up(&cluster, &[&["--engine", engine], strategy].concat());
                eprintln!("{} {engine} {strategy:?}", cluster.name);
                names.expect_clean(&cluster, order);
            }
        }
    }
}

#[test]
fn a_second_run_goes_on_where_the_first_ended() {
    for cluster in Cluster::all() {
        for engine in engines() {
            let names = Names::new("resume");
            for seed in ["1", "2", "3"] {
                generate(&cluster, &names, "5000", seed);
                names.catch_up(&cluster, &["--engine", engine]);
            }
            names.catch_up(&cluster, &["--engine", engine]);
            names.expect_clean(&cluster, "partition");
            let committed = cluster.committed(&names.group, &names.source);
            assert_eq!(committed.values().sum::<i64>(), 15_000, "{} {engine}", cluster.name);
        }
    }
}

/// Every kind of poison, with the class that its dead letter must have.
const POISON: [(&str, &str); 6] = [
    ("", "empty"),
    ("{\"first_name\":", "eof"),
    ("{\"first_name\" \"A\"}", "syntax"),
    ("{\"first_name\":\"A\"} x", "trailing"),
    ("{\"first_name\":1}", "type"),
    ("[1,2]", "type"),
];

/// A record in ten is poison; keys, headers, timestamps and tombstones are mixed in.
fn poisoned(count: usize) -> Vec<TestRecord> {
    (0..count)
        .map(|number| TestRecord {
            timestamp: *START + number as i64 / 7,
            key: (number % 3 > 0).then(|| format!("key-{number}").into_bytes()),
            value: match number % 40 {
                17 => None,
                n if n % 10 == 4 => Some(POISON[number / 10 % POISON.len()].0.into()),
                _ => Some(format!("{{\"last_name\":\"L<{number}>\",\"first_name\":\"F\"}}").into_bytes()),
            },
            headers: match number % 4 {
                1 => vec![("trace".to_owned(), number.to_string())],
                _ => Vec::new(),
            },
        })
        .collect()
}

#[test]
fn poison_becomes_dead_letters_and_its_neighbours_stay_intact() {
    for cluster in Cluster::all() {
        for engine in engines() {
            for strategy in ["serial", "worker"] {
                let names = Names::new("poison");
                cluster.create(&names.source, 2, &[]);
                let sent = poisoned(4000);
                cluster.produce(&names.source, 1, &sent);
                names.catch_up(&cluster, &["--engine", engine, "--strategy", strategy]);

                names.expect_clean(&cluster, "partition");
                let written = cluster.consume(&names.destination, 1);
                assert_eq!(written.len(), 3600, "{} {engine} {strategy}", cluster.name);
                assert_eq!(written.iter().filter(|record| record.value.is_none()).count(), 100);
                let letters = cluster.consume(&names.dead_letter, 1);
                assert_eq!(letters.len(), 400);
                for letter in letters {
                    let offset: usize = letter.header("__connect.errors.offset").parse().unwrap();
                    let origin = &sent[offset];
                    assert_eq!((&letter.key, &letter.value), (&origin.key, &origin.value));
                    assert_eq!(letter.timestamp, origin.timestamp);
                    assert_eq!(letter.headers[..origin.headers.len()], origin.headers[..]);
                    assert_eq!(letter.header("__connect.errors.topic"), names.source);
                    assert_eq!(letter.header("__connect.errors.partition"), "1");
                    assert_eq!(letter.header("__connect.errors.stage"), "TRANSFORMATION");
                    let class = POISON[offset / 10 % POISON.len()].1;
                    assert_eq!(letter.header("__connect.errors.exception.class.name"), class);
                }
            }
        }
    }
}

fn event(first_name: &str) -> TestRecord {
    TestRecord::value(format!("{{\"first_name\":\"{first_name}\",\"last_name\":\"L\"}}"))
}

#[test]
fn what_is_too_large_for_the_destination_becomes_a_dead_letter() {
    for cluster in Cluster::all() {
        for engine in engines() {
            let names = Names::new("oversized");
            cluster.create(&names.source, 1, &[]);
            cluster.create(&names.destination, 1, &[("max.message.bytes", "3000")]);
            let sent: Vec<TestRecord> =
                (0..300).map(|n| event(&"x".repeat(if n % 50 == 20 { 4000 } else { 20 }))).collect();
            cluster.produce(&names.source, 0, &sent);
            names.catch_up(&cluster, &["--engine", engine]);

            names.expect_clean(&cluster, "partition");
            assert_eq!(cluster.consume(&names.destination, 0).len(), 294, "{} {engine}", cluster.name);
            let letters = cluster.consume(&names.dead_letter, 0);
            assert_eq!(letters.len(), 6);
            for letter in letters {
                let offset: usize = letter.header("__connect.errors.offset").parse().unwrap();
                assert_eq!(letter.value, sent[offset].value);
                assert_eq!(letter.header("__connect.errors.stage"), "KAFKA_PRODUCE");
                assert_eq!(letter.header("__connect.errors.exception.class.name"), "oversized");
            }
        }
    }
}

/// A compacted topic of Apache Kafka takes no record without a key, and names those (KIP-467).
#[test]
fn what_the_destination_names_as_invalid_becomes_a_dead_letter() {
    let (cluster, names) = (Cluster::kafka(), Names::new("keyless"));
    cluster.create(&names.source, 1, &[]);
    cluster.create(&names.destination, 1, &[("cleanup.policy", "compact")]);
    let keyless = |n: usize| n % 35 == 7 || (1000..1100).contains(&n);
    let key = |n: usize| (!keyless(n)).then(|| n.to_string().into_bytes());
    let sent: Vec<TestRecord> =
        (0..5000).map(|n| TestRecord { key: key(n), ..event(&n.to_string()) }).collect();
    cluster.produce(&names.source, 0, &sent);
    // Small batches: those behind a refused one are under way with it.
    names.catch_up(&cluster, &["--engine", "native", "-X", "batch.size=4000"]);

    names.expect_clean(&cluster, "partition");
    let letters = cluster.consume(&names.dead_letter, 0);
    assert_eq!(letters.len(), (0..5000).filter(|n| keyless(*n)).count());
    for letter in letters {
        assert!(letter.key.is_none());
        assert_eq!(letter.header("__connect.errors.stage"), "KAFKA_PRODUCE");
        assert_eq!(letter.header("__connect.errors.exception.class.name"), "refused");
    }
}

#[test]
fn a_refused_dead_letter_stops_its_partition_and_commits_nothing_past_it() {
    for cluster in Cluster::all() {
        for engine in engines() {
            let names = Names::new("refused");
            cluster.create(&names.source, 2, &[]);
            cluster.create(&names.dead_letter, 2, &[("max.message.bytes", "600")]);
            let mut sent: Vec<TestRecord> = (0..500).map(|n| event(&n.to_string())).collect();
            cluster.produce(&names.source, 1, &sent);
            // Nothing that compression makes fit.
            let noise = (0..2000).map(|_| rand::random_range(b'!'..=b'~'));
            sent[250] = TestRecord::value(noise.collect::<Vec<u8>>());
            cluster.produce(&names.source, 0, &sent);
            let arguments = names.run(&cluster, &["--engine", engine, "--until-caught-up"]);
            let shown = expect(&arguments, 1);
            let place = format!("{}[0] at offset 250", names.source);
            assert!(shown.contains(&place), "{place} in {shown}");
            let committed = cluster.committed(&names.group, &names.source);
            assert!(committed.get(&0).is_none_or(|offset| *offset <= 250), "{committed:?}");
            assert_eq!(committed[&1], 500, "the other partition is finished");
        }
    }
}

#[test]
fn topics_that_cannot_work_are_refused_at_the_start() {
    for cluster in Cluster::all() {
        let names = Names::new("topics");
        let shown = expect(&names.run(&cluster, &["--until-caught-up"]), 1);
        assert!(shown.contains(&format!("the source topic {} does not exist", names.source)), "{shown}");
        cluster.create(&names.source, 3, &[]);
        let shown = expect(&names.run(&cluster, &["--until-caught-up", "--no-create-topics"]), 1);
        assert!(shown.contains(&names.destination) && shown.contains("does not exist"), "{shown}");
        cluster.create(&names.destination, 2, &[]);
        let shown = expect(&names.run(&cluster, &["--until-caught-up", "--no-create-topics"]), 1);
        assert!(shown.contains(&names.destination) && shown.contains("partitions"), "{shown}");
    }
}

#[test]
fn verify_finds_what_was_tampered_with() {
    let cluster = Cluster::embedded();
    let names = Names::new("tampered");
    generate(&cluster, &names, "3000", "5");
    names.catch_up(&cluster, &[]);
    cluster.produce(&names.destination, 0, &[event("nobody")]);
    let (found, code) = names.verify(&cluster, "partition");
    assert_eq!(
        (found["phantom"].as_i64(), found["ok"].as_bool(), code),
        (Some(1), Some(false), 65),
        "{found}"
    );
}

#[test]
fn lag_tells_what_is_left() {
    let cluster = Cluster::embedded();
    let names = Names::new("lag");
    generate(&cluster, &names, "3000", "5");
    names.catch_up(&cluster, &[]);
    generate(&cluster, &names, "600", "6");
    let arguments =
        ["lag", "--brokers", &cluster.brokers, "--group", &names.group, "--source", &names.source];
    let output = topicmill(&[&arguments[..], &["--json"]].concat());
    let lines = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    let sum = |key: &str| lines.iter().map(|line| line[key].as_i64().unwrap()).sum::<i64>();
    assert_eq!((sum("committed"), sum("end"), sum("lag")), (3000, 3600, 600));
}
