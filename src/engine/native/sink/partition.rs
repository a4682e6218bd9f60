//! Writes the batches of one partition in order: at most five under way (KIP-98), retries
//! byte-identical, and what follows a failed batch sent again after it.

use std::{collections::VecDeque, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::{OwnedMutexGuard, mpsc, oneshot},
    time::{Instant, sleep_until, timeout},
};

use super::{
    Shared,
    barred::Barred,
    carrier::Carrier,
    outputs::{Done, Outputs, Provenance},
    parcel::{Claim, Mark, Outcome, Parcel},
    producer::{self, Producer},
    waiting::{Unsealed, Waiting},
};
use crate::{
    batch::TopicPartition,
    engine::{EngineError, ErrorKind, Place as TroublePlace},
    records::{Codec, EncodedBatch, ProducerStamp, RecordsError},
};

/// The longest pause between two attempts: a partition goes on soon after its leader is back.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What is not answered for so long may have gone to a broker that does not lead any more.
const OVERDUE: Duration = Duration::from_secs(3);

/// A leader forgets a producer that has been silent for `producer.id.expiration.ms`, a day unless
/// set, and takes any sequence number from it then. Far below that.
const PRODUCER_EXPIRY: Duration = Duration::from_secs(30 * 60);

/// What a writer is told.
pub enum Command {
    /// Writes a batch.
    Write(Job),
    /// Drops what comes from there and was not sent.
    Forget(Provenance),
}

/// An output batch to write.
pub struct Job {
    pub chunks: Vec<EncodedBatch>,
    pub codec: Codec,
    pub from: Provenance,
    pub done: Done,
}

/// A wire batch as it is sent, however often.
pub(super) struct Sealed {
    pub bytes: Bytes,
    pub sequence: i32,
    pub codec: Codec,
    /// The number of its first record, as the [`Outputs`] count.
    pub first: u64,
    pub count: usize,
    /// An attempt was made whose answer is not known.
    pub uncertain: bool,
    /// The first attempt.
    pub attempted: Option<Instant>,
    /// It may be why the broker closes the connection, and is sent alone.
    pub is_suspect: bool,
    /// How often a broker closed the connection in place of an answer to it.
    pub closings: u32,
}

impl Sealed {
    /// A batch that was not sent yet.
    pub fn new(bytes: Bytes, sequence: i32, codec: Codec, first: u64, count: usize) -> Sealed {
        Sealed {
            bytes,
            sequence,
            codec,
            first,
            count,
            uncertain: false,
            attempted: None,
            is_suspect: false,
            closings: 0,
        }
    }
}

pub(super) struct InFlight {
    pub batch: Sealed,
    pub claim: Arc<Claim>,
    pub answer: oneshot::Receiver<Outcome>,
}

impl InFlight {
    /// The batch, to be sent again.
    fn recalled(mut self) -> Sealed {
        let is_unsent = self.claim.withdraw() || matches!(self.answer.try_recv(), Ok(Outcome::Unsent(_)));
        if !is_unsent {
            self.batch.uncertain = true;
        }
        self.batch.attempted = self.batch.attempted.or(self.claim.taken_at());
        self.batch
    }
}

/// The writer of one partition; it owns the partition's sequence numbers.
pub struct PartitionWriter {
    pub(super) shared: Arc<Shared>,
    pub(super) to: TopicPartition,
    commands: mpsc::UnboundedReceiver<Command>,
    /// More commands may come.
    is_open: bool,
    pub(super) outputs: Outputs,
    pub(super) barred: Barred,
    pub(super) waiting: Waiting,
    /// Sealed and to be sent, before anything that waits.
    pub(super) sealed: VecDeque<Sealed>,
    pub(super) in_flight: VecDeque<InFlight>,
    mark: Arc<Mark>,
    /// `None` until there is a new one.
    pub(super) producer: Option<Producer>,
    /// Sent under a producer that was disowned; what comes after it waits for the answers.
    disowned: Vec<oneshot::Receiver<Outcome>>,
    pub(super) next_sequence: i32,
    /// The leader has a batch of this producer. Before that it would take any sequence number
    /// for the first, so that only one batch may be under way.
    pub(super) established: bool,
    /// When it said so last, and for how long it wanted to be left alone then.
    pub(super) acknowledged: Option<Instant>,
    pub(super) carrier: Option<Carrier>,
    /// Held while a batch is sent alone.
    pub(super) alone: Option<OwnedMutexGuard<()>>,
    pub(super) failures: u32,
    /// The first of these failures.
    pub(super) failing_since: Option<Instant>,
    /// When to look next whether the leader is still the same.
    look_at: Instant,
}

impl PartitionWriter {
    pub fn new(
        shared: Arc<Shared>,
        to: TopicPartition,
        commands: mpsc::UnboundedReceiver<Command>,
    ) -> PartitionWriter {
        PartitionWriter {
            outputs: Outputs::default(),
            barred: Barred::default(),
            waiting: Waiting::new(&shared.produce),
            producer: Some(shared.producers.first()),
            shared,
            to,
            commands,
            is_open: true,
            sealed: VecDeque::new(),
            in_flight: VecDeque::new(),
            mark: Arc::default(),
            disowned: Vec::new(),
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

    /// Writes until no more commands can come. After an error what was accepted fails, and the
    /// writer goes on with what comes under a later assignment.
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

    /// Takes all that was said by now: what waits is joined, and what is forgotten is not sent.
    fn obey_all(&mut self) -> Result<(), EngineError> {
        while let Ok(command) = self.commands.try_recv() {
            self.obey(Some(command))?;
        }
        Ok(())
    }

    fn obey(&mut self, command: Option<Command>) -> Result<(), EngineError> {
        match command {
            Some(Command::Write(job)) => self.accept(job),
            Some(Command::Forget(from)) => self.forget(from),
            None => {
                // What was accepted is still written.
                self.is_open = false;
                self.waiting.hurry();
                Ok(())
            }
        }
    }

    fn accept(&mut self, job: Job) -> Result<(), EngineError> {
        let Job { chunks, codec, from, done } = job;
        if let Some(error) = self.barred.check(&from) {
            // The owner may have lost interest.
            let _ = done.send(Err(error.clone()));
            return Ok(());
        }
        let count = chunks.iter().map(|chunk| chunk.count as usize).sum();
        let mut first = self.outputs.accept(count, from, done);
        for records in chunks {
            let next = first + u64::from(records.count);
            let pushed = self.waiting.push(Unsealed { records, first, codec });
            pushed.map_err(|error| self.malformed(error))?;
            first = next;
        }
        Ok(())
    }

    /// What was never sent goes back to what waits, without what comes from there: it gets its
    /// sequence numbers anew.
    fn forget(&mut self, from: Provenance) -> Result<(), EngineError> {
        let error = EngineError::new(ErrorKind::Retriable, "the partition it was read from was given up");
        let error = error.at(&self.to);
        while let Some(last) = self.in_flight.pop_back_if(|last| last.claim.withdraw()) {
            self.sealed.push_front(last.recalled());
        }
        while let Some(batch) = self.sealed.pop_back_if(|batch| batch.attempted.is_none()) {
            let Sealed { bytes, sequence, codec, first, .. } = batch;
            let records = EncodedBatch::unseal(&bytes).map_err(|error| self.malformed(error))?;
            self.next_sequence = sequence;
            self.put_back(Unsealed { records, first, codec })?;
        }
        let unsent = self.waiting.first().unwrap_or(self.outputs.end());
        let forgotten = self.outputs.forget(&from, unsent, &error);
        self.waiting.forget(&forgotten);
        self.barred.bar(from, &error);
        if self.outputs.is_empty() && self.sealed.is_empty() && self.in_flight.is_empty() {
            self.recovered();
        }
        Ok(())
    }

    /// Puts records back to what waits, those of each output batch by themselves.
    fn put_back(&mut self, batch: Unsealed) -> Result<(), EngineError> {
        let Unsealed { records, first, codec } = batch;
        let ranges = self.outputs.ranges(first..first + u64::from(records.count));
        if ranges.len() == 1 {
            self.waiting.put_back(Unsealed { records, first, codec });
            return Ok(());
        }
        let within: Vec<_> =
            ranges.iter().map(|range| (range.start - first) as usize..(range.end - first) as usize).collect();
        let parts = records.cut(&within).map_err(|error| self.malformed(error))?;
        for (records, range) in parts.into_iter().zip(ranges).rev() {
            self.waiting.put_back(Unsealed { records, first: range.start, codec });
        }
        Ok(())
    }

    /// Sends until five batches are under way, nothing is left, or the broker has enough; and when
    /// what is left lingers, returns until when.
    async fn send_what_fits(&mut self) -> Result<Option<Instant>, EngineError> {
        self.expire();
        while self.has_room() {
            if self.sealed.is_empty() {
                if self.waiting.first().is_none() {
                    return Ok(None);
                }
                if let Some(moment) = self.waiting.lingers_until() {
                    return Ok(Some(moment));
                }
            }
            // To look for the leader is an attempt to send.
            let started = Instant::now();
            let (carrier, producer) = match self.find().await? {
                Ok(found) => found,
                Err(error) => {
                    self.failing_since.get_or_insert(started);
                    self.again(error).await?;
                    continue;
                }
            };
            self.obey_all()?;
            if self.sealed.is_empty() {
                let next = self.waiting.pop().map_err(|error| self.malformed(error))?;
                let Some(next) = next else { continue };
                let sealed = self.seal(next, producer).await?;
                self.sealed.push_back(sealed);
                self.obey_all()?;
            }
            if let Some(batch) = self.sealed.pop_front() {
                self.send(&carrier, batch);
            }
        }
        Ok(None)
    }

    fn has_room(&self) -> bool {
        let Some(last) = self.in_flight.back() else { return true };
        let is_suspect = self.sealed.front().is_some_and(|batch| batch.is_suspect);
        if is_suspect || self.alone.is_some() || !self.established {
            return false;
        }
        // What is under way on a connection that ended is sent again before anything else.
        let ended = self.carrier.as_ref().is_none_or(Carrier::is_closed);
        // While one waits to be sent, what comes is joined.
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
            self.look_at = Instant::now() + OVERDUE;
        }
        self.in_flight.push_back(InFlight { batch, claim, answer });
    }

    /// Gives a batch its sequence number and, off the network's threads, its compression.
    async fn seal(&mut self, next: Unsealed, producer: Producer) -> Result<Sealed, EngineError> {
        let Unsealed { records, first, codec } = next;
        let (sequence, count) = (self.next_sequence, records.count as usize);
        self.next_sequence = advance(sequence, count);
        let bytes = self.shared.seal(records, stamp(producer, sequence), codec).await?;
        Ok(Sealed::new(bytes, sequence, codec, first, count))
    }

    /// What sending needs, or why it is not to be had now.
    async fn find(&mut self) -> Result<Result<(Carrier, Producer), EngineError>, EngineError> {
        let carrier = match self.find_carrier().await? {
            Ok(carrier) => carrier,
            Err(error) => return Ok(Err(error)),
        };
        Ok(self.find_producer().await?.map(|producer| (carrier, producer)))
    }

    async fn find_carrier(&mut self) -> Result<Result<Carrier, EngineError>, EngineError> {
        let is_suspect = self.sealed.front().is_some_and(|batch| batch.is_suspect);
        let open = self.carrier.as_ref().filter(|carrier| !carrier.is_closed());
        if let Some(carrier) = open
            && is_suspect == self.alone.is_some()
        {
            return Ok(Ok(carrier.clone()));
        }
        (self.carrier, self.alone) = (None, None);
        let (shared, to) = (Arc::clone(&self.shared), self.to.clone());
        let found = if is_suspect {
            let alone = self.attend(Arc::clone(&shared.alone).lock_owned()).await?;
            self.alone = Some(alone);
            self.attend(async move { shared.carrier_alone(&to).await }).await?
        } else {
            self.attend(async move { shared.carrier(&to).await }).await?
        };
        Ok(found.inspect(|carrier| self.carrier = Some(carrier.clone())))
    }

    /// The producer to write under. A new one begins when all is answered that was sent under the
    /// one before, which it does not fence.
    async fn find_producer(&mut self) -> Result<Result<Producer, EngineError>, EngineError> {
        if let Some(producer) = self.producer {
            return Ok(Ok(producer));
        }
        let (disowned, shared) = (std::mem::take(&mut self.disowned), Arc::clone(&self.shared));
        let asking = async move {
            futures_util::future::join_all(disowned).await;
            producer::ask(&shared.cluster).await
        };
        let producer = self.attend(asking).await?;
        Ok(producer.inspect(|producer| self.producer = Some(*producer)))
    }

    /// Waits, and takes what is said meanwhile.
    async fn attend<T>(&mut self, what: impl Future<Output = T>) -> Result<T, EngineError> {
        let mut what = pin!(what);
        loop {
            tokio::select! {
                biased;
                done = &mut what => return Ok(done),
                command = self.commands.recv(), if self.is_open => self.obey(command)?,
            }
        }
    }

    /// A broker that is silent may not lead the partition any more; whoever does would write what
    /// is under way at once.
    async fn look_for_leader(&mut self) -> Result<(), EngineError> {
        let (shared, to) = (Arc::clone(&self.shared), self.to.clone());
        let looking = async move {
            let cluster = &shared.cluster;
            if cluster.metadata(&to.topic).await.is_ok_and(|known| known.taken.elapsed() > OVERDUE) {
                cluster.invalidate();
            }
            cluster.leader(&to).await
        };
        let found = self.attend(timeout(OVERDUE, looking)).await?;
        self.look_at = Instant::now() + OVERDUE;
        let known = self.carrier.as_ref().map(Carrier::broker);
        if let Ok(Ok(leader)) = found
            && known.is_some_and(|known| known != leader.broker)
        {
            tracing::debug!(partition = %self.to, ?known, now = leader.broker, "producing to another leader");
            self.recall();
        }
        Ok(())
    }

    /// Everything under way is sent again, in order, after a pause and to whoever leads then.
    pub(super) async fn again(&mut self, error: EngineError) -> Result<(), EngineError> {
        self.recall();
        if error.kind == ErrorKind::Fatal {
            return Err(error);
        }
        let now = Instant::now();
        self.failures += 1;
        self.shared.troubles.begin(TroublePlace::Write(self.to.clone()), &error);
        let pause = self.shared.cluster.settings.retry.pause(self.failures).min(LONGEST_PAUSE);
        // What waits behind others does not fail as long as those before it are written.
        let failing_since = *self.failing_since.get_or_insert(now);
        let first = self.sealed.front().and_then(|batch| batch.attempted).unwrap_or(failing_since);
        let since = self.acknowledged.map_or(first, |acknowledged| acknowledged.max(first));
        let deadline = since + self.shared.produce.delivery_timeout;
        if now >= deadline {
            let message = format!("not delivered within delivery.timeout.ms: {}", error.message);
            return Err(EngineError { kind: ErrorKind::Retriable, message, ..error }.at(&self.to));
        }
        tracing::debug!(%error, partition = %self.to, ?pause, "producing again");
        self.attend(sleep_until(deadline.min(now + pause))).await
    }

    /// Puts everything under way back in front of what is to be sent.
    pub(super) fn recall(&mut self) {
        (self.carrier, self.alone) = (None, None);
        while let Some(last) = self.in_flight.pop_back() {
            self.sealed.push_front(last.recalled());
        }
    }

    /// The partition is written again, or nothing is left to write.
    pub(super) fn recovered(&mut self) {
        if self.failures > 0 {
            self.shared.troubles.end(&TroublePlace::Write(self.to.clone()));
        }
        (self.failures, self.failing_since) = (0, None);
    }

    /// All that was accepted fails, as do later batches of the same assignments; those of later
    /// ones begin a new epoch. An error that is fatal without a partition concerns all of them.
    fn give_up(&mut self, error: EngineError) {
        let is_of_all = error.kind == ErrorKind::Fatal && error.partition.is_none();
        let error = if is_of_all { error } else { error.at(&self.to) };
        tracing::debug!(%error, "what was accepted for the partition is given up");
        // Its trouble stays until it is written again, or forgotten.
        self.failures = self.failures.max(1);
        self.failing_since = None;
        self.shared.troubles.begin(TroublePlace::Write(self.to.clone()), &error);
        // What was given by now fails as well; what is given once somebody knows may be of a later
        // assignment, so that this is looked at first.
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Write(Job { from, done, .. }) => {
                    self.outputs.accept(1, from, done);
                }
                Command::Forget(from) => self.barred.bar(from, &error),
            }
        }
        self.fail_all(&error);
        self.renew();
    }

    fn fail_all(&mut self, error: &EngineError) {
        for from in self.outputs.fail(error) {
            self.barred.bar(from, error);
        }
        self.waiting.clear();
        self.sealed.clear();
        (self.carrier, self.alone) = (None, None);
        let is_under_way = |sent: &InFlight| !sent.claim.withdraw() && !sent.answer.is_terminated();
        let sent = self.in_flight.drain(..).filter(is_under_way);
        self.disowned.extend(sent.map(|sent| sent.answer));
    }

    /// The next batch begins a new epoch, or a new producer where there is none. Then the brokers
    /// take nothing of the old epoch once they have the new one's first batch.
    fn renew(&mut self) {
        self.producer = self.producer.and_then(|producer| self.shared.producers.next_epoch(producer));
        if self.producer.is_some() {
            self.disowned.clear();
        }
        (self.next_sequence, self.established) = (0, false);
    }

    /// Records that are not what a batch of this program's own making holds.
    pub(super) fn malformed(&self, error: RecordsError) -> EngineError {
        let message = format!("a batch to write is malformed: {error}");
        EngineError::new(ErrorKind::Fatal, message).at(&self.to)
    }
}

impl Drop for PartitionWriter {
    /// Nobody tries any more.
    fn drop(&mut self) {
        self.shared.troubles.end(&TroublePlace::Write(self.to.clone()));
    }
}

/// Whether a leader may have forgotten a producer that it acknowledged a batch of last at that time.
fn is_expired(acknowledged: Option<Instant>) -> bool {
    acknowledged.is_some_and(|at| at.elapsed() > PRODUCER_EXPIRY)
}

/// Waits for the oldest outcome; a carrier answers in order. Cancel-safe.
async fn first_outcome(in_flight: &mut VecDeque<InFlight>) -> Option<Outcome> {
    match in_flight.front_mut() {
        Some(under_way) => (&mut under_way.answer).await.ok(),
        None => std::future::pending().await,
    }
}

/// Waits for a moment; for ever without one.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// What a batch says of its producer.
pub(super) fn stamp(producer: Producer, base_sequence: i32) -> ProducerStamp {
    let Producer { id, epoch } = producer;
    ProducerStamp { producer_id: id, epoch, base_sequence, transactional: false }
}

/// The sequence number after `count` records from `sequence`: after `i32::MAX` comes 0 (KIP-98).
pub(super) fn advance(sequence: i32, count: usize) -> i32 {
    ((sequence as u64 + count as u64) & i32::MAX as u64) as i32
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

    #[test]
    fn sequence_numbers_wrap_to_zero() {
        assert_eq!(advance(0, 3), 3);
        assert_eq!(advance(i32::MAX - 1, 1), i32::MAX);
        assert_eq!(advance(i32::MAX, 1), 0);
        assert_eq!(advance(i32::MAX - 1, 10), 8);
    }
}
