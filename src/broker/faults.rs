//! Faults for tests: what the broker is told to do wrong, and when.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use kafka_protocol::messages::ApiKey;

/// A fault to inject: which requests it meets, and what happens to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The requests it meets; `None` meets all.
    pub api: Option<ApiKey>,
    /// Only requests for this topic; understood for `Produce` and `Fetch` with an error code.
    pub topic: Option<String>,
    /// The requests it lets pass before the first that it meets.
    pub after: u64,
    /// The number of requests it meets; `u64::MAX` meets every one from then on.
    pub count: u64,
    /// What happens.
    pub action: FaultAction,
}

/// What happens to a request that meets a [`Fault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultAction {
    /// It has no effect and is answered with this error code of the protocol.
    Error(i16),
    /// It has no effect and its connection is closed.
    Close,
    /// It takes effect and its connection is closed in place of an answer.
    LoseResponse,
    /// Its answer comes this much later.
    Delay(Duration),
}

impl Fault {
    /// `action` at the next request of `api`, once.
    pub fn once(api: ApiKey, action: FaultAction) -> Fault {
        Fault { api: Some(api), topic: None, after: 0, count: 1, action }
    }

    /// `action` at every request of `api`.
    pub fn always(api: ApiKey, action: FaultAction) -> Fault {
        Fault { count: u64::MAX, ..Fault::once(api, action) }
    }

    /// The same after `requests` that pass.
    #[must_use]
    pub fn after(self, requests: u64) -> Fault {
        Fault { after: requests, ..self }
    }

    /// The same, this many times.
    #[must_use]
    pub fn times(self, count: u64) -> Fault {
        Fault { count, ..self }
    }

    /// The same for one topic only.
    #[must_use]
    pub fn on(self, topic: &str) -> Fault {
        Fault { topic: Some(topic.to_owned()), ..self }
    }
}

/// The faults that are still to happen.
#[derive(Debug, Default)]
pub struct Faults {
    pending: Mutex<Vec<Fault>>,
    /// The rate of produced bytes a second, and the time at which what was taken is through.
    rate: Mutex<Option<(u64, Instant)>>,
}

impl Faults {
    /// Adds a fault to those still to happen.
    pub fn inject(&self, fault: Fault) {
        self.pending().push(fault);
    }

    /// Forgets all faults and the rate.
    pub fn clear(&self) {
        self.pending().clear();
        self.limit_rate(None);
    }

    /// What happens to this request of `api`, if anything.
    pub fn meet(&self, api: ApiKey) -> Option<FaultAction> {
        self.take(api, None)
    }

    /// The error code for the part of a request of `api` that is about `topic`, if any.
    pub fn meet_topic(&self, api: ApiKey, topic: &str) -> Option<i16> {
        match self.take(api, Some(topic))? {
            FaultAction::Error(code) => Some(code),
            FaultAction::Close | FaultAction::LoseResponse | FaultAction::Delay(_) => None,
        }
    }

    fn take(&self, api: ApiKey, topic: Option<&str>) -> Option<FaultAction> {
        let mut pending = self.pending();
        let mut met = None;
        for fault in pending.iter_mut() {
            if fault.api.is_some_and(|of| of != api) || fault.topic.as_deref() != topic {
                continue;
            }
            if fault.after > 0 {
                fault.after -= 1;
            } else if met.is_none() {
                met = Some(fault.action);
                fault.count = if fault.count == u64::MAX { u64::MAX } else { fault.count.saturating_sub(1) };
            }
        }
        pending.retain(|fault| fault.count > 0);
        met
    }

    /// Takes produced bytes at no more than `bytes_per_s`, by answering late; `None` lifts the limit.
    pub fn limit_rate(&self, bytes_per_s: Option<u64>) {
        let rate = bytes_per_s.map(|bytes_per_s| (bytes_per_s.max(1), Instant::now()));
        *self.rate.lock().unwrap_or_else(PoisonError::into_inner) = rate;
    }

    /// How long the answer to a request with `bytes` of records has to wait.
    pub fn delay(&self, bytes: usize) -> Duration {
        let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((bytes_per_s, through)) = rate.as_mut() else { return Duration::ZERO };
        let now = Instant::now();
        *through = now.max(*through) + Duration::from_secs_f64(bytes as f64 / *bytes_per_s as f64);
        through.duration_since(now)
    }

    fn pending(&self) -> MutexGuard<'_, Vec<Fault>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_meets_the_requests_it_was_told_to() {
        let faults = Faults::default();
        faults.inject(Fault::once(ApiKey::Produce, FaultAction::Close).after(1).times(2));
        let met: Vec<_> = (0..5).map(|_| faults.meet(ApiKey::Produce).is_some()).collect();
        assert_eq!(met, [false, true, true, false, false]);
        faults.inject(Fault::always(ApiKey::Fetch, FaultAction::Error(3)));
        assert_eq!(faults.meet(ApiKey::Produce), None);
        assert_eq!(faults.meet(ApiKey::Fetch), Some(FaultAction::Error(3)));
        assert_eq!(faults.meet(ApiKey::Fetch), Some(FaultAction::Error(3)));
        faults.clear();
        assert_eq!(faults.meet(ApiKey::Fetch), None);
    }

    #[test]
    fn a_fault_of_a_topic_meets_that_topic_alone() {
        let faults = Faults::default();
        faults.inject(Fault::once(ApiKey::Produce, FaultAction::Error(10)).on("a"));
        assert_eq!(faults.meet(ApiKey::Produce), None);
        assert_eq!(faults.meet_topic(ApiKey::Produce, "b"), None);
        assert_eq!(faults.meet_topic(ApiKey::Produce, "a"), Some(10));
        assert_eq!(faults.meet_topic(ApiKey::Produce, "a"), None);
    }

    #[test]
    fn the_rate_delays_in_proportion() {
        let faults = Faults::default();
        assert_eq!(faults.delay(1 << 30), Duration::ZERO);
        faults.limit_rate(Some(1000));
        assert!(faults.delay(10_000) > Duration::from_secs(9));
        assert!(faults.delay(10_000) > Duration::from_secs(19));
    }
}
