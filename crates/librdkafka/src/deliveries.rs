//! Counts the deliveries of each batch and answers its sender.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use parking_lot::Mutex;
use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel,
    error::KafkaError,
    message::DeliveryResult,
    producer::{NoCustomPartitioner, ProducerContext},
    types::RDKafkaErrorCode,
};
use tokio::sync::oneshot;
use topicmill_mill::{
    batch::TopicPartition,
    engine::{EngineError, ErrorKind, Receipt, Refusal},
    transform::{ErrorClass, ValueError},
};

use super::{error, report::Reporter};

/// Where a batch's answer goes.
pub(super) type Reply = oneshot::Sender<Result<Receipt, EngineError>>;

/// The place of a record: the batch's slot in the upper half, its index in the lower.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket(usize);

const _: () = assert!(usize::BITS == 64, "a ticket takes 64 bits");

impl Ticket {
    /// The record at `index` of the batch in this ticket's slot.
    pub fn at(self, index: usize) -> Ticket {
        Ticket(self.0 | index)
    }

    /// The form in which librdkafka carries it.
    pub fn opaque(self) -> usize {
        self.0
    }
}

/// The clusters that refused a request because of one of its records. The next sink for one of them
/// sends records one by one: slow, but only then does a refusal say which record it is about.
static REFUSING: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// The batches in flight.
#[derive(Debug)]
pub(super) struct Deliveries {
    slots: Mutex<Slots>,
    spent: AtomicBool,
    /// Whether every record has a request of its own, so that a refusal concerns it alone.
    careful: bool,
    /// The brokers written to.
    cluster: String,
    /// The topics that no record is refused for; without a list all are such.
    fixed: Option<Vec<Arc<str>>>,
    pub reporter: Reporter,
}

#[derive(Debug, Default)]
struct Slots {
    batches: Vec<Batch>,
    free: Vec<usize>,
    failure: Option<EngineError>,
}

#[derive(Debug)]
struct Batch {
    destination: TopicPartition,
    left: usize,
    refused: Vec<Refusal>,
    reply: Option<Reply>,
}

impl Deliveries {
    /// No batches yet for `cluster`, the brokers written to. What is wrong with a topic that is not among the `fixed`
    /// ones, if there are such, concerns its records alone.
    pub fn new(cluster: String, fixed: Option<Vec<Arc<str>>>) -> Deliveries {
        let careful = REFUSING.lock().contains(&cluster);
        Deliveries {
            slots: Mutex::default(),
            spent: AtomicBool::new(false),
            careful,
            cluster,
            fixed,
            reporter: Reporter::default(),
        }
    }

    /// Whether every record is to have a request of its own.
    pub fn is_careful(&self) -> bool {
        self.careful
    }

    /// Awaits `count` deliveries for a batch, then answers `reply`.
    pub fn open(&self, destination: TopicPartition, count: usize, reply: Reply) -> Option<Ticket> {
        let mut slots = self.slots.lock();
        if let Some(failure) = &slots.failure {
            let _ = reply.send(Err(failure.clone()));
            return None;
        }
        if count == 0 {
            let _ = reply.send(Ok(Receipt::default()));
            return None;
        }
        let batch = Batch { destination, left: count, refused: Vec::new(), reply: Some(reply) };
        let slot = match slots.free.pop() {
            Some(slot) => {
                slots.batches[slot] = batch;
                slot
            }
            None => {
                slots.batches.push(batch);
                slots.batches.len() - 1
            }
        };
        Some(Ticket(slot << 32))
    }

    /// One record was acknowledged, or refused for its contents.
    pub fn settle(&self, ticket: Ticket, refused: Option<ValueError>) {
        let mut slots = self.slots.lock();
        let slot = ticket.0 >> 32;
        let batch = &mut slots.batches[slot];
        if let Some(error) = refused {
            batch.refused.push(Refusal { index: ticket.0 & 0xffff_ffff, error });
        }
        batch.left -= 1;
        if batch.left == 0 {
            let mut refused = std::mem::take(&mut batch.refused);
            let reply = batch.reply.take();
            slots.free.push(slot);
            drop(slots);
            refused.sort_unstable_by_key(|refusal| refusal.index);
            reply.map(|reply| reply.send(Ok(Receipt { refused })));
        }
    }

    /// One record failed, and with it the sink: nothing more is sent, and everyone who waits gets
    /// the error.
    pub fn fail(&self, error: EngineError) {
        self.spent.store(true, Relaxed);
        let mut slots = self.slots.lock();
        slots.failure.get_or_insert_with(|| error.clone());
        for batch in &mut slots.batches {
            if let Some(reply) = batch.reply.take() {
                let mine = EngineError { partition: Some(batch.destination.clone()), ..error.clone() };
                let _ = reply.send(Err(mine));
            }
        }
    }

    /// Whether the sink has failed.
    pub fn is_spent(&self) -> bool {
        self.spent.load(Relaxed)
    }

    /// What becomes of a record whose topic is routed to when its delivery fails.
    fn routed(&self, code: RDKafkaErrorCode, ticket: Ticket) -> Option<Result<ValueError, EngineError>> {
        use RDKafkaErrorCode::{
            InvalidTopic, TopicAuthorizationFailed, UnknownPartition, UnknownTopic, UnknownTopicOrPartition,
        };
        let fixed = self.fixed.as_ref()?;
        let topic = {
            let slots = self.slots.lock();
            Arc::clone(&slots.batches[ticket.0 >> 32].destination.topic)
        };
        if fixed.contains(&topic) {
            return None;
        }
        match code {
            TopicAuthorizationFailed | InvalidTopic => {
                Some(Ok(ValueError::new(ErrorClass::Route, format!("writing to {topic}: {code}"))))
            }
            // It was deleted: the next start makes it again.
            UnknownTopic | UnknownPartition | UnknownTopicOrPartition => {
                Some(Err(EngineError::new(ErrorKind::Retriable, format!("writing to {topic}: {code}"))))
            }
            _ => None,
        }
    }

    fn failed(&self, error: &KafkaError, ticket: Ticket) {
        let code = error::code(error);
        match self.routed(code, ticket) {
            Some(Ok(refusal)) => return self.settle(ticket, Some(refusal)),
            Some(Err(error)) => return self.fail(error),
            None => {}
        }
        match error::refusal(code) {
            Some(refusal) if self.careful => self.settle(ticket, Some(refusal)),
            Some(refusal) => {
                // The whole request was refused because of one of its records, and nothing says
                // which.
                REFUSING.lock().insert(self.cluster.clone());
                let message = format!("a request was refused ({refusal}); records will be sent one by one");
                self.fail(EngineError::new(ErrorKind::Retriable, message));
            }
            None => self.fail(error::engine_error("writing", error)),
        }
    }
}

/// The producer's callbacks.
#[derive(Clone, Debug)]
pub(super) struct SinkContext(pub Arc<Deliveries>);

impl ClientContext for SinkContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.reporter.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.reporter.error(&error, reason);
        if let Some(failure) = self.0.reporter.fatal() {
            self.0.fail(failure);
        } else if error::code(&error) == RDKafkaErrorCode::Fatal {
            // The idempotent producer has lost its state at the broker (KIP-360); a new one starts
            // over.
            self.0.fail(EngineError::new(ErrorKind::Retriable, format!("writing: {reason}")));
        }
    }
}

impl ProducerContext<NoCustomPartitioner> for SinkContext {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: usize) {
        match result {
            Ok(_) => self.0.settle(Ticket(opaque), None),
            Err((error, _)) => self.0.failed(error, Ticket(opaque)),
        }
    }
}
