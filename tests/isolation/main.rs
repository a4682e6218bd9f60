//! A fault stays where it is, end to end on the embedded broker: what the trouble of one partition,
//! of one topic, of some records or of a login may cost the rest. `STALL_SECONDS` (8) makes it longer.

mod partitions;
mod positions;
mod records;
mod requests;
#[path = "../support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use support::{
    Cluster, Names, pause,
    program::{Running, SOON},
    setting,
};
use topicmill_broker::{ApiKey, Broker};

/// Deliveries are given up within the time that something is in trouble.
const IMPATIENT: [&str; 4] = ["-X", "request.timeout.ms=1000", "-X", "delivery.timeout.ms=3000"];

/// Changes of topics are noticed soon.
const ATTENTIVE: [&str; 2] = ["-X", "metadata.max.age.ms=1000"];

fn broker(cluster: &Cluster) -> &Broker {
    cluster.embedded.as_ref().unwrap()
}

/// A cluster with the topics of `names`.
fn with_topics(names: &Names, partitions: i32) -> Cluster {
    let cluster = Cluster::embedded();
    for topic in [&names.source, &names.destination, &names.dead_letter] {
        cluster.create(topic, partitions, &[]);
    }
    cluster
}

/// Waits until `done` holds, and returns how long it took.
fn poll(what: &str, done: impl Fn() -> bool) -> Duration {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < SOON, "{what}: not within {SOON:?}");
        pause(Duration::from_millis(20));
    }
    began.elapsed()
}

/// Waits until each of these partitions has committed up to `offset`, and returns how long it took.
fn until_committed(
    cluster: &Cluster,
    names: &Names,
    partitions: impl Iterator<Item = i32> + Clone,
    offset: i64,
) -> Duration {
    poll("commits", || {
        let committed = cluster.committed(&names.group, &names.source);
        partitions.clone().all(|partition| committed.get(&partition).is_some_and(|got| *got >= offset))
    })
}

/// Fails unless the trouble went by: no new start, and nobody has joined the group anew, which takes
/// two requests at the start (KIP-394).
fn expect_undisturbed(cluster: &Cluster, mill: &Running) {
    assert_eq!(mill.metric("topicmill_restarts_total").unwrap_or(0.0), 0.0);
    assert!(broker(cluster).seen(ApiKey::JoinGroup).requests <= 2);
}

fn stop(mill: Running) {
    mill.signal("-TERM");
    let (code, _, log) = mill.end(SOON);
    assert_eq!(code, 0, "{log:?}");
}

/// For longer than a delivery may take.
fn stall() {
    pause(Duration::from_secs(setting("STALL_SECONDS", 8)));
}
