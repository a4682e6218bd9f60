//! The seam to Kafka, and the engines behind it.

pub(crate) use topicmill_kafka as native;
#[cfg(feature = "librdkafka")]
pub(crate) use topicmill_librdkafka as librdkafka;
pub use topicmill_mill::engine::*;
