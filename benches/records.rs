//! What the record codec costs: nanoseconds of CPU time a record, on one thread.
//!
//! Run with `cargo bench --bench records -- [PART OF A NAME]`.

mod harness;

use std::hint::black_box;

use bytes::Bytes;
use harness::{measure, report};
use topicmill_records::{
    AssembleSettings, Assembler, Compression, NO_HEADERS, ProducerStamp, RecordWriter, crc32c,
};

const HASH: &[u8; 32] = b"0123456789abcdef0123456789abcdef";

fn main() {
    harness::header();
    let events: Vec<Vec<u8>> = (0..10_000).map(event).collect();
    let encode_with = |key: Option<&[u8]>, count: usize| {
        let mut writer = RecordWriter::new(16 << 20, 100 * count + 200);
        for (i, event) in events[..count].iter().enumerate() {
            let (head, tail) = event.split_at(event.len() - 2);
            let pieces = [head, &HASH[..], tail];
            writer.push(1_700_000_000_000 + i as i64 / 64, key, Some(&pieces), NO_HEADERS);
        }
        writer.finish().remove(0)
    };
    let input = |count: usize| {
        let mut writer = RecordWriter::new(16 << 20, 100 * count + 200);
        for (i, event) in events[..count].iter().enumerate() {
            writer.push(1_700_000_000_000 + i as i64 / 64, None, Some(&[event]), NO_HEADERS);
        }
        writer.finish().remove(0)
    };
    let assemble = |bytes: &Bytes, check_crc: bool| {
        let settings = AssembleSettings { check_crc, ..AssembleSettings::default() };
        let mut assembler = Assembler::new(bytes.clone(), 0, Vec::new(), settings);
        black_box(assembler.next().unwrap().unwrap().records.len());
    };
    for (name, key) in [("encode, no key", None), ("encode, key of 7 bytes", Some(&b"key-007"[..]))] {
        report(name, |count| measure(count, || drop(black_box(encode_with(key, count)))));
        report(&format!("{name}, and seal"), |count| {
            measure(count, || {
                let batch = encode_with(key, count);
                black_box(batch.seal(ProducerStamp::NONE, Compression::None));
            })
        });
    }
    for (name, check_crc) in [("assemble", true), ("assemble without checksum", false)] {
        report(name, |count| {
            let bytes = input(count).seal(ProducerStamp::NONE, Compression::None);
            measure(count, || assemble(&bytes, check_crc))
        });
    }
    report("checksum alone", |count| {
        let bytes = input(count).seal(ProducerStamp::NONE, Compression::None);
        measure(count, || {
            black_box(crc32c(black_box(&bytes)));
        })
    });
    for codec in Compression::ALL.into_iter().skip(1) {
        report(&format!("seal, {codec} (and a copy)"), |count| {
            let batch = encode_with(None, count);
            measure(count, || {
                black_box(batch.clone().seal(ProducerStamp::NONE, codec));
            })
        });
        report(&format!("assemble, {codec}"), |count| {
            let bytes = input(count).seal(ProducerStamp::NONE, codec);
            measure(count, || assemble(&bytes, true))
        });
    }
}

/// A name event of about 53 bytes.
fn event(i: usize) -> Vec<u8> {
    const FIRST: [&str; 6] = ["Ada", "Grace", "Edsger", "Barbara", "Donald", "Margaret"];
    const LAST: [&str; 5] = ["Lovelace", "Hopper", "Dijkstra", "Liskov", "Knuth"];
    format!(r#"{{"first_name":"{}","last_name":"{}","hash":""}}"#, FIRST[i * 7 % 6], LAST[i * 3 % 5]).into()
}
