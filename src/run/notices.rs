//! Logs what waits or fails: within two seconds, and then once a minute for as long as it lasts.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    task::JoinHandle,
    time::{Instant, interval},
};
use tracing::{info, warn};

use crate::{
    engine::{Place, Trouble},
    mill::Observers,
    sentences::{About, Sentence, sentences},
};

/// How often to look.
const EVERY: Duration = Duration::from_millis(500);

/// What passes within this time is not worth a line.
const BLIP: Duration = Duration::from_secs(1);

/// The time between two lines about the same thing.
const AGAIN: Duration = Duration::from_secs(60);

/// The most lines about one stage within that time, so that changing reasons do not fill the disk.
const MOST_LINES: usize = 5;

/// Reports in the background; stops when this is dropped, after the dead letters that were not
/// reported yet.
#[derive(Debug)]
pub(super) struct Notices {
    reporting: JoinHandle<()>,
    letters: Arc<Mutex<LetterLines>>,
    observers: Observers,
}

impl Notices {
    pub(super) fn start(observers: &Observers) -> Notices {
        let letters: Arc<Mutex<LetterLines>> = Arc::default();
        let reporting = tokio::spawn(report(observers.clone(), Arc::clone(&letters)));
        Notices { reporting, letters, observers: observers.clone() }
    }
}

async fn report(observers: Observers, letters: Arc<Mutex<LetterLines>>) {
    let mut ticks = interval(EVERY);
    let mut troubles = TroubleLines::default();
    let mut commits = FailedCommits::default();
    loop {
        ticks.tick().await;
        let now = observers.troubles.now();
        count(&now, &observers);
        commits.count(&now, &observers);
        for line in troubles.due(sentences(now)) {
            line.log();
        }
        letters.lock().log_due(&observers);
    }
}

impl Drop for Notices {
    fn drop(&mut self) {
        self.reporting.abort();
        self.letters.lock().log(&self.observers);
    }
}

/// Shows the failures as metrics.
fn count(troubles: &[(Place, Trouble)], observers: &Observers) {
    for stage in Place::STAGES {
        let here = || troubles.iter().filter(|(place, _)| place.stage() == stage);
        let partitions = here().filter(|(place, _)| place.partition().is_some()).count();
        let longest = here().map(|(_, trouble)| trouble.since.elapsed()).max();
        observers.metrics.failing(stage, partitions, longest.unwrap_or_default());
    }
}

/// Counts failing attempts to commit while they last.
#[derive(Debug, Default)]
struct FailedCommits {
    /// Since when the commits have been failing, and how many attempts were counted.
    counted: Option<(Instant, u64)>,
}

impl FailedCommits {
    fn count(&mut self, troubles: &[(Place, Trouble)], observers: &Observers) {
        let failing = troubles.iter().find(|(place, _)| *place == Place::Commit);
        let failing = failing.map(|(_, trouble)| (trouble.since, trouble.attempts));
        if let Some((since, attempts)) = failing {
            let before = self.counted.filter(|(then, _)| *then == since).map_or(0, |(_, counted)| counted);
            observers.metrics.commit_failures.inc_by(attempts.saturating_sub(before));
        }
        self.counted = failing;
    }
}

/// Which failures to report.
#[derive(Debug, Default)]
struct TroubleLines {
    /// When each was last reported, and since when it has lasted.
    told: BTreeMap<About, WrittenLine>,
    /// When lines were written, by stage.
    lines: BTreeMap<&'static str, Vec<Instant>>,
}

#[derive(Clone, Debug)]
struct WrittenLine {
    at: Instant,
    sentence: Sentence,
}

#[derive(Debug)]
enum Line {
    Fails(Sentence),
    Over(Sentence),
}

impl TroubleLines {
    /// The lines that are due now.
    fn due(&mut self, sentences: Vec<Sentence>) -> Vec<Line> {
        let now = Instant::now();
        let mut lines = Vec::new();
        let lasting: BTreeSet<&About> = sentences.iter().map(|sentence| &sentence.about).collect();
        let stages: BTreeSet<&'static str> = sentences.iter().map(|sentence| sentence.about.stage).collect();
        // With another reason it is not over.
        let over = |about: &About| !lasting.contains(about) && !stages.contains(about.stage);
        lines.extend(ended(self.told.extract_if(.., |about, _| over(about)).map(|(_, told)| told.sentence)));
        self.told.retain(|about, told| lasting.contains(about) || now.duration_since(told.at) < AGAIN);
        for sentence in sentences {
            let told = self.told.get(&sentence.about);
            let is_due = told.is_none_or(|told| now.duration_since(told.at) >= AGAIN);
            if !is_due
                || now.duration_since(sentence.since) < BLIP
                || !self.may_write(sentence.about.stage, now)
            {
                continue;
            }
            self.told.insert(sentence.about.clone(), WrittenLine { at: now, sentence: sentence.clone() });
            lines.push(Line::Fails(sentence));
        }
        lines
    }

    fn may_write(&mut self, stage: &'static str, now: Instant) -> bool {
        let lines = self.lines.entry(stage).or_default();
        lines.retain(|at| now.duration_since(*at) < AGAIN);
        let may = lines.len() < MOST_LINES;
        if may {
            lines.push(now);
        }
        may
    }
}

/// One line for what fails at a stage, however many reasons there were.
fn ended(told: impl Iterator<Item = Sentence>) -> impl Iterator<Item = Line> {
    let mut all: BTreeMap<(&'static str, Option<String>), Sentence> = BTreeMap::new();
    for sentence in told {
        let first = all
            .entry((sentence.about.stage, sentence.about.topic.clone()))
            .or_insert_with(|| sentence.clone());
        first.since = first.since.min(sentence.since);
        first.partitions.extend(sentence.partitions);
        first.partitions.sort_unstable();
        first.partitions.dedup();
    }
    all.into_values().map(Line::Over)
}

impl Line {
    fn log(self) {
        let is_over = matches!(self, Line::Over(_));
        let (Line::Fails(sentence) | Line::Over(sentence)) = self;
        let About { stage, topic, reason } = &sentence.about;
        let seconds = sentence.since.elapsed().as_secs();
        let partitions = Some(sentence.partitions.len()).filter(|count| *count > 0);
        let numbers = partitions.map(|_| sentence.numbers());
        if is_over {
            info!(stage, topic, partitions, numbers, seconds, "over: {}", sentence.what());
        } else {
            warn!(
                stage,
                topic,
                partitions,
                numbers,
                seconds,
                attempts = sentence.attempts,
                error = reason,
                "{}",
                sentence.what()
            );
        }
    }
}

/// The dead letters reported so far.
#[derive(Debug, Default)]
struct LetterLines {
    at: Option<Instant>,
    told: u64,
}

impl LetterLines {
    fn log_due(&mut self, observers: &Observers) {
        if self.at.is_none_or(|at| at.elapsed() >= AGAIN) {
            self.log(observers);
        }
    }

    fn log(&mut self, observers: &Observers) {
        let metrics = &observers.metrics;
        let dead_letters = metrics.dead_letter_total();
        if dead_letters == self.told {
            return;
        }
        let by_class = metrics.dead_letters_by_class();
        let classes: Vec<String> = by_class.iter().map(|(class, count)| format!("{class} {count}")).collect();
        let last = metrics.last_letter();
        warn!(
            dead_letters,
            more = dead_letters - self.told,
            classes = classes.join(", "),
            topic = last.as_ref().map(|last| &*last.partition.topic),
            partition = last.as_ref().map(|last| last.partition.partition),
            offset = last.as_ref().map(|last| last.offset),
            class = last.as_ref().map(|last| last.class),
            "dead letters; the last is that of this record"
        );
        (self.at, self.told) = (Some(Instant::now()), dead_letters);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::{batch::TopicPartition, engine::Troubles};

    fn begin(troubles: &Troubles, partitions: std::ops::Range<i32>, reason: &str) {
        for number in partitions {
            troubles.begin(Place::Fetch(TopicPartition::new("t", number)), &reason);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_lasts_is_told_within_two_seconds_and_then_once_a_minute() {
        let troubles = Troubles::default();
        let mut lines = TroubleLines::default();
        let mut told = Vec::new();
        begin(&troubles, 0..100, "broker 3 is away");
        let began = Instant::now();
        while began.elapsed() < AGAIN * 2 {
            advance(EVERY).await;
            begin(&troubles, 0..100, "broker 3 is away");
            for line in lines.due(sentences(troubles.now())) {
                let Line::Fails(sentence) = line else { panic!("{line:?}") };
                assert_eq!(sentence.partitions.len(), 100);
                told.push(began.elapsed());
            }
        }
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0] <= Duration::from_secs(2), "{told:?}");
        troubles.end_where(|_| true);
        let over = lines.due(sentences(troubles.now()));
        assert!(matches!(&over[..], [Line::Over(_)]), "{over:?}");
        assert!(lines.due(sentences(troubles.now())).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_blip_is_not_told_and_reasons_that_change_all_the_time_fill_no_log() {
        let troubles = Troubles::default();
        let mut lines = TroubleLines::default();
        begin(&troubles, 0..1, "away");
        assert!(lines.due(sentences(troubles.now())).is_empty());
        troubles.end_where(|_| true);
        advance(BLIP).await;
        assert!(lines.due(sentences(troubles.now())).is_empty());
        begin(&troubles, 0..1, "away");
        let mut told = 0;
        for second in 0..50 {
            advance(Duration::from_secs(1)).await;
            begin(&troubles, 0..1, &format!("away, said at {second}"));
            told += lines.due(sentences(troubles.now())).len();
        }
        assert_eq!(told, MOST_LINES);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_what_had_several_reasons_is_told_once() {
        let troubles = Troubles::default();
        let mut lines = TroubleLines::default();
        for broker in 1..=3 {
            begin(&troubles, broker..broker + 2, &format!("broker {broker} is away"));
            advance(BLIP * 2).await;
            lines.due(sentences(troubles.now()));
        }
        troubles.end_where(|_| true);
        let over = lines.due(sentences(troubles.now()));
        let [Line::Over(sentence)] = &over[..] else { panic!("{over:?}") };
        assert_eq!(sentence.partitions, [1, 2, 3, 4]);
        assert_eq!(sentence.since.elapsed(), BLIP * 6);
    }

    #[tokio::test]
    async fn failing_commits_are_counted_while_they_fail() {
        let observers = Observers::default();
        let mut commits = FailedCommits::default();
        for _ in 0..3 {
            observers.troubles.begin(Place::Commit, &"away");
            commits.count(&observers.troubles.now(), &observers);
        }
        assert_eq!(observers.metrics.commit_failures.get(), 3);
    }
}
