//! The core: batches in, batches out, offsets behind them. It knows neither a Kafka client nor HTTP
//! nor a command line.
//!
//! The unit is the [`PartitionBatch`](batch::PartitionBatch). Sources and sinks are implemented
//! elsewhere, against the seam in [`engine`]; [`mill`] is the loop between them.

#![forbid(unsafe_code)]

// The path of a batch, in order.
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

// For observers.
pub mod health;
pub mod metrics;
pub mod sentences;

// Around it.
pub mod backoff;
pub mod choice;
pub mod checkpoint;
pub mod clock;
pub mod cpu;
