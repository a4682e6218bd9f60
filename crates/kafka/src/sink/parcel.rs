//! A sealed batch on its way from its partition's writer to the broker's carrier, and back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};
use topicmill_mill::batch::TopicPartition;

use crate::error::WireError;

/// A sealed batch to be sent.
#[derive(Debug)]
pub struct Parcel {
    pub to: TopicPartition,
    pub bytes: Bytes,
    pub claim: Arc<Claim>,
    pub answer: oneshot::Sender<ParcelOutcome>,
}

/// The outcome of a parcel.
#[derive(Debug)]
pub enum ParcelOutcome {
    /// The broker answered for the partition, and wants this client to be quiet for a while
    /// (KIP-219).
    Answered(PartitionProduceResponse, Duration),
    /// It was not sent, for certain.
    Unsent(WireError),
    /// It was sent, and whether the broker acted on it is not known.
    Lost {
        error: WireError,
        /// The broker closed the connection when this was next to be answered, and the request was
        /// large: it may be one that the broker does not even read.
        is_suspect: bool,
    },
}

/// What a writer shares with the carriers of its parcels.
#[derive(Debug, Default)]
pub struct Mark {
    /// A parcel was taken that its writer [waits](Claim::waits) for.
    pub taken: Notify,
    waits: AtomicBool,
    /// The number of the last request that took a parcel: a request takes one of each partition.
    request: AtomicU64,
}

impl Mark {
    /// Whether request number `request` has no parcel of this writer yet; afterwards it has.
    pub fn enter(&self, request: u64) -> bool {
        self.request.swap(request, Ordering::Relaxed) != request
    }
}

/// Who has a parcel: either it is taken to be sent, or its writer withdraws it, never both.
#[derive(Debug)]
pub struct Claim {
    holder: Mutex<Holder>,
    mark: Arc<Mark>,
}

#[derive(Clone, Copy, Debug)]
enum Holder {
    /// Nobody yet.
    Queue,
    /// A request, since then.
    Request(Instant),
    /// Its writer again.
    Writer,
}

impl Claim {
    pub fn new(mark: &Arc<Mark>) -> Claim {
        Claim { holder: Mutex::new(Holder::Queue), mark: Arc::clone(mark) }
    }

    /// The mark of the parcel's writer.
    pub fn mark(&self) -> &Mark {
        &self.mark
    }

    /// Takes the parcel to be sent, unless its writer has withdrawn it.
    pub fn take(&self) -> bool {
        let mut holder = self.holder.lock();
        if !matches!(*holder, Holder::Queue) {
            return false;
        }
        *holder = Holder::Request(Instant::now());
        drop(holder);
        if self.mark.waits.swap(false, Ordering::SeqCst) {
            self.mark.taken.notify_one();
        }
        true
    }

    /// Withdraws the parcel, unless it was taken to be sent.
    pub fn withdraw(&self) -> bool {
        let mut holder = self.holder.lock();
        if matches!(*holder, Holder::Queue) {
            *holder = Holder::Writer;
        }
        matches!(*holder, Holder::Writer)
    }

    /// Whether nobody has taken it.
    pub fn is_queued(&self) -> bool {
        matches!(*self.holder.lock(), Holder::Queue)
    }

    /// Whether nobody has taken it; whoever takes it then notifies the writer.
    pub fn waits(&self) -> bool {
        // The writer raises its flag before it looks; a carrier takes the parcel before it looks at
        // the flag. Whatever the interleaving, one of them notices the other.
        self.mark.waits.store(true, Ordering::SeqCst);
        self.is_queued()
    }

    /// When it was taken to be sent.
    pub fn taken_at(&self) -> Option<Instant> {
        match *self.holder.lock() {
            Holder::Request(at) => Some(at),
            Holder::Queue | Holder::Writer => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parcel_is_sent_or_taken_back() {
        let mark = Arc::default();
        let (sent, back) = (Claim::new(&mark), Claim::new(&mark));
        assert!(sent.is_queued() && sent.take() && !sent.withdraw() && sent.taken_at().is_some());
        assert!(
            back.waits() && back.withdraw() && !back.take() && back.withdraw() && back.taken_at().is_none()
        );
    }

    #[test]
    fn a_request_takes_one_parcel_of_a_writer() {
        let mark = Mark::default();
        assert_eq!([1, 1, 2].map(|request| mark.enter(request)), [true, false, true]);
    }
}
