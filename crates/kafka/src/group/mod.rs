//! Membership in a consumer group.
//!
//! `membership` is the life of a member. In the classic protocol it joins (`join`) and revokes,
//! while `heart` sends the heartbeats; `lead` and `assignor` assign the partitions when this member
//! leads. In the consumer protocol (KIP-848) `consumer` sends the heartbeats and `reconcile`
//! follows the coordinator's assignment. `finder` finds out where to start reading (`positions`,
//! `note`), and `commit` commits what was read.

mod assignor;
mod commit;
mod consumer;
mod coordinator;
mod finder;
#[cfg(fuzzing)]
pub mod fuzzing;
mod heart;
mod join;
mod lead;
mod membership;
mod note;
mod plan;
mod positions;
mod protocol;
mod reconcile;
mod sticky;

pub(super) use commit::Committer;
pub(super) use membership::{MemberSettings, Membership};
pub(super) use protocol::{decode_assignment, subscribed_topics};
