//! A strategy without threads, for the simulation: each job takes some virtual time, drawn from a
//! seed, so that a schedule always runs the same way.

use std::{fmt, future::pending, time::Duration};

use rand::{Rng, SeedableRng, rngs::SmallRng};
use tokio::time::{Instant, sleep_until};

use super::{Job, Order, Product, StrategySettings, TransformError, transformer::Transformer};
use crate::batch::PartitionBatch;

/// The most jobs in progress, unless it is one batch at a time.
const DEPTH: usize = 4;

/// The strategy; each job has a time at which its product comes out.
pub struct Stepped {
    transformer: Transformer,
    settings: StrategySettings,
    jobs: Vec<(Instant, Job)>,
    random: SmallRng,
    /// One batch at a time, until it is acknowledged.
    is_serial: bool,
}

impl Stepped {
    pub fn new(settings: &StrategySettings, seed: u64, is_serial: bool) -> Stepped {
        Stepped {
            transformer: Transformer::new(settings),
            settings: settings.clone(),
            jobs: Vec::new(),
            random: SmallRng::seed_from_u64(seed),
            is_serial,
        }
    }

    pub(super) fn has_room(&self, in_flight: usize) -> bool {
        if self.is_serial { in_flight == 0 && self.jobs.is_empty() } else { self.jobs.len() < DEPTH }
    }

    pub(super) fn submit(&mut self, job: Job) -> usize {
        let parts = match self.settings.order {
            Order::Partition | Order::None => vec![job],
            Order::Key => halves(job),
        };
        let count = parts.len();
        for part in parts {
            let due = Instant::now() + Duration::from_micros(self.random.random_range(1..3000));
            self.jobs.push((due, part));
        }
        count
    }

    pub(super) async fn next(&mut self) -> Result<Product, TransformError> {
        let first = match self.settings.order {
            Order::Partition => 0,
            Order::Key | Order::None => {
                (0..self.jobs.len()).min_by_key(|index| self.jobs[*index].0).unwrap_or(0)
            }
        };
        let Some((due, _)) = self.jobs.get(first) else { return pending().await };
        sleep_until(*due).await;
        let (_, job) = self.jobs.remove(first);
        self.transformer.produce(job)
    }
}

/// A job in up to two parts, as if the offset were the key.
fn halves(job: Job) -> Vec<Job> {
    let part = |odd: i64| {
        let records = job.batch.records.iter().filter(|record| record.offset % 2 == odd).copied().collect();
        let batch = PartitionBatch {
            origin: job.batch.origin.clone(),
            buffer: job.batch.buffer.clone(),
            records,
            ..job.batch
        };
        Job { batch, ticket: job.ticket.clone() }
    };
    [0, 1].map(part).into_iter().filter(|part| !part.batch.records.is_empty()).collect()
}

impl fmt::Debug for Stepped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stepped").field("jobs", &self.jobs).finish_non_exhaustive()
    }
}
