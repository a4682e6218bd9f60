//! Expressions that are evaluated on the bytes of a located document.
//!
//! What is here gives exactly what the interpreter gives; where that would take a tree, it says so, and
//! the interpreter does it.

mod compile;
mod item;
mod number;
mod eval;
mod program;
mod make;
mod amount;

use regex::bytes::Regex;

use super::meta::Variable;
use crate::json::{Path, Segment};

pub(super) use compile::compile;
pub(super) use eval::{Context, Fault};
pub(super) use make::Made;

/// A plain expression and the paths it is about.
#[derive(Debug)]
pub(super) struct Plain {
    /// All that have to be located: what is read, and what is on the way there.
    pub(super) paths: Vec<Path>,
    /// What is read.
    pub(super) reads: Vec<Path>,
    pub(super) body: Body,
}

impl Plain {
    /// The program, if it is one.
    pub(super) fn made(&self) -> Option<&Made> {
        match &self.body {
            Body::Program(made) => Some(made),
            Body::Condition(_) | Body::Value(_) => None,
        }
    }
}

#[derive(Debug)]
pub(super) enum Body {
    Condition(Test),
    Value(Value),
    Program(Made),
}

/// What is a value in itself.
#[derive(Debug)]
pub(super) enum Value {
    Source(Source),
    Test(Test),
    Text(Vec<Part>),
}

/// A part of a text.
#[derive(Debug)]
pub(super) enum Part {
    Literal(String),
    Value(Source),
}

/// Where a value comes from.
#[derive(Debug)]
pub(super) enum Source {
    Path(Lookup),
    Literal(Literal),
    Variable(Variable),
    Header(Box<str>),
    /// `a // b`
    Alternative(Box<Source>, Box<Source>),
    /// `.a | type`
    Type(Lookup),
}

/// A value as it stands in the expression.
#[derive(Debug)]
pub(super) enum Literal {
    Null,
    Bool(bool),
    Integer(i64),
    /// Any other number, as it is written.
    Number(String),
    Text(String),
}

/// A path from the outermost value. The only wildcards on it are the `[]` of what is being iterated.
#[derive(Clone, Debug, Default)]
pub(super) struct Lookup {
    pub(super) steps: Vec<Step>,
    /// How many of the steps lead to the element that is looked at; none if that is the document.
    pub(super) from: usize,
}

/// A step of a path.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) segment: Segment,
    /// The path up to here: its index in [`Plain::paths`].
    pub(super) path: usize,
    /// `.a?`: no result rather than an error.
    pub(super) is_optional: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
}

/// What is true or false.
#[derive(Debug)]
pub(super) enum Test {
    /// Neither null nor false.
    Truth(Source),
    Compare(Source, Comparison, Source),
    And(Box<Test>, Box<Test>),
    Or(Box<Test>, Box<Test>),
    Not(Box<Test>),
    /// `.a | IN("b", "c")`
    In(Source, Vec<Literal>),
    StartsWith(Source, String),
    EndsWith(Source, String),
    Contains(Source, String),
    Matches(Source, Regex),
    /// `.a | has("b")`
    Has(Lookup, Step),
    /// `.a | test`: the test is about what `.a` is, and there is nothing to test if that is nothing.
    Within(Lookup, Box<Test>),
}
