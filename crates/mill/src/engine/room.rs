//! What a source may hand out now.

use std::collections::BTreeSet;

use crate::batch::TopicPartition;

/// Whether batches may come, and of which partitions they may not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Whether batches may come at all.
    pub is_open: bool,
    /// The partitions whose output is not taken fast enough, or not at all: they are not fetched.
    pub full: BTreeSet<TopicPartition>,
}

impl Room {
    /// Room for batches of every partition.
    pub fn open() -> Room {
        Room { is_open: true, full: BTreeSet::new() }
    }

    /// Room for none.
    pub fn closed() -> Room {
        Room::default()
    }
}
