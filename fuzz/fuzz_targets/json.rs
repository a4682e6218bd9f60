//! Any bytes as a value: the fast path, the slow path and the simple implementation of the tests agree
//! about name events, serde_json about what JSON is, and `hash-field` changes one field and nothing else.
#![no_main]

// The tests' own implementation, which shares nothing with the transform.
#[path = "../../crates/mill/src/transform/tests/simple.rs"]
mod simple;

use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use topicmill_fuzz::answers;
use topicmill_mill::transform::{self, Digest, ErrorClass, HashField, NameEvent};
use xxhash_rust::xxh3::xxh3_64;

fuzz_target!(|value: &[u8]| {
    // What does not end with its brace is not for the fast path.
    let slow = [value, b" "].concat();
    for value in [value, &slow] {
        name_event(value);
    }
    hash_field(value);
});

fn name_event(value: &[u8]) {
    let [answer] = &answers(&mut NameEvent::default(), &[value])[..] else { panic!("one answer") };
    assert_eq!(answer, &simple::event(value), "{}", value.escape_ascii());
    // Serde reads what it ignores by the same grammar; Go's limit of depth is Go's alone.
    let is_json = serde_json::from_slice::<IgnoredAny>(value).is_ok();
    match answer {
        Ok(_) | Err(ErrorClass::Type) => assert!(is_json, "{}", value.escape_ascii()),
        Err(ErrorClass::Depth) => {}
        Err(class) => assert!(!is_json, "{class}: {}", value.escape_ascii()),
    }
    if let Ok(output) = answer {
        let fields: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(output).expect("the output is JSON");
        assert!(fields.keys().eq(["first_name", "hash", "last_name"]), "{fields:?}");
    }
}

fn hash_field(value: &[u8]) {
    let mut transform = HashField::new("first_name", Digest::Xxh3);
    let [answer] = &answers(&mut transform, &[value])[..] else { panic!("one answer") };
    let before = match simple::object_members(value) {
        Ok(before) => before,
        Err(class) => return assert_eq!(answer, &Err(class), "{}", value.escape_ascii()),
    };
    let output = answer.as_ref().expect("an output");
    let digest = format!("\"{:016x}\"", xxh3_64(value));
    let mut expected = before;
    match expected.iter_mut().rfind(|(key, _)| simple::decode(key) == "first_name") {
        Some((_, old)) => *old = digest,
        None => expected.push(("\"first_name\"".to_owned(), digest)),
    }
    assert_eq!(simple::object_members(output), Ok(expected), "{}", value.escape_ascii());
}
