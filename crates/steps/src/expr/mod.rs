//! Expressions: conditions, values and programs in the language of jq, compiled once.
//!
//! An expression that is a path, or compares, combines or tests paths, texts, numbers and metadata, is
//! evaluated on the bytes of a document that was [located](crate::json::Locator), and so is a program that
//! picks such values, calculates with numbers, and makes objects and arrays; all others by jaq.
//! [`Expr::way`] says which and why. Both give the same results.
//!
//! # The language
//! That of jq 1.7 as [jaq](https://github.com/01mf02/jaq) has it, without what reaches outside a record
//! (`input`, `env`, `now`, `debug`, `halt`, modules), and with the variables of [`Meta`]. Beyond that:
//!
//! | | |
//! |---|---|
//! | integers | exact whatever their size, up to 1,000 digits; longer ones count as floating-point numbers |
//! | other numbers | written as they were read as long as they are not calculated with |
//! | `1e400` | the greatest number there is when compared or calculated with |
//! | `-0` | 0 |
//! | results of calculations | as jq writes them: `3`, not `3.0`; `nan` is `null`, an infinite one the greatest or least number |
//! | duplicate keys | the last one counts |
//! | lone surrogates | U+FFFD |
//! | object keys that are no strings, bytes that are no text | an error of the class `type`, where a result has them |
//! | deeper than 10,000 arrays and objects | an error of the class `depth` |

mod meta;
mod around;
mod error;
mod limits;
mod jaq;
mod plain;
mod compiled;
mod evaluator;
mod template;
#[cfg(test)]
mod tests;

pub(crate) use around::Around;
pub use compiled::{Expr, Use, Way};
pub use error::ExprError;
pub use evaluator::{Evaluator, Located};
pub use limits::Limits;
pub use meta::Meta;
pub use template::Template;
