//! What steps cost: nanoseconds of CPU time a record, on one thread, with the encoding of the output.
//!
//! Run with `cargo bench --bench steps -- [PART OF A NAME]`.

mod harness;

use std::{hint::black_box, sync::Arc};

use bytes::Bytes;
use harness::{measure, report};
use rand::{Rng, SeedableRng, rngs::StdRng};
use topicmill::{
    batch::{PartitionBatch, Record, Span, TopicPartition},
    steps::{Given, Plan, StepTable},
    transform,
};
use topicmill_records::NO_HEADERS;

const CHUNK: usize = 16 << 20;

fn main() {
    harness::header();
    let key = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(key.path(), "a key of thirty-two bytes, it is").expect("room for a key");
    let key = key.path().to_str().expect("a path that is text");
    let hmac = |path: &str| StepTable::of("hmac", path).with("key_file", text(key));
    let corpora = [("53 B names", names()), ("350 B orders", orders(1)), ("2 KB events", orders(24))];
    for (shape, values) in &corpora {
        let (field, other, all) = if *shape == "53 B names" {
            (".first_name", ".last_name", [".first_name", ".last_name", ".hash"])
        } else {
            (".customer.email", ".note", [".id", ".total", ".customer.id"])
        };
        let keep = Given::List(all.iter().map(|path| (*path).to_owned()).collect());
        let edits = [
            StepTable::of("drop", other),
            StepTable::of("rename", all[0]).with("to", text("renamed")),
            StepTable::of("set", ".source").with("value", text("$topic")),
            hmac(field),
        ];
        let by_jaq =
            format!("del({other}) | .renamed = {0} | del({0}) | .source = $topic | {field} |= \"x\"", all[0]);
        let kept_by_jaq = format!(". as $all | {{a: $all{}, b: $all{}, c: $all{}}}", all[0], all[1], all[2]);
        let route = StepTable::of("route", "other").with("when", text(&format!("{field} < \"m\"")));
        for (what, steps) in [
            ("filter, half pass", vec![StepTable::of("filter", format!("{field} < \"m\""))]),
            ("drop one", vec![StepTable::of("drop", other)]),
            ("keep three", vec![StepTable::default().with("keep", keep)]),
            ("rename", vec![edits[1].clone()]),
            ("mask", vec![StepTable::of("mask", field)]),
            ("hmac", vec![hmac(field)]),
            ("four edits and a route", edits.iter().cloned().chain([route]).collect()),
            (
                "jq on the bytes",
                vec![StepTable::of("jq", format!("select({field} < \"m\") | {{a: {other}}}"))],
            ),
            // What names its input needs the interpreter.
            ("filter by jaq", vec![StepTable::of("jq", format!(". as $all | select($all{field} < \"m\")"))]),
            ("drop one by jaq", vec![StepTable::of("jq", format!("del({other})"))]),
            ("keep three by jaq", vec![StepTable::of("jq", kept_by_jaq)]),
            ("rename by jaq", vec![StepTable::of("jq", format!(".renamed = {0} | del({0})", all[0]))]),
            ("four edits by jaq", vec![StepTable::of("jq", by_jaq)]),
        ] {
            let plan = Arc::new(Plan::new(steps).unwrap_or_else(|problems| panic!("{what}: {problems:?}")));
            report(&format!("{what}, {shape}"), |count| {
                let batch = batch(&values[..count]);
                let mut transform = plan.kind().build();
                measure(count, || {
                    let made =
                        transform::apply(&mut *transform, &batch, CHUNK).expect("it keeps its contract");
                    assert!(made.failures.is_empty());
                    drop(black_box(made));
                })
            });
        }
    }
}

fn text(text: &str) -> Given {
    Given::Text(text.to_owned())
}

fn word(random: &mut StdRng, lengths: std::ops::RangeInclusive<usize>) -> String {
    let length = random.random_range(lengths);
    (0..length).map(|_| char::from(random.random_range(b'a'..=b'z'))).collect()
}

fn names() -> Vec<Vec<u8>> {
    let mut random = StdRng::seed_from_u64(7);
    let mut name = |lengths| word(&mut random, lengths);
    let name = |_| format!(r#"{{"first_name":"{}","last_name":"{}"}}"#, name(3..=12), name(8..=19)).into();
    (0..10_000).map(name).collect()
}

/// Nested orders with so many items.
fn orders(items: usize) -> Vec<Vec<u8>> {
    let mut random = StdRng::seed_from_u64(7);
    let order = |number: usize| {
        let mut name = |lengths| word(&mut random, lengths);
        let customer = format!(
            r#"{{"id":{number},"email":"{}@example.org","address":{{"city":"{}","zip":"80331"}},"vip":false}}"#,
            name(4..=12),
            name(4..=16)
        );
        let item = |number| format!(r#"{{"sku":"{}","price":{number}.50,"number":2}}"#, name(8..=40));
        let items: Vec<String> = (0..items).map(item).collect();
        let (id, note) = (name(36..=36), name(20..=60));
        let order = format!(
            r#"{{"id":"{id}","created":"2026-11-26T10:20:30Z","total":129.50,"customer":{customer},"items":[{}],"note":"{note}"}}"#,
            items.join(",")
        );
        order.into_bytes()
    };
    (0..10_000).map(order).collect()
}

fn batch(values: &[Vec<u8>]) -> PartitionBatch {
    let mut buffer = NO_HEADERS.to_vec();
    let headers = Span::new(0, buffer.len() as u32);
    let mut records = Vec::new();
    for (offset, value) in (0..).zip(values) {
        let value = {
            buffer.extend_from_slice(value);
            Span::new((buffer.len() - value.len()) as u32, value.len() as u32)
        };
        records.push(Record { offset, timestamp: 1_700_000_000_000, key: Span::NULL, value, headers });
    }
    PartitionBatch {
        origin: TopicPartition::new("orders", 0),
        next_offset: values.len() as i64,
        buffer: Bytes::from(buffer),
        records,
        ..PartitionBatch::default()
    }
}
