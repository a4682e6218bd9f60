//! Every case of the table, by every kernel.

use serde::de::IgnoredAny;
use topicmill_kernels::Kernel;

use crate::json::{Locator, without_lone_surrogates};

/// Whether it is to be accepted, and its bytes.
fn cases() -> impl Iterator<Item = (bool, Vec<u8>)> {
    let lines = include_str!("suite.txt").lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| {
        let (verdict, text) = line.split_once(' ').expect("a verdict and a document");
        let mut pieces = text.split('%');
        let mut doc = pieces.next().unwrap_or_default().as_bytes().to_vec();
        for piece in pieces {
            doc.push(u8::from_str_radix(&piece[..2], 16).expect("two digits"));
            doc.extend_from_slice(&piece.as_bytes()[2..]);
        }
        (matches!(verdict, "y" | "+"), doc)
    })
}

#[test]
fn the_table_is_judged_as_it_says() {
    let mut count = 0;
    for (expected, case) in cases() {
        // Wherever it stands in a block.
        for before in 0..=130 {
            let doc = [&b" ".repeat(before)[..], &case].concat();
            for kernel in Kernel::available() {
                let answer = Locator::with_kernel(kernel).validate(&doc);
                assert_eq!(answer.is_ok(), expected, "{kernel:?}: {}", doc.escape_ascii());
                if let Ok(top) = answer {
                    assert_eq!(doc[top.range], *case.trim_ascii());
                }
            }
        }
        count += 1;
    }
    assert!(count > 300, "{count}");
}

#[test]
fn serde_judges_alike() {
    for (expected, case) in cases() {
        let is_json = str::from_utf8(&case).is_ok_and(|doc| serde_json::from_str::<IgnoredAny>(doc).is_ok());
        assert_eq!(is_json, expected, "{}", case.escape_ascii());
    }
}

/// It accepts more than RFC 8259 does, which is why it gets nothing that was not judged before.
#[test]
fn jaq_accepts_what_is_accepted() {
    for (_, case) in cases().filter(|(expected, _)| *expected) {
        let doc = without_lone_surrogates(&case);
        assert!(jaq_json::read::parse_single(&doc).is_ok(), "{}", doc.escape_ascii());
    }
}
