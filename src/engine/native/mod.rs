//! The native engine: Kafka's protocol over whole record batches.

mod client;
mod group;
mod reader;
mod sink;
mod source;

pub use client::{Client, GroupInfo, MemberInfo, OffsetAt, TopicInfo};
pub use reader::{Isolation, Reader};
pub use sink::NativeSink;
pub use source::NativeSource;
