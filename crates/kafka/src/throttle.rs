//! Quotas: a broker says for how long it wants this client to be quiet (KIP-219).

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

/// Longer than any quota's window; a broker that asks for more is broken.
const THROTTLE_MAX: Duration = Duration::from_secs(3600);

/// Until when a broker wants quiet on one kind of connection. Clones share it, and it outlives the
/// connections: a new one is throttled like the one before.
#[derive(Clone, Debug, Default)]
pub struct Throttle {
    until: Arc<Mutex<Option<Instant>>>,
}

impl Throttle {
    /// Takes what a response asks for, in milliseconds; never shortens an earlier one.
    pub fn note(&self, millis: i32) {
        if let Ok(millis @ 1..) = u64::try_from(millis) {
            let until = Instant::now() + Duration::from_millis(millis).min(THROTTLE_MAX);
            let mut current = self.until.lock();
            *current = (*current).max(Some(until));
        }
    }

    /// The end of the latest one noted, though it may have passed.
    pub fn last(&self) -> Option<Instant> {
        *self.until.lock()
    }

    /// Its end, if that is still to come.
    pub fn until(&self) -> Option<Instant> {
        self.last().filter(|until| *until > Instant::now())
    }

    /// Waits for the end.
    pub async fn wait(&self) {
        while let Some(until) = self.until() {
            sleep_until(until).await;
        }
    }
}
