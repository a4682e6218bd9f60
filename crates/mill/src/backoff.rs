//! How long to wait between attempts: exponential, bounded, with jitter.

use std::time::Duration;

/// A bounded exponential backoff.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The pause after the first failure.
    pub first: Duration,
    /// The longest pause.
    pub most: Duration,
}

impl Backoff {
    /// The pause after `failures` failures in a row (1 or more): doubled each time, with a jitter
    /// of a fifth either way so that clients do not come back all at once (KIP-580).
    pub fn pause(&self, failures: u32) -> Duration {
        self.steady(failures).mul_f64(rand::random_range(0.8..1.2))
    }

    /// The same without jitter, for waits that compete with no one.
    pub fn steady(&self, failures: u32) -> Duration {
        self.first.saturating_mul(1 << (failures.max(1) - 1).min(16)).min(self.most)
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
    fn pauses_grow_and_are_bounded() {
        let backoff = Backoff { first: Duration::from_millis(10), most: Duration::from_millis(65) };
        for (failures, about) in [(0, 10), (1, 10), (2, 20), (3, 40), (4, 65), (u32::MAX, 65)] {
            let pause = backoff.pause(failures).as_secs_f64() / 0.001;
            let about = f64::from(about);
            assert!((about * 0.8..=about * 1.2).contains(&pause), "{failures}: {pause} ms");
        }
    }
}
