//! Carries the sealed batches of many partitions to one broker. A broker answers the requests of a
//! connection one after another, so few requests with many batches achieve more than many with one:
//! while a few are in flight, what arrives is gathered for the next.
//!
//! A carrier lives as long as its connection. A writer stays with it while any of its batches are
//! in flight, so that no batch overtakes one that was lost with the connection.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use kafka_protocol::messages::{ProduceResponse, produce_response::PartitionProduceResponse};
use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use topicmill_mill::{batch::TopicPartition, clock::until};

use super::{
    pace::{Pace, REQUEST_BYTES_MAX},
    parcel::{Parcel, ParcelOutcome},
    protocol::Mode,
    request::{self, ProducePart},
};
use crate::{connection::Connection, error::WireError, reply::Reply};

/// The most requests in flight, full ones; fewer than a connection queues.
const REQUESTS_MAX: usize = 40;

/// No broker is configured to read less than this in bytes: a smaller request is not why it closes
/// a connection.
pub const SUSPECT_BYTES_MIN: usize = 64 << 10;

/// Numbers the requests of all carriers.
static REQUESTS: AtomicU64 = AtomicU64::new(1);

/// What a carrier is started with.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The number of requests in flight from which on only full ones are added.
    pub few: usize,
    /// `max.request.size`, within what one request gathers.
    pub request_size: usize,
    /// `request.timeout.ms`.
    pub timeout: Duration,
    /// Outlives the connection: a slow broker is slow on the next one, too.
    pub pace: Arc<Mutex<Pace>>,
    /// The transactional id that all batches are of, if they are of transactions.
    pub mode: Option<Mode>,
}

/// A handle to the carrier of a broker; clones share it.
#[derive(Clone, Debug)]
pub struct Carrier {
    broker: i32,
    connection: Connection,
    parcels: mpsc::UnboundedSender<Parcel>,
}

impl Carrier {
    /// Carries over `connection`, in the background, until it ends or every clone is dropped.
    pub fn start(broker: i32, connection: Connection, terms: Terms) -> Carrier {
        #[expect(
            clippy::disallowed_methods,
            reason = "a writer has no more parcels here than batches under way, five at most"
        )]
        let (parcels, receiver) = mpsc::unbounded_channel();
        let work = Work {
            connection: connection.clone(),
            terms,
            parcels: receiver,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            under_way: VecDeque::new(),
            bytes: 0,
            last_answer: Instant::now(),
        };
        tokio::spawn(work.run());
        Carrier { broker, connection, parcels }
    }

    /// The broker's id.
    pub fn broker(&self) -> i32 {
        self.broker
    }

    /// Whether nothing more is carried.
    pub fn is_closed(&self) -> bool {
        self.parcels.is_closed() || self.connection.is_closed()
    }

    /// Hands a parcel over; its answer channel closes when the carrier has ended.
    pub fn carry(&self, parcel: Parcel) {
        let _ = self.parcels.send(parcel);
    }
}

/// A request that waits for its answer.
struct UnderWay {
    reply: Reply<ProduceResponse>,
    /// In the order of the request.
    parts: Vec<(TopicPartition, oneshot::Sender<ParcelOutcome>)>,
    bytes: usize,
    sent: Instant,
}

struct Work {
    connection: Connection,
    terms: Terms,
    parcels: mpsc::UnboundedReceiver<Parcel>,
    waiting: VecDeque<Parcel>,
    waiting_bytes: usize,
    under_way: VecDeque<UnderWay>,
    /// The bytes in flight.
    bytes: usize,
    last_answer: Instant,
}

impl Work {
    async fn run(mut self) {
        while !self.connection.is_closed() {
            self.gather();
            // What waits for throttling to end has not been sent, and may still be withdrawn.
            let throttled_until = self.connection.throttled_until();
            while throttled_until.is_none()
                && let Some(parcels) = self.next_request()
            {
                if let Err(error) = self.send(parcels).await {
                    return self.end(error);
                }
            }
            let throttled_until = throttled_until.filter(|_| !self.waiting.is_empty());
            tokio::select! {
                biased;
                answer = first_answer(&mut self.under_way), if !self.under_way.is_empty() => {
                    if let Err(error) = self.settle(answer) {
                        return self.end(error);
                    }
                }
                parcel = self.parcels.recv() => match parcel {
                    Some(parcel) => self.keep(parcel),
                    // Nobody waits for an answer any more.
                    None => return,
                },
                () = until(throttled_until) => {}
            }
        }
        // The connection is to be replaced: what is in flight is still answered.
        self.refuse_more(&self.closed());
        while !self.under_way.is_empty() {
            let answer = first_answer(&mut self.under_way).await;
            if let Err(error) = self.settle(answer) {
                return self.end(error);
            }
        }
    }

    /// Takes everything handed over so far.
    fn gather(&mut self) {
        while let Ok(parcel) = self.parcels.try_recv() {
            self.keep(parcel);
        }
    }

    fn keep(&mut self, parcel: Parcel) {
        self.waiting_bytes += parcel.bytes.len();
        self.waiting.push_back(parcel);
    }

    /// The parcels of the next request, if it is to be sent now: at most one per partition, in the
    /// order in which they came.
    fn next_request(&mut self) -> Option<Vec<Parcel>> {
        let requests = self.under_way.len();
        let oldest = self.waiting.front()?;
        let is_busy = requests > 0 && self.bytes + oldest.bytes.len() > self.terms.pace.lock().window();
        if is_busy || requests >= self.terms.few && self.waiting_bytes < self.terms.request_size {
            return None;
        }
        let number = REQUESTS.fetch_add(1, Ordering::Relaxed);
        let (mut size, mut chosen, mut is_full) = (0, Vec::new(), false);
        for (index, parcel) in self.waiting.iter().enumerate() {
            if !parcel.claim.is_queued() || !parcel.claim.mark().enter(number) {
                continue;
            }
            is_full = !chosen.is_empty() && size + parcel.bytes.len() > self.terms.request_size;
            if is_full {
                break;
            }
            size += parcel.bytes.len();
            chosen.push(index);
        }
        is_full |= size >= self.terms.request_size;
        let has_room = requests < self.terms.few || is_full && requests < REQUESTS_MAX;
        let fits = self.bytes + size <= self.terms.pace.lock().window();
        if requests > 0 && !(has_room && fits) {
            return None;
        }
        let mut chosen = chosen.into_iter().peekable();
        let mut parcels = Vec::with_capacity(chosen.len());
        self.waiting_bytes = 0;
        for (index, parcel) in std::mem::take(&mut self.waiting).into_iter().enumerate() {
            let is_chosen = chosen.next_if_eq(&index).is_some();
            if is_chosen && parcel.claim.take() {
                parcels.push(parcel);
            } else if parcel.claim.is_queued() {
                self.keep(parcel);
            }
            // Anything else was taken back by its writer.
        }
        (!parcels.is_empty()).then_some(parcels)
    }

    async fn send(&mut self, mut parcels: Vec<Parcel>) -> Result<(), WireError> {
        parcels.sort_by(|a, b| a.to.cmp(&b.to));
        let parts: Vec<_> =
            parcels.iter().map(|parcel| ProducePart { to: &parcel.to, batch: &parcel.bytes }).collect();
        let bytes = parcels.iter().map(|parcel| parcel.bytes.len()).sum();
        match request::send(&self.connection, &parts, self.terms.timeout, self.terms.mode.as_ref()).await {
            Ok(reply) => {
                let parts = parcels.into_iter().map(|parcel| (parcel.to, parcel.answer)).collect();
                self.bytes += bytes;
                self.under_way.push_back(UnderWay { reply, parts, bytes, sent: Instant::now() });
                Ok(())
            }
            Err(error) => {
                for parcel in parcels {
                    let _ = parcel.answer.send(ParcelOutcome::Unsent(error.clone()));
                }
                Err(error)
            }
        }
    }

    /// Passes on the answer to the oldest request.
    fn settle(&mut self, answer: Result<ProduceResponse, WireError>) -> Result<(), WireError> {
        let Some(UnderWay { parts, bytes, sent, .. }) = self.under_way.pop_front() else { return Ok(()) };
        self.bytes -= bytes;
        let response = match answer {
            Ok(response) => response,
            Err(error) => {
                let is_suspect = bytes >= SUSPECT_BYTES_MIN && matches!(error, WireError::Closed { .. });
                lose(parts, &error, is_suspect);
                return Err(error);
            }
        };
        let now = Instant::now();
        let throttle = Duration::from_millis(response.throttle_time_ms.try_into().unwrap_or(0));
        self.terms.pace.lock().answered(bytes, now - sent.max(self.last_answer) + throttle);
        self.last_answer = now;
        deal(parts, response, throttle);
        Ok(())
    }

    /// The connection ended: the outcome of what is in flight is unknown, and what waits was not
    /// sent.
    fn end(&mut self, error: WireError) {
        self.terms.pace.lock().lost();
        for request in self.under_way.drain(..) {
            lose(request.parts, &error, false);
        }
        self.refuse_more(&error);
    }

    fn refuse_more(&mut self, error: &WireError) {
        self.parcels.close();
        self.gather();
        for parcel in self.waiting.drain(..) {
            let _ = parcel.answer.send(ParcelOutcome::Unsent(error.clone()));
        }
    }

    fn closed(&self) -> WireError {
        let reason = "it is replaced".to_owned();
        WireError::Closed { broker: self.connection.broker().to_owned(), reason }
    }
}

impl Terms {
    /// The most that one request gathers, within `max_request_size`.
    pub fn request_size(max_request_size: usize) -> usize {
        REQUEST_BYTES_MAX.min(max_request_size)
    }
}

fn lose(parts: Vec<(TopicPartition, oneshot::Sender<ParcelOutcome>)>, error: &WireError, is_suspect: bool) {
    for (_, answer) in parts {
        // The writer may have moved to another broker.
        let _ = answer.send(ParcelOutcome::Lost { error: error.clone(), is_suspect });
    }
}

/// Passes on the answer to each part of a request; the parts are sorted by partition.
fn deal(
    parts: Vec<(TopicPartition, oneshot::Sender<ParcelOutcome>)>,
    response: ProduceResponse,
    throttle: Duration,
) {
    let (partitions, mut answers): (Vec<_>, Vec<_>) =
        parts.into_iter().map(|(partition, answer)| (partition, Some(answer))).unzip();
    for topic in response.responses {
        for answer in topic.partition_responses {
            let named = (topic.name.as_str(), answer.index);
            let found = partitions.binary_search_by(|p| (&*p.topic, p.partition).cmp(&named));
            if let Some(part) = found.ok().and_then(|index| answers[index].take()) {
                let _ = part.send(ParcelOutcome::Answered(answer, throttle));
            }
        }
    }
    for left_out in answers.into_iter().flatten() {
        let answer = PartitionProduceResponse::default()
            .with_error_code(kafka_protocol::ResponseError::UnknownServerError.code());
        let _ = left_out.send(ParcelOutcome::Answered(answer, throttle));
    }
}

/// Waits for the oldest answer; answers come in order. Cancel-safe.
async fn first_answer(under_way: &mut VecDeque<UnderWay>) -> Result<ProduceResponse, WireError> {
    match under_way.front_mut() {
        Some(request) => request.reply.arrival().await,
        None => std::future::pending().await,
    }
}
