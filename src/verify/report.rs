//! What `verify` reports, to people and as JSON.

use std::{fmt, sync::Arc, time::Duration};

use indicatif::HumanCount;
use serde::Serialize;

use super::findings::{Counts, Kind};
use crate::batch::TopicPartition;

/// How many places of each kind are shown.
pub(super) const PLACES_MAX: usize = 10;

/// The result of a verification.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// The topic that was read.
    pub source: String,
    /// The topic that was written.
    pub destination: String,
    /// The topic of dead letters.
    pub dead_letter: String,
    /// How many findings there are of each kind.
    pub counts: Counts,
    /// The first places of each kind.
    pub places: Vec<(Kind, Place)>,
    /// What the group has not committed yet, and is not there; no violation.
    pub behind: Rest,
    /// Output of records that the source no longer holds; no violation.
    pub unchecked: Rest,
    /// Possible explanations.
    pub hints: Vec<String>,
    /// The records read from the source.
    pub read: u64,
    /// The records read from the destination.
    pub written: u64,
    /// The dead letters about the source.
    pub letters: u64,
    /// How long it took.
    pub elapsed: Duration,
}

/// Records that are no violation: how many, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rest {
    /// How many.
    pub count: u64,
    /// Where; the first of them.
    pub places: Vec<Place>,
}

/// Where something is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// The source records, if any are concerned.
    pub source: Option<Stretch>,
    /// What stands in the destination or the dead letter topic, if something does.
    pub found: Option<Stretch>,
    /// Where they are missing, if not in the counterpart of their partition in the destination.
    pub due_in: Option<TopicPartition>,
    /// How many records.
    pub count: u64,
    /// Whether they are missing and nothing that is expected comes after them.
    pub is_tail: bool,
}

/// Records of a partition from one offset to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The offset of the first.
    pub first: i64,
    /// The offset of the last.
    pub last: i64,
}

/// The report as one JSON object, with exactly these keys; the last two are left out when 0.
#[derive(Serialize)]
struct Json<'a> {
    source: &'a str,
    destination: &'a str,
    dead_letter: &'a str,
    missing: u64,
    duplicates: u64,
    reordered: u64,
    corrupt: u64,
    phantom: u64,
    misrouted: u64,
    ok: bool,
    #[serde(skip_serializing_if = "is_none")]
    behind: u64,
    #[serde(skip_serializing_if = "is_none")]
    unchecked: u64,
}

fn is_none(count: &u64) -> bool {
    *count == 0
}

impl Report {
    /// Whether nothing is wrong.
    pub(crate) fn is_ok(&self) -> bool {
        self.counts.total() == 0
    }

    /// One JSON object.
    pub(crate) fn to_json(&self) -> String {
        let json = Json {
            source: &self.source,
            destination: &self.destination,
            dead_letter: &self.dead_letter,
            missing: self.counts.of(Kind::Missing),
            duplicates: self.counts.of(Kind::Duplicate),
            reordered: self.counts.of(Kind::Reordered),
            corrupt: self.counts.of(Kind::Corrupt),
            phantom: self.counts.of(Kind::Phantom),
            misrouted: self.counts.of(Kind::Misrouted),
            ok: self.is_ok(),
            behind: self.behind.count,
            unchecked: self.unchecked.count,
        };
        serde_json::to_string(&json).expect("strings and numbers are always JSON")
    }

    /// The counts on one line, with the verdict.
    pub(crate) fn verdict(&self) -> String {
        let mut counts = Kind::ALL.map(|kind| format!("{} {}", self.counts.of(kind), kind.as_str())).to_vec();
        for (rest, what) in [(&self.behind, "behind"), (&self.unchecked, "that cannot be checked")] {
            if rest.count > 0 {
                counts.push(format!("{} {what}", rest.count));
            }
        }
        format!("{}: {}", counts.join(", "), if self.is_ok() { "ok" } else { "NOT ok" })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { source, destination, read, written, letters, elapsed, .. } = self;
        let seconds = elapsed.as_secs_f64();
        writeln!(
            f,
            "{source}: {read} records read, {destination}: {written} written, {letters} dead letters; {seconds:.2} s"
        )?;
        for kind in Kind::ALL {
            let of_kind = self.places.iter().filter(|(of, _)| *of == kind).map(|(_, place)| place);
            write_places(f, kind.as_str(), "", self.counts.of(kind), of_kind)?;
        }
        let Report { behind, unchecked, .. } = self;
        write_places(f, "behind", ", not committed yet", behind.count, behind.places.iter())?;
        let gone = ", made of records that the source no longer holds";
        write_places(f, "cannot be checked", gone, unchecked.count, unchecked.places.iter())?;
        self.hints.iter().try_for_each(|hint| writeln!(f, "hint: {hint}"))?;
        f.write_str(&self.verdict())
    }
}

/// The first places, and how many records there are beyond.
fn write_places<'a>(
    f: &mut fmt::Formatter<'_>,
    what: &str,
    note: &str,
    count: u64,
    places: impl Iterator<Item = &'a Place>,
) -> fmt::Result {
    let mut told = 0;
    for place in places.take(PLACES_MAX) {
        writeln!(f, "{what}: {place}{note}")?;
        told += place.count;
    }
    match count.saturating_sub(told) {
        0 => Ok(()),
        more => writeln!(f, "{what}: and {} more", HumanCount(more)),
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(place) = self.found.as_ref().or(self.source.as_ref()) else { return f.write_str("nowhere") };
        write!(f, "{place}")?;
        if self.count > 1 {
            write!(f, " ({})", HumanCount(self.count))?;
        }
        if let (Some(source), Some(_)) = (&self.source, &self.found) {
            write!(f, ", from {source}")?;
        }
        if let Some(due_in) = &self.due_in {
            write!(f, ", due in {due_in}")?;
        }
        if self.is_tail {
            f.write_str(", the end of the partition: is the transformer done? See `topicmill lag`")?;
        }
        Ok(())
    }
}

impl fmt::Display for Stretch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stretch { topic, partition, first, last } = self;
        write!(f, "{topic}[{partition}]@{first}")?;
        if last > first { write!(f, "–{last}") } else { Ok(()) }
    }
}
