//! What several fuzz targets use.

#![forbid(unsafe_code)]

use bytes::Bytes;
use topicmill_mill::{
    batch::{PartitionBatch, Record, Span},
    transform::{ErrorClass, Transform, apply},
};
use topicmill_records::{AssembleSettings, Assembled, Assembler, Headers, NO_HEADERS, RecordsError};

/// A record with its parts owned.
#[derive(Clone, Debug, PartialEq)]
pub struct Plain {
    /// The offset in the partition.
    pub offset: i64,
    /// The timestamp in milliseconds.
    pub timestamp: i64,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value.
    pub value: Option<Vec<u8>>,
    /// The headers.
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Plain {
    /// The records of a piece.
    ///
    /// # Panics
    /// When a span does not lie within the piece's buffer.
    pub fn all_of(piece: &Assembled) -> impl Iterator<Item = Plain> {
        let owned = |span: Span| span.get(&piece.buffer).map(<[u8]>::to_vec);
        piece.records.iter().map(move |record| Plain {
            offset: record.offset,
            timestamp: record.timestamp,
            key: owned(record.key),
            value: owned(record.value),
            headers: Headers::new(record.headers.get(&piece.buffer).expect("headers are never null"))
                .map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec)))
                .collect(),
        })
    }
}

/// The most bytes of a single record that a reading pipeline of these targets has room for.
pub const RECORD_BYTES_MAX: usize = 1 << 20;

/// Reads `bytes` to the end and checks what has to hold of anything that is read. The outcome is `None`
/// when a record is larger than there is room for: then a pipeline stops before it is decompressed.
///
/// # Panics
/// When offsets do not ascend, a piece takes more memory than its settings allow, or something follows an
/// error.
pub fn read_all(
    bytes: Bytes,
    from_offset: i64,
    settings: AssembleSettings,
) -> (Vec<Plain>, Option<Result<(), RecordsError>>) {
    let mut assembler = Assembler::new(bytes, from_offset, Vec::new(), settings);
    let (mut all, mut expected) = (Vec::new(), from_offset);
    loop {
        if assembler.needs().is_some_and(|size| size > RECORD_BYTES_MAX) {
            return (all, None);
        }
        match assembler.next() {
            None => return (all, Some(Ok(()))),
            Some(Err(error)) => {
                assert!(assembler.next().is_none(), "something follows an error");
                return (all, Some(Err(error)));
            }
            Some(Ok(piece)) => {
                // The decompressor works ahead by a step; what waits for the rest of its record doubles.
                let most = 4 * (settings.max_bytes + RECORD_BYTES_MAX);
                assert!(piece.memory <= most, "{} bytes of at most {most}", piece.memory);
                assert!(piece.records.len() <= settings.max_records);
                for record in Plain::all_of(&piece) {
                    assert!(record.offset >= expected && record.offset < piece.next_offset);
                    expected = record.offset + 1;
                    all.push(record);
                }
                assert!(piece.next_offset >= expected);
                expected = piece.next_offset;
            }
        }
    }
}

/// Each value's answer from one batch of them all, the last of which ends its allocation.
///
/// # Panics
/// When there is not one answer for each value.
pub fn answers(transform: &mut dyn Transform, values: &[&[u8]]) -> Vec<Result<Vec<u8>, ErrorClass>> {
    let batch = batch_of(values);
    let transformed = apply(transform, &batch, 1 << 30).expect("the contract is kept");
    let mut written = transformed.chunks().flat_map(|chunk| {
        let records = chunk.records().expect("what was written is read");
        records.into_iter().map(|record| record.value.get(&chunk.bytes).expect("no tombstone").to_vec())
    });
    let mut failures = transformed.failures.iter().peekable();
    let answer = |index| match failures.next_if(|failure| failure.index == index) {
        Some(failure) => Err(failure.error.class),
        None => Ok(written.next().expect("an output for each value")),
    };
    let answers = (0..values.len()).map(answer).collect();
    assert_eq!((written.next(), failures.next()), (None, None), "more answers than values");
    answers
}

fn batch_of(values: &[&[u8]]) -> PartitionBatch {
    let mut buffer = NO_HEADERS.to_vec();
    let records = values.iter().map(|value| {
        let start = buffer.len() as u32;
        buffer.extend_from_slice(value);
        Record {
            offset: 0,
            timestamp: 0,
            key: Span::NULL,
            value: Span::new(start, value.len() as u32),
            headers: Span::new(0, NO_HEADERS.len() as u32),
        }
    });
    let records = records.collect();
    // Exactly as long as its contents, so that the sanitizer sees any byte read beyond.
    let buffer = buffer.into_boxed_slice().into();
    PartitionBatch { records, buffer, ..PartitionBatch::default() }
}
