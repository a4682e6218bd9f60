//! Paths to parts of a document, in the syntax of jq.

use std::{fmt, str::FromStr};

use topicmill_mill::transform::json::{skip_space, string_end};

use super::text::{decode, write_string};

/// The most segments of a path.
pub const MAX_SEGMENTS: usize = 64;

/// Where a value stands in a document: `.customer.address`, `.items[].price`, `.tags[0]`, `."odd key"`,
/// `.*`; `.` is the whole document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path {
    /// The way from the outermost value, a step each.
    pub segments: Vec<Segment>,
}

/// A step of a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Segment {
    /// `.name`, `."any text"` or `["any text"]`: the member of an object with this key.
    Key(Box<str>),
    /// `.*`: every member of an object. Not of jq.
    AnyKey,
    /// `[3]`: an element of an array, the first is 0.
    Index(u32),
    /// `[]`: every element of an array and, as in jq, every member of an object.
    AnyIndex,
}

/// Why a text is no path, or several paths are too much; offsets are in bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It does not begin with a dot.
    #[error("a path begins with '.', as in .customer.name")]
    NoDot,
    /// No key follows a dot.
    #[error("at byte {at}: a name, a text in quotes, '*' or '[' has to follow the dot")]
    NoKey {
        /// Where the key should be.
        at: usize,
    },
    /// Something else than the next segment.
    #[error(
        "at byte {at}: '{found}' is not a part of a path; a key other than letters, digits and '_' needs quotes, as in .\"odd key\""
    )]
    Unexpected {
        /// Where it is.
        at: usize,
        /// What is there.
        found: char,
    },
    /// A text in quotes is not JSON.
    #[error("at byte {at}: not a text in quotes as JSON has it")]
    Quotes {
        /// Where the quotes open.
        at: usize,
    },
    /// No `[]`, `[3]` or `["key"]`.
    #[error(
        "at byte {at}: neither [], nor an index as in [3], nor a key as in [\"key\"]; ranges and indexes from the end are not paths"
    )]
    Brackets {
        /// Where the brackets open.
        at: usize,
    },
    /// More than [`MAX_SEGMENTS`].
    #[error("more than {MAX_SEGMENTS} steps deep")]
    TooLong,
    /// The paths together have too many combinations of wildcards.
    #[error("these paths together have too many wildcards")]
    TooMany,
}

impl Path {
    /// Whether it is `.`, the whole document.
    pub fn is_root(&self) -> bool {
        self.segments.is_empty()
    }

    /// Whether it leads to one value at most, duplicate keys aside: it has no wildcards.
    pub fn is_single(&self) -> bool {
        self.segments.iter().all(|segment| matches!(segment, Segment::Key(_) | Segment::Index(_)))
    }

    /// Whether a value of `other` can be a value of this path, be within one or hold one.
    pub fn meets(&self, other: &Path) -> bool {
        self.segments.iter().zip(&other.segments).all(|(a, b)| a.meets(b))
    }
}

impl Segment {
    /// Whether both can stand for the same step.
    fn meets(&self, other: &Segment) -> bool {
        match (self, other) {
            (Segment::AnyIndex, _) | (_, Segment::AnyIndex) => true,
            (Segment::AnyKey, _) => matches!(other, Segment::Key(_) | Segment::AnyKey),
            (_, Segment::AnyKey) => matches!(self, Segment::Key(_)),
            _ => self == other,
        }
    }
}

impl FromStr for Path {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Path, PathError> {
        let bytes = text.as_bytes();
        if bytes.first() != Some(&b'.') {
            return Err(PathError::NoDot);
        }
        let mut segments = Vec::new();
        let mut at = 0;
        while at < bytes.len() && text != "." {
            if segments.len() == MAX_SEGMENTS {
                return Err(PathError::TooLong);
            }
            let in_brackets = bytes[at] == b'[' || bytes[at..].starts_with(b".[");
            let (segment, end) = match bytes[at] {
                _ if in_brackets => brackets(text, at + usize::from(bytes[at] == b'.'))?,
                b'.' => name(text, at + 1)?,
                _ => return Err(unexpected(text, at)),
            };
            segments.push(segment);
            at = end;
        }
        Ok(Path { segments })
    }
}

/// The segment after a dot at `at`, and where it ends.
fn name(text: &str, at: usize) -> Result<(Segment, usize), PathError> {
    let rest = &text[at..];
    let len = rest.find(|c: char| !is_name(c)).unwrap_or(rest.len());
    match rest.as_bytes().first() {
        Some(b'"') => quoted(text, at),
        Some(b'*') => Ok((Segment::AnyKey, at + 1)),
        Some(first) if len > 0 && !first.is_ascii_digit() => Ok((Segment::Key(rest[..len].into()), at + len)),
        Some(b'.') | None => Err(PathError::NoKey { at }),
        Some(_) => Err(unexpected(text, at)),
    }
}

/// The segment in the brackets that open at `at`, and where they end.
fn brackets(text: &str, at: usize) -> Result<(Segment, usize), PathError> {
    let bytes = text.as_bytes();
    let wrong = PathError::Brackets { at };
    let start = skip_space(bytes, at + 1);
    let (segment, end) = match bytes.get(start) {
        Some(b']') => (Segment::AnyIndex, start),
        Some(b'"') => quoted(text, start)?,
        Some(b'0'..=b'9') => {
            let digits = text[start..].bytes().take_while(u8::is_ascii_digit).count();
            let index = text[start..start + digits].parse().map_err(|_| wrong.clone())?;
            (Segment::Index(index), start + digits)
        }
        _ => return Err(wrong),
    };
    let close = skip_space(bytes, end);
    if bytes.get(close) == Some(&b']') { Ok((segment, close + 1)) } else { Err(wrong) }
}

fn quoted(text: &str, at: usize) -> Result<(Segment, usize), PathError> {
    let end = string_end(text.as_bytes(), at + 1).map_err(|_| PathError::Quotes { at })?;
    Ok((Segment::Key(decode(&text.as_bytes()[at + 1..end - 1]).into()), end))
}

fn unexpected(text: &str, at: usize) -> PathError {
    PathError::Unexpected { at, found: text[at..].chars().next().unwrap_or(' ') }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !matches!(self.segments.first(), Some(Segment::Key(_) | Segment::AnyKey)) {
            f.write_str(".")?;
        }
        self.segments.iter().try_for_each(|segment| segment.fmt(f))
    }
}

/// As it stands within a path.
impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Segment::Key(key) if key.chars().all(is_name) && !key.is_empty() && !starts_with_digit(key) => {
                write!(f, ".{key}")
            }
            Segment::Key(key) => {
                let mut quoted = Vec::new();
                write_string(key, &mut quoted);
                write!(f, ".{}", String::from_utf8_lossy(&quoted))
            }
            Segment::AnyKey => f.write_str(".*"),
            Segment::Index(index) => write!(f, "[{index}]"),
            Segment::AnyIndex => f.write_str("[]"),
        }
    }
}

fn starts_with_digit(key: &str) -> bool {
    key.starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<String, PathError> {
        text.parse().map(|path: Path| path.to_string())
    }

    #[test]
    fn paths_are_read_as_jq_reads_them() {
        for (text, canonical) in [
            (".", "."),
            (".a", ".a"),
            (".a.b_1.C", ".a.b_1.C"),
            (".items[].price", ".items[].price"),
            (".[0].a", ".[0].a"),
            (".a.[0][ 1 ]", ".a[0][1]"),
            (".[]", ".[]"),
            (r#"."odd key".["b"]["c d"]"#, r#"."odd key".b."c d""#),
            (r#"."""#, r#"."""#),
            (r#"."\u0061\n""#, r#"."a\n""#),
            (".\"1\"", ".\"1\""),
            (".\"\u{e9}\"", ".\"\u{e9}\""),
            (".*.a.*", ".*.a.*"),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(canonical), "{text}");
            assert_eq!(canonical.parse::<Path>(), text.parse(), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_its_place() {
        for (text, error) in [
            ("", PathError::NoDot),
            ("a", PathError::NoDot),
            ("..", PathError::NoKey { at: 1 }),
            (".a.", PathError::NoKey { at: 3 }),
            (".a..b", PathError::NoKey { at: 3 }),
            (".first-name", PathError::Unexpected { at: 6, found: '-' }),
            (".1", PathError::Unexpected { at: 1, found: '1' }),
            (".\u{e9}", PathError::Unexpected { at: 1, found: '\u{e9}' }),
            (".a ", PathError::Unexpected { at: 2, found: ' ' }),
            (".a?", PathError::Unexpected { at: 2, found: '?' }),
            (".a[-1]", PathError::Brackets { at: 2 }),
            (".a[1:2]", PathError::Brackets { at: 2 }),
            (".a[99999999999]", PathError::Brackets { at: 2 }),
            (".a[", PathError::Brackets { at: 2 }),
            (".\"a", PathError::Quotes { at: 1 }),
            (r#"."\(1)""#, PathError::Quotes { at: 1 }),
        ] {
            assert_eq!(shown(text), Err(error), "{text}");
        }
        assert_eq!(shown(&".a".repeat(65)), Err(PathError::TooLong));
    }

    #[test]
    fn paths_meet_where_they_can_reach_the_same_values() {
        let meet = |a: &str, b: &str| a.parse::<Path>().unwrap().meets(&b.parse().unwrap());
        assert!(meet(".", ".a") && meet(".a.b", ".a") && meet(".a[].b", ".a[3]") && meet(".*.x", ".a.x.y"));
        assert!(meet(".[]", ".a") && meet(".*", ".[]"));
        assert!(!meet(".a", ".b") && !meet(".a[0]", ".a[1]") && !meet(".*", ".[0]") && !meet(".a.b", ".a.c"));
    }
}
