//! `bench` as a user types it, on the embedded broker, with few events.

use std::process::{Command, Output};

use serde_json::Value;

fn bench(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_topicmill"));
    command.args(["--log-level", "warn", "bench"]).args(arguments).output().expect("the program starts")
}

#[test]
fn a_small_matrix_is_measured_printed_and_saved() {
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("results");
    let output = bench(&[
        "--events=3000",
        "--runs=2",
        "--strategy=serial,worker",
        "--engine=native",
        "--codec=none,lz4",
        "--batch-size=100",
        "--latency-rate=2000",
        "--latency-time=1s",
        "--warm-up=10ms",
        "--json",
        "--output",
        saved.to_str().unwrap(),
    ]);
    assert!(output.status.success(), "{output:?}");
    let results: Value = serde_json::from_slice(&output.stdout).unwrap();
    let throughput = results["throughput"].as_array().unwrap();
    assert_eq!(throughput.len(), 4);
    for row in throughput {
        assert_eq!(row["events"], 3000, "{row}");
        assert_eq!(row["runs_events_per_s"].as_array().unwrap().len(), 2);
        assert!(row["events_per_s"].as_f64().unwrap() > 0.0, "{row}");
        assert!(row["peak_rss_mib"].as_f64().unwrap() > 1.0, "{row}");
        assert!(row["broker_cpu_us_per_event"].is_number(), "{row}");
    }
    assert_eq!(results["ceilings"].as_array().unwrap().len(), 4);
    let latency = results["latency"].as_array().unwrap();
    assert_eq!(latency.len(), 2);
    for of in latency.iter().map(|of| &of["milliseconds"]) {
        let at = |name: &str| of[name].as_f64().unwrap();
        assert!(at("p50") > 0.0 && at("p50") <= at("p99") && at("p99") <= at("max"), "{of}");
    }
    let written: Value =
        serde_json::from_str(&std::fs::read_to_string(saved.join("results.json")).unwrap()).unwrap();
    assert_eq!(written, results);
    let markdown = std::fs::read_to_string(saved.join("results.md")).unwrap();
    for plot in ["throughput", "cpu", "memory", "shapes", "latency"] {
        assert!(markdown.contains(&format!("({plot}.svg)")), "{markdown}");
        assert!(saved.join(plot).with_extension("svg").is_file(), "{plot}");
    }
}

/// Who reads what is committed waits for the next commit: half of the interval, as a rule.
#[test]
fn it_commits_as_often_as_it_is_told() {
    let output = bench(&[
        "--events=1000",
        "--runs=1",
        "--strategy=pipeline",
        "--engine=native",
        "--delivery=exactly-once",
        "--commit-interval=2s",
        "--codec=none",
        "--batch-size=100",
        "--latency-rate=1000",
        "--latency-time=3s",
        "--warm-up=0s",
        "--json",
    ]);
    assert!(output.status.success(), "{output:?}");
    let results: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(results["commit_interval"], "2s");
    let p99 = results["latency"][0]["milliseconds"]["p99"].as_f64().unwrap();
    assert!(p99 > 1000.0, "{results}");
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let empty = tempfile::tempdir().unwrap();
    let output = bench(&["--peers", empty.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("bench/peers/build"), "{output:?}");
    assert_eq!(bench(&["--codec=brotli"]).status.code(), Some(2));
    assert_eq!(bench(&["--commit-interval=often"]).status.code(), Some(2));
    let seldom = bench(&["--delivery=at-least-once,exactly-once", "--commit-interval=5s"]);
    assert_eq!(seldom.status.code(), Some(78), "{seldom:?}");
    assert!(String::from_utf8_lossy(&seldom.stderr).contains("[run] commit_interval"), "{seldom:?}");
    assert_eq!(bench(&["--runs=0"]).status.code(), Some(2));
    let unreachable = bench(&["--brokers=127.0.0.1:1", "--connect-timeout=200ms"]);
    assert_eq!(unreachable.status.code(), Some(75), "{unreachable:?}");
}
