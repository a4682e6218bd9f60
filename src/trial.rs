//! What a transform makes of records, told one by one, without a broker.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    batch::{PartitionBatch, Record, Span, TopicPartition},
    records::{Headers, HeadersWriter},
    transform::{self, Breach, Place, Transform, ValueError},
};

/// What becomes of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// These records are written; with none, it is passed over.
    Written(Vec<Written>),
    /// It becomes a dead letter.
    DeadLetter(ValueError),
}

impl Outcome {
    /// Names the topic where records go to `destination`, if that is known, and no partition that is the one that
    /// they come from: then two places are the same if they are equal.
    pub(crate) fn resolve(&mut self, destination: Option<&Arc<str>>, origin: &TopicPartition) {
        let Outcome::Written(all) = self else { return };
        for Written { place, .. } in all {
            place.topic = place.topic.take().or(destination.cloned());
            place.partition = place.partition.filter(|partition| *partition != origin.partition);
        }
    }
}

/// An output record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// Where it goes.
    pub place: Place,
    /// The record.
    pub record: Plain,
}

/// A record with its parts owned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plain {
    /// In milliseconds since 1970.
    pub timestamp: i64,
    /// The key, `None` for null.
    pub key: Option<Vec<u8>>,
    /// The value, `None` for a tombstone.
    pub value: Option<Vec<u8>>,
    /// The headers in order.
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Plain {
    /// A record whose spans lie in `buffer`.
    pub(crate) fn of(record: &Record, buffer: &[u8]) -> Plain {
        let owned = |span: Span| span.get(buffer).map(<[u8]>::to_vec);
        let headers = Headers::new(record.headers.get(buffer).unwrap_or_default());
        Plain {
            timestamp: record.timestamp,
            key: owned(record.key),
            value: owned(record.value),
            headers: headers.map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec))).collect(),
        }
    }
}

/// A batch with a single record, as if it had been read at `offset` of `origin`.
pub(crate) fn batch_of(record: &Plain, origin: TopicPartition, offset: i64) -> PartitionBatch {
    let mut headers = HeadersWriter::default();
    record.headers.iter().for_each(|(key, value)| headers.push(key, value.as_deref()));
    let mut buffer = headers.finish();
    let headers = Span::new(0, buffer.len() as u32);
    let mut append = |part: &Option<Vec<u8>>| match part {
        Some(bytes) => {
            let span = Span::new(buffer.len() as u32, bytes.len() as u32);
            buffer.extend_from_slice(bytes);
            span
        }
        None => Span::NULL,
    };
    let (key, value) = (append(&record.key), append(&record.value));
    PartitionBatch {
        origin,
        next_offset: offset + 1,
        buffer: Bytes::from(buffer),
        records: vec![Record { offset, timestamp: record.timestamp, key, value, headers }],
        ..PartitionBatch::default()
    }
}

/// What becomes of each record of `batch`.
///
/// # Errors
/// When the transform breaks its contract.
pub(crate) fn outcomes(
    transform: &mut dyn Transform,
    batch: &PartitionBatch,
) -> Result<Vec<Outcome>, Breach> {
    /// So large that the output is one chunk for each place.
    const CHUNK_LIMIT: usize = u32::MAX as usize / 2;
    let transformed = transform::apply(transform, batch, CHUNK_LIMIT)?;
    let mut outcomes = vec![Outcome::Written(Vec::new()); batch.records.len()];
    let failed = || transformed.failures.iter().map(|failure| failure.index);
    for output in &transformed.outputs {
        let records = output.chunks.iter().flat_map(|chunk| {
            let records = chunk.records().expect("what the record writer wrote can be read");
            records.into_iter().map(|record| Plain::of(&record, &chunk.bytes))
        });
        for (record, source) in records.zip(output.sources.listed(0..batch.records.len(), failed())) {
            if let Outcome::Written(all) = &mut outcomes[source as usize] {
                all.push(Written { place: output.place.clone(), record });
            }
        }
    }
    for failure in transformed.failures {
        outcomes[failure.index] = Outcome::DeadLetter(failure.error);
    }
    Ok(outcomes)
}
