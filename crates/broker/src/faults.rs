//! Faults for tests: what the broker does wrong, and when.
//!
//! A [`Fault`] affects requests of an api, of a topic or of a partition. It ends when it has
//! affected as many as it should, or when it is lifted. What does not concern requests, such as a
//! partition without a leader, is set on the [`Broker`](super::Broker) itself.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use kafka_protocol::messages::ApiKey;
use parking_lot::Mutex;
use tokio::sync::watch;

/// A fault to inject: which requests it affects, and what happens to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The requests it affects; `None` affects all.
    pub api: Option<ApiKey>,
    /// Only the part of a request that is about this topic.
    pub topic: Option<String>,
    /// Only the part of a request that is about this partition of the topic.
    pub partition: Option<i32>,
    /// The requests, or parts, that it lets pass first.
    pub after: u64,
    /// The number of requests, or parts, that it affects; `u64::MAX` affects every one from then
    /// on.
    pub count: u64,
    /// What happens.
    pub action: FaultAction,
}

/// What happens to a request that meets a [`Fault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultAction {
    /// It has no effect and is answered with this error code of the protocol, by apis whose answer
    /// has one.
    Error(i16),
    /// It has no effect and its connection is closed without an answer.
    Close,
    /// It takes effect, and its connection is closed instead of an answer.
    LoseResponse,
    /// It has no effect and is answered as if it had; for EndTxn of transactions version 1.
    Pretend,
    /// It takes effect, and is answered, this much later. As with Kafka, the requests of one
    /// connection are handled one after another: those behind it wait as well.
    Delay(Duration),
    /// It takes effect and is answered at once, telling the client to be quiet for this long,
    /// during which nothing is read from its connection (KIP-219). A fetch gets no records then.
    Throttle(Duration),
    /// It is accepted and nothing follows until the fault is lifted; then it takes effect and is
    /// answered. Those behind it on the same connection wait as well.
    Freeze,
}

/// A fault that was injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultId(u64);

impl Fault {
    /// `action` at the next request of `api`, once.
    pub fn once(api: ApiKey, action: FaultAction) -> Fault {
        Fault { api: Some(api), topic: None, partition: None, after: 0, count: 1, action }
    }

    /// `action` at every request of `api`.
    pub fn always(api: ApiKey, action: FaultAction) -> Fault {
        Fault { count: u64::MAX, ..Fault::once(api, action) }
    }

    /// `action` at every request. With [`FaultAction::Freeze`] the broker is like a process that
    /// was stopped: connections are accepted and nothing is answered.
    pub fn everywhere(action: FaultAction) -> Fault {
        Fault { api: None, ..Fault::always(ApiKey::Produce, action) }
    }

    /// The same, after `requests` have passed.
    #[must_use]
    pub fn after(self, requests: u64) -> Fault {
        Fault { after: requests, ..self }
    }

    /// The same, this many times.
    #[must_use]
    pub fn times(self, count: u64) -> Fault {
        Fault { count, ..self }
    }

    /// The same for one topic only, for an error code of Produce, Fetch, ListOffsets,
    /// OffsetForLeaderEpoch, OffsetCommit, TxnOffsetCommit, AddPartitionsToTxn, Metadata,
    /// CreateTopics, CreatePartitions.
    #[must_use]
    pub fn on(self, topic: &str) -> Fault {
        Fault { topic: Some(topic.to_owned()), ..self }
    }

    /// The same for one partition only, for an error code of Produce, Fetch, ListOffsets,
    /// OffsetForLeaderEpoch, OffsetCommit, TxnOffsetCommit, AddPartitionsToTxn.
    #[must_use]
    pub fn on_partition(self, topic: &str, partition: i32) -> Fault {
        Fault { partition: Some(partition), ..self.on(topic) }
    }
}

/// A fault that has not ended, or whose requests wait for its end.
#[derive(Debug)]
struct Pending {
    id: FaultId,
    fault: Fault,
}

/// The faults that have not ended.
#[derive(Debug)]
pub struct Faults {
    pending: Mutex<Vec<Pending>>,
    /// Whether there are any, so that nothing is slower without.
    any: AtomicBool,
    /// The number of faults injected; a change also says that some were lifted.
    injected: watch::Sender<u64>,
}

impl Default for Faults {
    fn default() -> Faults {
        Faults { pending: Mutex::default(), any: AtomicBool::new(false), injected: watch::channel(0).0 }
    }
}

impl Faults {
    /// Adds a fault.
    ///
    /// # Panics
    /// For a part of a request with anything but an error code: the other parts could not be
    /// answered.
    pub fn inject(&self, fault: Fault) -> FaultId {
        let whole = fault.topic.is_none();
        assert!(whole || matches!(fault.action, FaultAction::Error(_)), "{fault:?} is not for a part");
        let mut pending = self.pending.lock();
        self.injected.send_modify(|count| *count += 1);
        let id = FaultId(*self.injected.borrow());
        pending.push(Pending { id, fault });
        self.any.store(true, Ordering::Release);
        id
    }

    /// Lifts a fault; requests that it has frozen continue.
    pub fn lift(&self, id: FaultId) {
        self.keep(|pending| pending.id != id);
    }

    /// Lifts all faults.
    pub fn clear(&self) {
        self.keep(|_| false);
    }

    fn keep(&self, kept: impl FnMut(&Pending) -> bool) {
        let mut pending = self.pending.lock();
        pending.retain(kept);
        self.any.store(!pending.is_empty(), Ordering::Release);
        drop(pending);
        self.injected.send_modify(|_| ());
    }

    /// Waits until a fault that has frozen a request is lifted.
    pub async fn lifted(&self, id: FaultId) {
        let is_lifted = |_: &u64| self.pending.lock().iter().all(|pending| pending.id != id);
        // The sender lives as long as `self`.
        let _ = self.injected.subscribe().wait_for(is_lifted).await;
    }

    /// What happens to this request of `api`, if anything.
    pub fn meet(&self, api: ApiKey) -> Option<(FaultId, FaultAction)> {
        self.take(api, None, None)
    }

    /// The error code for the part of a request of `api` that is about `topic`; `code` if no fault
    /// affects it.
    pub fn meet_topic(&self, api: ApiKey, topic: &str, code: i16) -> i16 {
        error_code(self.take(api, Some(topic), None)).unwrap_or(code)
    }

    /// The error code for the part of a request of `api` that is about a partition; `code` if no
    /// fault affects it.
    pub fn meet_partition(&self, api: ApiKey, topic: &str, partition: i32, code: i16) -> i16 {
        error_code(self.take(api, Some(topic), Some(partition))).unwrap_or(code)
    }

    fn take(
        &self,
        api: ApiKey,
        topic: Option<&str>,
        partition: Option<i32>,
    ) -> Option<(FaultId, FaultAction)> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let mut pending = self.pending.lock();
        let mut met = None;
        for Pending { id, fault } in pending.iter_mut() {
            let elsewhere = fault.topic.as_deref() != topic || fault.partition != partition;
            if fault.count == 0 || elsewhere || fault.api.is_some_and(|of| of != api) {
                continue;
            }
            if fault.after > 0 {
                fault.after -= 1;
            } else if met.is_none() {
                met = Some((*id, fault.action));
                fault.count = if fault.count == u64::MAX { u64::MAX } else { fault.count - 1 };
            }
        }
        // One that has frozen its last request stays, so that it can be lifted.
        pending.retain(|Pending { fault, .. }| fault.count > 0 || fault.action == FaultAction::Freeze);
        self.any.store(!pending.is_empty(), Ordering::Release);
        met
    }
}

fn error_code(met: Option<(FaultId, FaultAction)>) -> Option<i16> {
    match met?.1 {
        FaultAction::Error(code) => Some(code),
        FaultAction::Close
        | FaultAction::LoseResponse
        | FaultAction::Pretend
        | FaultAction::Delay(_)
        | FaultAction::Throttle(_)
        | FaultAction::Freeze => None,
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::poll;

    use super::*;

    #[test]
    fn a_fault_meets_the_requests_it_was_told_to() {
        let faults = Faults::default();
        faults.inject(Fault::once(ApiKey::Produce, FaultAction::Close).after(1).times(2));
        let met: Vec<_> = (0..5).map(|_| faults.meet(ApiKey::Produce).is_some()).collect();
        assert_eq!(met, [false, true, true, false, false]);
        let id = faults.inject(Fault::always(ApiKey::Fetch, FaultAction::Error(3)));
        assert_eq!(faults.meet(ApiKey::Produce), None);
        assert_eq!(faults.meet(ApiKey::Fetch), Some((id, FaultAction::Error(3))));
        assert_eq!(faults.meet(ApiKey::Fetch), Some((id, FaultAction::Error(3))));
        faults.clear();
        assert_eq!(faults.meet(ApiKey::Fetch), None);
    }

    #[test]
    fn a_fault_of_a_part_meets_that_part_alone() {
        let faults = Faults::default();
        faults.inject(Fault::once(ApiKey::Produce, FaultAction::Error(10)).on("a"));
        let always = Fault::always(ApiKey::Produce, FaultAction::Error(19)).on_partition("a", 1);
        let id = faults.inject(always);
        assert_eq!(faults.meet(ApiKey::Produce), None);
        assert_eq!(faults.meet_topic(ApiKey::Produce, "b", 0), 0);
        assert_eq!(faults.meet_topic(ApiKey::Produce, "a", 0), 10);
        assert_eq!(faults.meet_topic(ApiKey::Produce, "a", 7), 7);
        for (partition, code) in [(0, 7), (1, 19), (2, 7), (1, 19)] {
            assert_eq!(faults.meet_partition(ApiKey::Produce, "a", partition, 7), code);
        }
        faults.lift(id);
        assert_eq!(faults.meet_partition(ApiKey::Produce, "a", 1, 0), 0);
    }

    #[tokio::test]
    async fn what_was_frozen_goes_on_when_its_fault_is_lifted_and_no_sooner() {
        let faults = Faults::default();
        let id = faults.inject(Fault::once(ApiKey::Fetch, FaultAction::Freeze));
        assert_eq!(faults.meet(ApiKey::Fetch), Some((id, FaultAction::Freeze)));
        assert_eq!(faults.meet(ApiKey::Fetch), None);
        let mut lifted = pin!(faults.lifted(id));
        assert!(poll!(&mut lifted).is_pending());
        faults.inject(Fault::once(ApiKey::Fetch, FaultAction::Close));
        assert!(poll!(&mut lifted).is_pending());
        faults.lift(id);
        assert!(poll!(&mut lifted).is_ready());
    }
}
