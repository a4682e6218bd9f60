//! The closed set of promises.

use std::{fmt, str::FromStr};

use clap::ValueEnum;

/// What is promised about each record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DeliveryKind {
    /// It is written once, and again after a crash: offsets are committed behind the output.
    #[default]
    AtLeastOnce,
    /// It is seen once by whoever reads committed: outputs and offsets in one transaction; not
    /// available in this version.
    ExactlyOnce,
}

impl fmt::Display for DeliveryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DeliveryKind::AtLeastOnce => "at-least-once",
            DeliveryKind::ExactlyOnce => "exactly-once",
        })
    }
}

impl FromStr for DeliveryKind {
    type Err = String;

    fn from_str(text: &str) -> Result<DeliveryKind, String> {
        ValueEnum::from_str(text, false)
    }
}
