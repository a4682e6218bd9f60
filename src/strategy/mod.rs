//! The strategies: how batches are transformed side by side, and in which order they go on.
//!
//! Read `serial` first: it is the oracle that the others are tested against.

mod kind;
mod pipeline;
mod resequence;
mod serial;
#[cfg(test)]
pub(crate) mod stepped;
#[cfg(test)]
mod tests;
mod threads;
mod worker;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

pub use kind::{OnPanic, Order, StrategyKind};
use pipeline::Pipeline;
use serial::Serial;
use worker::Worker;

use crate::{
    batch::PartitionBatch,
    offsets::Ticket,
    transform::{self, Transform, TransformKind, Transformed},
};

/// A batch to transform, and what it is acknowledged by.
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

/// A transform panicked; the batch is not lost, it was never acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{partition}: the transform panicked on the records before offset {next_offset}: {message}")]
pub struct TransformPanic {
    /// The partition of the batch.
    pub partition: crate::batch::TopicPartition,
    /// The offset after the batch.
    pub next_offset: i64,
    /// What the panic said.
    pub message: String,
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
    /// None, in virtual time.
    #[cfg(test)]
    Stepped(stepped::Stepped),
}

/// What a strategy is made of.
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

    /// Takes a job that has records; call only with room. Returns the number of parts that it
    /// was split into, each of which comes back as a product of its own.
    pub fn submit(&mut self, job: Job) -> usize {
        match self {
            Strategy::Serial(serial) => serial.submit(job),
            Strategy::Pipeline(pipeline) => pipeline.submit(job),
            Strategy::Worker(worker) => worker.submit(job),
            #[cfg(test)]
            Strategy::Stepped(stepped) => stepped.submit(job),
        }
    }

    /// The next product in the order to write in. Waits as long as there is none. Cancel-safe.
    ///
    /// # Errors
    /// When the transform panicked.
    pub async fn next(&mut self) -> Result<Product, TransformPanic> {
        match self {
            Strategy::Serial(serial) => serial.next().await,
            Strategy::Pipeline(pipeline) => pipeline.next().await,
            Strategy::Worker(worker) => worker.next().await,
            #[cfg(test)]
            Strategy::Stepped(stepped) => stepped.next().await,
        }
    }
}

/// Transforms one batch; a panic of the transform becomes an error.
fn produce(transform: &mut dyn Transform, job: Job, chunk_limit: usize) -> Result<Product, TransformPanic> {
    let started = Instant::now();
    let applied = catch_unwind(AssertUnwindSafe(|| transform::apply(transform, &job.batch, chunk_limit)));
    match applied {
        Ok(transformed) => Ok(Product { job, transformed, time: started.elapsed() }),
        Err(panic) => Err(TransformPanic {
            partition: job.batch.origin.clone(),
            next_offset: job.batch.next_offset,
            message: panic_message(&*panic),
        }),
    }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
