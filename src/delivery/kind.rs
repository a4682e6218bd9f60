//! The delivery guarantees.

use std::{fmt, str::FromStr};

use clap::ValueEnum;

/// The delivery guarantee.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DeliveryKind {
    /// Every record is written, and may be written again after a crash.
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
