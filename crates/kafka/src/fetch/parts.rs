//! What a leader is asked for, and what comes back, by partition.

use std::sync::{Arc, atomic::AtomicUsize};

use bytes::Bytes;
use topicmill_mill::{
    batch::{AssignmentId, TopicPartition},
    budget::Permit,
    engine::{EngineError, Gap},
};
use topicmill_records::{AbortedTransaction, RecordsError};
use uuid::Uuid;

/// A partition to fetch.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub partition: TopicPartition,
    pub assignment: AssignmentId,
    pub position: i64,
    /// The id of the topic that the position belongs to, if brokers report it (KIP-516).
    pub topic: Option<Uuid>,
    /// The epoch of the leader that is asked (KIP-320).
    pub leader_epoch: i32,
    /// What its records cost in memory relative to the expectation, in percent, as last seen.
    pub expansion: Arc<AtomicUsize>,
}

impl Wanted {
    /// The partition from `position` on, outside a group.
    pub fn new(partition: TopicPartition, position: i64, leader_epoch: i32) -> Wanted {
        let expansion = Arc::new(AtomicUsize::new(100));
        let assignment = AssignmentId::default();
        Wanted { partition, assignment, position, topic: None, leader_epoch, expansion }
    }
}

/// The result for a partition.
#[derive(Debug)]
pub(super) enum PartitionAnswer {
    /// Records, or none; continue at `next`.
    Data { next: i64, epoch: i32 },
    /// No partition of the response has records, although there are some below this offset.
    Nothing { end: i64 },
    /// There is no such offset.
    OutOfRange,
    /// A broken batch at `good`; what precedes it was taken.
    Corrupt { good: i64, epoch: i32, error: RecordsError },
    /// Anything else.
    Failed(EngineError),
}

/// How a request went.
#[derive(Debug)]
pub(super) enum FetchOutcome {
    /// The broker answered.
    Answered,
    /// It did not answer in time.
    TimedOut,
    /// It could not be asked.
    Failed,
}

/// A response to be decoded.
#[derive(Debug)]
pub(super) struct Fetched {
    pub permit: Permit,
    pub parts: Vec<FetchedPart>,
}

/// What was received for one partition.
#[derive(Debug)]
pub(super) enum FetchedPart {
    /// Records.
    Records(Records),
    /// Offsets that are gone.
    Gap(Gap),
    /// No batch up to this offset.
    Nothing(TopicPartition, AssignmentId, i64),
    /// Something that cannot be read, whatever is tried.
    Unreadable(TopicPartition, AssignmentId, EngineError),
}

/// The records of one partition in a response.
#[derive(Debug)]
pub(super) struct Records {
    pub wanted: Wanted,
    pub bytes: Bytes,
    pub aborted: Vec<AbortedTransaction>,
}

impl FetchedPart {
    /// The bytes of the response that it keeps.
    pub fn size(&self) -> usize {
        match self {
            FetchedPart::Records(records) => records.bytes.len(),
            FetchedPart::Gap(_) | FetchedPart::Nothing(..) | FetchedPart::Unreadable(..) => 0,
        }
    }

    /// The assignment that it is of.
    pub fn assignment(&self) -> (&TopicPartition, AssignmentId) {
        match self {
            FetchedPart::Records(records) => (&records.wanted.partition, records.wanted.assignment),
            FetchedPart::Gap(gap) => (&gap.partition, gap.assignment),
            FetchedPart::Nothing(partition, assignment, _)
            | FetchedPart::Unreadable(partition, assignment, _) => (partition, *assignment),
        }
    }
}
