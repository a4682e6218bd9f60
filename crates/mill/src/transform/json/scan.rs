//! Validates a whole value and reports the members of its outermost object.

use std::ops::Range;

use super::{
    Fault, JsonError, Kind, MAX_DEPTH,
    token::{missing, scalar_end, skip_space, string_end},
};

/// A member of the outermost object, as ranges of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The key without its quotes, escapes still in it.
    pub key: Range<usize>,
    /// The value; a string with its quotes.
    pub value: Range<usize>,
    /// The value's type.
    pub kind: Kind,
}

/// The outermost value: its type, and its range without the white space around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Top {
    /// The type.
    pub kind: Kind,
    /// The range in bytes.
    pub range: Range<usize>,
}

/// A JSON scanner; keeps its memory from one value to the next.
#[derive(Debug, Default)]
pub struct Scanner {
    /// What is open, outermost first.
    open: Vec<Container>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Container {
    Array,
    Object,
}

/// What comes next in the value.
enum Next {
    Value,
    Key,
    /// A value has just ended: a comma, the end of its container or the end of everything.
    After,
}

impl Scanner {
    /// Checks `value` as Go's `json.Valid` does and calls `on_member` for each member of the
    /// outermost object in order. A fault may come after members were reported; they are void then.
    ///
    /// # Errors
    /// The first fault; never [`Fault::Type`].
    pub fn scan(&mut self, value: &[u8], mut on_member: impl FnMut(Member)) -> Result<Top, JsonError> {
        if value.is_empty() {
            return Err(JsonError { offset: 0, fault: Fault::Empty });
        }
        self.open.clear();
        let start = skip_space(value, 0);
        let mut at = start;
        let mut key = 0..0;
        let mut member_start = 0;
        let mut next = Next::Value;
        loop {
            next = match next {
                Next::Value => match value.get(at) {
                    Some(b'{') => {
                        self.push(Container::Object, at)?;
                        at = skip_space(value, at + 1);
                        if value.get(at) == Some(&b'}') { self.pop(&mut at) } else { Next::Key }
                    }
                    Some(b'[') => {
                        self.push(Container::Array, at)?;
                        at = skip_space(value, at + 1);
                        if value.get(at) == Some(&b']') { self.pop(&mut at) } else { Next::Value }
                    }
                    _ => {
                        at = scalar_end(value, at)?;
                        Next::After
                    }
                },
                Next::Key => {
                    expect(value, at, b'"', "a key in quotes")?;
                    let end = string_end(value, at + 1)?;
                    let colon = skip_space(value, end);
                    expect(value, colon, b':', "a colon")?;
                    let content = at + 1..end - 1;
                    at = skip_space(value, colon + 1);
                    if self.open.len() == 1 {
                        (key, member_start) = (content, at);
                    }
                    Next::Value
                }
                Next::After => {
                    let Some(&container) = self.open.last() else { break };
                    if self.open.len() == 1 && container == Container::Object {
                        let kind = Kind::of(value[member_start]);
                        on_member(Member { key: key.clone(), value: member_start..at, kind });
                    }
                    at = skip_space(value, at);
                    match (container, value.get(at)) {
                        (Container::Object, Some(b',')) => {
                            at = skip_space(value, at + 1);
                            Next::Key
                        }
                        (Container::Array, Some(b',')) => {
                            at = skip_space(value, at + 1);
                            Next::Value
                        }
                        (Container::Object, Some(b'}')) | (Container::Array, Some(b']')) => self.pop(&mut at),
                        (Container::Object, found) => return Err(missing(found, at, "a comma or '}'")),
                        (Container::Array, found) => return Err(missing(found, at, "a comma or ']'")),
                    }
                }
            };
        }
        let rest = skip_space(value, at);
        match value.get(rest) {
            Some(&found) => Err(JsonError { offset: rest, fault: Fault::Trailing { found } }),
            None => Ok(Top { kind: Kind::of(value[start]), range: start..at }),
        }
    }

    fn push(&mut self, container: Container, offset: usize) -> Result<(), JsonError> {
        if self.open.len() == MAX_DEPTH {
            return Err(JsonError { offset, fault: Fault::Depth });
        }
        self.open.push(container);
        Ok(())
    }

    /// Closes the innermost container at `at`.
    fn pop(&mut self, at: &mut usize) -> Next {
        self.open.pop();
        *at += 1;
        Next::After
    }
}

fn expect(value: &[u8], at: usize, byte: u8, expected: &'static str) -> Result<(), JsonError> {
    let found = value.get(at);
    if found == Some(&byte) { Ok(()) } else { Err(missing(found, at, expected)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Members<'a> = Vec<(&'a str, &'a str, Kind)>;

    fn scan(value: &str) -> (Result<Top, JsonError>, Members<'_>) {
        let mut members = Vec::new();
        let top = Scanner::default().scan(value.as_bytes(), |Member { key, value: range, kind }| {
            members.push((&value[key], &value[range], kind));
        });
        (top, members)
    }

    #[test]
    fn only_outermost_members_are_reported() {
        let (top, members) = scan(r#" {"a" : {"b":[1,{"c":2}]} , "d\n":"e", "": [ ] } "#);
        assert_eq!(top, Ok(Top { kind: Kind::Object, range: 1..48 }));
        let expected = [
            ("a", r#"{"b":[1,{"c":2}]}"#, Kind::Object),
            ("d\\n", "\"e\"", Kind::String),
            ("", "[ ]", Kind::Array),
        ];
        assert_eq!(members, expected);
    }

    #[test]
    fn members_of_an_array_are_not_outermost() {
        let (top, members) = scan(r#"[{"a":1}]"#);
        assert_eq!(top, Ok(Top { kind: Kind::Array, range: 0..9 }));
        assert!(members.is_empty());
    }

    #[test]
    fn faults_stand_where_they_are() {
        let fault = |value| scan(value).0.unwrap_err();
        let expected = "a comma or '}'";
        assert_eq!(
            fault(r#"{"a":1]"#),
            JsonError { offset: 6, fault: Fault::Unexpected { found: b']', expected } }
        );
        assert_eq!(fault(r#"{"a":1"#), JsonError { offset: 6, fault: Fault::Eof { expected } });
        assert_eq!(fault("-"), JsonError { offset: 1, fault: Fault::Cut { expected: "a digit" } });
        assert_eq!(fault("{} x"), JsonError { offset: 3, fault: Fault::Trailing { found: b'x' } });
        assert_eq!(fault(&"[".repeat(10_001)), JsonError { offset: 10_000, fault: Fault::Depth });
    }
}
