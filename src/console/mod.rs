//! What long work shows: progress on a terminal, plain lines elsewhere; logs.

pub mod logs;
pub mod progress;
