//! What the transforms, the parts of the steps and their kernels cost, and the walk before and the encoding after them.
//!
//! Run with `cargo bench --bench kernels -- [PART OF A NAME]`.

mod documents;
mod expressions;
mod harness;

use std::hint::black_box;

use bytes::Bytes;
use harness::{measure, report};
use rand::{Rng, SeedableRng, rngs::StdRng};
use topicmill::{
    batch::{PartitionBatch, Record, TopicPartition},
    transform::{self, Digest, HashField, Kernel, NameEvent, locate::locate, md5::md5_many},
};
use topicmill_records::{
    AssembleSettings, Assembled, Assembler, Compression, NO_HEADERS, ProducerStamp, RecordWriter,
};

const CHUNK: usize = 16 << 20;

fn main() {
    harness::header();
    let values = [
        ("53 bytes", events(|first, last| format!(r#"{{"first_name":"{first}","last_name":"{last}"}}"#))),
        ("empty hash", events(|f, l| format!(r#"{{"first_name":"{f}","last_name":"{l}","hash":""}}"#))),
        (
            "full hash",
            events(|f, l| {
                format!(
                    r#"{{"first_name":"{f}","last_name":"{l}","hash":"{:032x}"}}"#,
                    (f.len() as u128) << 99
                )
            }),
        ),
        ("last name first", events(|f, l| format!(r#"{{"last_name":"{l}","first_name":"{f}"}}"#))),
        ("escaped", events(|f, l| format!(r#"{{"first_name":"{f}","last_name":"\u00c9{}"}}"#, &l[6..]))),
        (
            "1 KB",
            events(|f, l| format!(r#"{{"first_name":"{f}","last_name":"{l}{}"}}"#, " de Saint".repeat(108))),
        ),
    ];
    for (shape, values) in &values {
        for kernel in Kernel::available() {
            report(&format!("md5, {kernel:?}, {shape}"), |count| {
                let mut digests = Vec::new();
                measure(count, || {
                    md5_many(kernel, black_box(&values[..count]).iter().map(Vec::as_slice), &mut digests);
                    black_box(&digests);
                })
            });
        }
    }
    for (shape, values) in &values[..4] {
        for kernel in Kernel::available().take(2) {
            report(&format!("locate, {kernel:?}, {shape}"), |count| {
                let batch = assemble(&seal(&values[..count]));
                measure(count, || {
                    let located = |record: &Record| locate(kernel, &batch.buffer, record.value).is_some();
                    assert!(black_box(&batch.records).iter().all(located));
                })
            });
        }
    }
    for (shape, values) in &values {
        for kernel in Kernel::available() {
            report(&format!("name-event, {kernel:?}, {shape}"), |count| {
                let batch = partition_batch(&values[..count]);
                let mut transform = NameEvent::with_kernel(kernel);
                measure(count, || drop(black_box(transform::apply(&mut transform, &batch, CHUNK).unwrap())))
            });
        }
    }
    for (shape, values) in &values[..2] {
        report(&format!("hash-field md5, {shape}"), |count| {
            let batch = partition_batch(&values[..count]);
            let kind = HashField::kind("hash", Digest::Md5);
            let mut transform = kind.build();
            measure(count, || drop(black_box(transform::apply(&mut *transform, &batch, CHUNK).unwrap())))
        });
    }
    documents::rows();
    expressions::rows();
    let events = &values[0].1;
    report("walk, 53 bytes", |count| {
        let wire = seal(&events[..count]);
        measure(count, || drop(black_box(assemble(&wire))))
    });
    report("encode, 53 bytes", |count| measure(count, || drop(black_box(encode(&events[..count])))));
    report("walk, name-event, seal, 53 bytes", |count| {
        let wire = seal(&events[..count]);
        let mut transform = NameEvent::default();
        measure(count, || {
            let batch = with_records(assemble(&wire));
            for chunk in transform::apply(&mut transform, &batch, CHUNK).unwrap().outputs.remove(0).chunks {
                black_box(chunk.seal(ProducerStamp::NONE, Compression::None));
            }
        })
    });
}

/// Events of random names, 21 characters together on average as those of the generator are, so
/// that most of the shortest form take one block of MD5 and some take two, and no branch predictor
/// learns the order of their lengths.
fn events(form: impl Fn(&str, &str) -> String) -> Vec<Vec<u8>> {
    let mut random = StdRng::seed_from_u64(7);
    let mut name = |lengths| {
        let length = random.random_range(lengths);
        (0..length).map(|_| char::from(random.random_range(b'a'..=b'z'))).collect::<String>()
    };
    (0..10_000).map(|_| form(&name(3..=12), &name(8..=19)).into()).collect()
}

fn encode(values: &[Vec<u8>]) -> topicmill_records::EncodedBatch {
    let size: usize = values.iter().map(|value| value.len() + 40).sum();
    let mut writer = RecordWriter::new(CHUNK, size + 200);
    for (i, value) in values.iter().enumerate() {
        writer.push(1_700_000_000_000 + i as i64 / 64, None, Some(&[value]), NO_HEADERS);
    }
    writer.finish().remove(0)
}

fn seal(values: &[Vec<u8>]) -> Bytes {
    encode(values).seal(ProducerStamp::NONE, Compression::None)
}

fn assemble(wire: &Bytes) -> Assembled {
    let mut assembler = Assembler::new(wire.clone(), 0, Vec::new(), AssembleSettings::default());
    assembler.next().expect("one piece").expect("well-formed")
}

fn partition_batch(values: &[Vec<u8>]) -> PartitionBatch {
    with_records(assemble(&seal(values)))
}

fn with_records(piece: Assembled) -> PartitionBatch {
    PartitionBatch {
        origin: TopicPartition::default(),
        assignment: Default::default(),
        next_offset: piece.next_offset,
        buffer: piece.buffer,
        records: piece.records,
        ..PartitionBatch::default()
    }
}
