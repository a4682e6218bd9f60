//! The strategies, the orders they can keep, and what they do about a panic.

use strum::{Display, EnumMessage, EnumString, VariantArray};

/// How batches are transformed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Display, EnumString, EnumMessage, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum StrategyKind {
    /// One batch at a time: read, transform, write, wait for the acknowledgement.
    Serial,
    /// One thread transforms while batches are read and written.
    #[default]
    Pipeline,
    /// Several threads transform batches side by side.
    Worker,
}

/// Which records keep their order on the way to the destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Display, EnumString, EnumMessage, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Order {
    /// All records of a partition.
    #[default]
    Partition,
    /// The records of a partition that have the same key.
    Key,
    /// No order: batches are written as they become ready.
    None,
}

/// What to do when the transform panics on a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Display, EnumString, EnumMessage, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum OnPanic {
    /// End the run.
    #[default]
    Stop,
    /// Find the record and make it a dead letter.
    DeadLetter,
}
