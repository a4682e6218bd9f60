//! The strategies: how batches are transformed side by side, and in which order they come out.
//!
//! Read `serial` first: the others are tested against it.

mod error;
mod kind;
mod pipeline;
mod resequence;
mod serial;
#[cfg(test)]
pub(crate) mod stepped;
#[cfg(test)]
mod tests;
mod threads;
mod transformer;
mod worker;

use std::time::Duration;

pub use error::TransformError;
pub use kind::{OnPanic, Order, StrategyKind};
use pipeline::Pipeline;
use serial::Serial;
use worker::Worker;

use crate::{
    batch::PartitionBatch,
    offsets::Ticket,
    transform::{TransformKind, Transformed},
};

/// A batch to transform, with its ticket.
#[derive(Debug)]
pub struct Job {
    /// The records.
    pub batch: PartitionBatch,
    /// Acknowledged once the output and the dead letters are.
    pub ticket: Ticket,
}

/// A transformed batch. The input stays with it: a record that the destination refuses becomes
/// a dead letter as it was read.
#[derive(Debug)]
pub struct Product {
    /// The batch as it was read.
    pub job: Job,
    /// What to write for it.
    pub transformed: Transformed,
    /// How long the transform took.
    pub time: Duration,
}

/// A running strategy.
#[derive(Debug)]
pub enum Strategy {
    /// One batch at a time.
    Serial(Serial),
    /// One thread transforms while batches are read and written.
    Pipeline(Pipeline),
    /// Several threads transform side by side.
    Worker(Worker),
    /// Without threads, in virtual time.
    #[cfg(test)]
    Stepped(stepped::Stepped),
}

/// What a strategy needs.
#[derive(Clone, Debug)]
pub struct StrategySettings {
    /// Which one.
    pub kind: StrategyKind,
    /// The number of threads of `worker`.
    pub workers: usize,
    /// The order that `worker` keeps.
    pub order: Order,
    /// The transform.
    pub transform: TransformKind,
    /// What to do with a record that it panics on.
    pub on_panic: OnPanic,
    /// The greatest size of an output chunk in bytes.
    pub chunk_limit: usize,
}

impl Strategy {
    /// Starts the threads that the strategy needs; they end with it.
    pub fn new(settings: &StrategySettings) -> Strategy {
        match settings.kind {
            StrategyKind::Serial => Strategy::Serial(Serial::new(settings)),
            StrategyKind::Pipeline => Strategy::Pipeline(Pipeline::new(settings)),
            StrategyKind::Worker => Strategy::Worker(Worker::new(settings)),
        }
    }

    /// Whether a job can be submitted while `in_flight` batches wait for their acknowledgement.
    pub fn has_room(&self, in_flight: usize) -> bool {
        match self {
            Strategy::Serial(serial) => serial.has_room(in_flight),
            Strategy::Pipeline(pipeline) => pipeline.has_room(),
            Strategy::Worker(worker) => worker.has_room(),
            #[cfg(test)]
            Strategy::Stepped(stepped) => stepped.has_room(in_flight),
        }
    }

    /// Takes a job that has records; call only with room. Returns the number of parts that it was
    /// split into, each of which comes back as a product of its own.
    pub fn submit(&mut self, job: Job) -> usize {
        match self {
            Strategy::Serial(serial) => serial.submit(job),
            Strategy::Pipeline(pipeline) => pipeline.submit(job),
            Strategy::Worker(worker) => worker.submit(job),
            #[cfg(test)]
            Strategy::Stepped(stepped) => stepped.submit(job),
        }
    }

    /// The next product, in the order to write them. Waits while there is none. Cancel-safe.
    ///
    /// # Errors
    /// When the transform panicked, or broke its contract.
    pub async fn next(&mut self) -> Result<Product, TransformError> {
        match self {
            Strategy::Serial(serial) => serial.next().await,
            Strategy::Pipeline(pipeline) => pipeline.next().await,
            Strategy::Worker(worker) => worker.next().await,
            #[cfg(test)]
            Strategy::Stepped(stepped) => stepped.next().await,
        }
    }

    /// How long the transform has been working on its oldest batch; `None` while it has none. This
    /// is how a transform that never returns is noticed.
    pub fn oldest_age(&self) -> Option<Duration> {
        match self {
            Strategy::Serial(serial) => serial.threads().oldest_age(),
            Strategy::Pipeline(pipeline) => pipeline.threads().oldest_age(),
            Strategy::Worker(worker) => worker.threads().oldest_age(),
            #[cfg(test)]
            Strategy::Stepped(_) => None,
        }
    }
}
