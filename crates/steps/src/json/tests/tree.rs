//! Documents as trees: generated, changed by the book, and written with any white space.

use rand::{Rng as _, rngs::StdRng, seq::IndexedRandom as _};

use crate::json::{Path, Segment, means};

/// A value, and what is to be done with it.
#[derive(Clone, Debug)]
pub struct Tree {
    pub value: Value,
    pub is_gone: bool,
    pub replaced: Option<String>,
    pub renamed: Option<String>,
    pub inserted: Vec<(String, String)>,
}

#[derive(Clone, Debug)]
pub enum Value {
    /// As it stands in the document.
    Scalar(String),
    Array(Vec<Tree>),
    /// The keys with their quotes.
    Object(Vec<(String, Tree)>),
}

const SCALARS: [&str; 40] = [
    "null",
    "true",
    "false",
    "0",
    "-0",
    "7",
    "12",
    "-305",
    "1.50",
    "0.1",
    "-0.0e-0",
    "1e5",
    "1E+2",
    "12.34e-56",
    "1e400",
    "123456789012345678901234567890",
    "0.10000000000000000000000000001",
    "\"\"",
    "\"a\"",
    "\"b c\"",
    "\"{\"",
    "\"},[\"",
    "\"a\\\"b\"",
    "\"\\\\\"",
    "\"\\\\\\\"\"",
    "\"\\n\\t\\/\"",
    "\"\\u0061\"",
    "\"\\ud83d\\ude00\"",
    "\"\\ud83d\"",
    "\"\u{e9}\"",
    "\"\u{1f600}, \u{20ac}\"",
    "\"DE\"",
    "\"true\"",
    "\"1\"",
    "\":\"",
    "\"a:1,\"",
    "\"2024-01-01T00:00:00Z\"",
    "\"longer than eight bytes, and then some more than a block of them has, too\"",
    "\"\\u00e9\\u00E9\"",
    "1E-10",
];

const KEYS: [&str; 20] = [
    "\"a\"",
    "\"a\"",
    "\"b\"",
    "\"b\"",
    "\"c\"",
    "\"\"",
    "\"long_key_name\"",
    "\"long_key_nome\"",
    "\"long_key\"",
    "\"\\u0061\"",
    "\"a\\\"\"",
    "\"long\\u005fkey_name\"",
    "\"long_key_\\u006eame\"",
    "\"d e\"",
    "\"\u{e9}\"",
    "\"\\u00e9\"",
    "\"sevenby\"",
    "\"eightbyt\"",
    "\"price\"",
    "\"\\ud83d\"",
];

/// Paths with these segments lead somewhere in what is generated.
pub const NAMES: [&str; 12] = [
    "a",
    "b",
    "c",
    "",
    "long_key_name",
    "long_key",
    "a\"",
    "d e",
    "\u{e9}",
    "sevenby",
    "eightbyt",
    "\u{fffd}",
];

impl Tree {
    fn of(value: Value) -> Tree {
        Tree { value, is_gone: false, replaced: None, renamed: None, inserted: Vec::new() }
    }

    pub fn any(random: &mut StdRng, depth: usize) -> Tree {
        let len = |random: &mut StdRng| random.random_range(0..=if depth > 2 { 7 } else { 4 });
        Tree::of(match random.random_range(0..10) {
            0..4 if depth > 0 => Value::Object(
                (0..len(random))
                    .map(|_| ((*KEYS.choose(random).unwrap()).to_owned(), Tree::any(random, depth - 1)))
                    .collect(),
            ),
            4..6 if depth > 0 => {
                Value::Array((0..len(random)).map(|_| Tree::any(random, depth - 1)).collect())
            }
            _ => Value::Scalar((*SCALARS.choose(random).unwrap()).to_owned()),
        })
    }

    /// Calls `on` for each value that `path` leads to.
    pub fn each(&mut self, path: &[Segment], on: &mut impl FnMut(&mut Tree)) {
        let Some((segment, rest)) = path.split_first() else { return on(self) };
        match &mut self.value {
            Value::Scalar(_) => {}
            Value::Array(elements) => {
                for (nth, element) in elements.iter_mut().enumerate() {
                    match segment {
                        Segment::Index(index) if *index as usize == nth => element.each(rest, on),
                        Segment::AnyIndex => element.each(rest, on),
                        _ => {}
                    }
                }
            }
            Value::Object(members) => {
                for (key, member) in members {
                    let contents = &key.as_bytes()[1..key.len() - 1];
                    match segment {
                        Segment::Key(name) if means(contents, name) => member.each(rest, on),
                        Segment::AnyKey | Segment::AnyIndex => member.each(rest, on),
                        _ => {}
                    }
                }
            }
        }
    }

    /// Writes it as it was, with white space in between.
    pub fn write(&self, random: &mut StdRng, spaces: &[&str], out: &mut String) {
        let space = |random: &mut StdRng| *spaces.choose(random).unwrap();
        out.push_str(space(random));
        match &self.value {
            Value::Scalar(scalar) => out.push_str(scalar),
            Value::Array(elements) => {
                out.push('[');
                for (nth, element) in elements.iter().enumerate() {
                    out.push_str(if nth > 0 { "," } else { "" });
                    element.write(random, spaces, out);
                }
                out.push_str(if elements.is_empty() { space(random) } else { "" });
                out.push(']');
            }
            Value::Object(members) => {
                out.push('{');
                for (nth, (key, member)) in members.iter().enumerate() {
                    out.push_str(if nth > 0 { "," } else { "" });
                    out.push_str(space(random));
                    out.push_str(key);
                    out.push_str(space(random));
                    out.push(':');
                    member.write(random, spaces, out);
                }
                out.push_str(if members.is_empty() { space(random) } else { "" });
                out.push('}');
            }
        }
        out.push_str(space(random));
    }

    /// Writes it as it should be after the changes, without white space.
    pub fn write_changed(&self, out: &mut String) {
        match (&self.replaced, &self.value) {
            (Some(replaced), _) => out.push_str(replaced),
            (None, Value::Scalar(scalar)) => out.push_str(scalar),
            (None, Value::Array(elements)) => {
                out.push('[');
                let mut comma = "";
                for element in elements.iter().filter(|element| !element.is_gone) {
                    out.push_str(comma);
                    element.write_changed(out);
                    comma = ",";
                }
                out.push(']');
            }
            (None, Value::Object(members)) => {
                out.push('{');
                let mut comma = "";
                for (key, member) in members.iter().filter(|(_, member)| !member.is_gone) {
                    out.push_str(comma);
                    out.push_str(member.renamed.as_ref().unwrap_or(key));
                    out.push(':');
                    member.write_changed(out);
                    comma = ",";
                }
                for (key, value) in &self.inserted {
                    out.push_str(&format!("{comma}{key}:{value}"));
                    comma = ",";
                }
                out.push('}');
            }
        }
    }
}

/// A path that is likely to lead somewhere.
pub fn any_path(random: &mut StdRng) -> Path {
    let segment = |random: &mut StdRng| match random.random_range(0..12) {
        0 => Segment::AnyKey,
        1 | 2 => Segment::AnyIndex,
        3 | 4 => Segment::Index(random.random_range(0..3)),
        _ => Segment::Key((*NAMES.choose(random).unwrap()).into()),
    };
    let len = [1, 1, 2, 2, 3, 0][random.random_range(0..6)];
    Path { segments: (0..len).map(|_| segment(random)).collect() }
}

/// `doc` without the white space outside of strings.
pub fn compact(doc: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    let keep = |c: &char| {
        let keep = in_string || !c.is_ascii_whitespace();
        match c {
            '"' if !escaped => in_string = !in_string,
            _ => {}
        }
        escaped = *c == '\\' && !escaped;
        keep
    };
    doc.chars().filter(keep).collect()
}
