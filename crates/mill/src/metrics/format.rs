//! Reads the Prometheus text format 0.0.4 as strictly as `promtool check metrics` does.

use std::collections::{BTreeMap, BTreeSet};

/// Panics unless every line of `text` can be read, every metric has its help and type before its
/// samples, and no sample comes twice.
pub(super) fn check(text: &str) {
    let (mut helps, mut types) = (BTreeSet::new(), BTreeMap::new());
    let mut samples = BTreeSet::new();
    assert!(text.ends_with('\n'));
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(comment) = line.strip_prefix("# ") {
            let (kind, rest) = comment.split_once(' ').unwrap_or_else(|| panic!("a stray comment: {line}"));
            let (name, rest) = rest.split_once(' ').unwrap_or_else(|| panic!("says nothing: {line}"));
            match kind {
                "HELP" => assert!(helps.insert(name.to_owned()), "a second help: {line}"),
                "TYPE" => {
                    assert!(["counter", "gauge", "histogram"].contains(&rest), "{line}");
                    assert!(
                        types.insert(name.to_owned(), rest.to_owned()).is_none(),
                        "a second type: {line}"
                    );
                }
                _ => panic!("neither help nor type: {line}"),
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
        value.parse::<f64>().unwrap_or_else(|_| panic!("not a number: {line}"));
        let name = series.split('{').next().unwrap();
        check_labels(&series[name.len()..]);
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .filter_map(|suffix| name.strip_suffix(suffix))
            .find(|family| types.get(*family).is_some_and(|kind| kind == "histogram"))
            .unwrap_or(name);
        let kind = types.get(family).unwrap_or_else(|| panic!("no type before it: {line}"));
        assert!(helps.contains(family), "no help before it: {line}");
        assert_eq!(kind == "counter", family.ends_with("_total"), "{line}");
        assert!(samples.insert(series.to_owned()), "twice: {line}");
    }
    assert!(samples.len() > 10, "{text}");
}

/// `{name="value",…}`, with quotes, backslashes and line feeds of a value escaped.
fn check_labels(text: &str) {
    if text.is_empty() {
        return;
    }
    let mut rest = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).expect(text);
    loop {
        let (name, behind) = rest.split_once("=\"").expect(text);
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{text}");
        let mut escaped = false;
        let end = behind.find(|c| {
            let ends = !escaped && c == '"';
            assert!(!escaped || matches!(c, '\\' | '"' | 'n'), "{text}");
            escaped = !escaped && c == '\\';
            ends
        });
        rest = &behind[end.expect(text) + 1..];
        match rest.strip_prefix(',') {
            Some(next) => rest = next,
            None => return assert_eq!(rest, "", "{text}"),
        }
    }
}
