//! Writes the batches of one partition in order: at most five in flight (KIP-98), retries byte for
//! byte identical, and what follows a failed batch sent again after it.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedMutexGuard, mpsc, oneshot},
    time::{Instant, sleep_until},
};
use topicmill_mill::{
    batch::TopicPartition,
    clock::until,
    engine::{EngineError, ErrorKind, Place},
    transform::ValueError,
};
use topicmill_records::{ProducerStamp, RecordsError};

use super::{
    SinkShared,
    barred::Barred,
    carrier::Carrier,
    commands::WriteCommand,
    outputs::Outputs,
    parcel::{Claim, Mark, Parcel, ParcelOutcome},
    producer::Producer,
    questions::{self, is_concurrent},
    route::OVERDUE_AFTER,
    routed::Unavailable,
    sealed::{InFlight, Sealed, advance, stamp},
    transaction::Transaction,
    waiting::{Unsealed, WaitingRecords},
};

/// The longest pause between two attempts: a partition resumes soon after its leader is back.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(1);

/// A leader forgets a producer that has been silent for `producer.id.expiration.ms`, by default a
/// day, and then accepts any sequence number from it. Far below that.
const PRODUCER_EXPIRY: Duration = Duration::from_secs(30 * 60);

/// The writer of one partition; it owns the partition's sequence numbers.
pub struct PartitionWriter {
    pub(super) shared: Arc<SinkShared>,
    pub(super) to: TopicPartition,
    pub(super) commands: mpsc::UnboundedReceiver<WriteCommand>,
    /// More commands may come.
    pub(super) is_open: bool,
    pub(super) outputs: Outputs,
    pub(super) barred: Barred,
    pub(super) waiting: WaitingRecords,
    /// Sealed and to be sent before anything that waits.
    pub(super) sealed: VecDeque<Sealed>,
    pub(super) in_flight: VecDeque<InFlight>,
    mark: Arc<Mark>,
    /// `None` until there is a new one.
    pub(super) producer: Option<Producer>,
    /// Sent under a producer that was disowned; what follows waits for these answers.
    pub(super) disowned: Vec<oneshot::Receiver<ParcelOutcome>>,
    /// The transaction that is written in; none at least once.
    pub(super) transaction: Option<Arc<Transaction>>,
    /// Where other transactional producers stand: the next sequence number of each, and whether it is established.
    pub(super) ledger: Vec<(Producer, i32, bool)>,
    /// The size in bytes of the smallest record that was too large in this transaction, alone in its batch, and why.
    pub(super) too_large: Option<(usize, ValueError)>,
    /// What fails now fails because its transaction is aborted.
    pub(super) is_abandoned: bool,
    pub(super) next_sequence: i32,
    /// Whether the leader has a batch of this producer. Before that it would take any sequence
    /// number for the first, so only one batch may be in flight.
    pub(super) established: bool,
    /// When it last said so, and for how long it wanted this client to be quiet then.
    pub(super) acknowledged: Option<Instant>,
    pub(super) carrier: Option<Carrier>,
    /// Held while a batch is sent alone.
    pub(super) alone: Option<OwnedMutexGuard<()>>,
    pub(super) failures: u32,
    /// The first of these failures.
    pub(super) failing_since: Option<Instant>,
    /// When to check next whether the leader is still the same.
    pub(super) look_at: Instant,
}

impl PartitionWriter {
    pub fn new(
        shared: Arc<SinkShared>,
        to: TopicPartition,
        commands: mpsc::UnboundedReceiver<WriteCommand>,
    ) -> PartitionWriter {
        PartitionWriter {
            outputs: Outputs::default(),
            barred: Barred::default(),
            waiting: WaitingRecords::new(&shared.produce),
            producer: Some(shared.producers.first()),
            shared,
            to,
            commands,
            is_open: true,
            sealed: VecDeque::new(),
            in_flight: VecDeque::new(),
            mark: Arc::default(),
            disowned: Vec::new(),
            transaction: None,
            ledger: Vec::new(),
            too_large: None,
            is_abandoned: false,
            next_sequence: 0,
            established: false,
            acknowledged: None,
            carrier: None,
            alone: None,
            failures: 0,
            failing_since: None,
            look_at: Instant::now(),
        }
    }

    /// Writes until no more commands can come. After an error everything accepted fails, and the
    /// writer continues with what comes under a later assignment.
    pub async fn run(mut self) {
        while let Err(error) = self.work().await {
            self.give_up(error);
        }
    }

    async fn work(&mut self) -> Result<(), EngineError> {
        loop {
            self.obey_all()?;
            let lingers_until = self.send_what_fits().await?;
            let is_idle = self.in_flight.is_empty();
            if is_idle && !self.is_open {
                return Ok(());
            }
            tokio::select! {
                biased;
                outcome = first_outcome(&mut self.in_flight), if !is_idle => self.settle(outcome).await?,
                command = self.commands.recv(), if self.is_open => self.obey(command)?,
                () = self.mark.taken.notified() => {}
                () = sleep_until(self.look_at), if !is_idle => self.look_for_leader().await?,
                () = until(lingers_until) => {}
            }
        }
    }

    /// Sends until five batches are in flight, nothing is left, or the broker has enough; when what
    /// is left lingers, returns until when.
    async fn send_what_fits(&mut self) -> Result<Option<Instant>, EngineError> {
        self.expire();
        while self.has_room() {
            if self.sealed.is_empty() {
                if self.waiting.first().is_none() || !self.enter_transaction() {
                    return Ok(None);
                }
                if let Some(moment) = self.waiting.lingers_until() {
                    return Ok(Some(moment));
                }
            }
            // Looking for the leader is an attempt to send.
            let started = Instant::now();
            let (carrier, producer) = match self.find().await? {
                Ok(found) => found,
                Err(Unavailable::Refused(error)) => {
                    self.obey_all()?;
                    self.refuse_all(&error)?;
                    continue;
                }
                Err(Unavailable::Now(error)) => {
                    self.failing_since.get_or_insert(started);
                    self.again(error).await?;
                    continue;
                }
            };
            self.obey_all()?;
            if self.sealed.is_empty() {
                // Whoever was forgotten meanwhile may have been the last of this transaction.
                if self.waiting.front().is_some_and(|front| !front.is_with(&self.transaction)) {
                    continue;
                }
                let next = self.waiting.pop().map_err(|error| self.malformed(error))?;
                let Some(next) = next else { continue };
                let sealed = self.seal(next, producer).await?;
                // Nothing is sealed behind it.
                let next = sealed.sequence;
                if self.pass_over(&sealed)? {
                    self.next_sequence = next;
                } else {
                    self.sealed.push_back(sealed);
                }
                self.obey_all()?;
            }
            if let Some(batch) = self.sealed.pop_front() {
                self.send(&carrier, batch);
            }
        }
        Ok(None)
    }

    /// Goes on in the transaction of what waits. In a partition, what one producer writes has to be in the log
    /// before another one begins: nothing else keeps their order. So it is `false` while anything is in flight.
    fn enter_transaction(&mut self) -> bool {
        let Some(front) = self.waiting.front() else { return true };
        if front.is_with(&self.transaction) {
            return true;
        }
        if !self.in_flight.is_empty() {
            return false;
        }
        let next = front.transaction.clone();
        if let (Some(_), Some(producer)) = (&self.transaction, self.producer) {
            self.ledger.retain(|(of, ..)| of.id != producer.id);
            self.ledger.push((producer, self.next_sequence, self.established));
        }
        let producer = next.as_ref().map(|next| next.producer);
        let id = producer.map(|producer| producer.id);
        let known = self.ledger.iter().find(|(of, ..)| Some(of.id) == id);
        (self.next_sequence, self.established) = match known {
            Some((of, next, is_established)) if Some(*of) == producer => (*next, *is_established),
            // With another epoch, sequence numbers begin anew (KIP-360, KIP-890). A leader that knows the producer
            // takes no other number for the first of an epoch, so more than one batch may be in flight at once.
            Some((_, _, is_established)) => (0, *is_established),
            None => (0, false),
        };
        (self.transaction, self.producer, self.carrier) = (next, producer, None);
        self.too_large = None;
        true
    }

    fn has_room(&self) -> bool {
        let Some(last) = self.in_flight.back() else { return true };
        let is_suspect = self.sealed.front().is_some_and(|batch| batch.is_suspect);
        if is_suspect || self.alone.is_some() || !self.established {
            return false;
        }
        // What was in flight on a connection that ended is sent again before anything else.
        let ended = self.carrier.as_ref().is_none_or(Carrier::is_closed);
        // While a batch waits to be sent, what arrives is joined.
        let joins = self.sealed.is_empty() && !self.waiting.is_full() && last.claim.waits();
        self.in_flight.len() < self.shared.produce.in_flight && !ended && !joins
    }

    /// The leader may have forgotten the producer meanwhile.
    fn expire(&mut self) {
        if self.in_flight.is_empty() && is_expired(self.acknowledged) {
            self.established = false;
        }
    }

    fn send(&mut self, carrier: &Carrier, batch: Sealed) {
        let claim = Arc::new(Claim::new(&self.mark));
        let (sender, answer) = oneshot::channel();
        carrier.carry(Parcel {
            to: self.to.clone(),
            bytes: batch.bytes.clone(),
            claim: Arc::clone(&claim),
            answer: sender,
        });
        if self.in_flight.is_empty() {
            self.look_at = Instant::now() + OVERDUE_AFTER;
        }
        self.in_flight.push_back(InFlight { batch, claim, answer });
    }

    /// Gives a batch its sequence number and, off the runtime's threads, its compression.
    async fn seal(&mut self, next: Unsealed, producer: Producer) -> Result<Sealed, EngineError> {
        let Unsealed { records, first, codec, .. } = next;
        let (sequence, count) = (self.next_sequence, records.count as usize);
        self.next_sequence = advance(sequence, count);
        let bytes = self.shared.seal(records, self.stamp(producer, sequence), codec).await?;
        Ok(Sealed::new(bytes, sequence, codec, first, count))
    }

    /// The producer fields of a batch.
    pub(super) fn stamp(&self, producer: Producer, sequence: i32) -> ProducerStamp {
        ProducerStamp { transactional: self.transaction.is_some(), ..stamp(producer, sequence) }
    }

    /// Everything in flight is sent again, in order, after a pause, to whichever broker leads then.
    pub(super) async fn again(&mut self, error: EngineError) -> Result<(), EngineError> {
        self.recall();
        if error.kind == ErrorKind::Fatal {
            return Err(error);
        }
        let now = Instant::now();
        self.failures += 1;
        self.shared.troubles.begin(Place::Write(self.to.clone()), &error);
        let backoff =
            if is_concurrent(&error) { questions::RETRY } else { self.shared.cluster.settings.retry };
        let pause = backoff.pause(self.failures).min(RETRY_PAUSE_MAX);
        // What waits behind others does not fail as long as those before it are written.
        let failing_since = *self.failing_since.get_or_insert(now);
        let first = self.sealed.front().and_then(|batch| batch.attempted).unwrap_or(failing_since);
        let since = self.acknowledged.map_or(first, |acknowledged| acknowledged.max(first));
        let deadline = since + self.shared.produce.delivery_timeout;
        if now >= deadline && !self.may_be_written() {
            let message = format!("not delivered within delivery.timeout.ms: {}", error.message);
            return Err(EngineError { kind: ErrorKind::Retriable, message, ..error }.at(&self.to));
        }
        tracing::debug!(%error, partition = %self.to, ?pause, "producing again");
        let next = now + pause;
        self.attend(sleep_until(if deadline > now { deadline.min(next) } else { next })).await
    }

    /// Whether a batch may be in the log although nobody knows. It is not given up, for then it
    /// would be read again and written a second time:
    ///   1. the leader appends a batch and is gone before it answers;
    ///   2. `delivery.timeout.ms` later its records are read again, and sealed under another epoch;
    ///   3. the leader comes back, has the first, and takes the second for a new one.
    ///
    /// Sent again as it is, for as long as it takes, the leader knows it for a duplicate.
    fn may_be_written(&self) -> bool {
        self.sealed.iter().any(|batch| batch.uncertain)
    }

    /// Puts everything in flight back in front of what is to be sent, as it is.
    ///
    /// The carrier may be taking a batch at this very moment: its claim, under a lock, goes either
    /// to the request or back to the writer. What went to a request counts as uncertain even if its
    /// answer lies unread in the channel, because that answer is dropped here. Sent again with the
    /// same sequence number, a batch that is already in the log is answered as a duplicate, which
    /// counts as delivered (KIP-98); so nothing is lost and nothing written twice.
    pub(super) fn recall(&mut self) {
        (self.carrier, self.alone) = (None, None);
        while let Some(last) = self.in_flight.pop_back() {
            self.sealed.push_front(last.recalled());
        }
    }

    /// The partition is written again, or nothing is left to write.
    pub(super) fn recovered(&mut self) {
        if self.failures > 0 {
            self.shared.troubles.end(&Place::Write(self.to.clone()));
        }
        (self.failures, self.failing_since) = (0, None);
    }

    /// The records of a batch that this program made cannot be read.
    pub(super) fn malformed(&self, error: RecordsError) -> EngineError {
        let message = format!("a batch to write is malformed: {error}");
        EngineError::new(ErrorKind::Fatal, message).at(&self.to)
    }
}

impl Drop for PartitionWriter {
    /// The partition is no longer tried.
    fn drop(&mut self) {
        self.shared.troubles.end(&Place::Write(self.to.clone()));
    }
}

/// Whether a leader may have forgotten a producer whose batch it last acknowledged at that time.
fn is_expired(acknowledged: Option<Instant>) -> bool {
    acknowledged.is_some_and(|at| at.elapsed() > PRODUCER_EXPIRY)
}

/// Waits for the oldest outcome; a carrier answers in order. Cancel-safe.
async fn first_outcome(in_flight: &mut VecDeque<InFlight>) -> Option<ParcelOutcome> {
    match in_flight.front_mut() {
        Some(under_way) => (&mut under_way.answer).await.ok(),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_producer_that_was_silent_for_long_is_established_anew() {
        let now = Instant::now();
        tokio::time::advance(PRODUCER_EXPIRY).await;
        assert!(!is_expired(Some(now)) && !is_expired(None));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(is_expired(Some(now)));
    }
}
