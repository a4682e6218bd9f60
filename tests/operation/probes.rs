//! `/readyz` says whether the work is done, `/livez` whether to start the process anew.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use topicmill::{
    CancellationToken, Pipeline,
    transform::{Output, Transform, Values},
};
use topicmill_broker::{ApiKey, Fault, FaultAction};

use crate::support::{
    Cluster, Names, bad, good, goods, pause,
    program::{Running, SOON},
};

fn broker(cluster: &Cluster) -> &topicmill_broker::Broker {
    cluster.embedded.as_ref().unwrap()
}

#[test]
fn a_source_that_is_deleted_is_not_ready_but_alive() {
    let (cluster, names) = (Cluster::embedded(), Names::new("gone"));
    cluster.create(&names.source, 2, &[]);
    cluster.produce(&names.source, 0, &goods(10));
    let mill = Running::run(&cluster, &names, &[]);
    mill.until_metric("topicmill_records_written_total", 10.0);
    assert_eq!(mill.get("/readyz").0, 200);
    broker(&cluster).delete_topic(&names.source).unwrap();
    mill.until_status("/readyz", 503, &format!("the source topic {}", names.source));
    assert_eq!(mill.get("/livez").0, 200);
    let (_, page) = mill.get("/metrics");
    assert!(page.contains("topicmill_failing_seconds{stage=\"source\"}"), "{page}");
}

#[test]
fn a_run_to_the_end_fails_when_its_source_is_deleted() {
    let (cluster, names) = (Cluster::embedded(), Names::new("gone"));
    cluster.create(&names.source, 2, &[]);
    cluster.produce(&names.source, 0, &goods(10));
    broker(&cluster).inject(Fault::always(ApiKey::Produce, FaultAction::Error(19)).on(&names.destination));
    let mill = Running::run(&cluster, &names, &["--until-caught-up"]);
    mill.until_metric("topicmill_batches_in_flight", 1.0);
    broker(&cluster).delete_topic(&names.source).unwrap();
    let (code, _, log) = mill.end(SOON);
    assert_eq!(code, 1, "{log:?}");
    assert!(log.last().unwrap().contains("does not exist"), "{log:?}");
}

#[test]
fn what_fails_for_long_is_named() {
    let (cluster, names) = (Cluster::embedded(), Names::new("failing"));
    cluster.create(&names.source, 2, &[]);
    let mill = Running::run(&cluster, &names, &[]);
    mill.until_status("/readyz", 200, "ok");
    for (api, part) in [(ApiKey::Produce, "cannot be written"), (ApiKey::OffsetCommit, "cannot be committed")]
    {
        let topic = if api == ApiKey::Produce { &names.destination } else { &names.source };
        // NOT_ENOUGH_REPLICAS, COORDINATOR_NOT_AVAILABLE
        let code = if api == ApiKey::Produce { 19 } else { 15 };
        let fault = broker(&cluster).inject(Fault::always(api, FaultAction::Error(code)).on(topic));
        cluster.produce(&names.source, 0, &goods(1));
        mill.until_status("/readyz", 503, part);
        assert_eq!(mill.get("/livez").0, 200);
        broker(&cluster).lift(fault);
        mill.until_status("/readyz", 200, "ok");
    }
    assert!(mill.metric("topicmill_commit_failures_total").unwrap() > 0.0);
}

/// Exactly once, what stands between the last commit and the refused record went with the transaction.
#[test]
fn a_refused_dead_letter_is_named_with_the_offset_since_which_nothing_is_written() {
    const INVALID_RECORD: i16 = 87;
    let (cluster, names) = (Cluster::embedded(), Names::new("refused"));
    cluster.create(&names.source, 1, &[]);
    let refusal = FaultAction::Error(INVALID_RECORD);
    broker(&cluster).inject(Fault::always(ApiKey::Produce, refusal).on(&names.dead_letter));
    cluster.produce(&names.source, 0, &goods(7));
    let mill = Running::run(&cluster, &names, &["--delivery", "exactly-once"]);
    mill.until_metric("topicmill_records_written_total", 7.0);
    mill.until_metric("topicmill_lag_records", 0.0);
    cluster.produce(&names.source, 0, &[good(7), good(8), bad()]);
    mill.until_status("/readyz", 503, "at offset 9");
    let unwritten = "nothing of it is written from offset 7 on";
    let (_, ready) = mill.get("/readyz");
    assert!(ready.contains(unwritten), "{ready}");
    mill.signal("-TERM");
    let (code, _, log) = mill.end(SOON);
    let ended = log.last().unwrap();
    assert!(code == 1 && ended.contains("at offset 9") && ended.contains(unwritten), "{code}: {ended}");
    assert_eq!(cluster.consume(&names.destination, 0).len(), 7);
}

/// A transform that never returns.
struct Stuck;

impl Transform for Stuck {
    fn apply(&mut self, _: &Values<'_>, _: &mut Output<'_>) {
        loop {
            thread::park();
        }
    }
}

#[test]
fn a_transform_that_never_returns_is_noticed_and_does_not_hold_up_a_stop() {
    let (cluster, names) = (Cluster::embedded(), Names::new("stuck"));
    cluster.create(&names.source, 1, &[]);
    cluster.produce(&names.source, 0, &goods(10));
    let pipeline = Pipeline::builder()
        .brokers([&cluster.brokers])
        .source(&names.source)
        .destination(&names.destination)
        .transform(|| Stuck)
        .drain_timeout(Duration::from_secs(2))
        .build()
        .unwrap();
    let (health, stop) = (Arc::clone(pipeline.health()), CancellationToken::new());
    let (runtime, drain) = (Arc::clone(&cluster.runtime), stop.clone());
    let run = thread::spawn(move || runtime.block_on(pipeline.run(drain)));
    let start = Instant::now();
    while health.transforming_for() < Duration::from_secs(1) {
        assert!(start.elapsed() < SOON, "nobody notices");
        pause(Duration::from_millis(50));
    }
    stop.cancel();
    let asked = Instant::now();
    assert!(run.join().unwrap().is_err());
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
}
