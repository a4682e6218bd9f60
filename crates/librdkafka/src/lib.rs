//! The engine over librdkafka, record by record; the only place that names rdkafka.
//!
//! ```text
//! poll thread: BaseConsumer → arena → inbox ─ Source::next ─▶ … ─ Sink::send ─▶ produce thread → BaseProducer
//!    └ rebalance callbacks            ▲                                              poll thread: deliveries
//! commit thread: BaseConsumer ◀ Source::commit
//! ```
//!
//! Every call of librdkafka that may block has a plain thread of its own, so that no async thread
//! ever waits for it.

#![forbid(unsafe_code)]

mod settings;
mod error;
mod report;
mod routed;
mod inbox;
mod arena;
mod rebalance;
mod commit;
mod source;
mod deliveries;
mod sink;

pub use settings::problems;
pub use sink::LibrdkafkaSink;
pub use source::LibrdkafkaSource;

/// Sleeps briefly on a thread of this engine. librdkafka offers nothing to wait on here; every loop
/// that naps checks each time whether it should end.
fn nap(moment: std::time::Duration) {
    std::thread::sleep(moment);
}
