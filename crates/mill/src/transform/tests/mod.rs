//! The fast path, the slow path and a simple implementation must agree about every value.

mod edge;
mod generator;
mod simple;

use proptest::prelude::*;
use rand::{SeedableRng as _, rngs::StdRng};
use topicmill_kernels::{Kernel, locate::Located, testing::locate_everywhere};
use topicmill_records::NO_HEADERS;

use super::{
    Digest, ErrorClass, HashField, Output, Transform, TransformKind, ValueError, Values, apply,
    name_event::{NameEvent, Rewriter},
    registry::{self, Chosen},
};
use crate::batch::{PartitionBatch, Record, Span};

/// Beyond all that the tests write.
const CHUNK_LIMIT: usize = 1 << 30;

/// The slow path's answer: the output up to the end of `last_name`.
fn slow(value: &[u8]) -> Result<Vec<u8>, ErrorClass> {
    let mut out = Vec::new();
    match Rewriter::default().rewrite(value, &mut out) {
        Ok(()) => Ok(out),
        Err(error) => {
            assert!(error.offset <= value.len(), "{error} of {} bytes", value.len());
            Err(error.class())
        }
    }
}

/// Panics unless all three, and all kernels, agree about `value`.
fn agree(value: &[u8]) {
    let slow = slow(value);
    assert_eq!(slow, simple::prefix(value), "slow and simple path: {}", value.escape_ascii());
    if let Some(located) = locate_everywhere(value) {
        let fast = match located {
            Located::Prefix(len) => value[..len].to_vec(),
            Located::Members { first, last } => [b"{", &value[first], b",", &value[last]].concat(),
        };
        assert_eq!(slow, Ok(fast), "fast path: {}", value.escape_ascii());
    }
}

/// Each value's answer from a whole batch.
fn batch_answers(kind: &TransformKind, values: &[Vec<u8>]) -> Vec<Result<Vec<u8>, ErrorClass>> {
    let batch = batch_of(values);
    let transformed = apply(&mut *kind.build(), &batch, CHUNK_LIMIT).unwrap();
    let mut written = transformed.chunks().flat_map(|chunk| {
        let value = move |record: Record| record.value.get(&chunk.bytes).expect("no tombstone").to_vec();
        chunk.records().unwrap().into_iter().map(value)
    });
    let mut failures = transformed.failures.iter().peekable();
    let mut answer = |index| match failures.next_if(|failure| failure.index == index) {
        Some(failure) => Err(failure.error.class),
        None => Ok(written.next().expect("an output for each value")),
    };
    let answers = (0..values.len()).map(&mut answer).collect();
    assert_eq!((written.next(), failures.next()), (None, None));
    answers
}

fn batch_of(values: &[Vec<u8>]) -> PartitionBatch {
    let mut buffer = NO_HEADERS.to_vec();
    let mut record = |value: &Vec<u8>| {
        let start = buffer.len() as u32;
        buffer.extend_from_slice(value);
        Record {
            offset: 0,
            timestamp: 0,
            key: Span::NULL,
            value: Span::new(start, value.len() as u32),
            headers: Span::new(0, NO_HEADERS.len() as u32),
        }
    };
    let records = values.iter().map(&mut record).collect();
    PartitionBatch { records, buffer: buffer.into(), ..PartitionBatch::default() }
}

#[test]
fn a_value_that_a_transform_leaves_out_is_a_failure_and_no_tombstone() {
    struct Sloppy;
    impl Transform for Sloppy {
        fn apply(&mut self, values: &Values<'_>, out: &mut Output<'_>) {
            for (index, value) in values.iter().filter(|(index, _)| index % 2 == 1) {
                match index {
                    3 => out.fail(index, ValueError::new(ErrorClass::Type, "three")),
                    _ => out.write(index, &[value]),
                }
            }
        }
    }
    let kind = TransformKind::custom(|| Box::new(Sloppy));
    let values = [b"a", b"b", b"c", b"d", b"e"].map(|value| value.to_vec());
    let (left_out, written) = (Err(ErrorClass::Other), Ok(b"b".to_vec()));
    let expected = [left_out.clone(), written, left_out.clone(), Err(ErrorClass::Type), left_out];
    assert_eq!(batch_answers(&kind, &values), expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn the_paths_agree_about_json(value in generator::json()) {
        prop_assert!(matches!(slow(&value), Ok(_) | Err(ErrorClass::Type)));
        agree(&value);
    }

    #[test]
    fn the_paths_agree_about_damaged_json(value in generator::damaged()) {
        agree(&value);
    }

    #[test]
    fn the_paths_agree_about_name_events(value in generator::name_event()) {
        agree(&value);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn a_batch_is_its_values_one_by_one(values in prop::collection::vec(generator::any_value(), 0..40)) {
        let expected: Vec<_> = values.iter().map(|value| simple::event(value)).collect();
        for kernel in Kernel::available() {
            let kind = TransformKind::custom(move || Box::new(NameEvent::with_kernel(kernel)));
            prop_assert_eq!(batch_answers(&kind, &values), &expected[..], "{:?}", kernel);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn identity_changes_no_byte(values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..40)) {
        let spec = registry::find("identity").expect("it is built in");
        let answers = batch_answers(&TransformKind::of(spec, Chosen::default()), &values);
        prop_assert_eq!(answers.into_iter().collect::<Result<Vec<_>, _>>(), Ok(values));
    }

    #[test]
    fn hash_field_changes_one_field_and_no_other_byte(value in generator::json()) {
        let kind = HashField::kind("first_name", Digest::Xxh3);
        let [answer] = &batch_answers(&kind, std::slice::from_ref(&value))[..] else { panic!("one answer") };
        let Ok(before) = simple::object_members(&value) else {
            prop_assert_eq!(answer, &Err(ErrorClass::Type));
            return Ok(());
        };
        let output = answer.as_ref().expect("an output");

        let digest = format!("\"{:016x}\"", xxhash_rust::xxh3::xxh3_64(&value));
        let mut expected = before.clone();
        let mut replaced = 0;
        match expected.iter_mut().rfind(|(key, _)| simple::decode(key) == "first_name") {
            Some((_, old)) => replaced = std::mem::replace(old, digest).len(),
            None => expected.push(("\"first_name\"".to_owned(), digest)),
        }
        prop_assert_eq!(simple::object_members(output), Ok(expected));

        let same = |(a, b): &(&u8, &u8)| a == b;
        let front = value.iter().zip(output).take_while(same).count();
        let back = value.iter().rev().zip(output.iter().rev()).take_while(same).count();
        // Bad bytes count three each in the old text.
        prop_assert!(front + back + replaced >= value.len());
    }
}

/// A seeded run over many events that are close to what the fast path takes. Set
/// `EVENTS` to another number of them for a longer one.
#[test]
fn the_paths_agree_about_many_events() {
    let count = std::env::var("EVENTS").map_or(100_000, |count| count.parse().expect("a number"));
    let mut random = StdRng::seed_from_u64(4);
    let mut fast = 0;
    for _ in 0..count {
        let value = generator::close_to_fast(&mut random);
        agree(&value);
        fast += usize::from(locate_everywhere(&value).is_some());
    }
    assert!((count / 4..count).contains(&fast), "{fast} of {count} on the fast path");
}

#[test]
fn every_cut_of_a_rich_value_is_judged_alike() {
    let value = br#" {"first_name" : "\u00e9\ud83d\ude00\n", "x": [-1.5e+3, {"y":[true,false,null]}, 0] } "#;
    for end in 0..=value.len() {
        agree(&value[..end]);
        agree(&[&value[..end], b"x"].concat());
    }
}

#[test]
fn every_byte_is_judged_alike_everywhere() {
    let value = br#"{"first_name":"A\u0041\n","x":[-0.5e-1,tru"#;
    for at in 0..=value.len() {
        for byte in 0..=255 {
            agree(&[&value[..at], &[byte]].concat());
            agree(&[&value[..at], &[byte], &value[at.min(value.len() - 1) + 1..]].concat());
        }
    }
}

#[test]
fn depth_is_limited_without_recursion() {
    for (depth, class) in
        [(10_000, ErrorClass::Type), (10_001, ErrorClass::Depth), (1_000_000, ErrorClass::Depth)]
    {
        let arrays = "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(slow(arrays.as_bytes()), Err(class));
        agree(arrays.as_bytes());
        agree(&arrays.as_bytes()[..depth]);
        let objects = "{\"a\":".repeat(depth) + "1" + &"}".repeat(depth);
        assert_eq!(slow(objects.as_bytes()).is_err(), class == ErrorClass::Depth);
        agree(objects.as_bytes());
    }
}

/// Runs for a moment as an ordinary test, and for as long as wanted under `cargo bolero`.
#[test]
fn fuzz_any_bytes() {
    bolero::check!().for_each(|bytes: &[u8]| {
        agree(bytes);
        agree(&generator::from_choices(bytes));
    });
}
