//! How a mill ends: what is in flight is finished, and what is acknowledged is committed.

use std::time::Duration;

use futures_util::FutureExt;
use tracing::warn;

use super::{Mill, MillError};
use crate::{
    delivery::Delivered,
    engine::{Sink, Source},
    offsets::Halt,
};

/// How long the last commit of a mill that ends with an error may take.
const LAST_COMMIT: Duration = Duration::from_secs(5);

/// The same when the drain timeout has passed already.
const LATE_COMMIT: Duration = Duration::from_millis(500);

impl<S: Source, K: Sink> Mill<S, K> {
    /// Whether a drain is over: nothing is in flight, and everything acknowledged is committed.
    ///
    /// # Errors
    /// When it is over and a partition is stopped.
    pub(super) fn is_drained(&mut self) -> Result<bool, MillError> {
        if self.is_committing() || !self.offsets.all_settled() {
            return Ok(false);
        }
        for partition in self.offsets.partitions() {
            if self.offsets.halted(partition) == Some(Halt::Rewinding) {
                warn!(%partition, "what was under way failed and will be read again at the next start");
            }
        }
        match self.stopped.pop_first() {
            Some((_, stopped)) => Err(MillError::Stopped(stopped)),
            None => Ok(true),
        }
    }

    pub(super) fn drain_timeout(&self) -> MillError {
        MillError::DrainTimeout { timeout: self.settings.drain_timeout, batches: self.delivery.in_flight() }
    }

    /// After an error: commits what is acknowledged, which would be read again otherwise.
    pub(super) async fn save(&mut self, error: &MillError) {
        let limit = match error {
            MillError::DrainTimeout { .. } => LATE_COMMIT,
            MillError::Engine(_) | MillError::Transform(_) => LAST_COMMIT.min(self.settings.drain_timeout),
            // It ends when everything is committed.
            MillError::Stopped(_) => return,
        };
        while let Some(delivered) = self.delivery.next(|ticket| self.offsets.is_wanted(ticket)).now_or_never()
        {
            // Exactly once, what is not committed by now is aborted when the sink is closed.
            if let Delivered::Acknowledged(acknowledged) = delivered
                && self.exact.is_none()
            {
                self.offsets.acknowledge(&acknowledged.ticket);
            }
        }
        self.last_commit(limit).await;
    }
}
