//! The strategies, the orders they can keep, and what they do about a panic.

use std::{fmt, str::FromStr};

use clap::ValueEnum;

/// How batches are transformed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum StrategyKind {
    /// One batch at a time: read, transform, write, wait for the acknowledgement.
    Serial,
    /// One thread transforms while batches are read and written.
    #[default]
    Pipeline,
    /// Several threads transform batches side by side.
    Worker,
}

impl fmt::Display for StrategyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StrategyKind::Serial => "serial",
            StrategyKind::Pipeline => "pipeline",
            StrategyKind::Worker => "worker",
        })
    }
}

impl FromStr for StrategyKind {
    type Err = String;

    fn from_str(text: &str) -> Result<StrategyKind, String> {
        ValueEnum::from_str(text, false)
    }
}

/// Which records keep their order on the way to the destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Order {
    /// All records of a partition.
    #[default]
    Partition,
    /// The records of a partition that have the same key.
    Key,
    /// No order: batches are written as they become ready.
    None,
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Order::Partition => "partition",
            Order::Key => "key",
            Order::None => "none",
        })
    }
}

impl FromStr for Order {
    type Err = String;

    fn from_str(text: &str) -> Result<Order, String> {
        ValueEnum::from_str(text, false)
    }
}

/// What to do when the transform panics on a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OnPanic {
    /// End the run.
    #[default]
    Stop,
    /// Find the record and make it a dead letter.
    DeadLetter,
}

impl fmt::Display for OnPanic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OnPanic::Stop => "stop",
            OnPanic::DeadLetter => "dead-letter",
        })
    }
}

impl FromStr for OnPanic {
    type Err = String;

    fn from_str(text: &str) -> Result<OnPanic, String> {
        ValueEnum::from_str(text, false)
    }
}
