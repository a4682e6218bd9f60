//! Every metric in one place. They are updated per batch, never per record.

use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

/// The metrics of a running transformer.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Records read from the source.
    pub records_read: Counter,
    /// Bytes of the batches read, decompressed.
    pub bytes_read: Counter,
    /// Records that the destination acknowledged.
    pub records_written: Counter,
    /// Bytes of the batches written, before compression.
    pub bytes_written: Counter,
    /// Batches that are final: written and acknowledged.
    pub batches: Counter,
    dead_letters: Family<ClassLabel, Counter>,
    dead_letters_total: AtomicU64,
    /// Batches dropped unread because their assignment had ended.
    pub stale_batches: Counter,
    /// Commits that the coordinator agreed to.
    pub commits: Counter,
    /// Commits that failed and were tried again.
    pub commit_failures: Counter,
    /// Changes of the assignment.
    pub rebalances: Counter,
    /// New starts from the committed offsets after an error.
    pub restarts: Counter,
    /// Batches that wait for their acknowledgement.
    pub batches_in_flight: Gauge,
    /// Partitions assigned.
    pub partitions_assigned: Gauge,
    /// Partitions stopped because a dead letter was refused.
    pub partitions_stopped: Gauge,
    /// Memory that batches hold.
    pub memory_used: Gauge,
    stages: Family<StageLabel, Histogram>,
    lag: Family<PartitionLabel, Gauge<f64, AtomicU64>>,
    lag_total: AtomicI64,
}

/// The stages that batches are timed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// From the batch to its output.
    Transform,
    /// From sending to the acknowledgement.
    Deliver,
    /// From asking for a commit to the coordinator's answer.
    Commit,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ClassLabel {
    class: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StageLabel {
    stage: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PartitionLabel {
    group: String,
    topic: String,
    partition: i32,
}

impl Metrics {
    /// All metrics at zero. A counter's name gains `_total` when it is shown.
    pub fn new() -> Metrics {
        let mut registry = Registry::default();
        let lag = Family::default();
        registry.register(
            "kafka_consumergroup_lag",
            "Records of the partition that the group has not committed yet",
            lag.clone(),
        );
        let mill = registry.sub_registry_with_prefix("topicmill");
        let mut counter = |name: &str, help: &str| {
            let counter = Counter::default();
            mill.register(name, help, counter.clone());
            counter
        };
        let records_read = counter("records_read", "Records read from the source");
        let bytes_read = counter("read_bytes", "Bytes of the batches read, decompressed");
        let records_written = counter("records_written", "Records that the destination acknowledged");
        let bytes_written = counter("written_bytes", "Bytes of the batches written, before compression");
        let batches = counter("batches", "Batches that are written and acknowledged");
        let stale_batches = counter("stale_batches", "Batches dropped because their assignment had ended");
        let commits = counter("commits", "Commits that the coordinator agreed to");
        let commit_failures = counter("commit_failures", "Commits that failed and were tried again");
        let rebalances = counter("rebalances", "Changes of the assignment");
        let restarts = counter("restarts", "New starts from the committed offsets after an error");
        let mut gauge = |name: &str, help: &str| {
            let gauge = Gauge::default();
            mill.register(name, help, gauge.clone());
            gauge
        };
        let batches_in_flight = gauge("batches_in_flight", "Batches that wait for their acknowledgement");
        let partitions_assigned = gauge("partitions_assigned", "Partitions assigned");
        let partitions_stopped =
            gauge("partitions_stopped", "Partitions stopped because a dead letter was refused");
        let memory_used = gauge("memory_used_bytes", "Memory that batches hold");
        let dead_letters = Family::default();
        mill.register("dead_letters", "Records written to the dead letter topic", dead_letters.clone());
        let stages = Family::<StageLabel, Histogram>::new_with_constructor(|| {
            Histogram::new(exponential_buckets(0.0001, 2.0, 18))
        });
        mill.register_with_unit(
            "stage",
            "Time that a batch spends in a stage",
            Unit::Seconds,
            stages.clone(),
        );
        Metrics {
            registry,
            records_read,
            bytes_read,
            records_written,
            bytes_written,
            batches,
            dead_letters,
            dead_letters_total: AtomicU64::new(0),
            stale_batches,
            commits,
            commit_failures,
            rebalances,
            restarts,
            batches_in_flight,
            partitions_assigned,
            partitions_stopped,
            memory_used,
            stages,
            lag,
            lag_total: AtomicI64::new(0),
        }
    }

    /// Counts one dead letter of a class.
    pub fn dead_letter(&self, class: &'static str) {
        self.dead_letters.get_or_create(&ClassLabel { class }).inc();
        self.dead_letters_total.fetch_add(1, Ordering::Relaxed);
    }

    /// The dead letters of all classes so far.
    pub fn dead_letter_total(&self) -> u64 {
        self.dead_letters_total.load(Ordering::Relaxed)
    }

    /// Notes the time that a batch spent in a stage.
    pub fn stage(&self, stage: Stage, time: Duration) {
        let stage = match stage {
            Stage::Transform => "transform",
            Stage::Deliver => "deliver",
            Stage::Commit => "commit",
        };
        self.stages.get_or_create(&StageLabel { stage }).observe(time.as_secs_f64());
    }

    /// Sets the lag in records of each partition of a topic.
    pub fn set_lag(&self, group: &str, topic: &str, partitions: impl IntoIterator<Item = (i32, i64)>) {
        let mut total = 0;
        for (partition, lag) in partitions {
            let label = PartitionLabel { group: group.to_owned(), topic: topic.to_owned(), partition };
            self.lag.get_or_create(&label).set(lag as f64);
            total += lag;
        }
        self.lag_total.store(total, Ordering::Relaxed);
    }

    /// The lag in records of all partitions, as it was last measured.
    pub fn lag_total(&self) -> i64 {
        self.lag_total.load(Ordering::Relaxed)
    }

    /// The metrics in the Prometheus text format (OpenMetrics 1.0).
    pub fn render(&self) -> String {
        let mut out = String::new();
        text::encode(&mut out, &self.registry).expect("writing to a string does not fail");
        out
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_that_users_build_on_are_there() {
        let metrics = Metrics::new();
        metrics.records_read.inc_by(7);
        metrics.dead_letter("syntax");
        metrics.stage(Stage::Commit, Duration::from_millis(3));
        metrics.set_lag("g", "t", [(1, 1), (2, 41)]);
        assert_eq!(metrics.lag_total(), 42);
        let text = metrics.render();
        for line in [
            "topicmill_records_read_total 7",
            "topicmill_dead_letters_total{class=\"syntax\"} 1",
            "topicmill_stage_seconds_count{stage=\"commit\"} 1",
            "kafka_consumergroup_lag{group=\"g\",topic=\"t\",partition=\"2\"} 41.0",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} in\n{text}");
        }
    }
}
