//! The core: batches in, batches out, offsets behind them. It knows neither a Kafka client nor HTTP nor a
//! command line.
//!
//! The unit is the [`PartitionBatch`](batch::PartitionBatch). A source and a sink, which are
//! someone else's, come by the seam in [`engine`]; [`mill`] is the loop between them.

#![forbid(unsafe_code)]

// The road of a batch, in its order.
pub mod batch;
pub mod budget;
pub mod transform;
pub mod dead_letter;
pub mod strategy;
pub mod offsets;
pub mod delivery;
pub mod mill;

// The edge.
pub mod engine;

// Who watches.
pub mod health;
pub mod metrics;
pub mod sentences;

// Around it.
pub mod backoff;
pub mod choice;
pub mod clock;
pub mod cpu;
