//! What is wrong with a JSON value, and where.

use std::fmt;

use super::{Kind, MAX_DEPTH};
use crate::transform::{ErrorClass, ValueError};

/// A fault and the offset of its byte in the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonError {
    /// Where the fault is: an offset in bytes; the value's length when it ends too early.
    pub offset: usize,
    /// The fault.
    pub fault: Fault,
}

/// What can be wrong with a JSON value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The value has no bytes.
    Empty,
    /// The value ends where `expected` should follow.
    Eof {
        /// What should follow.
        expected: &'static str,
    },
    /// The value ends within a word, number or escape. Go finds the end by reading a space
    /// there, so it counts as a syntax error.
    Cut {
        /// What should follow.
        expected: &'static str,
    },
    /// A byte stands where `expected` should.
    Unexpected {
        /// The byte.
        found: u8,
        /// What should stand there.
        expected: &'static str,
    },
    /// A byte other than white space follows the value.
    Trailing {
        /// The byte.
        found: u8,
    },
    /// The bytes are not UTF-8, which RFC 8259 asks for.
    Utf8,
    /// More than [`MAX_DEPTH`] arrays and objects are open.
    Depth,
    /// A part of the value has the wrong type.
    Type {
        /// Which part.
        part: &'static str,
        /// Its type.
        found: Kind,
        /// The type that it should have.
        expected: Kind,
    },
}

impl JsonError {
    /// The class to count and filter by.
    pub fn class(&self) -> ErrorClass {
        match self.fault {
            Fault::Empty => ErrorClass::Empty,
            Fault::Eof { .. } => ErrorClass::Eof,
            Fault::Cut { .. } | Fault::Unexpected { .. } | Fault::Utf8 => ErrorClass::Syntax,
            Fault::Trailing { .. } => ErrorClass::Trailing,
            Fault::Depth => ErrorClass::Depth,
            Fault::Type { .. } => ErrorClass::Type,
        }
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let JsonError { offset, fault } = self;
        match *fault {
            Fault::Empty => f.write_str("the value has no bytes"),
            Fault::Eof { expected } | Fault::Cut { expected } => {
                write!(f, "the value ends at byte {offset}, where {expected} was expected")
            }
            Fault::Unexpected { found, expected } => {
                write!(f, "{} at byte {offset}, where {expected} was expected", Shown(found))
            }
            Fault::Trailing { found } => {
                write!(f, "{} at byte {offset}, after the value's end", Shown(found))
            }
            Fault::Utf8 => write!(f, "not UTF-8 at byte {offset}"),
            Fault::Depth => write!(f, "nested more than {MAX_DEPTH} deep at byte {offset}"),
            Fault::Type { part, found, expected } => {
                write!(f, "{part} is {}, not {}, at byte {offset}", found.name(), expected.name())
            }
        }
    }
}

impl From<JsonError> for ValueError {
    fn from(error: JsonError) -> ValueError {
        ValueError::new(error.class(), error.to_string())
    }
}

/// A byte for people: itself when it is visible ASCII, else its number.
struct Shown(u8);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_ascii_graphic() {
            write!(f, "'{}'", self.0 as char)
        } else {
            write!(f, "0x{:02x}", self.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_say_what_and_where() {
        let say = |fault| JsonError { offset: 7, fault }.to_string();
        assert_eq!(
            say(Fault::Unexpected { found: b'x', expected: "a value" }),
            "'x' at byte 7, where a value was expected"
        );
        assert_eq!(say(Fault::Trailing { found: 0xff }), "0xff at byte 7, after the value's end");
        assert_eq!(
            say(Fault::Eof { expected: "a value" }),
            "the value ends at byte 7, where a value was expected"
        );
        let fault = Fault::Type { part: "first_name", found: Kind::Number, expected: Kind::String };
        assert_eq!(say(fault), "first_name is a number, not a string, at byte 7");
    }
}
