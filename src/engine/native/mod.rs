//! The native engine: Kafka's protocol over whole record batches.
//!
//! From the socket up: `transport` and `security`; `connection` (with `serve`, the task behind it,
//! and `reply`); `handshake` with `versions` and `logins`; `connections` (one for each purpose and
//! broker); `cluster` (leaders and coordinators, which `refresh` keeps up to date); `ask`, the one
//! way for questions; `client`, which everyone uses; and on top of them the reader, the source and
//! the sink.

mod ask;
mod client;
mod cluster;
mod connection;
mod connections;
mod error;
mod fetch;
mod group;
mod groups;
mod handshake;
mod logins;
mod metadata;
mod offsets;
mod pieces;
mod properties;
mod race;
mod reader;
mod refresh;
mod reply;
mod retry;
mod sasl;
mod scram;
mod security;
mod serve;
mod settings;
mod sink;
mod source;
mod throttle;
mod token;
mod topics;
mod transport;
mod versions;

pub use client::{Client, GroupInfo, MemberInfo, OffsetAt, TopicInfo};
pub use reader::{Isolation, Reader};
pub use settings::{NativeSettings, Secret};
pub use sink::NativeSink;
pub use source::NativeSource;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod live_tests;
#[cfg(test)]
mod testing;
