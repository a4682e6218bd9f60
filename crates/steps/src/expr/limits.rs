//! What the evaluation of an expression may take.

use std::time::Duration;

/// What one evaluation may take; more is an error of the class `limit`.
///
/// The time is looked at between operations that are bounded in what they do, so that an evaluation
/// may take a little longer than it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long an evaluation by jaq may take.
    pub time: Duration,
    /// Steps and bytes made on the way: every step counts as 64, every value in an array or object as
    /// 16, every byte of a text as 1. 64 times the value's length is added. This bounds the memory.
    pub work: u64,
    /// The most results of a program.
    pub results: usize,
    /// The most bytes of all results together.
    pub output: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { time: Duration::from_secs(1), work: 256 << 20, results: 10_000, output: 64 << 20 }
    }
}
