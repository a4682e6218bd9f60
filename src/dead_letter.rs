//! A failed record with its origin, as Kafka Connect would write it.
//!
//! Key, value, headers and timestamp stay as they are; the headers gain where the record came
//! from and what was wrong with it (Kafka Connect's `errors.deadletterqueue.context.headers`).

use crate::{
    batch::{PartitionBatch, TopicPartition},
    records::{EncodedBatch, Headers, HeadersWriter, RecordWriter},
    transform::Failure,
};

/// The header with the source topic.
pub const TOPIC: &str = "__connect.errors.topic";
/// The header with the source partition, in decimal.
pub const PARTITION: &str = "__connect.errors.partition";
/// The header with the source offset, in decimal.
pub const OFFSET: &str = "__connect.errors.offset";
/// The header with the [`Stage`] that failed.
pub const STAGE: &str = "__connect.errors.stage";
/// The header with the class of the error.
pub const CLASS: &str = "__connect.errors.exception.class.name";
/// The header with the error's message.
pub const MESSAGE: &str = "__connect.errors.exception.message";

/// Where on the road a record failed, by Kafka Connect's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The transform could not read it.
    Transformation,
    /// The destination did not take the output.
    Produce,
}

impl Stage {
    /// The name as it stands in the header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Stage::Transformation => "TRANSFORMATION",
            Stage::Produce => "KAFKA_PRODUCE",
        }
    }
}

/// Encodes the dead letters for `failures` of `batch`, each chunk at most `chunk_limit` bytes
/// unless a single record is larger.
pub fn encode(
    batch: &PartitionBatch,
    failures: &[Failure],
    stage: Stage,
    chunk_limit: usize,
) -> Vec<EncodedBatch> {
    let mut writer = RecordWriter::new(chunk_limit, 0);
    for failure in failures {
        let record = &batch.records[failure.index];
        let headers = headers(batch, failure, stage);
        let value = batch.bytes(record.value);
        let pieces = value.map(|value| [value]);
        writer.push(
            record.timestamp,
            batch.bytes(record.key),
            pieces.as_ref().map(|pieces| &pieces[..]),
            &headers,
        );
    }
    writer.finish()
}

fn headers(batch: &PartitionBatch, failure: &Failure, stage: Stage) -> Vec<u8> {
    let record = &batch.records[failure.index];
    let TopicPartition { topic, partition } = &batch.origin;
    let mut headers = HeadersWriter::default();
    headers.extend(Headers::new(batch.bytes(record.headers).unwrap_or_default()));
    let mut add = |key: &str, value: &str| headers.push(key.as_bytes(), Some(value.as_bytes()));
    add(TOPIC, topic);
    add(PARTITION, &partition.to_string());
    add(OFFSET, &record.offset.to_string());
    add(STAGE, stage.as_str());
    add(CLASS, failure.error.class.as_str());
    add(MESSAGE, &failure.error.message);
    headers.finish()
}
