//! Ends a stop that takes too long.

use std::{
    pin::pin,
    sync::{Arc, Weak},
    thread,
    time::Duration,
};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::RunError;
use crate::{exit::Exit, mill::Observers};

/// How long leaving the group and closing connections may take beyond the drain timeout.
const TO_CLOSE: Duration = Duration::from_millis(500);

/// How long before the drain timeout the unfinished batches are counted.
const TO_COUNT: Duration = Duration::from_millis(50);

/// When to end the process although its threads have not ended: within a second after the drain
/// timeout.
const TO_GIVE_UP: Duration = Duration::from_millis(800);

/// Runs `work`, which drains by itself within `limit` once `stop` is cancelled. If anything in it
/// hangs, it is dropped shortly after.
pub(super) async fn within(
    limit: Duration,
    stop: CancellationToken,
    observers: &Observers,
    work: impl Future<Output = Result<(), RunError>>,
) -> Result<(), RunError> {
    let overdue = async {
        stop.cancelled().await;
        // Shortly before the work gives up by itself what it has not finished.
        sleep(limit.saturating_sub(TO_COUNT)).await;
        let batches = observers.metrics.batches_in_flight.get();
        sleep(limit.min(TO_COUNT) + TO_CLOSE).await;
        batches
    };
    let work = pin!(work);
    tokio::select! {
        biased;
        ended = work => ended,
        batches = overdue => Err(RunError::NotStopped { timeout: limit, batches }),
    }
}

/// Ends the process when [`within`] cannot: a thread whose transform never returns drops nothing.
#[derive(Debug)]
pub(super) struct Watchdog {
    _alive: Arc<()>,
}

impl Watchdog {
    /// Watches until this is dropped, which shows that the work has ended.
    pub(super) fn start(limit: Duration, stop: CancellationToken) -> Watchdog {
        let alive = Arc::new(());
        let watched = Arc::downgrade(&alive);
        tokio::spawn(async move {
            stop.cancelled().await;
            // A thread of its own, as all threads of the runtime may be blocked.
            thread::spawn(move || bite(limit, &watched));
        });
        Watchdog { _alive: alive }
    }
}

fn bite(limit: Duration, watched: &Weak<()>) {
    thread::sleep(limit + TO_GIVE_UP);
    if watched.upgrade().is_some() {
        error!(
            error = "a thread does not come to an end; what is not committed will be read again",
            "stopped by force"
        );
        std::process::exit(Exit::Failed as i32);
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_that_hangs_ends_within_a_second_of_the_drain_timeout() {
        let limit = Duration::from_secs(5);
        let observers = Observers::default();
        observers.metrics.batches_in_flight.set(3);
        let stop = CancellationToken::new();
        stop.cancel();
        let asked = Instant::now();
        let ended = within(limit, stop, &observers, pending()).await;
        assert!(asked.elapsed() <= limit + Duration::from_secs(1));
        let Err(error @ RunError::NotStopped { batches: 3, .. }) = ended else { panic!("{ended:?}") };
        assert!(error.to_string().contains("3 batches"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_ends_that_was_not_asked_to() {
        let stop = CancellationToken::new();
        let work = async {
            sleep(Duration::from_secs(3600)).await;
            Ok(())
        };
        within(Duration::from_secs(5), stop, &Observers::default(), work).await.unwrap();
    }
}
