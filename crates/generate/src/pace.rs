//! A steady rate, in small steps.

use std::time::Duration;

/// The longest step, so that the rate is steady enough to measure latency.
const STEP_MAX: Duration = Duration::from_millis(5);

/// Computes how many events are due, at a rate in events per second.
#[derive(Debug)]
pub(super) struct Pace {
    rate: f64,
    made: u64,
}

impl Pace {
    /// A pace of `rate` events per second, which must be positive.
    pub(super) fn new(rate: f64) -> Pace {
        Pace { rate, made: 0 }
    }

    /// The events that are due after `elapsed` since the start and were not made yet.
    pub(super) fn due(&self, elapsed: Duration) -> u64 {
        ((elapsed.as_secs_f64() * self.rate) as u64).saturating_sub(self.made)
    }

    /// Notes that `count` events were made.
    pub(super) fn made(&mut self, count: u64) {
        self.made += count;
    }

    /// How long to wait after `elapsed` until the next event is due, never more than a step.
    pub(super) fn wait(&self, elapsed: Duration) -> Duration {
        let next = (self.made + 1) as f64 / self.rate - elapsed.as_secs_f64();
        // Not below a millisecond: a batch for each event would distort what is measured.
        Duration::from_secs_f64(next.clamp(0.001, STEP_MAX.as_secs_f64()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_holds_whatever_the_steps() {
        let mut pace = Pace::new(12_345.0);
        let mut elapsed = Duration::ZERO;
        let mut made = 0;
        while elapsed < Duration::from_secs(10) {
            let due = pace.due(elapsed);
            made += due;
            pace.made(due);
            let step = pace.wait(elapsed);
            assert!(step <= STEP_MAX);
            elapsed += step;
        }
        assert!((123_300..=123_450).contains(&made), "{made}");
    }

    #[test]
    fn a_slow_rate_makes_single_events() {
        let mut pace = Pace::new(2.0);
        assert_eq!(pace.due(Duration::from_millis(499)), 0);
        assert_eq!(pace.due(Duration::from_millis(501)), 1);
        pace.made(1);
        assert_eq!(pace.due(Duration::from_millis(999)), 0);
    }

    #[test]
    fn what_was_held_up_is_made_up_for() {
        let pace = Pace::new(1000.0);
        assert_eq!(pace.due(Duration::from_secs(3)), 3000);
    }
}
