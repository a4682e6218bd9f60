//! What a record became beside what it should have become.

use std::fmt;

use similar::{ChangeTag, TextDiff};

use super::file::{Expected, Output, Value};
use crate::{
    exact::Json,
    trial::{Outcome, Written},
};

/// A value or key that is null.
const NULL: &str = "(null)";
/// A header that is not there.
const NONE: &str = "(none)";

/// A difference.
#[derive(Debug)]
pub(super) struct Mismatch {
    /// What is compared, such as `output 1: value`; empty for the record as a whole.
    pub part: String,
    /// Lines for people.
    pub lines: Vec<String>,
}

impl Mismatch {
    /// What happened instead.
    pub(super) fn said(what: String) -> Mismatch {
        Mismatch { part: String::new(), lines: vec![what] }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.part.is_empty() {
            writeln!(f, "{}:", self.part)?;
        }
        write!(f, "{}", self.lines.join("\n"))
    }
}

/// The differences; none when the outcome is as expected. `destination` is the topic that records go to unless
/// something else is said, if it is known.
pub(super) fn compare(expected: &Expected, outcome: &Outcome, destination: Option<&str>) -> Vec<Mismatch> {
    let is = told(outcome);
    match (expected, outcome) {
        (Expected::Filtered, Outcome::Written(all)) if all.is_empty() => Vec::new(),
        (Expected::Filtered, _) => vec![Mismatch::said(format!("expected to be filtered, but {is}"))],
        (Expected::DeadLetter(class), Outcome::DeadLetter(error)) if error.class.as_str() == class => {
            Vec::new()
        }
        (Expected::DeadLetter(class), _) => {
            vec![Mismatch::said(format!("expected a dead letter of class {class}, but {is}"))]
        }
        (Expected::Outputs(outputs), Outcome::Written(all)) if outputs.len() == all.len() => {
            let pairs = outputs.iter().zip(all).enumerate();
            pairs
                .flat_map(|(index, (expected, written))| output(index + 1, expected, written, destination))
                .collect()
        }
        (Expected::Outputs(outputs), _) => {
            vec![Mismatch::said(format!("expected {}, but {is}", records(outputs.len())))]
        }
    }
}

fn records(count: usize) -> String {
    format!("{count} output {}", if count == 1 { "record" } else { "records" })
}

fn told(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Written(all) if all.is_empty() => "it is filtered".into(),
        Outcome::Written(all) => {
            let values = all.iter().map(|written| format!("\n  {}", shown(written.record.value.as_deref())));
            format!(
                "there {} {}:{}",
                if all.len() == 1 { "is" } else { "are" },
                records(all.len()),
                values.collect::<String>()
            )
        }
        Outcome::DeadLetter(error) => format!("it becomes a dead letter: {error}"),
    }
}

fn output(number: usize, expected: &Output, written: &Written, destination: Option<&str>) -> Vec<Mismatch> {
    let mut mismatches = Vec::new();
    let mut differ = |part: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            mismatches.push(Mismatch { part: format!("output {number}: {part}"), lines });
        }
    };
    let (place, record) = (&written.place, &written.record);
    let destination = destination.unwrap_or("(the destination)");
    differ(
        "topic",
        plain(
            expected.topic.as_deref().unwrap_or(destination),
            place.topic.as_deref().unwrap_or(destination),
        ),
    );
    if let Some(partition) = expected.partition {
        let is = place.partition.map_or("(that of the source)".into(), |partition| partition.to_string());
        differ("partition", plain(&partition.to_string(), &is));
    }
    if let Some(key) = &expected.key {
        let (key, is) = (key.as_deref().map(str::as_bytes), record.key.as_deref());
        if key != is {
            differ("key", both(&shown(key), &shown(is)));
        }
    }
    differ("value", value(&expected.value, record.value.as_deref()));
    for (name, value) in &expected.headers {
        // The last of several is the one that counts for those who read one.
        let is = record.headers.iter().rfind(|(key, _)| key == name.as_bytes());
        let (value, is) =
            (value.as_deref().map(|value| Some(value.as_bytes())), is.map(|(_, is)| is.as_deref()));
        let told = |value: Option<_>| value.map_or(NONE.into(), shown);
        if value != is {
            differ(&format!("header {name}"), both(&told(value), &told(is)));
        }
    }
    mismatches
}

fn value(expected: &Value, is: Option<&[u8]>) -> Vec<String> {
    match expected {
        Value::Any => Vec::new(),
        Value::Tombstone if is.is_none() => Vec::new(),
        Value::Tombstone => both(NULL, &shown(is)),
        Value::Bytes(bytes) if is == Some(bytes) => Vec::new(),
        Value::Bytes(bytes) => {
            let json = |bytes: &[u8]| Json::parse(bytes).ok();
            match (json(bytes), is.and_then(json)) {
                (Some(expected), Some(is)) if expected != is => by_line(&expected, &is),
                // The same by meaning, or no JSON: the bytes tell.
                _ => both(&shown(Some(bytes)), &shown(is)),
            }
        }
        Value::Json(expected) => match is.map(Json::parse) {
            Some(Ok(is)) if is == *expected => Vec::new(),
            Some(Ok(is)) => by_line(expected, &is),
            Some(Err(_)) | None => both(&expected.to_string(), &shown(is)),
        },
    }
}

/// The two texts, if they differ.
fn plain(expected: &str, is: &str) -> Vec<String> {
    if expected == is { Vec::new() } else { both(expected, is) }
}

/// The two texts. Of what differs as bytes, they may be the same.
fn both(expected: &str, is: &str) -> Vec<String> {
    vec![format!("- {expected}"), format!("+ {is}")]
}

/// What differs between two JSON values, with a line or two around.
fn by_line(expected: &Json, is: &Json) -> Vec<String> {
    let [expected, is] = [expected, is].map(|value| format!("{value:#}\n"));
    let diff = TextDiff::from_lines(&expected, &is);
    let changes = diff.grouped_ops(1).into_iter().flatten().flat_map(|op| {
        diff.iter_changes(&op)
            .map(|change| {
                let sign = match change.tag() {
                    ChangeTag::Delete => '-',
                    ChangeTag::Insert => '+',
                    ChangeTag::Equal => ' ',
                };
                format!("{sign} {}", change.value().trim_end())
            })
            .collect::<Vec<_>>()
    });
    changes.collect()
}

/// Bytes as text; what is not printable is escaped.
fn shown(bytes: Option<&[u8]>) -> String {
    match bytes {
        None => NULL.into(),
        Some(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
            _ => bytes.escape_ascii().to_string(),
        },
    }
}
