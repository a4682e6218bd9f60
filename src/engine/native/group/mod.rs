//! Membership in a consumer group.
//!
//! In the classic protocol `membership` joins, synchronises and revokes; `heart` beats meanwhile;
//! `assignor` shares the partitions out when this member leads. In the consumer protocol
//! (KIP-848) `consumer` beats and `reconcile` follows what the coordinator assigns.
//! `assignments` is what everyone asks about the present.

mod assignments;
mod assignor;
mod commit;
mod consumer;
mod coordinator;
mod heart;
mod lead;
mod membership;
mod positions;
mod protocol;
mod reconcile;
mod sticky;

pub(super) use assignments::{Assignments, Identity};
pub use assignor::Assignor;
pub(super) use commit::Committer;
pub(super) use membership::{MemberSettings, Membership};
pub(super) use positions::reset_position;
pub(super) use protocol::subscribed_topics;

/// A task in the background, ended on drop.
#[derive(Debug)]
pub(super) struct Task(pub tokio::task::JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
