//! How long a run keeps trying.

use std::time::Duration;

use tokio::time::Instant;

use super::RunError;
use crate::{mill::Observers, sentences::sentences};

/// Allows a bounded time in which something fails and nothing moves.
#[derive(Debug)]
pub(super) struct Patience {
    limit: Duration,
    observers: Observers,
    /// Since when nothing has moved; `None` while nothing fails.
    since: Option<Instant>,
    moved: (u64, u64),
}

impl Patience {
    pub(super) fn new(limit: Duration, observers: &Observers) -> Patience {
        Patience { limit, observers: observers.clone(), since: None, moved: (0, 0) }
    }

    /// Looks again.
    ///
    /// # Errors
    /// When the time is up.
    pub(super) fn look(&mut self) -> Result<(), RunError> {
        let metrics = &self.observers.metrics;
        let troubles = self.observers.troubles.now();
        let moved = (metrics.batches.get(), metrics.commits.get());
        if troubles.is_empty() || moved != self.moved {
            (self.since, self.moved) = (None, moved);
        }
        if troubles.is_empty() {
            return Ok(());
        }
        if self.since.get_or_insert_with(Instant::now).elapsed() < self.limit {
            return Ok(());
        }
        let reasons: Vec<String> = sentences(troubles).iter().map(|sentence| sentence.to_string()).collect();
        Err(RunError::GaveUp { limit: self.limit, reason: reasons.join("; ") })
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::engine::Place;

    #[tokio::test(start_paused = true)]
    async fn it_is_over_when_nothing_has_moved_for_its_limit_and_something_fails() {
        let observers = Observers::default();
        let limit = Duration::from_secs(600);
        let mut patience = Patience::new(limit, &observers);
        patience.look().unwrap();
        advance(limit * 2).await;
        patience.look().unwrap();
        observers.troubles.begin(Place::Commit, &"nobody answers");
        patience.look().unwrap();
        advance(limit / 2).await;
        observers.metrics.batches.inc();
        patience.look().unwrap();
        advance(limit - Duration::from_secs(1)).await;
        patience.look().unwrap();
        advance(Duration::from_secs(1)).await;
        let error = patience.look().unwrap_err();
        assert!(error.to_string().contains("nobody answers"), "{error}");
        observers.troubles.end(&Place::Commit);
        patience.look().unwrap();
    }
}
