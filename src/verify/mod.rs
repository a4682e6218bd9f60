//! `verify`: checks the destination against the source.
//!
//! Each partition of the source is read and transformed again by the same pure transform; only
//! fingerprints of the outcome are kept, and the destination is compared with them. What retention
//! took from the beginning of the source cannot be checked any more. Apart from that, each topic
//! must still hold everything: what compaction took from the source counts as phantom in the
//! destination, and what either took from the destination as missing.
//!
//! With a group, what it has not committed and is absent counts as behind, not missing.

// What should be there.
mod fingerprint;
mod expected;
mod letters;
// How it differs.
mod compare;
mod index;
mod unordered;
mod misrouted;
mod findings;
mod missing;
// Around it.
mod gather;
mod logs;
mod report;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, io::Write, ops::Range, sync::Arc, time::Instant};

pub(crate) use findings::Kind;
pub(crate) use logs::{ClusterLogs, Logs};
pub(crate) use report::Report;

use compare::Comparison;
use expected::Expected;
use findings::{Actual, Findings};
use fingerprint::Identity;
use letters::{LetterFinding, Letters};

use crate::{
    batch::{PartitionBatch, TopicPartition},
    budget::Budget,
    config::VerifyConfig,
    console::progress::Progress,
    engine::{EngineError, ErrorKind, native::Client},
    exit::{Ended, Exit},
    partitions,
    strategy::Order,
};

/// The command: verifies and prints the report.
///
/// # Errors
/// As [`verify`], and when `out` does not take the output.
pub(crate) async fn command(config: &VerifyConfig, out: &mut impl Write) -> Result<Exit, Ended> {
    let mut progress = Progress::new("verify", "records", None);
    let report = verify(config, |done, total| {
        progress.set_total(total);
        progress.update(done, "");
    })
    .await;
    progress.finish();
    let report = report?;
    if config.json {
        writeln!(out, "{}", report.to_json())?;
    } else {
        writeln!(out, "{report}")?;
    }
    Ok(if report.is_ok() { Exit::Done } else { Exit::Violations })
}

/// Verifies on a cluster. `progress` gets the records (offsets) read so far and in all.
///
/// # Errors
/// When a topic is missing or cannot be read. What is wrong with the records is in the report.
pub(crate) async fn verify(
    config: &VerifyConfig,
    progress: impl FnMut(u64, u64) + Send,
) -> Result<Report, EngineError> {
    let client = Client::connect(&config.client).await?;
    partitions::tell(&client, &config.transform, &config.source, &config.destination).await?;
    verify_logs(&ClusterLogs { client, budget: Budget::new(config.memory) }, config, progress).await
}

/// As [`verify`], on any logs; the connection settings of `config` do not count.
///
/// # Errors
/// As [`verify`].
pub(crate) async fn verify_logs(
    logs: &impl Logs,
    config: &VerifyConfig,
    progress: impl FnMut(u64, u64) + Send,
) -> Result<Report, EngineError> {
    let started = Instant::now();
    let topics = ComparedTopics::open(logs, config).await?;
    let letters = Letters::default();
    let mut run = Verification { logs, config, topics, progress, done: 0, letters, hints: Vec::new() };
    run.read_letters().await?;
    let mut partitions = BTreeMap::new();
    for partition in run.topics.partitions() {
        partitions.insert(partition, run.partition(partition).await?);
    }
    let mut foreign = misrouted::resolve(&mut partitions);
    if !foreign.is_empty() && partitions.len() > 1 {
        for partition in run.topics.partitions() {
            let expected = run.expected(partition).await?;
            foreign.look_up(&expected.sequence);
        }
        foreign.settle(&mut partitions);
    }
    let mut report = Report {
        source: config.source.to_string(),
        destination: config.destination.to_string(),
        dead_letter: config.dead_letter.to_string(),
        hints: run.hints,
        ..Report::default()
    };
    for (&number, partition) in &partitions {
        report.add(config, number, partition, run.topics.committed(number));
    }
    report.hint_at_transform();
    report.elapsed = started.elapsed();
    Ok(report)
}

/// The offsets to compare.
struct ComparedTopics {
    /// What the group has committed of the source, if there is a group.
    committed: Option<BTreeMap<i32, i64>>,
    source: BTreeMap<i32, Range<i64>>,
    destination: BTreeMap<i32, Range<i64>>,
    dead_letter: BTreeMap<i32, Range<i64>>,
    outputs: Identity,
    letters: Identity,
}

impl ComparedTopics {
    async fn open(logs: &impl Logs, config: &VerifyConfig) -> Result<ComparedTopics, EngineError> {
        let missing =
            |topic: &str| EngineError::new(ErrorKind::Fatal, format!("the topic {topic} does not exist"));
        // The commits first: what is committed by now is written by then.
        let committed = match &config.group {
            Some(group) => Some(logs.committed(group, &config.source).await?),
            None => None,
        };
        // The source last: whatever is written by then comes from records below its ends.
        let destination = logs.ranges(&config.destination).await?;
        let destination = destination.ok_or_else(|| missing(&config.destination))?;
        let dead_letter = match logs.ranges(&config.dead_letter).await? {
            None if config.dead_letter_given => return Err(missing(&config.dead_letter)),
            ranges => ranges.unwrap_or_default(),
        };
        let source = logs.ranges(&config.source).await?.ok_or_else(|| missing(&config.source))?;
        if committed.as_ref().is_some_and(BTreeMap::is_empty) {
            let group = config.group.as_deref().unwrap_or_default();
            let text = format!("the group {group} has committed nothing of the topic {}", config.source);
            return Err(EngineError::new(ErrorKind::Fatal, text));
        }
        let outputs = Identity {
            without_timestamps: logs.stamps_records(&config.destination).await?,
            with_keys: config.order == Order::Key,
        };
        let stamped = !dead_letter.is_empty() && logs.stamps_records(&config.dead_letter).await?;
        let letters = Identity { without_timestamps: stamped, with_keys: false };
        Ok(ComparedTopics { committed, source, destination, dead_letter, outputs, letters })
    }

    /// The partitions that the source or the destination has.
    fn partitions(&self) -> Vec<i32> {
        let mut all: Vec<i32> = self.source.keys().chain(self.destination.keys()).copied().collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// From this offset on, what is absent is behind.
    fn committed(&self, partition: i32) -> Option<i64> {
        self.committed.as_ref().map(|committed| committed.get(&partition).copied().unwrap_or(0))
    }

    /// The offsets to read in all.
    fn total(&self) -> u64 {
        let all = self.source.values().chain(self.destination.values()).chain(self.dead_letter.values());
        all.map(|range| (range.end - range.start).max(0) as u64).sum()
    }
}

/// The outcome of a partition.
struct Partition {
    findings: Findings,
    letters: Vec<LetterFinding>,
    /// What was expected, for its offsets; the fingerprints are freed.
    expected: Expected,
    written: u64,
    letter_count: u64,
}

/// A verification in progress.
struct Verification<'a, L, P> {
    logs: &'a L,
    config: &'a VerifyConfig,
    topics: ComparedTopics,
    letters: Letters,
    hints: Vec<String>,
    progress: P,
    done: u64,
}

impl<L: Logs, P: FnMut(u64, u64) + Send> Verification<'_, L, P> {
    async fn read_letters(&mut self) -> Result<(), EngineError> {
        let mut letters = Letters::default();
        let identity = self.topics.letters;
        for (partition, range) in self.topics.dead_letter.clone() {
            let partition = TopicPartition::new(Arc::clone(&self.config.dead_letter), partition);
            let source = Arc::clone(&self.config.source);
            self.read(&partition, range, |batch| letters.add(batch, &source, identity)).await?;
        }
        let config = self.config;
        if let Some(groups) = letters.finish(config.group.as_deref(), &config.usual_group) {
            let (topic, groups) = (&config.dead_letter, groups.join(", "));
            self.hints
                .push(format!("{topic} has letters of several groups: say which with --group: {groups}"));
        }
        self.letters = letters;
        Ok(())
    }

    async fn partition(&mut self, partition: i32) -> Result<Partition, EngineError> {
        let mut expected = self.expected(partition).await?;
        let place = TopicPartition::new(Arc::clone(&self.config.destination), partition);
        let range = self.topics.destination.get(&partition).cloned().unwrap_or(0..0);
        let identity = self.topics.outputs;
        let mut written = 0;
        let read = self.topics.source.get(&partition).cloned().unwrap_or(0..0);
        let cut = read.start > 0;
        let mut findings = match self.config.order {
            Order::Partition => {
                let mut comparison = Comparison::new(&expected.sequence).after_a_cut(cut);
                let take = |batch: &PartitionBatch| {
                    written += batch.records.len() as u64;
                    each(batch, identity, |_, actual| comparison.push(actual));
                };
                self.read(&place, range, take).await?;
                comparison.finish()
            }
            Order::Key | Order::None => {
                let mut all = Vec::new();
                let take =
                    |batch: &PartitionBatch| each(batch, identity, |key, actual| all.push((key, actual)));
                self.read(&place, range, take).await?;
                written = all.len() as u64;
                if self.config.order == Order::Key {
                    unordered::compare_by_key(&expected.sequence, &expected.keys, all, cut)
                } else {
                    let all = all.into_iter().map(|(_, actual)| actual).collect();
                    unordered::compare_unordered(&expected.sequence, all, cut)
                }
            }
        };
        // A dead letter for a record that the destination holds is one copy too many.
        let mut excused: Vec<_> = expected.excused.iter().map(|&(_, output)| output).collect();
        excused.sort_unstable();
        findings.reclassify(|foreign| {
            excused.binary_search(&foreign.actual.fingerprint).is_ok().then_some(Kind::Duplicate)
        });
        let about = self.letters.of(partition);
        let letters = letters::check(about, &expected, read);
        let letter_count = about.len() as u64;
        (expected.sequence, expected.keys) = Default::default();
        Ok(Partition { findings, letters, expected, written, letter_count })
    }

    async fn expected(&mut self, partition: i32) -> Result<Expected, EngineError> {
        let mut expected = Expected::default();
        let place = TopicPartition::new(Arc::clone(&self.config.source), partition);
        let range = self.topics.source.get(&partition).cloned().unwrap_or(0..0);
        let mut transform = self.config.transform.build();
        let (outputs, letters) = (self.topics.outputs, self.topics.letters);
        let about = self.letters.of(partition).to_vec();
        self.read(&place, range, |batch| {
            let is_excused = |offset| letters::is_refused(&about, offset);
            expected.add(batch, transform.as_mut(), outputs, letters, is_excused);
        })
        .await?;
        Ok(expected)
    }

    async fn read(
        &mut self,
        partition: &TopicPartition,
        range: Range<i64>,
        mut each: impl FnMut(&PartitionBatch) + Send,
    ) -> Result<(), EngineError> {
        if range.is_empty() {
            return Ok(());
        }
        let (before, start, total) = (self.done, range.start, self.topics.total());
        self.done += (range.end - range.start) as u64;
        let progress = &mut self.progress;
        let take = |batch: &PartitionBatch| {
            each(batch);
            // What is looked up a second time does not count again.
            progress((before + (batch.next_offset - start).max(0) as u64).min(total), total);
        };
        self.logs.read(partition, range, take).await
    }
}

/// Passes key and identity of each record of a destination's batch to `take`.
fn each(batch: &PartitionBatch, identity: Identity, mut take: impl FnMut(u64, Actual)) {
    for record in &batch.records {
        let (key, value) = (batch.bytes(record.key), batch.bytes(record.value));
        let headers = batch.bytes(record.headers).unwrap_or_default();
        let fingerprint = identity.of(record.timestamp, key, value, headers);
        let key = if identity.with_keys { fingerprint::key_hash(key) } else { 0 };
        take(key, Actual { fingerprint, offset: record.offset });
    }
}
