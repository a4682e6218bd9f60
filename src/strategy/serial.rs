//! One batch at a time: read, transform, write, wait for the acknowledgement, read the next.

use std::{fmt, future::pending};

use super::{Job, Product, StrategySettings, TransformPanic, produce};
use crate::transform::Transform;

/// The serial strategy; it transforms where it is called and has no thread of its own.
pub struct Serial {
    transform: Box<dyn Transform>,
    chunk_limit: usize,
    job: Option<Job>,
}

impl Serial {
    pub(super) fn new(settings: &StrategySettings) -> Serial {
        Serial { transform: settings.transform.build(), chunk_limit: settings.chunk_limit, job: None }
    }

    pub(super) fn has_room(&self, in_flight: usize) -> bool {
        in_flight == 0 && self.job.is_none()
    }

    pub(super) fn submit(&mut self, job: Job) -> usize {
        self.job = Some(job);
        1
    }

    pub(super) async fn next(&mut self) -> Result<Product, TransformPanic> {
        match self.job.take() {
            Some(job) => produce(&mut *self.transform, job, self.chunk_limit),
            None => pending().await,
        }
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serial").field("job", &self.job).finish_non_exhaustive()
    }
}
