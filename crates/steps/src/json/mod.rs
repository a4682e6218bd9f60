//! Documents as bytes: where paths lead, and changes that leave every other byte as it was.
//!
//! What is valid is what RFC 8259 says: one document, in UTF-8, with white space around it. Where that
//! leaves room, or parsers differ:
//!
//! | | |
//! |---|---|
//! | duplicate keys | valid; all of them are sites, an edit changes all, [a reader](Found::read) gets the last one, as in jq |
//! | escaped keys | `"\u0061"` is `.a` |
//! | lone surrogates | `"\ud800"` is valid and stays as it is; as a text it is U+FFFD, as in jq ([`without_lone_surrogates`] is for parsers that refuse it) |
//! | `-0`, `1e400`, integers beyond 64 bits | valid, stay as they are |
//! | depth | 10,000 arrays and objects within each other, one more is an error of the class `depth` |
//! | byte order mark | a syntax error |
//! | invalid UTF-8 | a syntax error, also in strings |
//! | NaN, comments, trailing commas, several documents | syntax errors |
//! | no bytes, or only white space | an error of the class `empty`, or `eof` |

mod path;
mod set;
mod found;
mod locate;
mod walk;
mod shape;
mod shapes;
mod edits;
mod text;
mod texts;
#[cfg(test)]
mod tests;

pub use edits::Edits;
pub use found::{Found, Site};
pub use locate::Locator;
pub use path::{MAX_SEGMENTS, Path, PathError, Segment};
pub use set::{PathId, PathSet};
pub(crate) use text::decode_in;
pub use text::{decode, means, without_lone_surrogates, write_contents, write_string};
pub use texts::{TextKind, Way, each_text};
pub use topicmill_mill::transform::json::{Fault, JsonError, Kind, MAX_DEPTH, Top};
