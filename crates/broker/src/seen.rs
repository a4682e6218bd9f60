//! What the broker has been asked, so that a test can count requests.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use kafka_protocol::messages::ApiKey;

/// One more than the greatest number of an api that is counted.
const APIS: usize = 128;

/// The requests of one api that a broker has seen, answered or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The requests.
    pub requests: u64,
    /// Those that have taken effect or were refused, whether or not the answer went out.
    pub handled: u64,
    /// The partitions that they named in all, for Produce and Fetch: each a record batch to append,
    /// or a log to read.
    pub partitions: u64,
}

/// Counts what the broker has been asked.
#[derive(Debug)]
pub struct Counts {
    connections: AtomicU64,
    requests: [AtomicU64; APIS],
    handled: [AtomicU64; APIS],
    partitions: [AtomicU64; APIS],
}

impl Default for Counts {
    fn default() -> Counts {
        let zeros = || std::array::from_fn(|_| AtomicU64::new(0));
        Counts { connections: AtomicU64::new(0), requests: zeros(), handled: zeros(), partitions: zeros() }
    }
}

impl Counts {
    /// A connection was accepted.
    pub fn connection(&self) {
        self.connections.fetch_add(1, Relaxed);
    }

    /// A request has come.
    pub fn request(&self, api: ApiKey) {
        if let Some(count) = self.requests.get(api as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// A request has taken effect or was refused.
    pub fn handled(&self, api: ApiKey) {
        if let Some(count) = self.handled.get(api as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// It names this many partitions.
    pub fn partitions(&self, api: ApiKey, count: usize) {
        if let Some(all) = self.partitions.get(api as usize) {
            all.fetch_add(count as u64, Relaxed);
        }
    }

    /// The connections that were accepted so far.
    pub fn connections(&self) -> u64 {
        self.connections.load(Relaxed)
    }

    /// What was asked of an api so far.
    pub fn of(&self, api: ApiKey) -> Seen {
        let read = |counts: &[AtomicU64; APIS]| counts.get(api as usize).map_or(0, |n| n.load(Relaxed));
        Seen {
            requests: read(&self.requests),
            handled: read(&self.handled),
            partitions: read(&self.partitions),
        }
    }
}
