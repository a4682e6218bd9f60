//! One batch at a time: read, transform, write, wait for the acknowledgement, read the next.

use super::{Job, Product, StrategySettings, TransformError, threads::Threads};

/// The serial strategy. Its transform has a thread of its own, so that it does not block the
/// runtime: heartbeats go on while it works.
#[derive(Debug)]
pub struct Serial {
    thread: Threads,
    is_busy: bool,
}

impl Serial {
    pub(super) fn new(settings: &StrategySettings) -> Serial {
        Serial { thread: Threads::start(1, settings), is_busy: false }
    }

    pub(super) fn has_room(&self, in_flight: usize) -> bool {
        in_flight == 0 && !self.is_busy
    }

    pub(super) fn submit(&mut self, job: Job) -> usize {
        self.is_busy = true;
        self.thread.submit(0, 0, job);
        1
    }

    pub(super) async fn next(&mut self) -> Result<Product, TransformError> {
        let (_, made) = self.thread.next().await;
        self.is_busy = false;
        made
    }

    pub(super) fn threads(&self) -> &Threads {
        &self.thread
    }
}
