//! What long work shows: progress and logs.

pub(crate) mod logs;
pub(crate) mod progress;
