//! The shape of a name event, however the ends of its strings are found.

use std::ops::Range;

use super::Located;

/// Follows the members of `value`. `text_end` returns the closing quote of the string whose
/// contents begin at an index, if they can be output as they are.
#[inline(always)]
pub(super) fn follow(value: &[u8], text_end: impl Fn(usize) -> Option<usize>) -> Option<Located> {
    const FIRST: &[u8] = br#"{"first_name":""#;
    const LAST: &[u8] = br#"","last_name":""#;
    const HASH: &[u8] = br#"","hash":""#;
    const END: &[u8] = br#""}"#;
    if !value.starts_with(FIRST) {
        return any_order(value, text_end);
    }
    let first_end = text_end(FIRST.len())?;
    if !value[first_end..].starts_with(LAST) {
        return any_order(value, text_end);
    }
    let last_end = text_end(first_end + LAST.len())?;
    let located = Located::Prefix(last_end + 1);
    if &value[last_end..] == END {
        return Some(located);
    }
    if !value[last_end..].starts_with(HASH) {
        return None;
    }
    let hash_end = text_end(last_end + HASH.len())?;
    (&value[hash_end..] == END).then_some(located)
}

/// As [`follow`], for members in any order, each at most once.
#[inline(always)]
fn any_order(value: &[u8], text_end: impl Fn(usize) -> Option<usize>) -> Option<Located> {
    let labels: [&[u8]; 3] = [br#""first_name":""#, br#""last_name":""#, br#""hash":""#];
    let mut found: [Option<Range<usize>>; 3] = [None, None, None];
    let mut at = 0;
    loop {
        // Here is the brace before the first member, or the comma before another one.
        if value.get(at) != Some(if at == 0 { &b'{' } else { &b',' }) {
            return None;
        }
        at += 1;
        let field = labels.iter().position(|label| value[at..].starts_with(label))?;
        let end = text_end(at + labels[field].len())? + 1;
        if found[field].replace(at..end).is_some() {
            return None;
        }
        at = end;
        if &value[at..] == b"}" {
            let [first, last, _] = found;
            return Some(Located::Members { first: first?, last: last? });
        }
    }
}
