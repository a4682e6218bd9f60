//! How much may be in flight to a broker: what it answers within a few seconds. Pure.
//!
//! A request that waits behind others for longer than its timeout closes the connection, however
//! steadily a slow broker, or one whose quotas throttle the client, answers. So the amount follows
//! the answers: it starts with one request, doubles while they come promptly, and otherwise is what
//! was answered in a few seconds.

use std::time::Duration;

/// The size in bytes up to which batches are gathered for one request. A Java broker allocates
/// larger ones separately (G1's humongous objects), at a price.
pub const REQUEST_BYTES_MAX: usize = 500_000;

/// The most bytes in flight to a broker: enough to keep it busy.
const WINDOW_BYTES_MAX: usize = 16 << 20;

/// What is in flight should be answered within this part of the request timeout.
const HORIZON_DIVISOR: u32 = 6;

/// An answer within this part of the request timeout shows that the broker keeps up.
const PROMPT_DIVISOR: u32 = 30;

/// The bytes that may be in flight to a broker.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    window: usize,
    timeout: Duration,
}

impl Pace {
    /// For requests with this timeout.
    pub fn new(timeout: Duration) -> Pace {
        Pace { window: REQUEST_BYTES_MAX, timeout }
    }

    /// The bytes that may be in flight; a single request always may.
    pub fn window(self) -> usize {
        self.window
    }

    /// A request of `bytes` was answered `took` after it was written or the one before it was
    /// answered, throttling included.
    pub fn answered(&mut self, bytes: usize, took: Duration) {
        self.window = if took < self.timeout / PROMPT_DIVISOR {
            (self.window * 2).min(WINDOW_BYTES_MAX)
        } else {
            let horizon = self.timeout / HORIZON_DIVISOR;
            let in_time = bytes as f64 * horizon.as_secs_f64() / took.as_secs_f64();
            (in_time as usize).clamp(REQUEST_BYTES_MAX, self.window)
        };
    }

    /// The connection was lost.
    pub fn lost(&mut self) {
        self.window = REQUEST_BYTES_MAX;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30);

    #[test]
    fn what_is_under_way_follows_the_answers() {
        let mut pace = Pace::new(TIMEOUT);
        assert_eq!(pace.window(), REQUEST_BYTES_MAX);
        (0..10).for_each(|_| pace.answered(REQUEST_BYTES_MAX, Duration::from_millis(5)));
        assert_eq!(pace.window(), WINDOW_BYTES_MAX);
        // 1 MB/s: five seconds of it.
        pace.answered(2_000_000, Duration::from_secs(2));
        assert_eq!(pace.window(), 5_000_000);
        // 20 KB/s: one request.
        pace.answered(REQUEST_BYTES_MAX, Duration::from_secs(25));
        assert_eq!(pace.window(), REQUEST_BYTES_MAX);
        pace.answered(100, Duration::from_secs(2));
        assert_eq!(pace.window(), REQUEST_BYTES_MAX);
    }

    #[test]
    fn a_new_connection_starts_slowly() {
        let mut pace = Pace::new(TIMEOUT);
        (0..3).for_each(|_| pace.answered(1, Duration::ZERO));
        assert_eq!(pace.window(), 8 * REQUEST_BYTES_MAX);
        pace.lost();
        assert_eq!(pace.window(), REQUEST_BYTES_MAX);
    }
}
