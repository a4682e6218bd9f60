//! Collects the records of one partition into a batch.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Instant,
};

use rdkafka::message::{BorrowedMessage, Headers, Message};
use topicmill_mill::{
    batch::{AssignmentId, PartitionBatch, Record, Span, TopicPartition},
    engine::{EngineError, ErrorKind},
};
use topicmill_records::{Compression, HeadersWriter, NO_HEADERS};

/// A batch is closed when it has this many bytes …
const MAX_BYTES: usize = 1 << 20;
/// … or this many records.
const MAX_RECORDS: usize = 10_000;

/// The open batch of one partition.
#[derive(Debug)]
pub(super) struct Arena {
    /// The partition.
    pub origin: TopicPartition,
    /// The assignment it is read under.
    pub assignment: AssignmentId,
    /// The offset after the last record read.
    pub next_offset: i64,
    /// When the first record arrived.
    pub opened: Instant,
    buffer: Vec<u8>,
    records: Vec<Record>,
    capacity: (usize, usize),
}

impl Arena {
    /// An empty arena that starts at offset `start`.
    pub fn new(origin: TopicPartition, assignment: AssignmentId, start: i64) -> Arena {
        Arena {
            origin,
            assignment,
            next_offset: start,
            opened: Instant::now(),
            buffer: Vec::new(),
            records: Vec::new(),
            capacity: (64 << 10, 256),
        }
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Whether it should be closed.
    pub fn is_full(&self) -> bool {
        self.buffer.len() >= MAX_BYTES || self.records.len() >= MAX_RECORDS
    }

    /// Copies a record in.
    ///
    /// # Errors
    /// Fatal when its headers cannot be read.
    #[inline]
    pub fn push(&mut self, message: &BorrowedMessage<'_>) -> Result<(), EngineError> {
        if self.records.is_empty() {
            self.opened = Instant::now();
            self.buffer.reserve(self.capacity.0);
            self.records.reserve(self.capacity.1);
            self.buffer.extend_from_slice(NO_HEADERS);
        }
        let offset = message.offset();
        let headers = match message.headers() {
            // All records without headers share the encoding of none at the front.
            None => Span::new(0, NO_HEADERS.len() as u32),
            Some(headers) => {
                let encoded = encode(headers).map_err(|error| error.at_offset(&self.origin, offset))?;
                self.append(Some(&encoded))
            }
        };
        let key = self.append(message.key());
        let value = self.append(message.payload());
        let timestamp = message.timestamp().to_millis().unwrap_or(-1);
        self.records.push(Record { offset, timestamp, key, value, headers });
        self.next_offset = offset + 1;
        Ok(())
    }

    /// Takes what was collected; its share of the memory has yet to be acquired.
    pub fn close(&mut self) -> PartitionBatch {
        // The next batch will be about as large.
        self.capacity = (self.buffer.len() + self.buffer.len() / 16, self.records.len());
        PartitionBatch {
            origin: self.origin.clone(),
            assignment: self.assignment,
            next_offset: self.next_offset,
            buffer: std::mem::take(&mut self.buffer).into(),
            records: std::mem::take(&mut self.records),
            // librdkafka reports neither.
            leader_epoch: -1,
            compression: Compression::None,
        }
    }

    #[inline]
    fn append(&mut self, bytes: Option<&[u8]>) -> Span {
        let Some(bytes) = bytes else { return Span::NULL };
        // A record is at most `receive.message.max.bytes` (2 GiB) long, so the sums fit.
        let span = Span::new(self.buffer.len() as u32, bytes.len() as u32);
        self.buffer.extend_from_slice(bytes);
        span
    }
}

/// Headers in wire encoding. Trap: rdkafka panics on a header name that is not UTF-8, and a panic
/// would end the poll thread silently.
fn encode(headers: &impl Headers) -> Result<Vec<u8>, EngineError> {
    let encode = || {
        let mut writer = HeadersWriter::default();
        for i in 0..headers.count() {
            let header = headers.get(i);
            writer.push(header.key.as_bytes(), header.value);
        }
        writer.finish()
    };
    catch_unwind(AssertUnwindSafe(encode)).map_err(|_| {
        let message =
            "a header's name is not UTF-8, which the librdkafka engine cannot read; use the native one";
        EngineError::new(ErrorKind::Fatal, message)
    })
}
