//! What is reported about the differences, to people and as JSON.

use std::{collections::BTreeMap, fmt};

use indicatif::HumanCount;
use serde_json::json;

use super::{
    allow::{Allowance, Most},
    compare::{Difference, Kind, compare},
    mask::Shown,
};
use crate::{batch::TopicPartition, trial::Outcome};

/// The most parts of a kind that are told apart.
const PARTS_MAX: usize = 1000;

/// Those beyond.
const OTHERS: &str = "(others)";

/// The differences so far.
#[derive(Debug)]
pub(crate) struct Report {
    source: String,
    shown: Shown,
    /// The records compared.
    pub records: u64,
    unchanged: u64,
    kinds: BTreeMap<Kind, Found>,
}

/// The differences of a kind.
#[derive(Debug, Default)]
struct Found {
    records: u64,
    parts: BTreeMap<String, Part>,
}

/// A path, a class, a pair of topics.
#[derive(Debug)]
struct Part {
    records: u64,
    /// The last record that was counted, so that each counts once.
    last: u64,
    /// Where the first one stands, and how it differs.
    at: String,
    old: String,
    new: String,
}

impl Report {
    pub(super) fn new(source: &str, show_values: bool) -> Report {
        let shown = if show_values { Shown::Plain } else { Shown::Masked };
        Report { source: source.to_owned(), shown, records: 0, unchanged: 0, kinds: BTreeMap::new() }
    }

    /// Adds what both made of the record at `offset`.
    pub(super) fn add(&mut self, origin: &TopicPartition, offset: i64, old: &Outcome, new: &Outcome) {
        self.records += 1;
        let differences = compare(old, new, self.shown);
        self.unchanged += u64::from(differences.is_empty());
        let mut kinds: Vec<Kind> = differences.iter().map(|difference| difference.kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        for kind in kinds {
            self.kinds.entry(kind).or_default().records += 1;
        }
        let number = self.records;
        for Difference { kind, part, old, new } in differences {
            let parts = &mut self.kinds.entry(kind).or_default().parts;
            let part =
                if parts.len() < PARTS_MAX || parts.contains_key(&part) { part } else { OTHERS.into() };
            let part = parts.entry(part).or_insert_with(|| Part {
                records: 0,
                last: 0,
                at: format!("{origin}@{offset}"),
                old,
                new,
            });
            if part.last != number {
                (part.last, part.records) = (number, part.records + 1);
            }
        }
    }

    fn count(&self, kind: Kind) -> u64 {
        self.kinds.get(&kind).map_or(0, |found| found.records)
    }

    /// What there is more of than is allowed.
    pub(super) fn exceeding(&self, allow: &[Allowance]) -> Vec<String> {
        let is_about_none = |allowance: &Allowance| allowance.kind == Kind::NoRecords;
        if self.records == 0 && !allow.iter().any(is_about_none) {
            return vec![format!("{}: nothing was compared", Kind::NoRecords.name())];
        }
        let kinds = Kind::ALL.into_iter().filter(|kind| {
            let allowance = allow.iter().rfind(|allowance| allowance.kind == *kind);
            let most = allowance.map_or(Most::Records(0), |allowance| allowance.most);
            most.is_exceeded(self.count(*kind), self.records)
        });
        kinds.map(|kind| format!("{} {}", HumanCount(self.count(kind)), kind.name())).collect()
    }

    pub(super) fn to_json(&self) -> serde_json::Value {
        let kinds = Kind::ALL.into_iter().map(|kind| {
            let parts = self.kinds.get(&kind).into_iter().flat_map(|found| &found.parts);
            let parts = parts.map(|(name, part)| {
                json!({"part": name, "records": part.records, "at": part.at, "old": part.old, "new": part.new})
            });
            let found = json!({"records": self.count(kind), "parts": parts.collect::<Vec<_>>()});
            (kind.name().to_owned(), found)
        });
        let mut report = json!({"source": self.source, "records": self.records, "unchanged": self.unchanged});
        report.as_object_mut().expect("an object").extend(kinds);
        report
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (records, unchanged) = (HumanCount(self.records), HumanCount(self.unchanged));
        writeln!(f, "{}: {records} records compared, {unchanged} unchanged", self.source)?;
        for kind in Kind::ALL {
            let Some(found) = self.kinds.get(&kind) else { continue };
            writeln!(f, "{:>12} {}", HumanCount(found.records).to_string(), kind.name())?;
            for (name, Part { records, at, old, new, .. }) in &found.parts {
                if !name.is_empty() {
                    writeln!(f, "{:>16} {name}", HumanCount(*records).to_string())?;
                }
                if old.is_empty() && new.is_empty() {
                    writeln!(f, "{:17}first at {at}", "")?;
                } else {
                    writeln!(f, "{:17}first at {at}: {old} → {new}", "")?;
                }
            }
        }
        Ok(())
    }
}
