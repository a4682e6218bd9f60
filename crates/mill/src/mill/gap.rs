//! What to do about records that were deleted before they were read.

use strum::{Display, EnumMessage, EnumString, VariantArray};

/// What to do when offsets between the committed one and the log's start are gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Display, EnumString, EnumMessage, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum OnGap {
    /// Continue at the start of the log; what was passed over is counted and reported.
    #[default]
    Continue,
    /// Stop the partition before them, so that someone decides: nothing more of it is read, the
    /// others go on, the run is not ready, and it ends with an error.
    Stop,
}
