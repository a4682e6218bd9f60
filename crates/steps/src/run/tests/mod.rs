//! Steps on records, as they are written in a configuration.

mod differential;
mod edits;
mod fused;
mod generator;
mod ordered;
mod protected;
mod records;

use std::sync::Arc;

use bytes::Bytes;
use topicmill_mill::{
    batch::{PartitionBatch, Record, Span, TopicPartition},
    transform::{ErrorClass, TransformKind, apply},
};
use topicmill_records::{Headers, HeadersWriter};

use crate::{Given, Plan, StepTable};

/// What becomes of a record: `Ok` with all results, or the error.
type Fate = Result<Vec<Written>, (ErrorClass, String)>;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Written {
    topic: Option<String>,
    partition: Option<i32>,
    key: Option<String>,
    value: Option<String>,
    headers: Vec<(String, Option<String>)>,
}

/// A record to be read.
#[derive(Clone, Debug, Default)]
struct Read<'a> {
    key: Option<&'a str>,
    value: Option<&'a str>,
    headers: &'a [(&'a str, Option<&'a str>)],
}

fn value(value: &str) -> Read<'_> {
    Read { value: Some(value), ..Read::default() }
}

fn text(text: &str) -> Given {
    Given::Text(text.into())
}

/// A step with settings that are texts.
fn step(settings: &[(&str, &str)]) -> StepTable {
    settings.iter().fold(StepTable::default(), |table, (key, value)| table.with(key, text(value)))
}

fn plan(steps: &[StepTable]) -> Arc<Plan> {
    Arc::new(Plan::new(steps.to_vec()).unwrap_or_else(|problems| panic!("{problems:?}")))
}

/// The batch of these records, read from `orders[2]` at offset 10 and behind.
fn batch(records: &[Read<'_>]) -> PartitionBatch {
    let mut buffer = Vec::new();
    let mut list = Vec::new();
    for (offset, record) in (10..).zip(records) {
        let mut headers = HeadersWriter::default();
        let pairs = record.headers.iter().map(|(name, value)| (name.as_bytes(), value.map(str::as_bytes)));
        pairs.for_each(|(name, value)| headers.push(name, value));
        let mut span = |bytes: Option<&[u8]>| {
            let Some(bytes) = bytes else { return Span::NULL };
            buffer.extend_from_slice(bytes);
            Span::new((buffer.len() - bytes.len()) as u32, bytes.len() as u32)
        };
        list.push(Record {
            offset,
            timestamp: 1_700_000_000_000,
            key: span(record.key.map(str::as_bytes)),
            value: span(record.value.map(str::as_bytes)),
            headers: span(Some(&headers.finish())),
        });
    }
    PartitionBatch {
        origin: TopicPartition::new("orders", 2),
        next_offset: 10 + records.len() as i64,
        buffer: Bytes::from(buffer),
        records: list,
        ..PartitionBatch::default()
    }
}

fn fates_of(kind: &TransformKind, records: &[Read<'_>]) -> Vec<Fate> {
    let batch = batch(records);
    let transformed = apply(&mut *kind.build(), &batch, 1 << 20).unwrap();
    let mut fates: Vec<Fate> = vec![Ok(Vec::new()); records.len()];
    for failure in &transformed.failures {
        fates[failure.index] = Err((failure.error.class, failure.error.message.clone()));
    }
    let failed: Vec<usize> = transformed.failures.iter().map(|failure| failure.index).collect();
    for output in &transformed.outputs {
        let sources = output.sources.listed(0..records.len(), failed.iter().copied());
        let records = output.chunks.iter().flat_map(|chunk| {
            let string = |span: Span| span.get(&chunk.bytes).map(|b| String::from_utf8(b.to_vec()).unwrap());
            let records = chunk.records().unwrap().into_iter();
            records
                .map(|record| {
                    let headers = Headers::new(record.headers.get(&chunk.bytes).unwrap());
                    let own = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                    Written {
                        topic: output.place.topic.as_ref().map(|topic| topic.to_string()),
                        partition: output.place.partition,
                        key: string(record.key),
                        value: string(record.value),
                        headers: headers.map(|(name, value)| (own(name), value.map(own))).collect(),
                    }
                })
                .collect::<Vec<_>>()
        });
        for (source, written) in sources.zip(records) {
            fates[source as usize].as_mut().unwrap().push(written);
        }
    }
    fates
}

fn fates(steps: &[StepTable], records: &[Read<'_>]) -> Vec<Fate> {
    fates_of(&plan(steps).kind(), records)
}

/// What steps make of a value that has one result.
fn edited(steps: &[StepTable], doc: &str) -> String {
    let mut fates = fates(steps, &[value(doc)]);
    let mut results = fates.remove(0).unwrap_or_else(|error| panic!("{doc}: {error:?}"));
    assert_eq!(results.len(), 1, "{doc}");
    results.remove(0).value.unwrap()
}

/// Why a value fails.
fn refused(steps: &[StepTable], doc: &str) -> (ErrorClass, String) {
    fates(steps, &[value(doc)]).remove(0).unwrap_err()
}

/// All that is wrong with steps.
fn problems(steps: &[StepTable]) -> Vec<String> {
    let problems = Plan::new(steps.to_vec()).unwrap_err();
    problems.iter().map(ToString::to_string).collect()
}
