use super::*;
use crate::json::{Locator, PathSet};

/// The token of what `path` leads to.
fn token(token: &Token, doc: &str, path: &str) -> String {
    let paths = PathSet::new(&[path.parse().unwrap()]).unwrap();
    let mut found = Found::default();
    Locator::default().locate(doc.as_bytes(), &paths, &mut found).unwrap();
    let mut out = Vec::new();
    token.write(doc.as_bytes(), &found, found.read(&paths, 0).unwrap(), &mut out);
    String::from_utf8(out).unwrap().trim_matches('"').to_owned()
}

fn hmac(key: &[u8], bytes: &[u8]) -> String {
    let mut out = Vec::new();
    Token::of_key(Algorithm::HmacSha256, key, None).unwrap().write_of(bytes, &mut out);
    String::from_utf8(out).unwrap().trim_matches('"').to_owned()
}

/// RFC 4231, section 4; the fifth case is about a truncated output.
#[test]
fn the_vectors_of_rfc_4231() {
    let cases: [(&[u8], &[u8], &str); 6] = [
        (&[0x0b; 20], b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        (
            b"Jefe",
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        (&[0xaa; 20], &[0xdd; 50], "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
        (
            &std::array::from_fn::<u8, 25, _>(|index| index as u8 + 1),
            &[0xcd; 50],
            "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
        ),
        (
            &[0xaa; 131],
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        ),
        (
            &[0xaa; 131],
            b"This is a test using a larger than block-size key and a larger than block-size data. The key \
              needs to be hashed before being used by the HMAC algorithm.",
            "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
        ),
    ];
    for (key, text, expected) in cases {
        assert_eq!(hmac(key, text), expected);
    }
}

/// `hmac.new(b"a key of some length", text.encode(), "sha256").hexdigest()` in Python.
#[test]
fn what_python_computes() {
    let of_key = Token::of_key(Algorithm::HmacSha256, b"a key of some length", Some("2026-11")).unwrap();
    for (value, expected) in PYTHON {
        assert_eq!(
            token(&of_key, &format!("{{\"a\":{value}}}"), ".a"),
            format!("2026-11:{expected}"),
            "{value}"
        );
    }
}

/// Values as they stand in a document, and the digests of what they mean.
const PYTHON: [(&str, &str); 6] = [
    ("\"ada@example.org\"", "5ed7d38112977b140f38f21f63952511eba2d06dbaf1e6a3142a6b3d56d3bbc2"),
    ("\"\\u00e9\\n\\\"\"", "e9844ca84f7a9735eefeff5e4c8df57175b1eca4414440e41349a165ca11799a"),
    ("\"\u{e9}\\u000a\\\"\"", "e9844ca84f7a9735eefeff5e4c8df57175b1eca4414440e41349a165ca11799a"),
    ("\"\\ud83d\\ude00\"", "b6798c38daf057d960383b31a251e84cc7f36bd746eb4c68e8bafd07ec843e33"),
    ("\"\"", "4c8db83c8f67b28925cd62abb81f142c343e750b9bcb12468c362684bbffd422"),
    ("12.50", "8a416d7710ec3ee893219c68c30b75c24573f7f74393d1e68c1bc81413fb15a2"),
];

/// The test vectors of BLAKE3: the first 251 values of a counter, under their key.
#[test]
fn keyed_blake3() {
    let key = b"whats the Elvish word for friend";
    let mut hex_key = Vec::new();
    hex(key, &mut hex_key);
    for key in [&key[..], &hex_key] {
        let mut out = Vec::new();
        Token::of_key(Algorithm::Blake3, key, None).unwrap().write_of(&[], &mut out);
        let expected = "\"92b2b75604ed3c761f9d6f62392c8a9227ad0ea3f09573e783f1498a4ed60d26\"";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
    assert!(Token::of_key(Algorithm::Blake3, b"too short", None).is_err());
    assert!(Token::of_key(Algorithm::Blake3, &[b'x'; 64], None).is_err());
}

#[test]
fn the_whole_value_is_taken_byte_by_byte() {
    let sha = Token::of_digest(Digest::Sha256);
    let whole = token(&sha, " \"a\" ", ".");
    let mut out = Vec::new();
    sha.write_of(b" \"a\" ", &mut out);
    assert_eq!(format!("\"{whole}\""), String::from_utf8(out).unwrap());
    let ways = [Digest::Md5, Digest::Xxh3, Digest::Blake3]
        .map(|digest| token(&Token::of_digest(digest), "{\"a\":\"abc\"}", ".a"));
    assert_eq!(ways[0], "900150983cd24fb0d6963f7d28e17f72");
    assert_eq!(ways[1], "78af5f94892f3950");
    assert_eq!(ways[2], "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85");
}
