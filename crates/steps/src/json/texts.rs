//! All that can be read in a document, wherever it stands.

use std::{borrow::Cow, fmt};

use topicmill_mill::transform::json::string_end;

use super::{Path, Segment, decode};

/// The way to a text, as far as it matters to people: elements of arrays are not told apart.
#[derive(Clone, Debug, Default)]
pub struct Way<'d> {
    /// For each value on the way: the contents of its key, escapes still in it, or `None` in an array.
    steps: Vec<Option<&'d [u8]>>,
}

impl Way<'_> {
    /// The path, with `hidden` instead of the keys that `hides` picks.
    pub fn path(&self, hides: impl Fn(&str) -> bool, hidden: &str) -> Path {
        let segment = |step: &Option<&[u8]>| match step {
            Some(key) => match decode(key) {
                key if hides(&key) => Segment::Key(hidden.into()),
                key => Segment::Key(key.into()),
            },
            None => Segment::AnyIndex,
        };
        Path { segments: self.steps.iter().map(segment).collect() }
    }
}

impl fmt::Display for Way<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path(|_| false, "").fmt(f)
    }
}

/// What a text in a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextKind {
    /// The key of a member of an object.
    Key,
    /// A string, or a number as it is written.
    Value,
}

/// Passes every string, every number as it is written and every key of a valid document to `each`, in the order
/// of the document. The way to a key is that to its value.
pub fn each_text<'d>(doc: &'d [u8], mut each: impl FnMut(&Way<'d>, TextKind, Cow<'d, str>)) {
    let mut way = Way::default();
    let mut is_key = false;
    let mut at = 0;
    while let Some(&byte) = doc.get(at) {
        let start = at;
        at += 1;
        match byte {
            b'{' | b'[' => {
                is_key = byte == b'{';
                way.steps.push(is_key.then_some(&[][..]));
            }
            b'}' | b']' => {
                way.steps.pop();
                is_key = false;
            }
            b',' => is_key = matches!(way.steps.last(), Some(Some(_))),
            b'"' => {
                let Ok(end) = string_end(doc, at) else { return };
                let contents = &doc[at..end - 1];
                if let (true, Some(last)) = (is_key, way.steps.last_mut()) {
                    *last = Some(contents);
                }
                let kind = if is_key { TextKind::Key } else { TextKind::Value };
                is_key = false;
                each(&way, kind, decode(contents));
                at = end;
            }
            b'-' | b'0'..=b'9' => {
                let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
                at += doc[at..].iter().take_while(|byte| is_part(byte)).count();
                each(&way, TextKind::Value, String::from_utf8_lossy(&doc[start..at]));
            }
            // Colons, blanks, and the letters of `true`, `false` and `null`.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_seen_with_its_way() {
        let doc = br#" {"a":["x\n",{"b c":-1.5e3},true,[]],"":{},"d":"y,\"]","e":null} "#;
        let mut seen = Vec::new();
        each_text(doc, |way, kind, text| seen.push((way.to_string(), kind, text.into_owned())));
        use TextKind::{Key, Value};
        let expected = [
            (".a", Key, "a"),
            (".a[]", Value, "x\n"),
            (r#".a[]."b c""#, Key, "b c"),
            (r#".a[]."b c""#, Value, "-1.5e3"),
            (r#"."""#, Key, ""),
            (".d", Key, "d"),
            (".d", Value, "y,\"]"),
            (".e", Key, "e"),
        ];
        assert_eq!(seen, expected.map(|(way, kind, text)| (way.to_owned(), kind, text.to_owned())));
        let mut seen = Vec::new();
        each_text(b"12", |way, _, text| seen.push((way.to_string(), text.into_owned())));
        assert_eq!(seen, [(".".to_owned(), "12".to_owned())]);
    }
}
