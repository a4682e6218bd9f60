//! What `verify` reports, to people and as JSON.

use std::{fmt, sync::Arc, time::Duration};

use indicatif::HumanCount;
use serde::Serialize;

use super::{
    findings::{Counts, Kind},
    plaintext::{Plaintext, Spot},
};
use crate::batch::TopicPartition;

/// How many places of each kind are shown to people.
const PLACES_SHOWN: usize = 10;

/// How many places of each kind are kept, which are those in JSON.
pub(super) const PLACES_MAX: usize = 100;

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
    /// What steps protect and yet was found, if it was looked for.
    pub plaintext: Option<Plaintext>,
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

/// The report as one JSON object, with exactly these keys; `behind` and `unchecked` are left out when 0,
/// `plaintext` when it was not looked for, and `findings` when there are none.
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
    #[serde(skip_serializing_if = "Option::is_none")]
    plaintext: Option<u64>,
    /// The first ones of each kind.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    findings: Vec<JsonFinding<'a>>,
}

/// A finding: where it stands if it does, or else of which records of the source something is missing.
#[derive(Serialize)]
struct JsonFinding<'a> {
    kind: &'static str,
    #[serde(flatten)]
    at: JsonStretch<'a>,
    count: u64,
    /// The part of the record, and the path in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    /// The records of the source that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<JsonStretch<'a>>,
    /// Where what is missing should stand, unless that is the same partition of the destination.
    #[serde(skip_serializing_if = "Option::is_none")]
    due_in: Option<String>,
}

#[derive(Clone, Copy, Serialize)]
struct JsonStretch<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    last: i64,
}

impl<'a> From<&'a Stretch> for JsonStretch<'a> {
    fn from(stretch: &'a Stretch) -> JsonStretch<'a> {
        let Stretch { topic, partition, first, last } = stretch;
        JsonStretch { topic, partition: *partition, offset: *first, last: *last }
    }
}

fn is_none(count: &u64) -> bool {
    *count == 0
}

impl Report {
    /// Whether nothing is wrong.
    pub(crate) fn is_ok(&self) -> bool {
        self.counts.total() == 0 && self.plaintext.as_ref().is_none_or(|found| found.count == 0)
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
            plaintext: self.plaintext.as_ref().map(|found| found.count),
            findings: self.findings(),
        };
        serde_json::to_string(&json).expect("strings and numbers are always JSON")
    }

    /// The first findings of each kind.
    fn findings(&self) -> Vec<JsonFinding<'_>> {
        let of_kind = |kind: Kind| {
            let places = self.places.iter().filter(move |(of, _)| *of == kind).take(PLACES_MAX);
            places.filter_map(move |(_, place)| {
                let at = place.found.as_ref().or(place.source.as_ref())?.into();
                let source = place.found.as_ref().and(place.source.as_ref()).map(Into::into);
                let due_in = place.due_in.as_ref().map(ToString::to_string);
                Some(JsonFinding { kind: kind.as_str(), at, count: place.count, path: None, source, due_in })
            })
        };
        let spots = self.plaintext.iter().flat_map(|found| &found.spots).take(PLACES_MAX);
        Kind::ALL.into_iter().flat_map(of_kind).chain(spots.map(JsonFinding::from)).collect()
    }

    /// Whether there are places that people are not shown and JSON has.
    fn has_more_places(&self) -> bool {
        let shown = |kind: Kind| self.places.iter().filter(|(of, _)| *of == kind).count() > PLACES_SHOWN;
        let spots = self.plaintext.as_ref().map_or(0, |found| found.spots.len());
        Kind::ALL.into_iter().any(shown) || spots > PLACES_SHOWN
    }

    /// The counts on one line, with the verdict.
    pub(crate) fn verdict(&self) -> String {
        let mut counts = Kind::ALL.map(|kind| format!("{} {}", self.counts.of(kind), kind.as_str())).to_vec();
        for (rest, what) in [(&self.behind, "behind"), (&self.unchecked, "that cannot be checked")] {
            if rest.count > 0 {
                counts.push(format!("{} {what}", rest.count));
            }
        }
        counts.extend(self.plaintext.as_ref().map(|found| format!("{} plaintext", found.count)));
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
        self.plaintext.iter().try_for_each(|found| found.fmt(f))?;
        self.hints.iter().try_for_each(|hint| writeln!(f, "hint: {hint}"))?;
        if self.has_more_places() {
            writeln!(f, "hint: --json names up to {PLACES_MAX} places of each kind")?;
        }
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
    for place in places.take(PLACES_SHOWN) {
        writeln!(f, "{what}: {place}{note}")?;
        told += place.count;
    }
    match count.saturating_sub(told) {
        0 => Ok(()),
        more => writeln!(f, "{what}: and {} more", HumanCount(more)),
    }
}

/// The first places, and where else such texts stand.
impl fmt::Display for Plaintext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.spots[..self.spots.len().min(PLACES_SHOWN)];
        shown.iter().try_for_each(|spot| writeln!(f, "plaintext: {spot}"))?;
        match self.count.saturating_sub(shown.len() as u64) {
            0 => {}
            more => writeln!(f, "plaintext: and {} more", HumanCount(more))?,
        }
        let Some(first) = &self.open_at else { return Ok(()) };
        let count = HumanCount(self.open);
        writeln!(
            f,
            "hint: {count} times a protected text was found that the source also holds where no step protects it, \
             first in {first}; these do not count"
        )
    }
}

impl<'a> From<&'a Spot> for JsonFinding<'a> {
    fn from(spot: &'a Spot) -> JsonFinding<'a> {
        let Spot { partition, offset, part } = spot;
        let at = JsonStretch {
            topic: &partition.topic,
            partition: partition.partition,
            offset: *offset,
            last: *offset,
        };
        JsonFinding { kind: "plaintext", at, count: 1, path: Some(part), source: None, due_in: None }
    }
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TopicPartition { topic, partition } = &self.partition;
        write!(f, "{topic}[{partition}]@{}, {}", self.offset, self.part)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_places_than_are_shown_are_in_json() {
        let place = |offset| {
            let found = Stretch { topic: "d".into(), partition: 0, first: offset, last: offset };
            (Kind::Phantom, Place { found: Some(found), count: 1, ..Place::default() })
        };
        let report = |count| Report { places: (0..count).map(place).collect(), ..Report::default() };
        let hint = "hint: --json names up to 100 places of each kind\n";
        assert!(!report(10).to_string().contains(hint) && report(11).to_string().contains(hint));
        for (count, named) in [(11, 11), (101, 100)] {
            let json: serde_json::Value = serde_json::from_str(&report(count).to_json()).unwrap();
            assert_eq!(json["findings"].as_array().unwrap().len(), named);
        }
    }
}
