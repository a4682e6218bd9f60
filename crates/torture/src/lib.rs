//! Faults on a real Kafka, and a judge that knows what topicmill must have written in spite of them.
//!
//! Events are functions of a seed, a partition and a number ([`event`]), and so is what must come of
//! them. A run (`program`) starts nodes of Apache Kafka ([`nodes`]), instances of the program
//! behind proxies that can cut, hold back and change what they say ([`proxy`]), and a load; then it
//! strikes. A reader on librdkafka, which shares no code with topicmill, looks on, and what it sees
//! is judged ([`judge`]). A second one reads in the end and must see the same at the same offsets
//! ([`fingerprint`]).

#![forbid(unsafe_code)]

pub mod event;
pub mod fingerprint;
pub mod judge;
pub mod metrics;
pub mod nodes;
pub mod proxy;
#[cfg(feature = "program")]
pub mod run;
