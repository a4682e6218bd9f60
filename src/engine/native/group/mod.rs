//! Membership in a consumer group, the classic protocol.

mod assignor;
mod protocol;
mod sticky;

pub(super) use assignor::Assignor;
