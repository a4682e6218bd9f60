//! What the record codec costs: nanoseconds of CPU time a record, on one thread.
//!
//! Run with `cargo bench --bench records -- [PART OF A NAME]`. Each figure is the best of several rounds.

use std::{hint::black_box, time::Duration};

use bytes::Bytes;
use rustix::time::{ClockId, clock_gettime};
use topicmill::records::{
    AssembleSettings, Assembler, Compression, NO_HEADERS, ProducerStamp, RecordWriter, crc32c,
};

const SIZES: [usize; 3] = [10, 1000, 10_000];
const HASH: &[u8; 32] = b"0123456789abcdef0123456789abcdef";

fn main() {
    println!("{:<44} {:>8} {:>8} {:>8}", "ns a record, by records a batch", SIZES[0], SIZES[1], SIZES[2]);
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

fn report(name: &str, run: impl Fn(usize) -> f64) {
    let wanted = std::env::args().skip(1).find(|argument| argument != "--bench");
    if wanted.is_some_and(|wanted| !name.contains(&wanted)) {
        return;
    }
    let [a, b, c] = SIZES.map(run);
    println!("{name:<44} {a:>8.1} {b:>8.1} {c:>8.1}");
}

/// The nanoseconds of CPU time that `work`, which handles `count` records, takes for each.
fn measure(count: usize, mut work: impl FnMut()) -> f64 {
    let repeats = (200_000 / count).max(1);
    (0..=10)
        .map(|_| {
            let start = cpu_time();
            (0..repeats).for_each(|_| work());
            (cpu_time() - start).as_nanos() as f64 / (repeats * count) as f64
        })
        .fold(f64::INFINITY, f64::min)
}

fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}
