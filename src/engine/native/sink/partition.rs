//! Writes the batches of one partition in order: at most five under way (KIP-98), retries
//! byte-identical, and what follows a failed batch sent again after it.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use kafka_protocol::messages::ProduceResponse;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc, oneshot},
    time::{Instant, sleep},
};

use super::{
    Shared,
    recut::{cut, restamp, runs},
    request::{self, Verdict, verdict},
};
use crate::{
    batch::TopicPartition,
    engine::{
        EngineError, ErrorKind, Receipt, Refusal,
        native::{
            cluster::Lane,
            connection::{Connection, Reply},
            error::{KafkaError, WireError},
        },
    },
    records::{EncodedBatch, ProducerStamp},
    transform::{ErrorClass, ValueError},
};

/// The least time in which an attempt may be answered, however near the delivery timeout is: an
/// attempt that gets no answer closes the connection for every partition on it.
const LEAST_ATTEMPT: Duration = Duration::from_secs(1);

/// An output batch to write.
pub struct Job {
    pub chunks: Vec<EncodedBatch>,
    pub deadline: Instant,
    pub done: Done,
}

/// Where the receipt goes.
pub type Done = oneshot::Sender<Result<Receipt, EngineError>>;

/// A wire batch that has no sequence number yet.
struct Waiting {
    records: EncodedBatch,
    place: Place,
}

/// A wire batch as it is sent, however often.
struct Sealed {
    bytes: Bytes,
    sequence: i32,
    place: Place,
    /// An attempt was made whose answer is not known.
    uncertain: bool,
}

/// Where a wire batch belongs.
struct Place {
    /// The index of its first record in its output batch.
    first: usize,
    count: usize,
    deadline: Instant,
    /// On the last wire batch of an output batch.
    done: Option<Done>,
}

struct InFlight {
    batch: Sealed,
    reply: Reply<ProduceResponse>,
    /// Counts against the bytes in flight to the broker.
    _share: OwnedSemaphorePermit,
}

/// The writer of one partition; it owns the partition's sequence numbers.
pub struct PartitionWriter {
    shared: Arc<Shared>,
    to: TopicPartition,
    jobs: mpsc::UnboundedReceiver<Job>,
    waiting: VecDeque<Waiting>,
    /// Sealed and to be sent, before anything that waits.
    sealed: VecDeque<Sealed>,
    in_flight: VecDeque<InFlight>,
    next_sequence: i32,
    /// The leader has a batch of this producer. Before that it would take any sequence number
    /// for the first, so that only one batch may be under way.
    established: bool,
    connection: Option<(i32, Connection)>,
    failures: u32,
    refused: Vec<Refusal>,
}

impl PartitionWriter {
    pub fn new(
        shared: Arc<Shared>,
        to: TopicPartition,
        jobs: mpsc::UnboundedReceiver<Job>,
    ) -> PartitionWriter {
        PartitionWriter {
            shared,
            to,
            jobs,
            waiting: VecDeque::new(),
            sealed: VecDeque::new(),
            in_flight: VecDeque::new(),
            next_sequence: 0,
            established: false,
            connection: None,
            failures: 0,
            refused: Vec::new(),
        }
    }

    /// Writes until no more jobs can come. After an error every job fails with it, because the
    /// sequence is broken.
    pub async fn run(mut self) {
        let Err(error) = self.work().await else { return };
        let error = error.at(&self.to);
        tracing::warn!(%error, "the producer gives up");
        let waiting = self.waiting.into_iter().map(|batch| batch.place);
        let sealed = self.sealed.into_iter().map(|batch| batch.place);
        let in_flight = self.in_flight.into_iter().map(|under_way| under_way.batch.place);
        for done in in_flight.chain(sealed).chain(waiting).filter_map(|place| place.done) {
            // The owner may have lost interest; it closes the sink in any case.
            let _ = done.send(Err(error.clone()));
        }
        while let Some(job) = self.jobs.recv().await {
            let _ = job.done.send(Err(error.clone()));
        }
    }

    async fn work(&mut self) -> Result<(), EngineError> {
        loop {
            self.send_what_fits().await?;
            tokio::select! {
                biased;
                answer = first_answer(&mut self.in_flight), if !self.in_flight.is_empty() => {
                    self.settle(answer).await?;
                }
                job = self.jobs.recv() => match job {
                    Some(job) => self.accept(job),
                    None => return self.finish().await,
                }
            }
        }
    }

    /// No more jobs can come; what was accepted is still written.
    async fn finish(&mut self) -> Result<(), EngineError> {
        loop {
            self.send_what_fits().await?;
            if self.in_flight.is_empty() {
                return Ok(());
            }
            let answer = first_answer(&mut self.in_flight).await;
            self.settle(answer).await?;
        }
    }

    fn accept(&mut self, job: Job) {
        let Job { chunks, deadline, done } = job;
        let last = chunks.len().checked_sub(1);
        let Some(last) = last else {
            let _ = done.send(Ok(Receipt::default()));
            return;
        };
        let mut done = Some(done);
        let mut first = 0;
        for (i, records) in chunks.into_iter().enumerate() {
            let count = records.count as usize;
            let done = if i == last { done.take() } else { None };
            self.waiting.push_back(Waiting { records, place: Place { first, count, deadline, done } });
            first += count;
        }
    }

    /// Sends until five batches are under way, nothing is left, or the broker has enough.
    async fn send_what_fits(&mut self) -> Result<(), EngineError> {
        while self.has_room() {
            if self.sealed.is_empty() {
                let Some(waiting) = self.waiting.pop_front() else { return Ok(()) };
                let sealed = self.seal(waiting).await?;
                self.sealed.push_back(sealed);
            }
            let Some(batch) = self.sealed.front() else { return Ok(()) };
            let (bytes, deadline) = (batch.bytes.clone(), batch.place.deadline);
            let (broker, connection) = match self.connect().await {
                Ok(found) => found,
                Err(error) => {
                    self.rewind(error).await?;
                    continue;
                }
            };
            let Some(share) = self.shared.share(broker, bytes.len(), self.in_flight.is_empty()).await else {
                return Ok(());
            };
            let left = deadline.saturating_duration_since(Instant::now()).max(LEAST_ATTEMPT);
            let timeout = left.min(self.shared.request_timeout());
            match request::send(&connection, &self.to, &bytes, timeout).await {
                Ok(reply) => {
                    let batch = self.sealed.pop_front().expect("it was there");
                    self.in_flight.push_back(InFlight { batch, reply, _share: share });
                }
                Err(error) => self.rewind(error.into()).await?,
            }
        }
        Ok(())
    }

    fn has_room(&self) -> bool {
        let limit = if self.established { self.shared.in_flight } else { 1 };
        // What is under way on a connection that ended is sent again before anything else.
        let ended = self.connection.as_ref().is_none_or(|(_, connection)| connection.is_closed());
        self.in_flight.len() < limit && (self.in_flight.is_empty() || !ended)
    }

    /// Gives a batch its sequence number and, off the network's threads, its compression.
    async fn seal(&mut self, waiting: Waiting) -> Result<Sealed, EngineError> {
        let Waiting { records, place } = waiting;
        let sequence = self.next_sequence;
        self.next_sequence = advance(sequence, place.count);
        let bytes = self.shared.seal(records, self.stamp(sequence)).await?;
        Ok(Sealed { bytes, sequence, place, uncertain: false })
    }

    fn stamp(&self, base_sequence: i32) -> ProducerStamp {
        let (producer_id, epoch) = self.shared.producer;
        ProducerStamp { producer_id, epoch, base_sequence, transactional: false }
    }

    async fn connect(&mut self) -> Result<(i32, Connection), EngineError> {
        if let Some((broker, connection)) = self.connection.as_ref().filter(|(_, c)| !c.is_closed()) {
            return Ok((*broker, connection.clone()));
        }
        let cluster = &self.shared.cluster;
        let broker = cluster.leader(&self.to).await?.broker;
        let connection = cluster.connection(broker, Lane::Produce).await?;
        Ok(self.connection.insert((broker, connection)).clone())
    }

    /// Takes the answer to the oldest batch under way.
    async fn settle(&mut self, answer: Result<ProduceResponse, WireError>) -> Result<(), EngineError> {
        let response = match answer {
            Ok(response) => response,
            Err(error) => return self.rewind(error.into()).await,
        };
        if let Some((_, connection)) = &self.connection {
            connection.throttle(response.throttle_time_ms);
        }
        match verdict(&response) {
            Verdict::Delivered => {
                let InFlight { batch, .. } = self.in_flight.pop_front().expect("it was answered");
                self.failures = 0;
                self.established = true;
                self.complete(batch.place);
                Ok(())
            }
            Verdict::Again(error) => {
                let error = self.shared.cluster.failed(error, "producing", None);
                self.rewind(error).await
            }
            Verdict::Cut(error) => self.halve(error).await,
            Verdict::Refused(refused) => {
                let errors = refused
                    .into_iter()
                    .map(|(index, message)| (index, ValueError::new(ErrorClass::Refused, message)));
                self.refuse(errors.collect()).await
            }
            Verdict::Failed(error, message) => {
                self.shared.note_failure(error);
                let error = self.shared.cluster.failed(error, "producing", message.as_deref());
                Err(error)
            }
        }
    }

    fn complete(&mut self, place: Place) {
        if let Some(done) = place.done {
            let _ = done.send(Ok(Receipt { refused: std::mem::take(&mut self.refused) }));
        }
    }

    /// Everything under way is sent again, in order, after a pause and to whoever leads then.
    async fn rewind(&mut self, error: EngineError) -> Result<(), EngineError> {
        self.connection = None;
        self.recall();
        if error.kind == ErrorKind::Fatal {
            return Err(error);
        }
        self.failures += 1;
        let pause = self.shared.cluster.settings.retry.pause(self.failures);
        let deadline = self.sealed.front().map(|batch| batch.place.deadline);
        if deadline.is_some_and(|deadline| Instant::now() + pause >= deadline) {
            let message = format!("not delivered within delivery.timeout.ms: {}", error.message);
            return Err(EngineError { kind: ErrorKind::Retriable, message, ..error });
        }
        tracing::debug!(%error, partition = %self.to, ?pause, "producing again");
        sleep(pause).await;
        Ok(())
    }

    /// Puts everything under way back in front of what is to be sent.
    fn recall(&mut self) {
        while let Some(InFlight { mut batch, .. }) = self.in_flight.pop_back() {
            batch.uncertain = true;
            self.sealed.push_front(batch);
        }
    }

    /// [`recall`](PartitionWriter::recall) after the oldest batch was not appended: what follows
    /// it is out of order then, and its answers say for certain that it was not appended either.
    async fn recall_answered(&mut self) {
        let mut followers = std::mem::take(&mut self.in_flight);
        for InFlight { batch, reply, .. } in &mut followers {
            let answer = reply.arrival().await;
            batch.uncertain |= !answer.is_ok_and(|response| verdict(&response).is_certain_loss());
        }
        for InFlight { batch, .. } in followers.into_iter().rev() {
            self.sealed.push_front(batch);
        }
    }

    /// The oldest batch is not taken for its size or for a record that is not named: it goes in
    /// halves, with the same sequence numbers in all, down to a single record, which is refused.
    async fn halve(&mut self, error: KafkaError) -> Result<(), EngineError> {
        let count = self.oldest_certain()?.place.count;
        if count == 1 {
            let class = match error.0 {
                kafka_protocol::ResponseError::MessageTooLarge
                | kafka_protocol::ResponseError::RecordListTooLarge => ErrorClass::Oversized,
                _ => ErrorClass::Refused,
            };
            return self.refuse(vec![(0, ValueError::new(class, error.to_string()))]).await;
        }
        let InFlight { batch, .. } = self.in_flight.pop_front().expect("it was answered");
        self.recall_answered().await;
        let parts = self.recut(batch, &[0..count / 2, count / 2..count]).await?;
        self.put_in_front(parts);
        Ok(())
    }

    /// Records of the oldest batch are refused: the rest of it goes without them, and what
    /// follows is numbered anew, which is safe only if none of it was appended.
    async fn refuse(&mut self, refused: Vec<(usize, ValueError)>) -> Result<(), EngineError> {
        let count = self.oldest_certain()?.place.count;
        let InFlight { batch, .. } = self.in_flight.pop_front().expect("it was answered");
        self.recall_answered().await;
        if self.sealed.iter().any(|follower| follower.uncertain) {
            let message = "a batch after a refused one may be in the log already";
            return Err(EngineError::new(ErrorKind::Retriable, message));
        }
        for (index, error) in &refused {
            self.refused.push(Refusal { index: batch.place.first + index, error: error.clone() });
        }
        let kept = runs(count, refused.iter().map(|(index, _)| *index));
        let mut sequence = batch.sequence;
        let parts = self.recut(batch, &kept).await?;
        for part in &parts {
            sequence = advance(sequence, part.place.count);
        }
        for follower in &mut self.sealed {
            follower.bytes = restamp(&follower.bytes, sequence);
            follower.sequence = sequence;
            sequence = advance(sequence, follower.place.count);
        }
        self.next_sequence = sequence;
        self.put_in_front(parts);
        Ok(())
    }

    /// The oldest batch under way, if every attempt to write it was answered.
    fn oldest_certain(&self) -> Result<&Sealed, EngineError> {
        let batch = &self.in_flight.front().expect("it was answered").batch;
        if batch.uncertain {
            let message = "a batch that is refused now may have been written before";
            return Err(EngineError::new(ErrorKind::Retriable, message));
        }
        Ok(batch)
    }

    /// The `ranges` of a batch as batches of their own, numbered one after the other from its
    /// sequence number. When nothing is left its output batch is complete.
    async fn recut(
        &mut self,
        batch: Sealed,
        ranges: &[std::ops::Range<usize>],
    ) -> Result<Vec<Sealed>, EngineError> {
        let Sealed { bytes, mut sequence, place, .. } = batch;
        let pieces = cut(&bytes, ranges).map_err(|error| {
            EngineError::new(ErrorKind::Retriable, format!("a batch cannot be split: {error}"))
        })?;
        let Place { first, deadline, mut done, .. } = place;
        let last = pieces.len().checked_sub(1);
        if last.is_none() {
            self.complete(Place { first, count: 0, deadline, done: done.take() });
        }
        let mut parts = Vec::with_capacity(pieces.len());
        for (i, (records, range)) in pieces.into_iter().zip(ranges).enumerate() {
            let done = if Some(i) == last { done.take() } else { None };
            let place = Place { first: first + range.start, count: range.len(), deadline, done };
            let bytes = self.shared.seal(records, self.stamp(sequence)).await?;
            let next = advance(sequence, place.count);
            parts.push(Sealed { bytes, sequence, place, uncertain: false });
            sequence = next;
        }
        Ok(parts)
    }

    fn put_in_front(&mut self, parts: Vec<Sealed>) {
        for part in parts.into_iter().rev() {
            self.sealed.push_front(part);
        }
    }
}

/// Waits for the oldest answer; answers come in order. Cancel-safe.
async fn first_answer(in_flight: &mut VecDeque<InFlight>) -> Result<ProduceResponse, WireError> {
    match in_flight.front_mut() {
        Some(under_way) => under_way.reply.arrival().await,
        None => std::future::pending().await,
    }
}

/// The sequence number after `count` records from `sequence`: after `i32::MAX` comes 0 (KIP-98).
fn advance(sequence: i32, count: usize) -> i32 {
    ((sequence as u64 + count as u64) & i32::MAX as u64) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_wrap_to_zero() {
        assert_eq!(advance(0, 3), 3);
        assert_eq!(advance(i32::MAX - 1, 1), i32::MAX);
        assert_eq!(advance(i32::MAX, 1), 0);
        assert_eq!(advance(i32::MAX - 1, 10), 8);
    }
}
