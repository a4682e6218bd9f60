//! JSON as Go's `encoding/json` reads and writes it: the same grammar, the same classes of errors,
//! the same treatment of bad UTF-8 and lone surrogates. General parsers differ in these, and do not
//! report where a value stands. No recursion, no tree.

mod error;
mod scan;
mod text;
mod token;

pub use error::{Fault, JsonError};
pub use scan::{Member, Scanner, Top};
pub use text::{chars, write_escaped};
pub use token::{scalar_end, skip_space, string_end};

/// How deeply arrays and objects may be nested.
pub const MAX_DEPTH: usize = 10_000;

/// The types of JSON values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool,
    /// A number.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

impl Kind {
    /// The type of the valid value that begins with `first`.
    pub fn of(first: u8) -> Kind {
        match first {
            b'{' => Kind::Object,
            b'[' => Kind::Array,
            b'"' => Kind::String,
            b't' | b'f' => Kind::Bool,
            b'n' => Kind::Null,
            _ => Kind::Number,
        }
    }

    /// The type's name with its article, for messages.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Null => "null",
            Kind::Bool => "a boolean",
            Kind::Number => "a number",
            Kind::String => "a string",
            Kind::Array => "an array",
            Kind::Object => "an object",
        }
    }
}
