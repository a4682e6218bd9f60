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

/// How a transaction ended.
#[derive(Clone, Debug)]
pub enum TransactionEnd {
    /// It is committed, the offsets included.
    Committed,
    /// It is aborted, or will be, or it is not known; for this reason.
    Aborted(EngineError),
}
