//! The fast path, the slow path and a simple implementation must agree about every value.

mod edge;
mod generator;
mod simple;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use proptest::prelude::*;
use rand::{SeedableRng as _, rngs::StdRng};

use super::{
    Digest, ErrorClass, HashField, Kernel, Output, Transform, TransformKind, ValueError, Values,
    locate::{Located, locate},
    name_event::{NameEvent, Rewriter},
};
use crate::{batch::Span, dry_run};

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

/// The answer of all kernels, wherever the value is in a buffer.
pub(super) fn locate_everywhere(value: &[u8]) -> Option<Located> {
    let twin = locate(Kernel::PORTABLE, value, Span::new(0, value.len() as u32));
    for after in [&b""[..], b"\"}", &b"\"}, \x00\xff".repeat(10)] {
        let buffer = [b"\"{", value, after].concat().into_boxed_slice();
        for kernel in Kernel::available() {
            let located = locate(kernel, &buffer, Span::new(2, value.len() as u32));
            assert_eq!(located, twin, "{kernel:?} before {} bytes: {}", after.len(), value.escape_ascii());
        }
    }
    twin
}

/// Each value's answer from a whole batch, as `dry-run` gives it.
fn batch_answers(kind: &TransformKind, values: &[Vec<u8>]) -> Vec<String> {
    let input: String = values.iter().map(|value| BASE64_STANDARD.encode(value) + "\n").collect();
    let mut output = Vec::new();
    dry_run::run(kind, input.as_bytes(), &mut output, true, true).unwrap();
    String::from_utf8(output).unwrap().lines().map(str::to_owned).collect()
}

fn simple_answer(value: &[u8]) -> String {
    match simple::event(value) {
        Ok(output) => format!("{{\"output_b64\":\"{}\"}}", BASE64_STANDARD.encode(output)),
        Err(class) => format!("{{\"error\":\"{class}\"}}"),
    }
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
    let (left_out, written) = ("{\"error\":\"other\"}", "{\"output_b64\":\"Yg==\"}");
    let expected = [left_out, written, left_out, "{\"error\":\"type\"}", left_out];
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
        let expected: Vec<_> = values.iter().map(|value| simple_answer(value)).collect();
        for kernel in Kernel::available() {
            let kind = TransformKind::custom(move || Box::new(NameEvent::with_kernel(kernel)));
            prop_assert_eq!(batch_answers(&kind, &values), &expected[..], "{:?}", kernel);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn hash_field_changes_one_field_and_no_other_byte(value in generator::json()) {
        let kind = HashField::kind("first_name", Digest::Xxh3);
        let [answer] = &batch_answers(&kind, std::slice::from_ref(&value))[..] else { panic!("one answer") };
        let Ok(before) = simple::object_members(&value) else {
            prop_assert_eq!(answer, "{\"error\":\"type\"}");
            return Ok(());
        };
        let encoded = answer.strip_prefix("{\"output_b64\":\"").and_then(|rest| rest.strip_suffix("\"}"));
        let output = BASE64_STANDARD.decode(encoded.expect("an output")).unwrap();

        let digest = format!("\"{:016x}\"", xxhash_rust::xxh3::xxh3_64(&value));
        let mut expected = before.clone();
        let mut replaced = 0;
        match expected.iter_mut().rfind(|(key, _)| simple::decode(key) == "first_name") {
            Some((_, old)) => replaced = std::mem::replace(old, digest).len(),
            None => expected.push(("\"first_name\"".to_owned(), digest)),
        }
        prop_assert_eq!(simple::object_members(&output), Ok(expected));

        let same = |(a, b): &(&u8, &u8)| a == b;
        let front = value.iter().zip(&output).take_while(same).count();
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
