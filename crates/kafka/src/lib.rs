//! The native engine: Kafka's protocol over whole record batches.
//!
//! From the socket up: `transport` and `security`; `connection` (with `serve`, the task behind it,
//! `connection_state`, which they share, and `reply`); `handshake` with `versions` and `logins`;
//! `connections` (one for each purpose and broker); `cluster` (leaders and coordinators, which
//! `refresh` keeps up to date); `ask`, the one way for questions; `client`, which everyone uses;
//! and on top of them the reader, the source and the sink.
//!
//! The source is a `group` (which partitions) that directs `fetch` (their records), never the other
//! way round. `assignments` is the current state that both consult, `memory` what outlives a
//! source; `topic_lookup` notices that the topic has been replaced.

#![forbid(unsafe_code)]

mod ask;
mod assignments;
mod client;
mod cluster;
mod connection;
mod connection_state;
mod connections;
mod error;
mod fetch;
mod group;
mod groups;
mod handshake;
mod logins;
mod memory;
mod metadata;
mod offsets;
mod pieces;
pub mod properties;
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
mod text;
mod throttle;
mod token;
mod topic_lookup;
mod topics;
mod transport;
mod versions;

pub use client::{Client, GroupInfo, MemberInfo, OffsetAt, TopicInfo};
pub use reader::Reader;
pub use settings::{Isolation, NativeSettings, Secret};
pub use sink::{Made, MakeTopic, NativeSink, Routing};
pub use source::NativeSource;

#[cfg(fuzzing)]
#[doc(hidden)]
pub use group::fuzzing;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod live_tests;
#[cfg(test)]
mod testing;
