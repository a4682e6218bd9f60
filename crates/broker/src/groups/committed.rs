//! What a group has committed for a partition.

/// A topic's name and a partition's number.
pub type CommitPlace = (String, i32);

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The offset of the next record to read.
    pub offset: i64,
    /// The leader epoch of the last record read, or -1 (KIP-320).
    pub leader_epoch: i32,
    /// What the client wants to remember with it.
    pub metadata: String,
    /// Its place among all offsets that the group was sent: of two, the later one counts, whichever
    /// transaction ends first.
    pub order: u64,
}

impl CommittedOffset {
    /// Nothing is committed.
    pub const NONE: CommittedOffset =
        CommittedOffset { offset: -1, leader_epoch: -1, metadata: String::new(), order: 0 };
}
