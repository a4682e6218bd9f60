//! A failed record with its origin, as Kafka Connect would write it.
//!
//! Key, value, headers and timestamp stay as they are; the headers gain where the record came
//! from and what was wrong with it (Kafka Connect's `errors.deadletterqueue.context.headers`).

use crate::{
    batch::{PartitionBatch, TopicPartition},
    records::{EncodedBatch, Headers, HeadersWriter, RecordWriter},
    transform::ValueError,
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

/// What becomes a dead letter, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// The record's index in its batch.
    pub index: usize,
    /// Where it failed.
    pub stage: Stage,
    /// What is wrong with it.
    pub error: ValueError,
}

/// Encodes the dead letters for some records of `batch`, each chunk at most `chunk_limit` bytes
/// unless a single record is larger.
pub fn encode(batch: &PartitionBatch, letters: &[Letter], chunk_limit: usize) -> Vec<EncodedBatch> {
    let mut writer = RecordWriter::new(chunk_limit, 0);
    for letter in letters {
        let record = &batch.records[letter.index];
        let value = batch.bytes(record.value).map(|value| [value]);
        let pieces = value.as_ref().map(|value| &value[..]);
        writer.push(record.timestamp, batch.bytes(record.key), pieces, &headers(batch, letter));
    }
    writer.finish()
}

fn headers(batch: &PartitionBatch, letter: &Letter) -> Vec<u8> {
    let record = &batch.records[letter.index];
    let TopicPartition { topic, partition } = &batch.origin;
    let mut headers = HeadersWriter::default();
    headers.extend(Headers::new(batch.bytes(record.headers).unwrap_or_default()));
    let mut add = |key: &str, value: &str| headers.push(key.as_bytes(), Some(value.as_bytes()));
    add(TOPIC, topic);
    add(PARTITION, &partition.to_string());
    add(OFFSET, &record.offset.to_string());
    add(STAGE, letter.stage.as_str());
    add(CLASS, letter.error.class.as_str());
    add(MESSAGE, &letter.error.message);
    headers.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        batch::{AssignmentId, Record, Span},
        transform::ErrorClass,
    };

    #[test]
    fn a_dead_letter_keeps_the_record_and_tells_its_origin() {
        let mut headers = HeadersWriter::default();
        headers.push(b"trace", Some(b"42"));
        let headers = headers.finish();
        let buffer = [b"key", &b"{bad"[..], &headers].concat();
        let record = Record {
            offset: 77,
            timestamp: 1234,
            key: Span::new(0, 3),
            value: Span::new(3, 4),
            headers: Span::new(7, headers.len() as u32),
        };
        let batch = PartitionBatch {
            origin: TopicPartition::new("names", 5),
            assignment: AssignmentId(1),
            next_offset: 78,
            buffer: buffer.into(),
            records: vec![record],
            ..PartitionBatch::default()
        };
        let error = ValueError::new(ErrorClass::Eof, "ends at byte 4");
        let letters = [Letter { index: 0, stage: Stage::Transformation, error }];

        let chunks = encode(&batch, &letters, 1000);

        let chunk = &chunks[0];
        let read = chunk.records().unwrap();
        let bytes = |span: Span| span.get(&chunk.bytes).unwrap();
        assert_eq!(
            (read[0].timestamp, bytes(read[0].key), bytes(read[0].value)),
            (1234, &b"key"[..], &b"{bad"[..])
        );
        let headers: Vec<(&str, &str)> = Headers::new(bytes(read[0].headers))
            .map(|(key, value)| {
                (std::str::from_utf8(key).unwrap(), std::str::from_utf8(value.unwrap()).unwrap())
            })
            .collect();
        assert_eq!(
            headers,
            [
                ("trace", "42"),
                ("__connect.errors.topic", "names"),
                ("__connect.errors.partition", "5"),
                ("__connect.errors.offset", "77"),
                ("__connect.errors.stage", "TRANSFORMATION"),
                ("__connect.errors.exception.class.name", "eof"),
                ("__connect.errors.exception.message", "ends at byte 4"),
            ]
        );
    }
}
