//! How long to wait before the next attempt: exponential, bounded, with jitter.

use std::time::Duration;

use rand::Rng;

/// A bounded exponential backoff.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// The greatest delay before the first retry.
    pub first: Duration,
    /// The greatest delay before any retry.
    pub most: Duration,
}

impl Backoff {
    /// The delay before retry number `attempt`, counted from 0: between half and all of
    /// `first · 2^attempt`, at most `most`. The jitter keeps many clients from retrying at once.
    pub fn delay(self, attempt: u32) -> Duration {
        let factor = 1u32.checked_shl(attempt).unwrap_or(u32::MAX);
        let bound = self.first.saturating_mul(factor).min(self.most);
        bound.mul_f64(rand::rng().random_range(0.5..=1.0))
    }
}

impl Default for Backoff {
    /// From 100 ms to 5 s.
    fn default() -> Backoff {
        Backoff { first: Duration::from_millis(100), most: Duration::from_secs(5) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_and_are_bounded() {
        let backoff = Backoff { first: Duration::from_millis(10), most: Duration::from_millis(65) };
        for (attempt, bound) in [(0, 10), (1, 20), (2, 40), (3, 65), (31, 65), (u32::MAX, 65)] {
            let delay = backoff.delay(attempt).as_secs_f64() * 1000.0;
            assert!(
                (f64::from(bound) * 0.499..=f64::from(bound) * 1.001).contains(&delay),
                "{attempt}: {delay}"
            );
        }
    }
}
