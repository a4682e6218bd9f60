//! The delivery guarantees.

use strum::{Display, EnumMessage, EnumString, VariantArray};

/// The delivery guarantee.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Display, EnumString, EnumMessage, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum DeliveryKind {
    /// Every record is written, and may be written again after a crash.
    #[default]
    AtLeastOnce,
    /// It is seen once by whoever reads committed: outputs, dead letters and offsets in one
    /// transaction.
    ExactlyOnce,
}
