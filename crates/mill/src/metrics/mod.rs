//! All metrics in one place. They are updated per batch, never per record.

mod lag;
mod steps;

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

pub use lag::{OwnLag, PartitionLag, Unread};
use parking_lot::Mutex;
use prometheus_client::{
    encoding::{EncodeLabelSet, prometheus_text, text},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
pub use steps::{StepCounts, StepOutcome, StepRecords, StepTally};

use crate::batch::TopicPartition;

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
    /// Records that the transform passed over: final, with nothing written for them.
    pub records_filtered: Counter,
    /// Batches that are final: written and acknowledged.
    pub batches: Counter,
    dead_letters: Family<ClassLabel, Counter>,
    dead_letters_by_class: Mutex<BTreeMap<&'static str, u64>>,
    /// Batches dropped unread: their assignment had ended or their partition had stopped.
    pub stale_batches: Counter,
    /// Commits that the coordinator agreed to.
    pub commits: Counter,
    transactions: Family<OutcomeLabel, Counter>,
    /// Commits that failed and were retried.
    pub commit_failures: Counter,
    /// Changes of the assignment.
    pub rebalances: Counter,
    /// New starts from the committed offsets after an error.
    pub restarts: Counter,
    /// Partitions read again from their committed offsets, each on its own.
    pub rewinds: Counter,
    /// Batches that wait for their acknowledgement.
    pub batches_in_flight: Gauge,
    /// Partitions assigned.
    pub partitions_assigned: Gauge,
    /// Partitions stopped: by a refused dead letter, a batch that cannot be read, or a gap.
    pub partitions_stopped: Gauge,
    /// Memory that responses and batches hold.
    pub memory_used: Gauge,
    stages: Family<StageLabel, Histogram>,
    /// The lag of the partitions assigned.
    pub lag: OwnLag,
    /// What the steps of the transform do.
    pub steps: StepRecords,
    /// When the coordinator last agreed to a commit, in seconds since the epoch; 0 before the first.
    pub last_commit: Gauge,
    /// The age of the oldest batch that is not acknowledged, in seconds.
    pub oldest_batch: Gauge<f64, AtomicU64>,
    /// How long the transform has been working on its oldest batch, in seconds.
    pub transforming: Gauge,
    last_letter: Mutex<Option<LastLetter>>,
    skipped: Family<SkippedLabel, Counter>,
    skipped_offsets: AtomicU64,
    failing: Family<StageLabel, Gauge>,
    failing_seconds: Family<StageLabel, Gauge>,
}

/// How metrics are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Exposition {
    /// The Prometheus text format 0.0.4.
    #[default]
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

/// The record of the most recent dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastLetter {
    /// Its partition.
    pub partition: TopicPartition,
    /// Its offset.
    pub offset: i64,
    /// The class of its error.
    pub class: &'static str,
}

/// The stages that batches are timed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimedStage {
    /// From the batch to its output.
    Transform,
    /// From sending to the acknowledgement.
    Deliver,
    /// From asking for a commit to the coordinator's answer.
    Commit,
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionOutcome {
    /// Its output is visible, and its offsets are the group's.
    Committed,
    /// It was given up, and what was in it read again.
    Aborted,
    /// Another process has taken over the transactional id.
    Fenced,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
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
struct BuildLabel {
    version: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SkippedLabel {
    topic: String,
    partition: i32,
    reason: &'static str,
}

impl Metrics {
    /// All metrics at zero. A counter's name gains `_total` when it is shown.
    pub fn new() -> Metrics {
        let mut registry = Registry::default();
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
        let stale_batches = counter(
            "stale_batches",
            "Batches dropped because their assignment had ended or their partition is stopped",
        );
        let records_filtered = counter("records_filtered", "Records that the transform passed over");
        let commits = counter("commits", "Commits that the coordinator agreed to");
        let commit_failures = counter("commit_failures", "Commits that failed and were tried again");
        let rebalances = counter("rebalances", "Changes of the assignment");
        let restarts = counter("restarts", "New starts from the committed offsets after an error");
        let rewinds =
            counter("rewinds", "Partitions read again from their committed offsets, each for itself");
        let mut gauge = |name: &str, help: &str| {
            let gauge = Gauge::default();
            mill.register(name, help, gauge.clone());
            gauge
        };
        let batches_in_flight = gauge("batches_in_flight", "Batches that wait for their acknowledgement");
        let partitions_assigned = gauge("partitions_assigned", "Partitions assigned");
        let partitions_stopped = gauge(
            "partitions_stopped",
            "Partitions stopped: a dead letter was refused, or the log cannot be read on or has a gap",
        );
        let memory_used = gauge("memory_used_bytes", "Memory that responses and batches hold");
        let last_commit = gauge(
            "last_commit_timestamp_seconds",
            "When the coordinator last agreed to a commit, in seconds since the epoch; 0 before the first",
        );
        let transforming =
            gauge("transforming_seconds", "How long the oldest batch has been in the transform's hands");
        let oldest_batch = Gauge::default();
        mill.register(
            "oldest_batch_seconds",
            "The age of the oldest batch that is not acknowledged",
            oldest_batch.clone(),
        );
        let transactions = Family::default();
        mill.register("transactions", "Transactions that have ended", transactions.clone());
        let build = Family::<BuildLabel, Gauge>::default();
        build.get_or_create(&BuildLabel { version: env!("CARGO_PKG_VERSION") }).set(1);
        mill.register("build_info", "The version that runs; always 1", build);
        let lag = OwnLag::default();
        mill.register_collector(Box::new(lag.clone()));
        let steps = StepRecords::default();
        mill.register_collector(Box::new(steps.clone()));
        let skipped = Family::default();
        mill.register(
            "skipped_offsets",
            "Offsets that were passed over because the log does not have them any more",
            skipped.clone(),
        );
        let failing = Family::default();
        mill.register(
            "partitions_failing",
            "Partitions that a stage fails for at the moment",
            failing.clone(),
        );
        let failing_seconds = Family::default();
        mill.register(
            "failing_seconds",
            "How long what a stage fails with has lasted, 0 if it does not fail",
            failing_seconds.clone(),
        );
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
            records_filtered,
            batches,
            dead_letters,
            dead_letters_by_class: Mutex::default(),
            stale_batches,
            commits,
            transactions,
            commit_failures,
            rebalances,
            restarts,
            rewinds,
            batches_in_flight,
            partitions_assigned,
            partitions_stopped,
            memory_used,
            stages,
            lag,
            steps,
            last_commit,
            oldest_batch,
            transforming,
            last_letter: Mutex::default(),
            skipped,
            skipped_offsets: AtomicU64::new(0),
            failing,
            failing_seconds,
        }
    }

    /// Counts one dead letter of a class.
    pub fn dead_letter(&self, class: &'static str) {
        self.dead_letters.get_or_create(&ClassLabel { class }).inc();
        *self.dead_letters_by_class.lock().entry(class).or_default() += 1;
    }

    /// Counts a transaction that has ended.
    pub fn transaction(&self, outcome: TransactionOutcome) {
        let outcome = match outcome {
            TransactionOutcome::Committed => "committed",
            TransactionOutcome::Aborted => "aborted",
            TransactionOutcome::Fenced => "fenced",
        };
        self.transactions.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// The dead letters of all classes so far.
    pub fn dead_letter_total(&self) -> u64 {
        self.dead_letters_by_class.lock().values().sum()
    }

    /// The dead letters so far by class.
    pub fn dead_letters_by_class(&self) -> BTreeMap<&'static str, u64> {
        self.dead_letters_by_class.lock().clone()
    }

    /// Notes the record of the last dead letter.
    pub fn set_last_letter(&self, letter: LastLetter) {
        *self.last_letter.lock() = Some(letter);
    }

    /// The record of the last dead letter.
    pub fn last_letter(&self) -> Option<LastLetter> {
        self.last_letter.lock().clone()
    }

    /// Notes the time that a batch spent in a stage.
    pub fn stage(&self, stage: TimedStage, time: Duration) {
        let stage = match stage {
            TimedStage::Transform => "transform",
            TimedStage::Deliver => "deliver",
            TimedStage::Commit => "commit",
        };
        self.stages.get_or_create(&StageLabel { stage }).observe(time.as_secs_f64());
    }

    /// Counts offsets of a partition that are passed over, by reason.
    pub fn skipped(&self, partition: &TopicPartition, reason: &'static str, offsets: u64) {
        let (topic, partition) = (partition.topic.to_string(), partition.partition);
        self.skipped.get_or_create(&SkippedLabel { topic, partition, reason }).inc_by(offsets);
        self.skipped_offsets.fetch_add(offsets, Ordering::Relaxed);
    }

    /// The offsets passed over so far.
    pub fn skipped_total(&self) -> u64 {
        self.skipped_offsets.load(Ordering::Relaxed)
    }

    /// Notes for how many partitions a stage is failing, and for how long.
    pub fn failing(&self, stage: &'static str, partitions: usize, time: Duration) {
        self.failing.get_or_create(&StageLabel { stage }).set(partitions as i64);
        self.failing_seconds.get_or_create(&StageLabel { stage }).set(time.as_secs() as i64);
    }

    /// The metrics as text.
    pub fn render(&self, exposition: Exposition) -> String {
        let mut out = String::new();
        match exposition {
            Exposition::Prometheus => prometheus_text::encode(&mut out, &self.registry),
            Exposition::OpenMetrics => text::encode(&mut out, &self.registry),
        }
        .expect("writing to a string does not fail");
        out
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

#[cfg(test)]
mod format;

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics() -> Metrics {
        let metrics = Metrics::new();
        metrics.records_read.inc_by(7);
        metrics.dead_letter("syntax");
        metrics.stage(TimedStage::Commit, Duration::from_millis(3));
        metrics.skipped(&TopicPartition::new("t", 2), "retention", 5);
        metrics.failing("fetch", 2, Duration::from_secs(12));
        let partition = TopicPartition::new("t", 2);
        metrics.lag.set_group("a\"b\\c\nd");
        metrics.lag.assigned(&partition, 1);
        metrics.lag.set_ends(&BTreeMap::from([(partition, 42)]));
        metrics
    }

    #[test]
    fn the_names_that_users_build_on_are_there() {
        for exposition in [Exposition::Prometheus, Exposition::OpenMetrics] {
            let text = metrics().render(exposition);
            for line in [
                "topicmill_records_read_total 7",
                "topicmill_dead_letters_total{class=\"syntax\"} 1",
                "topicmill_stage_seconds_count{stage=\"commit\"} 1",
                "topicmill_skipped_offsets_total{topic=\"t\",partition=\"2\",reason=\"retention\"} 5",
                "topicmill_partitions_failing{stage=\"fetch\"} 2",
                r#"topicmill_lag_records{group="a\"b\\c\nd",topic="t",partition="2"} 41"#,
            ] {
                assert!(text.lines().any(|shown| shown == line), "{line} in\n{text}");
            }
        }
    }

    #[test]
    fn every_line_is_in_the_format_that_prometheus_reads() {
        format::check(&metrics().render(Exposition::Prometheus));
    }
}
