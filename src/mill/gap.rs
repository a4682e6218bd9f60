//! What to do about records that were deleted before they were read.

use std::{fmt, str::FromStr};

use clap::ValueEnum;

/// What to do when offsets between the committed one and the log's start are gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OnGap {
    /// Continue at the start of the log; what was passed over is counted and reported.
    #[default]
    Continue,
    /// Stop the partition before them, so that someone decides: nothing more of it is read, the
    /// others go on, the run is not ready, and it ends with an error.
    Stop,
}

impl fmt::Display for OnGap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OnGap::Continue => "continue",
            OnGap::Stop => "stop",
        })
    }
}

impl FromStr for OnGap {
    type Err = String;

    fn from_str(text: &str) -> Result<OnGap, String> {
        ValueEnum::from_str(text, false)
    }
}
