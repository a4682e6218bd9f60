//! What `verify` says, to people and as JSON.

use std::{fmt, time::Duration};

use serde::Serialize;

use super::findings::{Counts, Kind};

/// The result of a verification.
#[derive(Clone, Debug, Default)]
pub struct Report {
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
    /// The records read from the source.
    pub read: u64,
    /// The records read from the destination.
    pub written: u64,
    /// The dead letters about the source.
    pub letters: u64,
    /// How long it took.
    pub elapsed: Duration,
}

/// Where something is wrong; partitions and offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The source record, if one is concerned, as `topic[partition]@offset`.
    pub source: Option<String>,
    /// What stands in the destination or the dead letter topic, if something does.
    pub found: Option<String>,
}

/// The report as one JSON object, with exactly these keys.
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
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_ok(&self) -> bool {
        self.counts.total() == 0
    }

    /// One JSON object.
    pub fn to_json(&self) -> String {
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
        };
        serde_json::to_string(&json).expect("strings and numbers are always JSON")
    }

    /// The counts on one line, with the verdict.
    pub fn verdict(&self) -> String {
        let counts = Kind::ALL.map(|kind| format!("{} {}", self.counts.of(kind), kind.as_str()));
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
        for (kind, place) in &self.places {
            writeln!(f, "{}: {place}", kind.as_str())?;
        }
        f.write_str(&self.verdict())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.found, &self.source) {
            (Some(found), Some(source)) => write!(f, "{found}, from {source}"),
            (Some(place), None) | (None, Some(place)) => f.write_str(place),
            (None, None) => f.write_str("nowhere"),
        }
    }
}
