//! Values at the very end of their allocation, where a sanitizer sees any byte read beyond.

use topicmill_records::NO_HEADERS;

use crate::{
    batch::{AssignmentId, PartitionBatch, Record, Span, TopicPartition},
    transform::{self, ErrorClass, Kernel, NameEvent, locate::locate},
};

/// The longest value, in bytes: several blocks of every kernel.
const LONGEST: usize = 300;

/// A name event of `len` bytes, or what has room of it.
fn event(len: usize) -> Vec<u8> {
    const FRAME: usize = r#"{"first_name":"","last_name":"B"}"#.len();
    let name = "n".repeat(len.saturating_sub(FRAME));
    let mut value = format!(r#"{{"first_name":"{name}","last_name":"B"}}"#).into_bytes();
    value.truncate(len);
    value
}

/// A value of `len` bytes of which `last_name` is cut off.
fn cut(len: usize) -> Vec<u8> {
    let mut value = format!(r#"{{"first_name":"A","last_name":"{}"#, "n".repeat(LONGEST)).into_bytes();
    value.truncate(len);
    value
}

/// A batch of `count` times `value`, the last of which ends the buffer.
fn batch(value: &[u8], count: usize) -> PartitionBatch {
    let buffer = [NO_HEADERS, &value.repeat(count)].concat().into_boxed_slice();
    let record = |index| Record {
        offset: index as i64,
        timestamp: 0,
        key: Span::NULL,
        value: Span::new((NO_HEADERS.len() + index * value.len()) as u32, value.len() as u32),
        headers: Span::new(0, NO_HEADERS.len() as u32),
    };
    PartitionBatch {
        origin: TopicPartition::default(),
        assignment: AssignmentId::default(),
        next_offset: count as i64,
        records: (0..count).map(record).collect(),
        buffer: buffer.into(),
        ..PartitionBatch::default()
    }
}

#[test]
fn values_that_end_their_allocation_are_located_alike() {
    for len in 0..=LONGEST {
        for value in [event(len), cut(len)] {
            let value = value.into_boxed_slice();
            let span = Span::new(0, len as u32);
            let expected = locate(Kernel::PORTABLE, &value, span);
            assert_eq!(expected.is_some(), value.ends_with(b"}"), "{}", value.escape_ascii());
            for kernel in Kernel::available() {
                assert_eq!(locate(kernel, &value, span), expected, "{kernel:?}: {}", value.escape_ascii());
            }
        }
    }
}

#[test]
fn batches_that_end_with_a_value_are_transformed_alike() {
    for len in 0..=LONGEST {
        for (value, count) in [(event(len), 3), (event(len), 17), (cut(len), 3), (cut(len), 17)] {
            let batch = batch(&value, count);
            let answer =
                |kernel| transform::apply(&mut NameEvent::with_kernel(kernel), &batch, 1 << 20).unwrap();
            let expected = answer(Kernel::PORTABLE);
            let class = if len == 0 { ErrorClass::Empty } else { ErrorClass::Eof };
            let failed = expected.failures.iter().filter(|failure| failure.error.class == class).count();
            assert_eq!(failed, if value.ends_with(b"}") { 0 } else { count }, "{}", value.escape_ascii());
            for kernel in Kernel::available() {
                assert!(answer(kernel) == expected, "{kernel:?}: {count} of {}", value.escape_ascii());
            }
        }
    }
}
