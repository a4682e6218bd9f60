//! `verify`: checks the destination against the source.
//!
//! Each partition of the source is read and transformed again by the same pure transform; only
//! fingerprints of the outcome are kept, and the destination is compared with them, as are the topics
//! that the transform routes records to. Usually what comes of a partition goes to those of the same
//! number: then one partition of the source is in memory at a time. Where it does not, the source is
//! read several times, for as many partitions at a time as take about that much. What retention
//! took from the beginning of the source cannot be checked any more. Apart from that, each topic
//! must still hold everything: what compaction took from the source counts as phantom in the
//! destination, and what either took from the destination as missing.
//!
//! What the steps protect can be looked for in all that was written, in plain text: that reads it all once more.
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
mod several;
mod misrouted;
mod findings;
mod missing;
mod plaintext;
// Around it.
mod topics;
mod gather;
mod logs;
mod report;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod routed_tests;
#[cfg(test)]
mod plaintext_tests;

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    io::Write,
    ops::Range,
    sync::Arc,
    time::Instant,
};

pub(crate) use findings::Kind;
pub(crate) use logs::{ClusterLogs, Logs};
pub(crate) use report::Report;

use compare::Comparison;
use expected::{Expected, Outcome, Rules};
use findings::{Actual, Findings};
use fingerprint::{Identity, Original};
use letters::{LetterFinding, Letters};
use topics::ComparedTopics;

use crate::{
    batch::{PartitionBatch, TopicPartition},
    config::VerifyConfig,
    console::progress::Progress,
    engine::{EngineError, native::Client},
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
    verify_logs(&ClusterLogs::new(client, config), config, progress).await
}

/// As [`verify`], on any logs; the connection settings of `config` do not count.
///
/// # Errors
/// As [`verify`].
pub(crate) async fn verify_logs(
    logs: &impl Logs,
    config: &VerifyConfig,
    mut progress: impl FnMut(u64, u64) + Send,
) -> Result<Report, EngineError> {
    let started = Instant::now();
    let (mut known, mut rounds) = (BTreeSet::new(), 0);
    let (mut run, compared) = loop {
        let topics = ComparedTopics::open(logs, config, &known).await?;
        let letters = Letters::default();
        let mut run = Verification {
            logs,
            config,
            topics,
            progress: &mut progress,
            done: 0,
            letters,
            hints: Vec::new(),
        };
        run.read_letters().await?;
        rounds += 1;
        match run.compare(rounds < ROUNDS_MAX).await? {
            Some(compared) => break (run, compared),
            None => known = run.topics.written(),
        }
    };
    let Compared { mut places, sources } = compared;
    let mut foreign = misrouted::resolve(&mut places);
    if !foreign.is_empty() && places.len() > 1 {
        for &partition in sources.keys() {
            for expected in run.outcome(partition, |_| true).await?.places.values() {
                foreign.look_up(&expected.sequence);
            }
        }
        foreign.settle(&mut places);
    }
    let plaintext = match &config.protection {
        Some(protection) => Some(run.plaintext(protection).await?),
        None => None,
    };
    let mut report = Report {
        plaintext,
        source: config.source.to_string(),
        destination: config.destination.to_string(),
        dead_letter: config.dead_letter.to_string(),
        hints: run.hints,
        ..Report::default()
    };
    for (&number, source) in &sources {
        report.add_source(config, number, source, &places, run.topics.committed(number));
    }
    for place in places.keys().filter(|place| !is_home(config, &sources, place)) {
        report.add_place(config, place, &places[place]);
    }
    for (place, partition) in &places {
        report.add_missing(config, (place, partition), |number| run.topics.committed(number));
    }
    report.hint_at_transform(config);
    if report.counts.of(Kind::Missing) > 0 {
        report.hints.extend(run.topics.hints_at_transactions(logs).await?);
    }
    report.elapsed = started.elapsed();
    Ok(report)
}

/// How often it is begun anew because routed topics turned up after the end of the source was taken.
const ROUNDS_MAX: usize = 3;

/// So many expected records are held at a time without need to read the source more often.
const FEW: usize = 16 << 20;

/// Whether a place is where the records of a source partition go unless something else is said.
fn is_home(config: &VerifyConfig, sources: &BTreeMap<i32, SourcePartition>, place: &TopicPartition) -> bool {
    place.topic == config.destination && sources.contains_key(&place.partition)
}

/// The outcome of a partition that is written.
struct Partition {
    findings: Findings,
    /// What was expected, for its offsets; the fingerprints are freed.
    origins: Vec<Origin>,
    written: u64,
}

/// What a partition of the source should have led to in a partition that is written.
struct Origin {
    /// Its number.
    number: i32,
    /// The position of the first of its records among all that are expected there.
    first: usize,
    expected: Expected,
    /// Whether the source has lost its beginning.
    is_cut: bool,
}

impl Partition {
    /// The origin of the record at a position, and the record's offset there.
    fn origin_of(&self, position: usize) -> Option<(&Origin, i64)> {
        let origin = self.origins[..].partition_point(|origin| origin.first <= position).checked_sub(1)?;
        let origin = &self.origins[origin];
        Some((origin, origin.expected.offset(position - origin.first)))
    }
}

/// What was found about a partition of the source, apart from what came of it.
struct SourcePartition {
    read: u64,
    due: Vec<Original>,
    letters: Vec<LetterFinding>,
    letter_count: u64,
}

/// Everything that was found.
#[derive(Default)]
struct Compared {
    places: BTreeMap<TopicPartition, Partition>,
    sources: BTreeMap<i32, SourcePartition>,
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

    /// Compares everything. `None` if topics turned up after the end of the source was taken, which has moved
    /// since, unless it `may` not begin anew.
    async fn compare(&mut self, may: bool) -> Result<Option<Compared>, EngineError> {
        let mut compared = Compared::default();
        let partitions = self.topics.partitions(&self.config.destination);
        let mut is_crossing = false;
        for &number in &partitions {
            let Some(mut outcome) = self.discover(number, may).await? else { return Ok(None) };
            let strays = outcome.places.keys().any(|place| place.partition != number);
            is_crossing |= strays && partitions.len() > 1;
            compared.sources.insert(number, self.source(number, &outcome));
            if is_crossing {
                continue;
            }
            for topic in self.topics.written() {
                outcome.places.entry(TopicPartition { topic, partition: number }).or_default();
            }
            for (place, expected) in outcome.places {
                let partition = self.place(&place, BTreeMap::from([(number, expected)])).await?;
                compared.places.insert(place, partition);
            }
        }
        if is_crossing {
            compared.places = self.crossing(&partitions).await?;
        }
        for place in self.topics.places() {
            if let Entry::Vacant(free) = compared.places.entry(place) {
                let partition = self.place(free.key(), BTreeMap::new()).await?;
                free.insert(partition);
            }
        }
        Ok(Some(compared))
    }

    /// The outcome of a source partition once all topics that it leads to are known; `None` as of
    /// [`compare`](Verification::compare).
    async fn discover(&mut self, number: i32, may: bool) -> Result<Option<Outcome>, EngineError> {
        loop {
            let outcome = self.outcome(number, |_| true).await?;
            let topics = outcome.places.keys().map(|place| Arc::clone(&place.topic)).collect();
            let found = self.topics.discover(self.logs, self.config, topics).await?;
            if found.is_late && may {
                return Ok(None);
            }
            // Their records were made as those of the destination.
            if !found.differs {
                return Ok(Some(outcome));
            }
        }
    }

    /// The places that what comes of several source partitions goes to, whatever their numbers.
    async fn crossing(
        &mut self,
        partitions: &[i32],
    ) -> Result<BTreeMap<TopicPartition, Partition>, EngineError> {
        let mut counts: BTreeMap<i32, usize> = BTreeMap::new();
        let mut most = FEW;
        for &number in partitions {
            let outcome = self.outcome(number, |_| true).await?;
            most = most.max(outcome.places.values().map(|expected| expected.outputs).sum());
            for (place, expected) in &outcome.places {
                *counts.entry(place.partition).or_default() += expected.outputs + expected.excused.len();
            }
        }
        let mut compared = BTreeMap::new();
        let mut left = counts.into_iter().peekable();
        while let Some((number, mut count)) = left.next() {
            let mut chosen = BTreeSet::from([number]);
            while let Some((number, more)) = left.next_if(|(_, more)| count + more <= most) {
                chosen.insert(number);
                count += more;
            }
            let mut places: BTreeMap<TopicPartition, BTreeMap<i32, Expected>> = BTreeMap::new();
            for &number in partitions {
                let outcome = self.outcome(number, |place| chosen.contains(&place.partition)).await?;
                for (place, expected) in outcome.places {
                    places.entry(place).or_default().insert(number, expected);
                }
            }
            for (place, origins) in places {
                let partition = self.place(&place, origins).await?;
                compared.insert(place, partition);
            }
        }
        Ok(compared)
    }

    /// Compares a partition that is written with what its origins should have led to.
    async fn place(
        &mut self,
        place: &TopicPartition,
        origins: BTreeMap<i32, Expected>,
    ) -> Result<Partition, EngineError> {
        let mut first = 0;
        let mut all = Vec::with_capacity(origins.len());
        for (number, expected) in origins {
            let is_cut = self.topics.source_range(number).start > 0;
            let outputs = expected.outputs;
            all.push(Origin { number, first, expected, is_cut });
            first += outputs;
        }
        let mut origins = all;
        let (range, identity) = (self.topics.range(place), self.topics.identity(&place.topic));
        let order = self.config.order;
        let mut written = 0;
        let none = Expected::default();
        let (expected, cut) = match &origins[..] {
            // Nothing is expected, of any: if a source has lost its beginning it may be of that.
            [] => (&none, self.topics.is_any_cut()),
            [origin] => (&origin.expected, origin.is_cut),
            _ => (&none, false),
        };
        let mut findings = if order == Order::Partition && origins.len() < 2 {
            let mut comparison = Comparison::new(&expected.sequence).after_a_cut(cut);
            let take = |batch: &PartitionBatch| {
                written += batch.records.len() as u64;
                each(batch, identity, |_, actual| comparison.push(actual));
            };
            self.read(place, range, take).await?;
            comparison.finish()
        } else {
            let mut all = Vec::new();
            let take = |batch: &PartitionBatch| each(batch, identity, |key, actual| all.push((key, actual)));
            self.read(place, range, take).await?;
            written = all.len() as u64;
            if origins.len() > 1 {
                several::compare(&origins, all, order)
            } else if order == Order::Key {
                unordered::compare_by_key(&expected.sequence, &expected.keys, all, cut)
            } else {
                let all = all.into_iter().map(|(_, actual)| actual).collect();
                unordered::compare_unordered(&expected.sequence, all, cut)
            }
        };
        self.settle_excused(&mut findings, &origins);
        origins.iter_mut().for_each(|origin| origin.expected.free());
        Ok(Partition { findings, origins, written })
    }

    /// A dead letter for a record that the topic holds is one copy too many, unless other output of that record
    /// was refused.
    fn settle_excused(&self, findings: &mut Findings, origins: &[Origin]) {
        let excused = || origins.iter().flat_map(|origin| &origin.expected.excused);
        let mut refused: Vec<_> = excused().filter(|of| of.is_all).map(|of| of.output).collect();
        refused.sort_unstable();
        findings.reclassify(|foreign| {
            refused.binary_search(&foreign.actual.fingerprint).is_ok().then_some(Kind::Duplicate)
        });
        let mut partial: BTreeMap<_, usize> = BTreeMap::new();
        for of in excused().filter(|of| !of.is_all) {
            *partial.entry(of.output).or_default() += 1;
        }
        findings.forgive(|foreign| match partial.get_mut(&foreign.actual.fingerprint) {
            Some(left) if *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        });
    }

    fn source(&self, number: i32, outcome: &Outcome) -> SourcePartition {
        let (about, due) = (self.letters.of(number), outcome.due());
        let letters = letters::check(about, &due, self.topics.source_range(number));
        SourcePartition { read: outcome.read, due, letters, letter_count: about.len() as u64 }
    }

    /// What should have come of a partition of the source, in the places that are `wanted`.
    async fn outcome(
        &mut self,
        number: i32,
        wanted: impl Fn(&TopicPartition) -> bool + Send + Sync,
    ) -> Result<Outcome, EngineError> {
        let mut outcome = Outcome::default();
        let place = TopicPartition::new(Arc::clone(&self.config.source), number);
        let range = self.topics.source_range(number);
        let mut transform = self.config.transform.build();
        let identities = self.topics.identities();
        let rules = Rules {
            destination: &self.config.destination,
            outputs: &identities,
            letters: self.topics.letters,
            protect: self.config.protect_letters.as_ref(),
        };
        let about = self.letters.of(number).to_vec();
        self.read(&place, range, |batch| {
            let is_excused = |offset| letters::is_refused(&about, offset);
            outcome.add(batch, transform.as_mut(), &rules, is_excused, &wanted);
        })
        .await?;
        Ok(outcome)
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

/// Passes key and identity of each record of a batch that was written to `take`.
fn each(batch: &PartitionBatch, identity: Identity, mut take: impl FnMut(u64, Actual)) {
    for record in &batch.records {
        let (key, value) = (batch.bytes(record.key), batch.bytes(record.value));
        let headers = batch.bytes(record.headers).unwrap_or_default();
        let fingerprint = identity.of(record.timestamp, key, value, headers);
        let key = if identity.with_keys { fingerprint::key_hash(key) } else { 0 };
        take(key, Actual { fingerprint, offset: record.offset });
    }
}
