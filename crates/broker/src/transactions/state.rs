//! The state of one transactional id (KIP-98, KIP-360, KIP-890). Pure: time and new producer ids
//! come in, answers go out. What it does in a case is what Kafka 4.1's coordinator does.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use kafka_protocol::error::ResponseError;

/// The epoch of a producer that has none yet.
const NO_EPOCH: i16 = -1;

/// The greatest epoch that a client gets: the one above is left to fence it with.
const LAST_EPOCH: i16 = i16::MAX - 1;

/// A producer as the protocol names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Producer {
    /// Its id.
    pub id: i64,
    /// Its epoch; of two with the same id, the one with the smaller epoch is fenced.
    pub epoch: i16,
}

/// What a transaction writes to, and what its end has to be written to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Participant {
    /// A partition, by its topic's name and its number.
    Partition(Arc<str>, i32),
    /// The offsets of a consumer group.
    Group(Arc<str>),
}

/// How a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All of it counts.
    Commit,
    /// None of it does.
    Abort,
}

/// How the producer speaks of transactions: the feature `transaction.version`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The epoch stays from one transaction to the next (KIP-98).
    One,
    /// Each end makes a new epoch, so that a late request of one transaction can't become a part of
    /// the next (KIP-890).
    Two,
}

/// Where a transactional id is in its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The producer is known and has not begun one.
    Empty,
    /// It is open.
    Ongoing,
    /// It is decided, and not all participants know yet.
    Prepare(Outcome),
    /// It is over.
    Complete(Outcome),
}

impl Phase {
    /// The name that clients know.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Empty => "Empty",
            Phase::Ongoing => "Ongoing",
            Phase::Prepare(Outcome::Commit) => "PrepareCommit",
            Phase::Prepare(Outcome::Abort) => "PrepareAbort",
            Phase::Complete(Outcome::Commit) => "CompleteCommit",
            Phase::Complete(Outcome::Abort) => "CompleteAbort",
        }
    }
}

/// What came of a producer that asked for its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initialised {
    /// It may begin.
    Ready(Producer),
    /// Its predecessor's transaction has to be aborted first; it is to ask again.
    Aborting,
}

/// What came of a request to end a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It is decided; the producer goes on as this one.
    Decided(Producer),
    /// It was before: the answer got lost.
    Before(Producer),
}

/// The control record that ends a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    /// The producer, with the epoch that holds from here on.
    pub producer: Producer,
    /// How it ended.
    pub outcome: Outcome,
}

/// The state of one transactional id.
#[derive(Clone, Debug)]
pub struct Transaction {
    producer: Producer,
    /// The producer's id before the last change.
    previous_id: i64,
    /// The epoch before the last one, where the producer itself asked for it: by this, a request
    /// that is sent again is known.
    last_epoch: i16,
    /// The id from the next transaction on, when the epochs of this one are used up.
    next_id: Option<i64>,
    timeout: Duration,
    phase: Phase,
    participants: BTreeSet<Participant>,
    /// When it began.
    began: Instant,
    /// When anything last happened to it.
    changed: Instant,
}

impl Transaction {
    /// A transactional id that nobody has used, with a producer id that nobody has.
    pub fn new(id: i64, now: Instant) -> Transaction {
        Transaction {
            producer: Producer { id, epoch: NO_EPOCH },
            previous_id: -1,
            last_epoch: NO_EPOCH,
            next_id: None,
            timeout: Duration::ZERO,
            phase: Phase::Empty,
            participants: BTreeSet::new(),
            began: now,
            changed: now,
        }
    }

    /// The current producer.
    pub fn producer(&self) -> Producer {
        self.producer
    }

    /// Where it is.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// How long a transaction may be open.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// What it writes to; while it is being ended, those that do not know yet.
    pub fn participants(&self) -> &BTreeSet<Participant> {
        &self.participants
    }

    /// When the transaction began, if there is one.
    pub fn began(&self) -> Option<Instant> {
        matches!(self.phase, Phase::Ongoing | Phase::Prepare(_)).then_some(self.began)
    }

    /// When anything last happened to it.
    pub fn changed(&self) -> Instant {
        self.changed
    }

    /// When an open transaction is aborted for being too slow.
    pub fn deadline(&self) -> Option<Instant> {
        (self.phase == Phase::Ongoing).then(|| self.began + self.timeout)
    }

    /// A producer asks for its id and epoch; `expected` is what it takes itself for, if it goes on
    /// after an error (KIP-360). `fresh` makes an id that nobody has.
    ///
    /// # Errors
    /// `ProducerFenced`, or `ConcurrentTransactions` while the end of one is being written.
    pub fn initialise(
        &mut self,
        expected: Option<Producer>,
        timeout: Duration,
        version: Version,
        now: Instant,
        fresh: impl FnOnce() -> i64,
    ) -> Result<Initialised, ResponseError> {
        // Its id may have been changed by a request whose answer it did not get.
        let is_known = |expected: Producer| {
            self.producer.epoch == NO_EPOCH
                || expected.id == self.producer.id
                || (expected.id == self.previous_id && expected.epoch >= LAST_EPOCH)
        };
        if !expected.is_none_or(is_known) {
            return Err(ResponseError::ProducerFenced);
        }
        match self.phase {
            Phase::Prepare(_) => return Err(ResponseError::ConcurrentTransactions),
            Phase::Ongoing => {
                self.fence(version, now);
                return Ok(Initialised::Aborting);
            }
            Phase::Empty | Phase::Complete(_) => {}
        }
        let Producer { id, epoch } = self.producer;
        let is_current = |expected: Producer| expected.epoch == epoch || epoch == NO_EPOCH;
        let (producer, last_epoch) = match expected {
            Some(expected) if !is_current(expected) && expected.epoch == self.last_epoch => {
                // It asked before and did not get the answer.
                (self.producer, self.last_epoch)
            }
            Some(expected) if !is_current(expected) => return Err(ResponseError::ProducerFenced),
            _ => {
                let last_epoch = if expected.is_some() { epoch } else { NO_EPOCH };
                let producer = match epoch {
                    LAST_EPOCH.. => Producer { id: fresh(), epoch: 0 },
                    _ => Producer { id, epoch: epoch + 1 },
                };
                (producer, last_epoch)
            }
        };
        self.previous_id = id;
        self.producer = producer;
        self.last_epoch = last_epoch;
        self.timeout = timeout;
        self.phase = Phase::Empty;
        self.changed = now;
        Ok(Initialised::Ready(producer))
    }

    /// Adds what the transaction is going to write to, and begins it with the first.
    ///
    /// # Errors
    /// `InvalidProducerIdMapping`, `ProducerFenced`, or `ConcurrentTransactions` while the end of
    /// the one before is being written.
    pub fn add(
        &mut self,
        producer: Producer,
        participants: impl IntoIterator<Item = Participant>,
        now: Instant,
    ) -> Result<(), ResponseError> {
        self.check(producer)?;
        match self.phase {
            Phase::Prepare(_) => return Err(ResponseError::ConcurrentTransactions),
            Phase::Ongoing => {}
            Phase::Empty | Phase::Complete(_) => {
                self.previous_id = self.producer.id;
                self.phase = Phase::Ongoing;
                self.began = now;
            }
        }
        self.changed = now;
        self.participants.extend(participants);
        Ok(())
    }

    /// Checks that a participant was added, for a producer that has to add it before it writes.
    ///
    /// # Errors
    /// As [`add`](Self::add), and `TransactionAbortable` if it was not (KIP-890).
    pub fn verify(&self, producer: Producer, participant: &Participant) -> Result<(), ResponseError> {
        self.check(producer)?;
        match self.phase {
            Phase::Prepare(_) => Err(ResponseError::ConcurrentTransactions),
            _ if self.participants.contains(participant) => Ok(()),
            _ => Err(ResponseError::TransactionAbortable),
        }
    }

    fn check(&self, producer: Producer) -> Result<(), ResponseError> {
        if producer.id != self.producer.id {
            return Err(ResponseError::InvalidProducerIdMapping);
        }
        if producer.epoch != self.producer.epoch {
            return Err(ResponseError::ProducerFenced);
        }
        Ok(())
    }

    /// The producer ends its transaction. `fresh` makes an id that nobody has.
    ///
    /// # Errors
    /// `InvalidProducerIdMapping`, `ProducerFenced`, `InvalidTxnState`, or `ConcurrentTransactions`
    /// while the same end is being written.
    pub fn end(
        &mut self,
        producer: Producer,
        outcome: Outcome,
        version: Version,
        now: Instant,
        fresh: impl FnOnce() -> i64,
    ) -> Result<Ended, ResponseError> {
        let again = match version {
            Version::One => {
                self.check(producer)?;
                matches!(self.phase, Phase::Complete(_))
            }
            Version::Two => self.check_after_bump(producer)?,
        };
        match (self.phase, outcome) {
            (Phase::Ongoing, _) => {}
            (Phase::Complete(done), asked) if again && done == asked => {
                return Ok(Ended::Before(self.producer));
            }
            // There was nothing to abort: the epoch moves on, so that what is under way is fenced.
            (Phase::Empty | Phase::Complete(_), Outcome::Abort) if version == Version::Two && !again => {
                self.began = now;
            }
            (Phase::Prepare(prepared), asked) if prepared == asked => {
                return Err(ResponseError::ConcurrentTransactions);
            }
            (Phase::Empty | Phase::Prepare(_) | Phase::Complete(_), _) => {
                return Err(ResponseError::InvalidTxnState);
            }
        }
        self.previous_id = self.producer.id;
        if version == Version::Two {
            self.last_epoch = self.producer.epoch;
            self.next_id = (self.producer.epoch >= LAST_EPOCH).then(fresh);
            // At most the one above the greatest that a client has.
            self.producer.epoch = self.producer.epoch.saturating_add(1);
        }
        self.phase = Phase::Prepare(outcome);
        self.changed = now;
        Ok(Ended::Decided(self.successor()))
    }

    /// Checks who wants to end a transaction where each end makes a new epoch, and returns whether
    /// it is a request that is sent again (KIP-890).
    fn check_after_bump(&self, producer: Producer) -> Result<bool, ResponseError> {
        let current = self.producer;
        let bumped = i32::from(current.epoch) == i32::from(producer.epoch) + 1;
        let rolled_over =
            self.previous_id == producer.id && producer.epoch == LAST_EPOCH && current.epoch == 0;
        if current.id != producer.id && !rolled_over {
            return Err(ResponseError::InvalidProducerIdMapping);
        }
        let valid = match self.phase {
            Phase::Empty | Phase::Ongoing => current.epoch == producer.epoch,
            Phase::Prepare(_) => bumped,
            Phase::Complete(_) => bumped || rolled_over || current.epoch == producer.epoch,
        };
        if valid { Ok(bumped || rolled_over) } else { Err(ResponseError::ProducerFenced) }
    }

    /// The coordinator aborts the transaction: it took too long, or another producer is to follow.
    /// Whoever has it open is fenced. Returns false if none is open.
    pub fn fence(&mut self, version: Version, now: Instant) -> bool {
        if self.phase != Phase::Ongoing {
            return false;
        }
        self.previous_id = self.producer.id;
        // In version 2, the producer may find out by its next end, which is like one sent again.
        self.last_epoch = match version {
            Version::One => NO_EPOCH,
            Version::Two => self.producer.epoch,
        };
        // At most the one above the greatest that a client has.
        self.producer.epoch = self.producer.epoch.saturating_add(1);
        self.phase = Phase::Prepare(Outcome::Abort);
        self.changed = now;
        true
    }

    /// What has to be written to the participants, if it is decided.
    pub fn marker(&self) -> Option<Marker> {
        match self.phase {
            Phase::Prepare(outcome) => Some(Marker { producer: self.producer, outcome }),
            Phase::Empty | Phase::Ongoing | Phase::Complete(_) => None,
        }
    }

    /// The end was written to all but these participants.
    pub fn written(&mut self, left: BTreeSet<Participant>, now: Instant) {
        let Phase::Prepare(outcome) = self.phase else { return };
        self.participants = left;
        if self.participants.is_empty() {
            self.producer = self.successor();
            self.next_id = None;
            self.phase = Phase::Complete(outcome);
            self.changed = now;
        }
    }

    /// The producer once a decided transaction is over.
    fn successor(&self) -> Producer {
        self.next_id.map_or(self.producer, |id| Producer { id, epoch: 0 })
    }

    /// Lets the producer have used up its epochs but `left`.
    pub fn age(&mut self, left: i16) {
        self.producer.epoch = LAST_EPOCH - left.clamp(0, LAST_EPOCH);
    }
}
