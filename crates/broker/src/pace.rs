//! How fast produced bytes are taken: as by a slow disk, or as a quota allows.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// A limit of bytes a second.
#[derive(Debug, Default)]
pub struct Pace {
    /// The bytes a second, and when those taken so far are through.
    rate: Mutex<Option<(u64, Instant)>>,
}

impl Pace {
    /// Takes no more than `bytes_per_s` from now on; `None` lifts the limit.
    pub fn limit(&self, bytes_per_s: Option<u64>) {
        let rate = bytes_per_s.map(|bytes_per_s| (bytes_per_s.max(1), Instant::now()));
        *self.rate.lock() = rate;
    }

    /// Takes `bytes`, and returns how long it takes until they are through.
    pub fn take(&self, bytes: usize) -> Duration {
        let mut rate = self.rate.lock();
        let Some((bytes_per_s, through)) = rate.as_mut() else { return Duration::ZERO };
        let now = Instant::now();
        *through = now.max(*through) + Duration::from_secs_f64(bytes as f64 / *bytes_per_s as f64);
        through.duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_delays_in_proportion() {
        let pace = Pace::default();
        assert_eq!(pace.take(1 << 30), Duration::ZERO);
        pace.limit(Some(1000));
        assert!(pace.take(10_000) > Duration::from_secs(9));
        assert!(pace.take(10_000) > Duration::from_secs(19));
    }
}
