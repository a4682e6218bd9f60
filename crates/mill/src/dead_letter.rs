//! A failed record with its origin, in Kafka Connect's format.
//!
//! Key, value, headers and timestamp stay as they are. Headers are added that say where the record
//! came from and what was wrong with it (Kafka Connect's `errors.deadletterqueue.context.headers`);
//! in a record that was a dead letter itself they replace the older ones.
//!
//! With a [`Protect`], the value is not the original; key and headers are.

use std::{fmt, sync::Arc};

use topicmill_records::{EncodedBatch, Headers, HeadersWriter, RecordWriter};

use crate::{
    batch::{PartitionBatch, TopicPartition},
    clock,
    transform::{ErrorClass, RecordView, ValueError},
};

/// The common prefix of these headers.
pub const PREFIX: &str = "__connect.errors.";
/// The header with the pipeline: here the consumer group.
pub const PIPELINE: &str = "__connect.errors.connector.name";
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

/// The header with the record's timestamp in milliseconds, where the topic does not accept it.
pub const TIMESTAMP: &str = "topicmill.original.timestamp";

/// The header that says whether the value could be protected, where it is to be: `yes`, or `no: not JSON`.
pub const PROTECTED: &str = "topicmill.protected";

/// Protects the values of dead letters.
#[derive(Clone)]
pub struct Protect(Arc<ProtectFn>);

type ProtectFn = dyn Fn(&TopicPartition, &RecordView<'_>, &mut Vec<u8>) -> bool + Send + Sync;

impl Protect {
    /// `protect` puts the protected value of a record of the partition into the buffer, and returns whether it is
    /// JSON; otherwise it puts it there as it is.
    pub fn new(
        protect: impl Fn(&TopicPartition, &RecordView<'_>, &mut Vec<u8>) -> bool + Send + Sync + 'static,
    ) -> Protect {
        Protect(Arc::new(protect))
    }

    /// The value of a record as its letter has it, and whether it could be protected; `None` for a tombstone.
    pub fn value(&self, batch: &PartitionBatch, index: usize) -> Option<(Vec<u8>, bool)> {
        let record = &batch.records[index];
        let value = batch.bytes(record.value)?;
        let view = RecordView {
            offset: record.offset,
            timestamp: record.timestamp,
            key: batch.bytes(record.key),
            value: Some(value),
            headers: batch.bytes(record.headers).unwrap_or_default(),
        };
        let mut protected = Vec::new();
        let is_json = (self.0)(&batch.origin, &view, &mut protected);
        Some((protected, is_json))
    }
}

impl fmt::Debug for Protect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Protect")
    }
}

/// The stage at which a record failed, by Kafka Connect's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The transform refused it.
    Transformation,
    /// The destination refused the output.
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
    /// The form it is written in.
    pub form: Form,
}

/// How a dead letter is written: as the record was, unless its topic does not accept that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Form {
    /// With the time of writing; the record's own is in a header.
    pub stamped: bool,
    /// Compressed with zstd whatever the settings say.
    pub compressed: bool,
}

impl Letter {
    /// The letter in a form that the topic may accept, after it was refused as it is for `class`.
    pub fn remedied(&self, class: ErrorClass) -> Letter {
        let mut letter = self.clone();
        match class {
            ErrorClass::Oversized => letter.form.compressed = true,
            _ => letter.form.stamped = true,
        }
        letter
    }
}

/// Encodes the dead letters of the consumer group `group` for some records of `batch`, each chunk
/// at most `chunk_limit` bytes unless a single record is larger. With `protect`, their values are protected.
pub fn encode(
    batch: &PartitionBatch,
    letters: &[Letter],
    group: &str,
    protect: Option<&Protect>,
    chunk_limit: usize,
) -> Vec<EncodedBatch> {
    let mut writer = RecordWriter::new(chunk_limit, 0);
    for letter in letters {
        let record = &batch.records[letter.index];
        let protected = protect.and_then(|protect| protect.value(batch, letter.index));
        let value = protected.as_ref().map(|(value, _)| &value[..]).or(batch.bytes(record.value));
        let is_protected = protected.as_ref().map(|(_, is_protected)| *is_protected);
        let value = value.map(|value| [value]);
        let pieces = value.as_ref().map(|value| &value[..]);
        let timestamp = if letter.form.stamped { clock::now_ms() } else { record.timestamp };
        writer.push(timestamp, batch.bytes(record.key), pieces, &headers(batch, letter, group, is_protected));
    }
    writer.finish()
}

fn headers(batch: &PartitionBatch, letter: &Letter, group: &str, is_protected: Option<bool>) -> Vec<u8> {
    let record = &batch.records[letter.index];
    let TopicPartition { topic, partition } = &batch.origin;
    let mut headers = HeadersWriter::default();
    let own = Headers::new(batch.bytes(record.headers).unwrap_or_default());
    let is_kept = |key: &[u8]| !(is_about_error(key) || letter.form.stamped && key == TIMESTAMP.as_bytes());
    own.filter(|(key, _)| is_kept(key)).for_each(|(key, value)| headers.push(key, value));
    let mut add = |key: &str, value: &str| headers.push(key.as_bytes(), Some(value.as_bytes()));
    add(PIPELINE, group);
    add(TOPIC, topic);
    add(PARTITION, &partition.to_string());
    add(OFFSET, &record.offset.to_string());
    add(STAGE, letter.stage.as_str());
    add(CLASS, letter.error.class.as_str());
    match letter.error.class {
        // Their messages may quote the value.
        ErrorClass::Route | ErrorClass::Jq | ErrorClass::Panic | ErrorClass::Other | ErrorClass::Refused
            if is_protected.is_some() =>
        {
            add(MESSAGE, "left out, as it may quote what is protected");
        }
        _ => add(MESSAGE, &letter.error.message),
    }
    if let Some(is_protected) = is_protected {
        add(PROTECTED, if is_protected { "yes" } else { "no: not JSON" });
    }
    if letter.form.stamped {
        add(TIMESTAMP, &record.timestamp.to_string());
    }
    headers.finish()
}

/// The timestamp of the record that a letter with these headers is about, if the letter has the time of writing.
/// Then the header follows those about the error; before them it is one of the record, itself a letter once.
pub fn original_timestamp(headers: &[u8]) -> Option<i64> {
    let after = Headers::new(headers).skip_while(|(name, _)| !is_about_error(name));
    let (_, value) = after.filter(|(name, _)| *name == TIMESTAMP.as_bytes()).last()?;
    std::str::from_utf8(value?).ok()?.parse().ok()
}

/// Whether a header of that name says which record a letter is about, and when it was written.
pub fn is_place(name: &[u8]) -> bool {
    [TOPIC, PARTITION, OFFSET, TIMESTAMP].iter().any(|place| place.as_bytes() == name)
}

/// Whether a header of that name describes an error or its letter, rather than being the record's own.
pub fn is_about_error(name: &[u8]) -> bool {
    name.starts_with(PREFIX.as_bytes()) || name == PROTECTED.as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        batch::{AssignmentId, Record, Span},
        transform::ErrorClass,
    };

    /// The batch of the one record whose headers these are.
    fn batch_of(origin: TopicPartition, offset: i64, headers: &[u8]) -> PartitionBatch {
        let buffer = [b"key", &b"{bad"[..], headers].concat();
        let record = Record {
            offset,
            timestamp: 1234,
            key: Span::new(0, 3),
            value: Span::new(3, 4),
            headers: Span::new(7, headers.len() as u32),
        };
        PartitionBatch {
            origin,
            assignment: AssignmentId(1),
            next_offset: offset + 1,
            buffer: buffer.into(),
            records: vec![record],
            ..PartitionBatch::default()
        }
    }

    fn letter_of(batch: &PartitionBatch, group: &str) -> EncodedBatch {
        let error = ValueError::new(ErrorClass::Eof, "ends at byte 4");
        let letters = [Letter { index: 0, stage: Stage::Transformation, error, form: Form::default() }];
        encode(batch, &letters, group, None, 1000).remove(0)
    }

    /// The headers of the only record, as text.
    fn headers_of(chunk: &EncodedBatch) -> Vec<(String, String)> {
        let headers = chunk.records().unwrap()[0].headers.get(&chunk.bytes).unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Headers::new(headers).map(|(key, value)| (text(key), text(value.unwrap()))).collect()
    }

    #[test]
    fn a_dead_letter_keeps_the_record_and_tells_its_origin() {
        let mut headers = HeadersWriter::default();
        headers.push(b"trace", Some(b"42"));
        let batch = batch_of(TopicPartition::new("names", 5), 77, &headers.finish());

        let chunk = letter_of(&batch, "mill");

        let read = chunk.records().unwrap();
        let bytes = |span: Span| span.get(&chunk.bytes).unwrap();
        assert_eq!(
            (read[0].timestamp, bytes(read[0].key), bytes(read[0].value)),
            (1234, &b"key"[..], &b"{bad"[..])
        );
        let expected = [
            ("trace", "42"),
            ("__connect.errors.connector.name", "mill"),
            ("__connect.errors.topic", "names"),
            ("__connect.errors.partition", "5"),
            ("__connect.errors.offset", "77"),
            ("__connect.errors.stage", "TRANSFORMATION"),
            ("__connect.errors.exception.class.name", "eof"),
            ("__connect.errors.exception.message", "ends at byte 4"),
        ];
        assert_eq!(headers_of(&chunk), expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    #[test]
    fn a_protected_letter_says_so_and_leaves_out_what_may_quote_the_value() {
        let batch = batch_of(TopicPartition::new("names", 5), 77, &[0]);
        for (is_json, told) in [(true, "yes"), (false, "no: not JSON")] {
            let protect = Protect::new(move |origin, record, out| {
                assert_eq!((origin.partition, record.offset), (5, 77));
                out.extend_from_slice(b"***");
                is_json
            });
            let error = ValueError::new(ErrorClass::Jq, "{bad: no object");
            let letters = [Letter { index: 0, stage: Stage::Transformation, error, form: Form::default() }];
            let chunk = encode(&batch, &letters, "mill", Some(&protect), 1000).remove(0);
            assert_eq!(chunk.records().unwrap()[0].value.get(&chunk.bytes), Some(&b"***"[..]));
            let headers = headers_of(&chunk);
            let of =
                |name: &str| headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
            assert_eq!(of(PROTECTED), Some(told));
            assert!(!of(MESSAGE).unwrap().contains("bad"));
        }
    }

    #[test]
    fn a_dead_letter_of_a_dead_letter_tells_of_the_last_error_alone() {
        let mut headers = HeadersWriter::default();
        headers.push(b"trace", Some(b"42"));
        let first = letter_of(&batch_of(TopicPartition::new("names", 5), 77, &headers.finish()), "mill");
        let headers = first.records().unwrap()[0].headers.get(&first.bytes).unwrap().to_vec();

        let second = letter_of(&batch_of(TopicPartition::new("letters", 0), 3, &headers), "replay");

        let told = headers_of(&second);
        assert_eq!(told.len(), 8, "{told:?}");
        let of = |name: &str| told.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let [group, topic, offset] = [PIPELINE, TOPIC, OFFSET].map(of);
        assert_eq!((group, topic, offset), (Some("replay"), Some("letters"), Some("3")));
        assert_eq!(of("trace"), Some("42"));
    }
}
