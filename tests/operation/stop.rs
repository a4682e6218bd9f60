//! A stop begins at once and ends in time, whatever the cluster does.

use std::time::{Duration, Instant};

use kafka_protocol::ResponseError;
use topicmill_broker::{ApiKey, Fault, FaultAction};

use crate::support::{
    Cluster, Names, goods, pause,
    program::{Running, SOON},
};

/// How long a stop may take beyond the drain timeout.
const GRACE: Duration = Duration::from_secs(1);

/// What a busy machine adds to it.
const SLACK: Duration = Duration::from_secs(2);

const DRAIN: Duration = Duration::from_secs(2);

fn broker(cluster: &Cluster) -> &topicmill_broker::Broker {
    cluster.embedded.as_ref().unwrap()
}

/// A program that has everything committed, and one of whose records the destination does not
/// answer for.
fn with_work_under_way(cluster: &Cluster, names: &Names, drain_timeout: &str) -> Running {
    cluster.create(&names.source, 1, &[]);
    cluster.produce(&names.source, 0, &goods(10));
    let mill = Running::run(cluster, names, &["--drain-timeout", drain_timeout]);
    mill.until_metric("topicmill_records_written_total", 10.0);
    broker(cluster).inject(Fault::always(ApiKey::Produce, FaultAction::Error(19)).on(&names.destination));
    cluster.produce(&names.source, 0, &goods(1));
    mill.until_metric("topicmill_batches_in_flight", 1.0);
    mill
}

#[test]
fn what_cannot_be_finished_is_named_when_the_time_is_over() {
    for signal in ["-TERM", "-INT", "-HUP"] {
        let (cluster, names) = (Cluster::embedded(), Names::new("stop"));
        let mill = with_work_under_way(&cluster, &names, "2s");
        broker(&cluster).inject(Fault::everywhere(FaultAction::Freeze));
        pause(Duration::from_secs(1));
        mill.signal(signal);
        let (code, took, log) = mill.end(SOON);
        assert_eq!(code, 1, "{signal}: {log:?}");
        assert!(took < DRAIN + GRACE + SLACK, "{signal}: {took:?}");
        assert!(
            log.iter().any(|line| line.contains("ERROR") && line.contains("not acknowledged")),
            "{log:?}"
        );
    }
}

/// The commit that the stop waits for is refused, and the transaction aborted.
#[test]
fn exactly_once_what_is_aborted_during_a_stop_is_named_and_left_to_the_next_start() {
    let (cluster, names) = (Cluster::embedded(), Names::new("stop"));
    cluster.create(&names.source, 2, &[]);
    let exactly_once = ["--delivery", "exactly-once"];
    // No commit comes before the stop.
    let seldom = ["--commit-interval", "200s", "-X", "transaction.timeout.ms=800000"];
    let mill = Running::run(&cluster, &names, &[&exactly_once[..], &seldom].concat());
    mill.until_metric("topicmill_partitions_assigned", 2.0);
    let refusal = FaultAction::Error(ResponseError::TransactionAbortable.code());
    broker(&cluster).inject(Fault::once(ApiKey::EndTxn, refusal));
    cluster.produce(&names.source, 1, &goods(10));
    mill.until_metric("topicmill_records_written_total", 10.0);
    mill.signal("-TERM");
    let (code, took, log) = mill.end(SOON);
    assert_eq!(code, 1, "{log:?}");
    assert!(took < DRAIN + GRACE + SLACK, "{took:?}");
    let says = |what: &str| log.iter().any(|line| line.contains("ERROR") && line.contains(what));
    assert!(says(&format!("{}[1] failed, was aborted", names.source)), "{log:?}");
    names.catch_up(&cluster, &exactly_once);
    names.expect_clean(&cluster, "partition");
}

#[test]
fn with_nothing_under_way_a_stop_waits_for_nothing() {
    let (cluster, names) = (Cluster::embedded(), Names::new("stop"));
    cluster.create(&names.source, 3, &[]);
    cluster.produce(&names.source, 0, &goods(10));
    let mill = Running::run(&cluster, &names, &["--drain-timeout", "20s"]);
    mill.until_metric("topicmill_lag_records", 0.0);
    broker(&cluster).inject(Fault::everywhere(FaultAction::Freeze));
    pause(Duration::from_secs(3));
    mill.signal("-TERM");
    let (code, took, log) = mill.end(SOON);
    assert_eq!(code, 0, "{log:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn a_stop_does_not_wait_for_what_has_not_begun() {
    for api in [ApiKey::InitProducerId, ApiKey::JoinGroup, ApiKey::OffsetFetch, ApiKey::ListOffsets] {
        let (cluster, names) = (Cluster::embedded(), Names::new("stop"));
        cluster.create(&names.source, 1, &[]);
        broker(&cluster).inject(Fault::always(api, FaultAction::Freeze));
        let mill = Running::run(&cluster, &names, &["--drain-timeout", "2s"]);
        mill.until_said("starting");
        pause(Duration::from_secs(2));
        mill.signal("-TERM");
        let (code, took, log) = mill.end(SOON);
        assert_eq!(code, 0, "{api:?}: {log:?}");
        assert!(took < DRAIN + GRACE + SLACK, "{api:?}: {took:?}");
    }
}

#[test]
fn a_second_signal_counts_as_one_when_it_comes_with_the_first() {
    let (cluster, names) = (Cluster::embedded(), Names::new("stop"));
    let mill = with_work_under_way(&cluster, &names, "30s");
    mill.signal("-TERM");
    pause(Duration::from_millis(50));
    mill.signal("-TERM");
    pause(Duration::from_secs(1));
    broker(&cluster).clear_faults();
    let (code, _, log) = mill.end(SOON);
    assert_eq!(code, 0, "{log:?}");
}

#[test]
fn a_later_one_stops_at_once() {
    for (signal, code) in [("-TERM", 143), ("-INT", 130), ("-HUP", 129)] {
        let (cluster, names) = (Cluster::embedded(), Names::new("stop"));
        let mill = with_work_under_way(&cluster, &names, "30s");
        mill.signal("-TERM");
        pause(Duration::from_secs(1));
        mill.signal(signal);
        let (ended, _, log) = mill.end(SOON);
        assert_eq!(ended, code, "{signal}: {log:?}");
    }
}

/// Scaled down: each question and attempt to connect gives up after a second, a session after six, and
/// the cluster is away for many.
#[test]
fn a_cluster_that_is_away_is_waited_for() {
    let (cluster, names) = (Cluster::embedded(), Names::new("away"));
    cluster.create(&names.source, 2, &[]);
    cluster.produce(&names.source, 0, &goods(10));
    let quick = [
        "request.timeout.ms=1000",
        "delivery.timeout.ms=2000",
        "default.api.timeout.ms=2000",
        "socket.connection.setup.timeout.ms=1000",
        "session.timeout.ms=6000",
        "heartbeat.interval.ms=1000",
    ];
    let quick: Vec<&str> = quick.iter().flat_map(|property| ["-X", property]).collect();
    let mill = Running::run(&cluster, &names, &quick);
    mill.until_metric("topicmill_records_written_total", 10.0);
    mill.until_metric("topicmill_lag_records", 0.0);
    let frozen = broker(&cluster).inject(Fault::everywhere(FaultAction::Freeze));
    pause(Duration::from_secs(20));
    assert_eq!(mill.get("/livez").0, 200, "to wait is to be alive");
    assert_eq!(mill.get("/readyz").0, 503, "it has failed for more than ten seconds");
    broker(&cluster).lift(frozen);
    let back = Instant::now();
    cluster.produce(&names.source, 1, &goods(10));
    mill.until_metric("topicmill_records_written_total", 20.0);
    assert!(back.elapsed() < Duration::from_secs(10) + SLACK, "{:?}", back.elapsed());
    mill.until_status("/readyz", 200, "ok");
    assert_eq!(mill.metric("topicmill_restarts_total"), Some(0.0), "it goes on where it was");
    mill.signal("-TERM");
    assert_eq!(mill.end(SOON).0, 0);
    names.expect_clean(&cluster, "partition");
}

/// The log of a run that gives up, as a coordinator of some kind is away.
fn given_up(away: ApiKey, args: &[&str]) -> Vec<String> {
    let (cluster, names) = (Cluster::embedded(), Names::new("away"));
    cluster.create(&names.source, 1, &[]);
    cluster.produce(&names.source, 0, &goods(10));
    broker(&cluster).inject(Fault::always(away, FaultAction::Error(15)));
    let args = [args, &["--give-up-after", "5s"]].concat();
    let (code, _, log) = Running::run(&cluster, &names, &args).end(SOON);
    assert_eq!(code, 1, "{log:?}");
    assert!(log.iter().any(|line| line.contains("ERROR") && line.contains("give-up-after")), "{log:?}");
    log
}

#[test]
fn a_run_to_the_end_gives_up_when_nothing_moves_for_as_long_as_it_was_told() {
    given_up(ApiKey::JoinGroup, &["--until-caught-up"]);
}

#[test]
fn exactly_once_it_gives_up_as_well_when_the_coordinator_of_transactions_is_away() {
    let log = given_up(ApiKey::InitProducerId, &["--delivery", "exactly-once"]);
    let says = |what: &str| log.iter().any(|line| line.contains("ERROR") && line.contains(what));
    assert!(says("beginning transactional id"), "{log:?}");
}
