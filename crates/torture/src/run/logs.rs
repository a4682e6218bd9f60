//! The errors of Kafka that instances tell of: each is a rare path that was taken.

use std::{collections::BTreeMap, fs, path::Path};

/// How often each error is named in the logs in a folder, such as `FENCED_INSTANCE_ID (82)`.
pub(super) fn errors(folder: &Path) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    for text in files.filter_map(|file| fs::read_to_string(file.path()).ok()) {
        for line in text.lines() {
            if let Some(name) = error(line) {
                *found.entry(name.to_owned()).or_default() += 1;
            }
        }
    }
    found
}

/// The first name in capitals that a number in parentheses follows.
fn error(line: &str) -> Option<&str> {
    line.match_indices(" (").find_map(|(at, _)| {
        let digits = line[at + 2..].split_once(')')?.0;
        let name = line[..at].rsplit(|c: char| !c.is_ascii_uppercase() && c != '_').next()?;
        (name.len() > 5 && digits.parse::<i16>().is_ok()).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_found_by_its_name_and_number() {
        let line = r#"{"message":"x (y)","error":"group g: heartbeat: UNRELEASED_INSTANCE_ID (111)"}"#;
        assert_eq!(error(line), Some("UNRELEASED_INSTANCE_ID"));
        assert_eq!(error("nothing (1)"), None);
    }
}
