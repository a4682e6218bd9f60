//! How a batch becomes final: its output is sent, so are the dead letters of what failed, and all
//! of it is acknowledged. At least once: only then may the batch's offset be committed.
//!
//! Architecture invariant: a record is never skipped. Every record of an acknowledged batch is in
//! the destination or in the dead letter topic, or its partition is stopped.

mod kind;
mod lanes;
mod transactions;

use std::{collections::BTreeMap, fmt, future::pending, pin::Pin, sync::Arc, time::Duration};

use futures_util::{
    StreamExt,
    future::{try_join, try_join_all},
    stream::FuturesUnordered,
};
pub use kind::DeliveryKind;
use lanes::Lanes;
use tokio::time::Instant;
use topicmill_records::{Compression, EncodedBatch};
use transactions::side;

use crate::{
    backoff::Backoff,
    batch::{AssignmentId, OutputBatch, PartitionBatch, TopicPartition, TransactionNumber},
    dead_letter::{self, Form, Letter, Protect, Stage},
    engine::{EngineError, Receipt, Refusal, Sink},
    offsets::Ticket,
    strategy::{Job, Product},
    transform::{ErrorClass, Failure, Place, Sources, Transformed, resolve},
};

/// Where output goes.
#[derive(Clone, Debug)]
pub struct Routes {
    /// The topic of the transformed records.
    pub destination: Arc<str>,
    /// The topic of the records that failed.
    pub dead_letter: Arc<str>,
    /// The consumer group, which dead letters name.
    pub group: Arc<str>,
    /// How the values of dead letters are protected, if they are.
    pub protect: Option<Protect>,
    /// The largest output chunk in bytes.
    pub chunk_limit: usize,
    /// The bytes of output and dead letters that may wait for acknowledgement before no more is
    /// sent: enough to keep the brokers busy.
    pub window: usize,
    /// How often a refused dead letter is tried again before its partition stops.
    pub retries: u32,
    /// How long to wait in between.
    pub backoff: Backoff,
}

/// The batches on their way to the brokers.
pub struct Delivery<K> {
    sink: K,
    routes: Routes,
    flights: FuturesUnordered<Pin<Box<dyn Future<Output = Landing> + Send>>>,
    /// What is in flight, by partition of the source.
    lanes: Lanes,
    /// The transaction that batches are sent in; none at least once.
    open: Option<TransactionNumber>,
    /// The batches in flight, of transactions with an even number and with an odd one.
    of_transactions: [usize; 2],
}

/// The outcome of a batch.
#[derive(Debug)]
pub enum Delivered {
    /// Every record is written, or its dead letter is.
    Acknowledged(Acknowledged),
    /// A dead letter was refused for good: the partition must stop before the batch of this ticket.
    Stopped(Ticket, RefusedLetter),
    /// It is uncertain whether the batch of this ticket was written.
    Failed(Failed),
    /// What was left to write of the batch of this ticket is no longer wanted.
    GivenUp(Ticket),
}

/// A batch that failed.
#[derive(Debug)]
pub struct Failed {
    /// The batch.
    pub ticket: Ticket,
    /// Why. An error without a partition concerns the whole sink, which cannot be used any more.
    pub error: EngineError,
    /// When the batch was sent.
    pub since: Instant,
}

impl Delivered {
    /// The batch.
    pub fn ticket(&self) -> &Ticket {
        match self {
            Delivered::Acknowledged(acknowledged) => &acknowledged.ticket,
            Delivered::Failed(failed) => &failed.ticket,
            Delivered::Stopped(ticket, _) | Delivered::GivenUp(ticket) => ticket,
        }
    }

    /// How long it was in flight, if all of it was acknowledged.
    fn flew(&self) -> Option<Duration> {
        match self {
            Delivered::Acknowledged(acknowledged) => Some(acknowledged.time),
            Delivered::Failed(_) | Delivered::Stopped(..) | Delivered::GivenUp(_) => None,
        }
    }
}

/// What was acknowledged for a batch.
#[derive(Debug)]
pub struct Acknowledged {
    /// Acknowledges the batch.
    pub ticket: Ticket,
    /// The records written to the destination.
    pub written: u64,
    /// The bytes written to the destination, before compression.
    pub bytes: u64,
    /// The records that the transform passed over.
    pub filtered: u64,
    /// The class of each dead letter.
    pub dead_letters: Vec<ErrorClass>,
    /// The offset of the last record that became a dead letter, and the class of its error.
    pub last_letter: Option<(i64, ErrorClass)>,
    /// From sending to the acknowledgement.
    pub time: Duration,
}

/// A dead letter that its topic does not accept.
#[derive(Debug, thiserror::Error)]
#[error(
    "{partition} at offset {offset}: the dead letter topic {topic} refuses the record: {reason}; the partition stops here"
)]
pub struct RefusedLetter {
    /// The record's partition.
    pub partition: TopicPartition,
    /// The record's offset.
    pub offset: i64,
    /// The dead letter topic.
    pub topic: Arc<str>,
    /// Why it was refused.
    pub reason: String,
}

/// A batch in flight. The input is kept: what fails must be written as it was read.
struct Flight {
    job: Job,
    /// The dead letters in flight or done.
    letters: Vec<Letter>,
    /// Those that the dead letter topic has not accepted yet.
    unsent: Vec<Letter>,
    attempt: u32,
    started: Instant,
    /// Its dead letters go into the same one, whenever they are sent.
    transaction: Option<TransactionNumber>,
    /// Where each output record comes from, one entry for each output batch.
    sources: Vec<Sources>,
    output_records: u64,
    output_bytes: u64,
    filtered: u64,
    /// The bytes of output and dead letters that are in flight now.
    under_way: usize,
    /// The bytes that its dead letters hold, as the batch's share of the memory counts them.
    charged: usize,
}

impl Flight {
    fn origin(&self) -> &TopicPartition {
        &self.job.batch.origin
    }
}

/// A batch whose requests are answered.
struct Landing {
    flight: Flight,
    answer: Result<Answer, EngineError>,
}

enum Answer {
    /// What the destination and the dead letter topic refused.
    Receipts { outputs: Vec<Receipt>, letters: Receipt },
    /// The backoff is over; the unsent dead letters have to be sent.
    Resend,
}

impl<K: Sink> Delivery<K> {
    /// Delivers through `sink`.
    pub fn new(sink: K, routes: Routes) -> Delivery<K> {
        let lanes = Lanes::new(routes.window);
        let flights = FuturesUnordered::new();
        Delivery { sink, routes, flights, lanes, open: None, of_transactions: [0, 0] }
    }

    /// Sends the output of a batch and its dead letters.
    pub fn send(&mut self, product: Product) {
        let Product { job, transformed, .. } = product;
        let Transformed { outputs, failures, skipped } = transformed;
        let letters: Vec<Letter> = failures.iter().map(letter).collect();
        let resolved = resolve(outputs, &self.routes.destination, &job.batch.origin);
        let (outputs, sources): (Vec<_>, _) = resolved
            .expect("what was just encoded is read")
            .into_iter()
            .map(|(to, chunks, sources)| (written_to(to, &job.batch, chunks), sources))
            .unzip();
        let flight = Flight {
            unsent: letters.clone(),
            letters,
            attempt: 0,
            started: Instant::now(),
            transaction: self.open,
            sources,
            output_records: outputs.iter().map(|output| output.record_count() as u64).sum(),
            output_bytes: outputs.iter().map(|output| output.size() as u64).sum(),
            filtered: skipped as u64,
            under_way: 0,
            charged: 0,
            job,
        };
        self.lanes.take_off(flight.origin());
        if let Some(transaction) = self.open {
            self.of_transactions[side(transaction)] += 1;
        }
        self.launch(flight, outputs);
    }

    /// Whether more may be sent: partitions that make progress leave room in the window.
    pub fn has_room(&self) -> bool {
        self.lanes.has_room()
    }

    /// Whether a partition of the source has used its share of the window, or makes no progress.
    pub fn is_full(&self, partition: &TopicPartition) -> bool {
        self.lanes.is_full(partition)
    }

    /// Whether nothing of a partition of the source is in flight.
    pub fn is_idle(&self, partition: &TopicPartition) -> bool {
        self.lanes.is_idle(partition)
    }

    /// The batches in flight.
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// Those of them whose partition makes progress.
    pub fn moving(&self) -> usize {
        self.lanes.flights()
    }

    /// Finds the partitions that make no progress; they no longer count against the window. To be
    /// called a few times a second.
    pub fn look(&mut self) -> Vec<TopicPartition> {
        self.lanes.look()
    }

    /// What comes from `origin` under `assignment` or an earlier one is no longer wanted.
    pub fn forget(&mut self, origin: &TopicPartition, assignment: AssignmentId) {
        self.sink.forget(origin, assignment);
    }

    /// The outcome of the next batch; waits while there is none. A batch that is not `is_wanted`
    /// when dead letters of it have yet to be sent is given up. Cancel-safe.
    pub async fn next(&mut self, is_wanted: impl Fn(&Ticket) -> bool) -> Delivered {
        loop {
            let Some(Landing { flight, answer }) = self.flights.next().await else {
                return pending().await;
            };
            self.lanes.answer(flight.origin(), flight.under_way);
            let transaction = flight.transaction;
            let delivered = match answer {
                Err(error) => {
                    let since = flight.started;
                    Some(Delivered::Failed(Failed { ticket: flight.job.ticket, error, since }))
                }
                Ok(Answer::Resend) if !is_wanted(&flight.job.ticket) => {
                    Some(Delivered::GivenUp(flight.job.ticket))
                }
                Ok(Answer::Resend) => {
                    self.launch(flight, Vec::new());
                    None
                }
                Ok(Answer::Receipts { outputs, letters }) => self.land(flight, &outputs, letters),
            };
            if let Some(delivered) = delivered {
                if let Some(transaction) = transaction {
                    self.of_transactions[side(transaction)] -= 1;
                }
                self.lanes.land(delivered.ticket().partition(), delivered.flew());
                return delivered;
            }
        }
    }

    /// Gives up what is in flight and disconnects.
    pub async fn close(self) {
        drop(self.flights);
        self.sink.close().await;
    }

    /// Sends the output and the unsent dead letters of a batch.
    fn launch(&mut self, mut flight: Flight, outputs: Vec<OutputBatch>) {
        let (batch, limit) = (&flight.job.batch, self.routes.chunk_limit);
        let Routes { group, protect, .. } = &self.routes;
        let letters = dead_letter::encode(batch, &flight.unsent, group, protect.as_ref(), limit);
        let of_letters = Place { topic: Some(Arc::clone(&self.routes.dead_letter)), partition: None };
        let mut letters = written_to(of_letters.of(&self.routes.destination, &batch.origin), batch, letters);
        if flight.unsent.iter().any(|letter| letter.form.compressed) {
            (letters.compression, letters.must_compress) = (Compression::Zstd, true);
        }
        flight.attempt += 1;
        flight.under_way = outputs.iter().map(OutputBatch::size).sum::<usize>() + letters.size();
        let of_letters = letters.size() + memory_of(&flight.letters) + memory_of(&flight.unsent);
        flight.job.ticket.charge(std::mem::replace(&mut flight.charged, of_letters), of_letters);
        self.lanes.send(flight.origin(), flight.under_way);
        let mut sent = Vec::with_capacity(outputs.len());
        letters.transaction = flight.transaction;
        for mut output in outputs {
            output.transaction = flight.transaction;
            sent.push(send(&mut self.sink, output));
        }
        let letters = send(&mut self.sink, letters);
        self.flights.push(Box::pin(async move {
            let answer = try_join(try_join_all(sent), letters).await;
            let answer = answer.map(|(outputs, letters)| Answer::Receipts { outputs, letters });
            Landing { flight, answer }
        }));
    }

    /// Takes the answers for a batch: it is done, stopped, or (`None`) in flight again.
    fn land(&mut self, mut flight: Flight, outputs: &[Receipt], letters: Receipt) -> Option<Delivered> {
        let refused_letter = letters.refused.first().map(|refusal| refusal.error.to_string());
        // What the topic does not accept as it is may be accepted in another form.
        let remedied = |refusal: &Refusal| {
            let refused = flight.unsent.get(refusal.index)?;
            Some((refused, refused.remedied(refusal.error.class)))
        };
        let remedied: Vec<(&Letter, Letter)> = letters.refused.iter().filter_map(remedied).collect();
        let is_another = remedied.iter().any(|(before, now)| before.form != now.form);
        let mut unsent: Vec<Letter> = remedied.into_iter().map(|(_, now)| now).collect();
        if let Some(reason) = &refused_letter
            && flight.attempt > self.routes.retries
            && !is_another
        {
            let stopped = self.stopped(&flight, &letters.refused[0], reason.clone());
            return Some(Delivered::Stopped(flight.job.ticket, stopped));
        }
        flight.output_records -= outputs.iter().map(|receipt| receipt.refused.len() as u64).sum::<u64>();
        let refused = refused_outputs(&flight, outputs);
        flight.letters.extend(refused.iter().cloned());
        unsent.extend(refused);
        flight.unsent = unsent;
        if flight.unsent.is_empty() {
            return Some(Delivered::Acknowledged(acknowledged(flight)));
        }
        let delay = match refused_letter {
            Some(_) if !is_another => self.routes.backoff.pause(flight.attempt),
            Some(_) | None => Duration::ZERO,
        };
        flight.under_way = 0;
        self.flights.push(Box::pin(async move {
            tokio::time::sleep(delay).await;
            Landing { flight, answer: Ok(Answer::Resend) }
        }));
        None
    }

    fn stopped(&self, flight: &Flight, refusal: &Refusal, reason: String) -> RefusedLetter {
        let record = flight.unsent.get(refusal.index).map_or(0, |letter| letter.index);
        RefusedLetter {
            partition: flight.job.batch.origin.clone(),
            offset: flight.job.batch.records[record].offset,
            topic: Arc::clone(&self.routes.dead_letter),
            reason,
        }
    }
}

/// What is written of `batch` to a partition.
fn written_to(destination: TopicPartition, batch: &PartitionBatch, chunks: Vec<EncodedBatch>) -> OutputBatch {
    let (origin, assignment, compression) = (batch.origin.clone(), batch.assignment, batch.compression);
    let (must_compress, transaction) = (false, None);
    OutputBatch { destination, origin, assignment, compression, must_compress, transaction, chunks }
}

/// Sends a batch, if it is not empty.
fn send<K: Sink>(
    sink: &mut K,
    batch: OutputBatch,
) -> impl Future<Output = Result<Receipt, EngineError>> + Send + 'static {
    let sent = (!batch.chunks.is_empty()).then(|| sink.send(batch));
    async {
        match sent {
            Some(sent) => sent.await,
            None => Ok(Receipt::default()),
        }
    }
}

/// The bytes that letters hold besides what they are written as.
fn memory_of(letters: &[Letter]) -> usize {
    letters.iter().map(|letter| size_of::<Letter>() + letter.error.message.len()).sum()
}

fn letter(failure: &Failure) -> Letter {
    let (stage, error) = (Stage::Transformation, failure.error.clone());
    Letter { index: failure.index, stage, error, form: Form::default() }
}

/// The dead letters for the records whose output was refused, in the order of the records: one each, even
/// if several of its results were.
///
/// A refused record has had three numbers by now: the broker's, in its wire batch; the sink's, in the
/// order of what is written to the partition; and the receipt's, in this output. The last is led back to
/// the source by the list of where each comes from. Where there is none, those that the transform did not
/// refuse are counted again: that takes time, for a path that is rare.
fn refused_outputs(flight: &Flight, receipts: &[Receipt]) -> Vec<Letter> {
    if receipts.iter().all(|receipt| receipt.refused.is_empty()) {
        return Vec::new();
    }
    let records = 0..flight.job.batch.records.len();
    let by_transform = flight.letters.iter().filter(|letter| letter.stage == Stage::Transformation);
    let failed: Vec<usize> = by_transform.map(|letter| letter.index).collect();
    let mut refused = BTreeMap::new();
    for (receipt, sources) in receipts.iter().zip(&flight.sources) {
        let written: Vec<u32> = sources.listed(records.clone(), failed.iter().copied()).collect();
        for refusal in &receipt.refused {
            if let Some(index) = written.get(refusal.index) {
                refused.entry(*index as usize).or_insert_with(|| refusal.error.clone());
            }
        }
    }
    let letter = |(index, error)| Letter { index, stage: Stage::Produce, error, form: Form::default() };
    refused.into_iter().map(letter).collect()
}

fn acknowledged(flight: Flight) -> Acknowledged {
    let offset = |letter: &Letter| (flight.job.batch.records[letter.index].offset, letter.error.class);
    Acknowledged {
        last_letter: flight.letters.last().map(offset),
        ticket: flight.job.ticket,
        written: flight.output_records,
        bytes: flight.output_bytes,
        filtered: flight.filtered,
        dead_letters: flight.letters.iter().map(|letter| letter.error.class).collect(),
        time: flight.started.elapsed(),
    }
}

impl<K> fmt::Debug for Delivery<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("routes", &self.routes)
            .field("in_flight", &self.flights.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
