//! What it costs to locate values in JSON documents, and to change them.

use std::hint::black_box;

use rand::{Rng, SeedableRng, rngs::StdRng};
use topicmill_kernels::{
    Kernel,
    structure::{Structure, scan},
};
use topicmill_steps::json::{Edits, Found, Locator, Path, PathSet};

use crate::harness::{measure, report};

/// Documents of a shape, and where its parts are.
struct Shape {
    name: &'static str,
    documents: Vec<Vec<u8>>,
    /// The path that a filter looks at.
    filter: &'static str,
    /// Three to keep, the first of which is dropped or renamed elsewhere.
    three: [&'static str; 3],
}

/// Reports all rows.
pub fn rows() {
    for shape in &shapes() {
        for kernel in Kernel::available() {
            let row = |what: &str| format!("{what}, {kernel:?}, {}", shape.name);
            report(&row("structure"), |count| {
                let mut structure = Structure::default();
                measure(count, || {
                    for doc in black_box(&shape.documents[..count]) {
                        scan(kernel, doc, &mut structure);
                        assert!(!black_box(&structure).seen().faults);
                    }
                })
            });
            let locating = |paths: &[&str], count| {
                let set = PathSet::new(&parse(paths)).expect("few paths");
                let mut locator = Locator::with_kernel(kernel);
                let mut found = Found::default();
                measure(count, || {
                    for doc in black_box(&shape.documents[..count]) {
                        locator.locate(doc, &set, &mut found).expect("JSON");
                        assert!(paths.is_empty() || found.read(&set, 0).is_some());
                    }
                })
            };
            report(&row("validate"), |count| locating(&[], count));
            report(&row("locate one path"), |count| locating(&[shape.filter], count));
            report(&row("locate three paths"), |count| locating(&shape.three, count));
            report(&row("drop one"), |count| {
                let set = PathSet::new(&parse(&shape.three[..1])).expect("few paths");
                splicing(kernel, shape, count, &set, |edits, found| {
                    found.all(0).iter().for_each(|site| edits.remove(site));
                })
            });
            report(&row("rename one"), |count| {
                let set = PathSet::new(&parse(&shape.three[..1])).expect("few paths");
                splicing(kernel, shape, count, &set, |edits, found| {
                    found.all(0).iter().for_each(|site| edits.rename(site, b"\"renamed\""));
                })
            });
            report(&row("keep three"), |count| {
                let set = PathSet::with_rest(&[], &parse(&shape.three)).expect("few paths");
                splicing(kernel, shape, count, &set, |edits, found| {
                    found.all(0).iter().for_each(|site| edits.remove(site));
                })
            });
        }
    }
}

fn splicing(
    kernel: Kernel,
    shape: &Shape,
    count: usize,
    set: &PathSet,
    edit: impl Fn(&mut Edits, &Found),
) -> [f64; 2] {
    let mut locator = Locator::with_kernel(kernel);
    let (mut found, mut edits, mut out) = (Found::default(), Edits::default(), Vec::new());
    measure(count, || {
        for doc in black_box(&shape.documents[..count]) {
            locator.locate(doc, set, &mut found).expect("JSON");
            edit(&mut edits, &found);
            out.clear();
            edits.splice(doc, &mut out);
            black_box(&out);
        }
    })
}

fn parse(paths: &[&str]) -> Vec<Path> {
    paths.iter().map(|path| path.parse().expect("a path")).collect()
}

/// 10,000 orders of about 350 bytes.
pub fn orders() -> Vec<Vec<u8>> {
    let mut random = StdRng::seed_from_u64(9);
    (0..10_000).map(|_| order(&mut random).into()).collect()
}

fn shapes() -> [Shape; 3] {
    let mut random = StdRng::seed_from_u64(9);
    let mut many = |form: fn(&mut StdRng) -> String| (0..10_000).map(|_| form(&mut random).into()).collect();
    [
        Shape {
            name: "53 bytes",
            documents: many(|random| {
                format!(r#"{{"first_name":"{}","last_name":"{}"}}"#, name(random, 3..12), name(random, 8..19))
            }),
            filter: ".last_name",
            three: [".last_name", ".first_name", ".hash"],
        },
        Shape {
            name: "350 bytes",
            documents: many(order),
            filter: ".customer.country",
            three: [".customer.email", ".order_id", ".total"],
        },
        Shape {
            name: "2 KB",
            documents: many(event),
            filter: ".context.device.type",
            three: [".context.device.type", ".event_id", ".metrics"],
        },
    ]
}

/// About 350 bytes: an order with its customer and two items.
fn order(random: &mut StdRng) -> String {
    let first = name(random, 3..9);
    let last = name(random, 4..12);
    format!(
        concat!(
            r#"{{"order_id":"{:08x}-{:04x}","created_at":"2026-05-17T09:{}:22.418Z","status":"paid","#,
            r#""customer":{{"id":{},"name":"{first} {last}","email":"{first}.{last}@example.com","#,
            r#""country":"{}","vip":{}}},"items":[{},{}],"currency":"EUR","total":{}.{},"note":null}}"#
        ),
        random.random::<u32>(),
        random.random::<u16>(),
        random.random_range(10..60),
        random.random_range(1..100_000),
        ["DE", "FR", "NL", "US"][random.random_range(0..4)],
        random.random_bool(0.1),
        item(random),
        item(random),
        random.random_range(1..1000),
        random.random_range(10..100),
        first = first,
        last = last,
    )
}

fn item(random: &mut StdRng) -> String {
    format!(
        r#"{{"sku":"{}-{}","quantity":{},"price":{}.{}}}"#,
        name(random, 2..5).to_uppercase(),
        random.random_range(100..10_000),
        random.random_range(1..5),
        random.random_range(1..300),
        random.random_range(10..100)
    )
}

/// About 2 KB: an event with arrays of objects and of numbers.
fn event(random: &mut StdRng) -> String {
    let page = |random: &mut StdRng| {
        format!(
            r#"{{"url":"https://www.example.com/{}/{}","title":"{} {} {}","ms":{},"tags":["{}","{}"]}}"#,
            name(random, 3..12),
            name(random, 3..12),
            name(random, 3..12),
            name(random, 3..12),
            name(random, 3..12),
            random.random_range(10..100_000),
            name(random, 2..6),
            name(random, 2..6)
        )
    };
    let pages: Vec<String> = (0..10).map(|_| page(random)).collect();
    let metrics: Vec<String> =
        (0..40).map(|_| format!("{:.3}", random.random_range(-500.0..500.0f64))).collect();
    format!(
        concat!(
            r#"{{"event_id":"{:016x}","context":{{"device":{{"type":"phone","os":"{}","width":{}}},"#,
            r#""locale":"de-DE","session":"{:032x}"}},"pages":[{}],"metrics":[{}],"done":true}}"#
        ),
        random.random::<u64>(),
        name(random, 3..8),
        random.random_range(300..2000),
        random.random::<u128>(),
        pages.join(","),
        metrics.join(",")
    )
}

fn name(random: &mut StdRng, lengths: std::ops::Range<usize>) -> String {
    let length = random.random_range(lengths);
    (0..length).map(|_| char::from(random.random_range(b'a'..=b'z'))).collect()
}
