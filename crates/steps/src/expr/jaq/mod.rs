//! Expressions that the interpreter evaluates. Only this folder knows that it is jaq.

mod parse;
mod guard;
mod budget;
mod natives;
mod library;
mod needs;
mod regex;
mod patterns;
mod delete;
mod read;
mod write;
mod failure;
mod program;

use std::cell::Cell;

use jaq_core::{Lut, data::HasLut};
use jaq_json::Val;

pub(super) use self::regex::{Pattern, Regexes};
pub(super) use guard::as_json;
pub(super) use parse::{Term, any, changes, children, parse};
pub(super) use patterns::check as check_patterns;
pub(super) use program::{Program, Results, Task, Want, literal};
pub(super) use read::integer;
pub(super) use write::number as write_number;

/// Appends the valid JSON of a value as jq writes it; `false` if that takes more than is there for it.
pub(super) fn rewrite(json: &[u8], limit: usize, out: &mut Vec<u8>) -> bool {
    let value = read::value(json, REWRITE_DEPTH);
    value.is_ok_and(|value| write::value(&value, limit, out).is_ok())
}

/// How deep arrays and objects may be within each other on a stack of any thread.
const REWRITE_DEPTH: usize = 100;

use budget::Budget;

/// The stack for reading and compiling a text; only what is used of it is taken.
pub(super) const COMPILE_STACK: usize = 256 << 20;

/// What the interpreter works on.
#[derive(Debug)]
pub(super) struct Jaq;

impl jaq_core::DataT for Jaq {
    type V<'a> = Val;
    type Data<'a> = &'a Env<'a>;
}

/// What an evaluation has beside its input.
pub(super) struct Env<'a> {
    lut: &'a Lut<Jaq>,
    budget: Budget,
    regexes: &'a Regexes,
    /// Whether something other than a scalar was put into a value.
    deepened: Cell<bool>,
}

impl<'a> HasLut<'a, Jaq> for &'a Env<'a> {
    fn lut(&self) -> &'a Lut<Jaq> {
        self.lut
    }
}
