//! What long work shows: progress and logs.

pub mod logs;
pub mod progress;
