//! One thread transforms while the batches before and after it are written and read.

use super::{Job, Product, StrategySettings, TransformError, threads::Threads};

/// The pipeline strategy.
#[derive(Debug)]
pub struct Pipeline {
    threads: Threads,
}

impl Pipeline {
    pub(super) fn new(settings: &StrategySettings) -> Pipeline {
        Pipeline { threads: Threads::start(1, settings) }
    }

    pub(super) fn has_room(&self) -> bool {
        self.threads.has_room(0)
    }

    pub(super) fn submit(&mut self, job: Job) -> usize {
        self.threads.submit(0, 0, job);
        1
    }

    pub(super) fn threads(&self) -> &Threads {
        &self.threads
    }

    pub(super) async fn next(&mut self) -> Result<Product, TransformError> {
        self.threads.next().await.1
    }
}
