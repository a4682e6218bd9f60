//! How two outcomes for the same record differ.

use std::collections::BTreeMap;

use super::mask::Shown;
use crate::{
    exact::Json,
    transform::Place,
    trial::{Outcome, Plain, Written},
};

/// A kind of difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// It is written no more.
    NewlyFiltered,
    /// It is written again.
    NoLongerFiltered,
    /// It becomes a dead letter.
    NewlyDead,
    /// It is a dead letter of another class.
    OtherClass,
    /// It is no dead letter any more.
    NoLongerDead,
    /// It goes to another topic or partition.
    Rerouted,
    /// It is another number of records.
    Results,
    /// Its value, key, headers or timestamp differ.
    Changed,
    /// There was none to compare.
    NoRecords,
}

impl Kind {
    /// Those of records, in the order of the report.
    pub(crate) const ALL: [Kind; 8] = [
        Kind::Changed,
        Kind::NewlyFiltered,
        Kind::NoLongerFiltered,
        Kind::NewlyDead,
        Kind::OtherClass,
        Kind::NoLongerDead,
        Kind::Rerouted,
        Kind::Results,
    ];

    /// Its name, as in `--allow` and in JSON.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Kind::NewlyFiltered => "newly-filtered",
            Kind::NoLongerFiltered => "no-longer-filtered",
            Kind::NewlyDead => "newly-dead",
            Kind::OtherClass => "other-class",
            Kind::NoLongerDead => "no-longer-dead",
            Kind::Rerouted => "rerouted",
            Kind::Results => "results",
            Kind::Changed => "changed",
            Kind::NoRecords => "no-records",
        }
    }
}

/// What stands in for what is not there.
const ABSENT: &str = "(absent)";

/// A difference: its kind, the part that it is in (a path, a class, two topics), and an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub kind: Kind,
    pub part: String,
    pub old: String,
    pub new: String,
}

/// The differences; none when both are the same.
pub(super) fn compare(old: &Outcome, new: &Outcome, shown: Shown) -> Vec<Difference> {
    if old == new {
        return Vec::new();
    }
    let difference = |kind, part: String| Difference { kind, part, old: String::new(), new: String::new() };
    match (old, new) {
        (Outcome::DeadLetter(old), Outcome::DeadLetter(new)) if old.class == new.class => Vec::new(),
        (Outcome::DeadLetter(old), Outcome::DeadLetter(new)) => {
            vec![difference(Kind::OtherClass, format!("{} → {}", old.class, new.class))]
        }
        (_, Outcome::DeadLetter(error)) => vec![difference(Kind::NewlyDead, error.class.to_string())],
        (Outcome::DeadLetter(error), _) => vec![difference(Kind::NoLongerDead, error.class.to_string())],
        (Outcome::Written(old), Outcome::Written(new)) => match (old.len(), new.len()) {
            (_, 0) => vec![difference(Kind::NewlyFiltered, String::new())],
            (0, _) => vec![difference(Kind::NoLongerFiltered, String::new())],
            (before, after) if before != after => {
                vec![difference(Kind::Results, format!("{before} → {after} records"))]
            }
            _ => old.iter().zip(new).flat_map(|(old, new)| written(old, new, shown)).collect(),
        },
    }
}

fn written(old: &Written, new: &Written, shown: Shown) -> Vec<Difference> {
    let mut differences = Vec::new();
    if old.place != new.place {
        let part = format!("{} → {}", place(&old.place), place(&new.place));
        differences.push(Difference { kind: Kind::Rerouted, part, old: String::new(), new: String::new() });
    }
    let mut changed = |part: String, old: String, new: String| {
        differences.push(Difference { kind: Kind::Changed, part, old, new });
    };
    let Plain { timestamp, key, value, headers } = &new.record;
    if *timestamp != old.record.timestamp {
        changed("(timestamp)".into(), old.record.timestamp.to_string(), timestamp.to_string());
    }
    if *key != old.record.key {
        changed("(key)".into(), shown.bytes(old.record.key.as_deref()), shown.bytes(key.as_deref()));
    }
    for (name, [old, new]) in by_name([&old.record.headers, headers]) {
        if old != new {
            let name = String::from_utf8_lossy(name);
            let text = |values: &[Option<&[u8]>]| {
                if values.is_empty() {
                    return ABSENT.to_owned();
                }
                values.iter().map(|value| shown.bytes(*value)).collect::<Vec<_>>().join(", ")
            };
            changed(format!("(header {name})"), text(&old), text(&new));
        }
    }
    if *value != old.record.value {
        let json = |value: &Option<Vec<u8>>| value.as_deref().and_then(|value| Json::parse(value).ok());
        match (json(&old.record.value), json(value)) {
            (Some(before), Some(after)) if before != after => {
                let mut path = String::new();
                fields(&before, &after, &mut path, &mut |path, old, new| {
                    let text = |value: Option<&Json>| value.map_or(ABSENT.into(), |value| shown.json(value));
                    let path = if path.is_empty() { "." } else { path };
                    changed(path.to_owned(), text(old), text(new));
                });
            }
            // The same by meaning: blanks, the order of keys, how a character or a number is written.
            (Some(_), Some(_)) => changed("(form)".into(), String::new(), String::new()),
            _ => changed(
                "(value)".into(),
                shown.bytes(old.record.value.as_deref()),
                shown.bytes(value.as_deref()),
            ),
        }
    }
    differences
}

fn place(place: &Place) -> String {
    let topic = place.topic.as_deref().unwrap_or("(destination)");
    place.partition.map_or(topic.to_owned(), |partition| format!("{topic}[{partition}]"))
}

type Header = (Vec<u8>, Option<Vec<u8>>);

/// The values of a header on a side.
type Values<'a> = Vec<Option<&'a [u8]>>;

/// The values of each name on both sides.
fn by_name(sides: [&Vec<Header>; 2]) -> BTreeMap<&[u8], [Values<'_>; 2]> {
    let mut names = BTreeMap::<_, [Vec<_>; 2]>::new();
    for (side, headers) in sides.into_iter().enumerate() {
        for (name, value) in headers {
            names.entry(name.as_slice()).or_default()[side].push(value.as_deref());
        }
    }
    names
}

/// Calls `each` for every field that differs, with its path; all elements of an array share theirs.
fn fields<'v>(
    old: &'v Json,
    new: &'v Json,
    path: &mut String,
    each: &mut impl FnMut(&str, Option<&'v Json>, Option<&'v Json>),
) {
    let before = path.len();
    match (old, new) {
        _ if old == new => {}
        (Json::Object(old), Json::Object(new)) => {
            let added = new.keys().filter(|key| !old.contains_key(*key));
            for key in old.keys().chain(added) {
                push_key(path, key);
                match (old.get(key), new.get(key)) {
                    (Some(old), Some(new)) => fields(old, new, path, each),
                    (old, new) => each(path, old, new),
                }
                path.truncate(before);
            }
        }
        (Json::Array(old), Json::Array(new)) if old.len() == new.len() => {
            path.push_str("[]");
            old.iter().zip(new).for_each(|(old, new)| fields(old, new, path, each));
            path.truncate(before);
        }
        _ => each(path, Some(old), Some(new)),
    }
}

fn push_key(path: &mut String, key: &str) {
    let is_word = |key: &str| {
        let starts = key.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
        starts && key.chars().all(|char| char.is_ascii_alphanumeric() || char == '_')
    };
    path.push('.');
    if is_word(key) {
        path.push_str(key);
    } else {
        path.push_str(&serde_json::Value::from(key).to_string());
    }
}
