//! The cases of a file.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;

use crate::{exact::Json, transform::ErrorClass, trial::Plain};

/// A record, and what should become of it.
#[derive(Debug)]
pub(super) struct Case {
    pub name: String,
    pub record: Plain,
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub expected: Expected,
}

/// What should become of a record.
#[derive(Debug)]
pub(super) enum Expected {
    /// Nothing is written for it.
    Filtered,
    /// It becomes a dead letter of this class.
    DeadLetter(String),
    /// These are written, in this order.
    Outputs(Vec<Output>),
}

/// An expected output record. What is absent may be anything, but for the topic: without one, it is the
/// destination.
#[derive(Debug)]
pub(super) struct Output {
    pub topic: Option<String>,
    pub partition: Option<i32>,
    /// The key; none for a record without one.
    pub key: Option<Option<String>>,
    pub value: Value,
    /// The value of each header; none for one that must not be there.
    pub headers: BTreeMap<String, Option<String>>,
}

/// An expected value.
#[derive(Debug)]
pub(super) enum Value {
    /// Any.
    Any,
    /// Null.
    Tombstone,
    /// These bytes.
    Bytes(Vec<u8>),
    /// Any text of this JSON value; numbers are equal as decimals.
    Json(Json),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText {
    #[serde(default)]
    case: Vec<CaseText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseText {
    name: Option<String>,
    value: Option<String>,
    value_base64: Option<String>,
    #[serde(default)]
    tombstone: bool,
    key: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    timestamp: i64,
    topic: Option<String>,
    #[serde(default)]
    partition: i32,
    #[serde(default)]
    offset: i64,
    #[serde(default)]
    filtered: bool,
    dead_letter: Option<String>,
    #[serde(default)]
    output: Vec<OutputText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OutputText {
    topic: Option<String>,
    partition: Option<i32>,
    key: Option<String>,
    #[serde(default)]
    no_key: bool,
    value: Option<String>,
    value_base64: Option<String>,
    json: Option<String>,
    #[serde(default)]
    tombstone: bool,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    no_headers: Vec<String>,
}

/// The topic that records come from unless a case or the configuration says another.
const TOPIC: &str = "source";

/// Reads a file of cases. Records come from `source` unless a case says otherwise.
///
/// # Errors
/// What is wrong, with the case.
pub(super) fn read(text: &str, source: Option<&str>) -> Result<Vec<Case>, String> {
    let file: FileText = toml::from_str(text).map_err(|error| error.to_string())?;
    let cases = file.case.into_iter().enumerate();
    cases
        .map(|(index, text)| {
            let name = text.name.clone().unwrap_or_else(|| format!("case {}", index + 1));
            case(text, name.clone(), source)
                .map_err(|message| format!("case {} ({name}): {message}", index + 1))
        })
        .collect()
}

fn case(text: CaseText, name: String, source: Option<&str>) -> Result<Case, String> {
    let value = one_of([
        text.value.map(|value| Ok(Some(value.into_bytes()))),
        text.value_base64.as_deref().map(|value| decoded(value).map(Some)),
        text.tombstone.then_some(Ok(None)),
    ])
    .ok_or("exactly one of `value`, `value_base64` and `tombstone = true` is needed")??;
    let outputs = (!text.output.is_empty()).then(|| {
        let outputs = text.output.into_iter().enumerate();
        let outputs = outputs
            .map(|(index, text)| output(text).map_err(|message| format!("output {}: {message}", index + 1)));
        outputs.collect::<Result<_, _>>().map(Expected::Outputs)
    });
    let expected =
        one_of([outputs, text.dead_letter.map(dead_letter), text.filtered.then_some(Ok(Expected::Filtered))])
            .ok_or("exactly one of `[[case.output]]`, `dead_letter` and `filtered = true` is needed")??;
    let headers = text.headers.into_iter();
    Ok(Case {
        name,
        record: Plain {
            timestamp: text.timestamp,
            key: text.key.map(String::into_bytes),
            value,
            headers: headers.map(|(key, value)| (key.into_bytes(), Some(value.into_bytes()))).collect(),
        },
        topic: text.topic.unwrap_or_else(|| source.unwrap_or(TOPIC).into()),
        partition: text.partition,
        offset: text.offset,
        expected,
    })
}

fn output(text: OutputText) -> Result<Output, String> {
    let values = [
        text.value.map(|value| Ok(Value::Bytes(value.into_bytes()))),
        text.value_base64.as_deref().map(|value| decoded(value).map(Value::Bytes)),
        text.json.as_deref().map(|value| {
            Json::parse(value.as_bytes()).map(Value::Json).map_err(|error| format!("`json`: {error}"))
        }),
        text.tombstone.then_some(Ok(Value::Tombstone)),
    ];
    let value = match values.iter().flatten().count() {
        0 => Value::Any,
        _ => one_of(values)
            .ok_or("at most one of `value`, `value_base64`, `json` and `tombstone = true` can be")??,
    };
    let OutputText { topic, partition, key, no_key, headers, no_headers, .. } = text;
    if no_key && key.is_some() {
        return Err("at most one of `key` and `no_key = true` can be".into());
    }
    if let Some(name) = no_headers.iter().find(|name| headers.contains_key(*name)) {
        return Err(format!("`no_headers`: there is a value for `{name}` in `headers`"));
    }
    let absent = no_headers.into_iter().map(|name| (name, None));
    let headers = headers.into_iter().map(|(name, value)| (name, Some(value))).chain(absent).collect();
    let key = if no_key { Some(None) } else { key.map(Some) };
    Ok(Output { topic, partition, key, value, headers })
}

fn dead_letter(class: String) -> Result<Expected, String> {
    if ErrorClass::ALL.iter().any(|known| known.as_str() == class) {
        return Ok(Expected::DeadLetter(class));
    }
    let known: Vec<&str> = ErrorClass::ALL.iter().map(|class| class.as_str()).collect();
    Err(format!("`dead_letter` must be one of {}", known.join(", ")))
}

fn decoded(text: &str) -> Result<Vec<u8>, String> {
    STANDARD.decode(text).map_err(|error| format!("`value_base64`: {error}"))
}

/// The only one that is there.
fn one_of<T, const N: usize>(choices: [Option<T>; N]) -> Option<T> {
    let mut there = choices.into_iter().flatten();
    let first = there.next()?;
    there.next().is_none().then_some(first)
}
