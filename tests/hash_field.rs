//! `hash-field` sets one field and leaves every other byte as it was.

use topicmill::{
    internal::dry_run,
    transform::{Digest, HashField},
};

fn transformed(field: &str, digest: Digest, value: &str) -> String {
    let kind = HashField::kind(field, digest);
    let mut output = Vec::new();
    let summary = dry_run::run(&kind, value.as_bytes(), &mut output, false, false).expect("memory");
    assert_eq!((summary.transformed, summary.failed), (1, 0));
    String::from_utf8(output).expect("UTF-8").trim_end_matches('\n').to_owned()
}

/// The digests of the two bytes `{}`.
const EMPTY_OBJECT: [(Digest, &str); 4] = [
    (Digest::Md5, "99914b932bd37a50b983c5e7c90ae93b"),
    (Digest::Sha256, "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"),
    (Digest::Xxh3, "1349cde127705c16"),
    (Digest::Blake3, "6e46dd10defc9b56c29a6ec56b508c21f54c08192194e4df25bf36f0c9c3c279"),
];

#[test]
fn each_digest_is_of_the_raw_value() {
    for (digest, hex) in EMPTY_OBJECT {
        assert_eq!(transformed("d", digest, "{}"), format!("{{\"d\":\"{hex}\"}}"));
    }
}

#[test]
fn the_value_of_an_existing_field_is_replaced_in_place() {
    let value = r#" { "a" : 1.50 , "hash" : {"x":["]}"]} , "b":"<\u003c" } "#;
    let [before, after] = value.split("{\"x\":[\"]}\"]}").collect::<Vec<_>>()[..] else {
        panic!("two parts")
    };
    let output = transformed("hash", Digest::Md5, value);
    let digest = output.strip_prefix(before).and_then(|rest| rest.strip_suffix(after)).expect("kept bytes");
    assert_eq!(digest, "\"0bf643c2932a1c12b79433fe492c7b83\"");
}

#[test]
fn a_field_with_an_odd_name_is_inserted_with_escapes_and_found_again() {
    let once = transformed("a\"\n\u{e9}", Digest::Xxh3, r#"{"a":1 }"#);
    let (start, end) = once.split_at(once.len() - 19);
    assert_eq!(start, "{\"a\":1 ,\"a\\\"\\n\u{e9}\":");
    assert!(end.ends_with("\"}"), "{end}");
    let twice = transformed("a\"\n\u{e9}", Digest::Xxh3, &once);
    assert!(twice.starts_with(start) && twice.len() == once.len() && twice != once, "{twice}");
}
