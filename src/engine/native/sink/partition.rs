//! Writes the batches of one partition in order: at most five under way (KIP-98), retries
//! byte-identical, and what follows a failed batch sent again after it.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use kafka_protocol::{ResponseError, messages::ProduceResponse};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::{Instant, sleep, sleep_until},
};

use super::{
    Shared,
    outputs::{Done, Outputs},
    request::{self, Verdict, verdict},
    rework::{restamp, runs},
    waiting::{Unsealed, Waiting},
};
use crate::{
    batch::TopicPartition,
    engine::{
        EngineError, ErrorKind,
        native::{
            cluster::Lane,
            connection::Connection,
            error::{KafkaError, WireError},
            reply::Reply,
        },
    },
    records::{EncodedBatch, ProducerStamp, RecordsError},
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

/// A wire batch as it is sent, however often.
struct Sealed {
    bytes: Bytes,
    sequence: i32,
    place: Place,
    /// An attempt was made whose answer is not known.
    uncertain: bool,
}

/// Which records a wire batch holds.
#[derive(Clone, Copy)]
struct Place {
    /// The number of its first record, as the [`Outputs`] count.
    first: u64,
    count: usize,
    deadline: Instant,
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
    outputs: Outputs,
    waiting: Waiting,
    /// Sealed and to be sent, before anything that waits.
    sealed: VecDeque<Sealed>,
    in_flight: VecDeque<InFlight>,
    next_sequence: i32,
    /// The leader has a batch of this producer. Before that it would take any sequence number
    /// for the first, so that only one batch may be under way.
    established: bool,
    connection: Option<(i32, Connection)>,
    failures: u32,
}

impl PartitionWriter {
    pub fn new(
        shared: Arc<Shared>,
        to: TopicPartition,
        jobs: mpsc::UnboundedReceiver<Job>,
    ) -> PartitionWriter {
        PartitionWriter {
            outputs: Outputs::default(),
            waiting: Waiting::new(&shared.produce),
            shared,
            to,
            jobs,
            sealed: VecDeque::new(),
            in_flight: VecDeque::new(),
            next_sequence: 0,
            established: false,
            connection: None,
            failures: 0,
        }
    }

    /// Writes until no more jobs can come. After an error every job fails with it, because the
    /// sequence is broken.
    pub async fn run(mut self) {
        let Err(error) = self.work().await else { return };
        // Other partitions may wait for its share of what may be under way.
        self.in_flight.clear();
        let error = error.at(&self.to);
        tracing::warn!(%error, "the producer gives up");
        self.outputs.fail(&error);
        while let Some(job) = self.jobs.recv().await {
            let _ = job.done.send(Err(error.clone()));
        }
    }

    async fn work(&mut self) -> Result<(), EngineError> {
        loop {
            let lingers_until = self.send_what_fits().await?;
            tokio::select! {
                biased;
                answer = first_answer(&mut self.in_flight), if !self.in_flight.is_empty() => {
                    self.settle(answer).await?;
                }
                job = self.jobs.recv() => match job {
                    Some(job) => self.accept(job)?,
                    None => return self.finish().await,
                },
                () = until(lingers_until) => {}
            }
        }
    }

    /// No more jobs can come; what was accepted is still written.
    async fn finish(&mut self) -> Result<(), EngineError> {
        self.waiting.hurry();
        loop {
            self.send_what_fits().await?;
            if self.in_flight.is_empty() {
                return Ok(());
            }
            let answer = first_answer(&mut self.in_flight).await;
            self.settle(answer).await?;
        }
    }

    fn accept(&mut self, job: Job) -> Result<(), EngineError> {
        let Job { chunks, deadline, done } = job;
        let count = chunks.iter().map(|chunk| chunk.count as usize).sum();
        let mut first = self.outputs.accept(count, done);
        for records in chunks {
            let next = first + u64::from(records.count);
            self.waiting.push(Unsealed { records, first, deadline }).map_err(malformed)?;
            first = next;
        }
        Ok(())
    }

    /// Sends until five batches are under way, nothing is left, or the broker has enough; and when
    /// what is left lingers, returns until when.
    async fn send_what_fits(&mut self) -> Result<Option<Instant>, EngineError> {
        while self.has_room() {
            if self.sealed.is_empty() {
                if let Some(moment) = self.waiting.lingers_until() {
                    return Ok(Some(moment));
                }
                let Some(next) = self.waiting.pop().map_err(malformed)? else { return Ok(None) };
                let sealed = self.seal(next).await?;
                self.sealed.push_back(sealed);
            }
            let Some(batch) = self.sealed.front() else { return Ok(None) };
            let (bytes, deadline) = (batch.bytes.clone(), batch.place.deadline);
            let (broker, connection) = match self.connect().await {
                Ok(found) => found,
                Err(error) => {
                    self.rewind(error).await?;
                    continue;
                }
            };
            let Some(share) = self.shared.share(broker, bytes.len(), self.in_flight.is_empty()).await else {
                return Ok(None);
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
        Ok(None)
    }

    fn has_room(&self) -> bool {
        let limit = if self.established { self.shared.produce.in_flight } else { 1 };
        // What is under way on a connection that ended is sent again before anything else.
        let ended = self.connection.as_ref().is_none_or(|(_, connection)| connection.is_closed());
        self.in_flight.len() < limit && (self.in_flight.is_empty() || !ended)
    }

    /// Gives a batch its sequence number and, off the network's threads, its compression.
    async fn seal(&mut self, next: Unsealed) -> Result<Sealed, EngineError> {
        let Unsealed { records, first, deadline } = next;
        let place = Place { first, count: records.count as usize, deadline };
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
        let count = self.in_flight.front().expect("it was answered").batch.place.count;
        match verdict(&response, count) {
            Verdict::Delivered => {
                let InFlight { batch, .. } = self.in_flight.pop_front().expect("it was answered");
                self.failures = 0;
                self.established = true;
                let Place { first, count, .. } = batch.place;
                self.outputs.written(first..first + count as u64);
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
            let lost = |response| verdict(&response, batch.place.count).is_certain_loss();
            batch.uncertain |= !answer.is_ok_and(lost);
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
                ResponseError::MessageTooLarge | ResponseError::RecordListTooLarge => ErrorClass::Oversized,
                _ => ErrorClass::Refused,
            };
            return self.refuse(vec![(0, ValueError::new(class, error.to_string()))]).await;
        }
        let InFlight { batch, .. } = self.in_flight.pop_front().expect("it was answered");
        if error.0 == ResponseError::MessageTooLarge {
            self.waiting.too_large(batch.bytes.len());
        }
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
        let kept = runs(count, refused.iter().map(|(index, _)| *index));
        for (index, error) in refused {
            self.outputs.refused(batch.place.first + index as u64, error);
        }
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
    /// sequence number.
    async fn recut(
        &mut self,
        batch: Sealed,
        ranges: &[std::ops::Range<usize>],
    ) -> Result<Vec<Sealed>, EngineError> {
        let Sealed { bytes, mut sequence, place, .. } = batch;
        let pieces = EncodedBatch::unseal(&bytes).and_then(|records| records.cut(ranges));
        let mut parts = Vec::with_capacity(ranges.len());
        for (records, range) in pieces.map_err(malformed)?.into_iter().zip(ranges) {
            let place = Place { first: place.first + range.start as u64, count: range.len(), ..place };
            let bytes = self.shared.seal(records, self.stamp(sequence)).await?;
            parts.push(Sealed { bytes, sequence, place, uncertain: false });
            sequence = advance(sequence, place.count);
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

/// Waits for a moment; for ever without one.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Records that are not what a batch of this program's own making holds.
fn malformed(error: RecordsError) -> EngineError {
    EngineError::new(ErrorKind::Fatal, format!("a batch to write is malformed: {error}"))
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
