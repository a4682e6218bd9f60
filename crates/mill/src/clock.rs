//! The time: of day, in Kafka's terms, and moments to wait for.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::{Instant, sleep_until};

/// Milliseconds since the epoch.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as i64)
}

/// Waits for a moment; forever without one, so that a `select!` may have it or not. Cancel-safe.
pub async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
