//! Any bytes as a document, and paths to take out of it: every kernel sees the same structure, serde_json
//! agrees about what JSON is, what is found is found again once the document's shape is known, and what is left
//! without the paths' values is JSON, too.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use topicmill_kernels::{Kernel, testing::structure_everywhere};
use topicmill_steps::json::{Edits, Fault, Found, JsonError, Locator, Path, PathSet};

/// The paths, one of which the first byte chooses.
const PATHS: [&str; 8] = [".a", ".*", ".[]", ".a.b", ".[0]", ".a[]", ".*.*", "."];

fuzz_target!(|input: &[u8]| {
    let Some((&choice, doc)) = input.split_first() else { return };
    structure_everywhere(doc);
    let path: Path = PATHS[usize::from(choice) % PATHS.len()].parse().expect("a path");
    let paths = PathSet::new(&[path]).expect("one path");
    let is_json = str::from_utf8(doc).is_ok() && serde_json::from_slice::<IgnoredAny>(doc).is_ok();
    let mut edits = Edits::default();
    for kernel in Kernel::available() {
        let (mut locator, mut found) = (Locator::with_kernel(kernel), Found::default());
        match locator.locate(doc, &paths, &mut found) {
            Ok(_) => assert!(is_json, "{kernel:?}: {}", doc.escape_ascii()),
            // What serde_json ignores may be nested at will.
            Err(JsonError { fault: Fault::Depth, .. }) => continue,
            Err(_) => {
                assert!(!is_json, "{kernel:?}: {}", doc.escape_ascii());
                continue;
            }
        }
        let mut again = Found::default();
        locator.locate(doc, &paths, &mut again).expect("it was JSON before");
        assert_eq!(again.all(0), found.all(0), "{kernel:?}: {}", doc.escape_ascii());
        found.all(0).iter().for_each(|site| edits.remove(site));
        let mut out = Vec::new();
        edits.splice(doc, &mut out);
        locator.validate(&out).expect("what is left is JSON");
    }
});
