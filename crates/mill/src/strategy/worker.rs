//! Several threads transform side by side, and the order is kept all the same.
//!
//! - `partition`: whole batches on any thread, put back in order before they are written.
//! - `key`: every batch is split by key, each key always on the same thread.
//! - `none`: whole batches, written as they become ready.

use xxhash_rust::xxh3::xxh3_64;

use super::{
    Job, Order, Product, StrategySettings, TransformError, resequence::Resequencer, threads::Threads,
};
use crate::batch::PartitionBatch;

/// The worker strategy.
#[derive(Debug)]
pub struct Worker {
    threads: Threads,
    order: Order,
    sequence: Resequencer<Result<Product, TransformError>>,
    /// The thread that takes the records without a key of the next batch.
    keyless: usize,
}

impl Worker {
    pub(super) fn new(settings: &StrategySettings) -> Worker {
        Worker {
            threads: Threads::start(settings.workers.max(1), settings),
            order: settings.order,
            sequence: Resequencer::default(),
            keyless: 0,
        }
    }

    pub(super) fn has_room(&self) -> bool {
        match self.order {
            Order::Partition | Order::None => self.threads.has_room(self.threads.idlest()),
            Order::Key => (0..self.threads.count()).all(|thread| self.threads.has_room(thread)),
        }
    }

    pub(super) fn submit(&mut self, job: Job) -> usize {
        match self.order {
            Order::Partition => {
                let number = self.sequence.reserve();
                self.threads.submit(self.threads.idlest(), number, job);
                1
            }
            Order::None => {
                self.threads.submit(self.threads.idlest(), 0, job);
                1
            }
            Order::Key => self.submit_by_key(job),
        }
    }

    pub(super) fn threads(&self) -> &Threads {
        &self.threads
    }

    pub(super) async fn next(&mut self) -> Result<Product, TransformError> {
        loop {
            if let Some(product) = self.sequence.take() {
                return product;
            }
            let (number, made) = self.threads.next().await;
            match self.order {
                Order::Partition => self.sequence.put(number, made),
                Order::Key | Order::None => return made,
            }
        }
    }

    fn submit_by_key(&mut self, job: Job) -> usize {
        let count = self.threads.count();
        self.keyless = (self.keyless + 1) % count;
        let mut parts: Vec<_> = (0..count).map(|_| Vec::new()).collect();
        for record in &job.batch.records {
            let thread = match job.batch.bytes(record.key) {
                Some(key) => (xxh3_64(key) % count as u64) as usize,
                None => self.keyless,
            };
            parts[thread].push(*record);
        }
        let mut submitted = 0;
        for (thread, records) in parts.into_iter().enumerate().filter(|(_, records)| !records.is_empty()) {
            let batch = PartitionBatch {
                origin: job.batch.origin.clone(),
                buffer: job.batch.buffer.clone(),
                records,
                ..job.batch
            };
            self.threads.submit(thread, 0, Job { batch, ticket: job.ticket.clone() });
            submitted += 1;
        }
        submitted
    }
}
