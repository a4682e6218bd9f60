//! What long work shows: progress, failures, logs.

pub mod logs;
pub mod progress;
pub mod troubles;
