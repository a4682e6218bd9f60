//! What long work shows: progress on a terminal, events elsewhere; what does not work; logs.

pub mod logs;
pub mod progress;
pub mod troubles;
