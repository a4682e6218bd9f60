//! A custom transform: upper case, registered by name and run over one batch without a broker.
//!
//! `cargo run --example transform`

use std::sync::Arc;

use topicmill::{
    batch::{AssignmentId, PartitionBatch, Record, Span, TopicPartition},
    records::NO_HEADERS,
    transform::{
        self, ErrorClass, Output, Transform, TransformKind, TransformSpec, ValueError, Values,
        registry::{self, Chosen},
    },
};

/// With this, `--transform upper-case` and `[transform] kind = "upper-case"` choose it; settings would
/// be flags and keys as well.
static UPPER_CASE: TransformSpec = TransformSpec {
    name: "upper-case",
    doc: "Text is written in upper case",
    settings: &[],
    make: |_| Arc::new(|| Box::new(UpperCase)),
};

/// Writes each value in upper case and refuses what is not text.
struct UpperCase;

impl Transform for UpperCase {
    fn apply(&mut self, values: &Values<'_>, out: &mut Output<'_>) {
        for (index, value) in values.iter() {
            match std::str::from_utf8(value) {
                Ok(text) => out.write(index, &[text.to_uppercase().as_bytes()]),
                Err(error) => out.fail(index, ValueError::new(ErrorClass::Other, error.to_string())),
            }
        }
    }
}

fn main() {
    // Before the command line (`cli::Cli`) and the configuration (`config::Config`) are read.
    registry::register(&UPPER_CASE).unwrap();
    // Here one batch is enough.
    let kind = TransformKind::of(&UPPER_CASE, Chosen::default());
    let batch = one_record(b"a stream to be milled");
    let transformed = transform::apply(&mut *kind.build(), &batch, 1 << 20).unwrap();
    let written = &transformed.chunks[0];
    println!(
        "{} record, {} bytes encoded, {} failed",
        written.count,
        written.bytes.len(),
        transformed.failures.len()
    );
    assert!(written.bytes.windows(6).any(|bytes| bytes == b"STREAM"));
}

fn one_record(value: &[u8]) -> PartitionBatch {
    let buffer = [NO_HEADERS, value].concat();
    let record = Record {
        offset: 0,
        timestamp: 0,
        key: Span::NULL,
        value: Span::new(1, value.len() as u32),
        headers: Span::new(0, 1),
    };
    PartitionBatch {
        origin: TopicPartition::new("words", 0),
        assignment: AssignmentId(1),
        next_offset: 1,
        buffer: buffer.into(),
        records: vec![record],
        ..PartitionBatch::default()
    }
}
