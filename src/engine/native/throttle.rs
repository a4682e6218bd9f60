//! Quotas: a broker says how long it wants to be left alone (KIP-219).

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

/// Longer than any quota's window; what asks for more is broken.
const THROTTLE_MAX: Duration = Duration::from_secs(3600);

/// Until when a broker wants to be left alone on one kind of connection. Clones share it, and it
/// outlives the connections: a new one is as throttled as the one before.
#[derive(Clone, Debug, Default)]
pub struct Throttle {
    until: Arc<Mutex<Option<Instant>>>,
}

impl Throttle {
    /// Takes what a response says, in milliseconds; never shortens what an earlier one said.
    pub fn note(&self, millis: i32) {
        if let Ok(millis @ 1..) = u64::try_from(millis) {
            let until = Instant::now() + Duration::from_millis(millis).min(THROTTLE_MAX);
            let mut current = self.until_now();
            *current = (*current).max(Some(until));
        }
    }

    /// The end of the last that was noted, though it may be over.
    pub fn last(&self) -> Option<Instant> {
        *self.until_now()
    }

    /// The end of it, if it is still to come.
    pub fn until(&self) -> Option<Instant> {
        self.last().filter(|until| *until > Instant::now())
    }

    /// Waits for the end.
    pub async fn wait(&self) {
        while let Some(until) = self.until() {
            sleep_until(until).await;
        }
    }

    fn until_now(&self) -> MutexGuard<'_, Option<Instant>> {
        self.until.lock().expect("no panic while locked")
    }
}
