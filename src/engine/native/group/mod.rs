//! Membership in a consumer group.
//!
//! `membership` is a member's life. In the classic protocol it joins (`join`) and revokes; `heart`
//! beats meanwhile;
//! `assignor` shares the partitions out when this member leads. In the consumer protocol
//! (KIP-848) `consumer` beats and `reconcile` follows what the coordinator assigns.
//! `finder` finds out where to read what is assigned (`positions`, `note`). `assignments` is what
//! everyone asks about the present, `memory` what outlives a source.

mod assignments;
mod assignor;
mod commit;
mod consumer;
mod coordinator;
mod finder;
mod heart;
mod join;
mod lead;
mod membership;
mod memory;
mod note;
mod positions;
mod protocol;
mod reconcile;
mod sticky;
mod topic;

pub(super) use assignments::{Assignments, Identity};
pub use assignor::Assignor;
pub(super) use commit::Committer;
pub(super) use membership::{MemberSettings, Membership};
pub(super) use memory::Memory;
pub(super) use protocol::subscribed_topics;
pub(super) use topic::look_up;

/// A task in the background, ended on drop.
#[derive(Debug)]
pub(super) struct Task<T = ()>(pub tokio::task::JoinHandle<T>);

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
