//! The seam to Kafka, and the engines behind it.

pub use topicmill_kafka as native;
#[cfg(feature = "librdkafka")]
pub use topicmill_librdkafka as librdkafka;
pub use topicmill_mill::engine::*;
