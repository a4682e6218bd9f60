//! What a transaction commits besides its output, and how it ends.

use std::sync::Arc;

use super::{EngineError, Offset};

/// Offsets to commit in a transaction, with what proves that this member may (KIP-447).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stake {
    /// The consumer group.
    pub group: String,
    /// The id of this member.
    pub member: String,
    /// The generation, or epoch, of its membership: an older one is refused.
    pub generation: i32,
    /// The `group.instance.id` of a static member (KIP-345).
    pub instance: Option<String>,
    /// The offsets, each with its metadata.
    pub offsets: Vec<(Offset, Arc<str>)>,
}

/// What became of a stake.
#[derive(Clone, Debug)]
pub enum Staked {
    /// The offsets are part of the transaction.
    Held,
    /// They are not: the stake is of a generation that is over, and its member still is one. A newer stake may be
    /// tried in the same transaction.
    Outdated(EngineError),
    /// The transaction can only be aborted, for this reason.
    Refused(EngineError),
}

/// How a transaction ended.
#[derive(Clone, Debug)]
pub enum TransactionEnd {
    /// It is committed, the offsets included.
    Committed,
    /// It is aborted, or will be, or it is not known; for this reason.
    Aborted(EngineError),
}
