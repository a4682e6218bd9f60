//! The [`Sink`] over an idempotent `BaseProducer`.

use std::{
    collections::BTreeSet,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    error::KafkaError,
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer},
    types::RDKafkaErrorCode,
};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};
use topicmill_kafka::Routing;
use topicmill_mill::{
    batch::{AssignmentId, OutputBatch, Record, TopicPartition},
    engine::{ClientSettings, EngineError, ErrorKind, Receipt, Sink},
    transform::{ErrorClass, ValueError},
};
use topicmill_records::Headers;

use super::{
    deliveries::{Deliveries, Reply, SinkContext, Ticket},
    error::{self, engine_error},
    nap,
    routed::Routed,
    settings,
};

/// The most batches that may wait for the produce thread; the budget bounds their bytes.
const MAX_WAITING: usize = 4096;
/// How often a thread checks whether it should end.
const TICK: Duration = Duration::from_millis(50);
/// How long `close` waits for the threads to end.
const CLOSE: Duration = Duration::from_secs(10);

/// The [`Sink`] over librdkafka.
///
/// librdkafka itself never gives up (`message.timeout.ms=0`): a batch that is not acknowledged
/// within `delivery.timeout.ms` (2 minutes unless set) fails here, and the sink cannot be used any
/// more.
///
/// A timestamp of exactly 0 cannot be passed to librdkafka, which takes it for "now".
#[derive(Debug)]
pub struct LibrdkafkaSink {
    jobs: Option<mpsc::Sender<Job>>,
    deliveries: Arc<Deliveries>,
    delivery_timeout: Duration,
    ended: oneshot::Receiver<()>,
}

struct Job {
    batch: OutputBatch,
    reply: Reply,
}

impl LibrdkafkaSink {
    /// A producer with a new producer id; it connects in the background.
    ///
    /// # Errors
    /// When a property is not supported.
    pub fn new(client: &ClientSettings) -> Result<LibrdkafkaSink, EngineError> {
        LibrdkafkaSink::open(client, None)
    }

    /// As [`new`](LibrdkafkaSink::new), for records that go to several topics: as the native sink has them. To be
    /// called in an async runtime.
    ///
    /// # Errors
    /// As [`new`](LibrdkafkaSink::new).
    pub fn with_routing(client: &ClientSettings, routing: Routing) -> Result<LibrdkafkaSink, EngineError> {
        LibrdkafkaSink::open(client, Some(Routed::new(routing, Handle::current())))
    }

    fn open(client: &ClientSettings, routed: Option<Routed>) -> Result<LibrdkafkaSink, EngineError> {
        let fixed = routed.as_ref().map(|routed| routed.routing().fixed.clone());
        let deliveries = Arc::new(Deliveries::new(client.brokers.join(","), fixed));
        let config = settings::producer(client, deliveries.is_careful())?;
        let producer: BaseProducer<SinkContext> = config
            .create_with_context(SinkContext(Arc::clone(&deliveries)))
            .map_err(|error| EngineError::from(settings::property_error("kafka", &error)))?;
        let producer = Arc::new(producer);

        let (jobs, waiting) = mpsc::channel(MAX_WAITING);
        let (stop, stopped) = std::sync::mpsc::sync_channel::<()>(1);
        let (end, ended) = oneshot::channel();
        let poller = Arc::clone(&producer);
        let poll = move || {
            // `poll` takes its whole time and serves deliveries as they come.
            while matches!(stopped.try_recv(), Err(std::sync::mpsc::TryRecvError::Empty)) {
                poller.poll(TICK);
            }
        };
        let poll = spawn("rdkafka-deliver", poll)?;
        let mut producing = Producing {
            producer,
            deliveries: Arc::clone(&deliveries),
            checked: BTreeSet::new(),
            routed,
            connect_timeout: client.connect_timeout,
        };
        let produce = move || {
            producing.run(waiting);
            drop(stop);
            let _ = poll.join();
            // Trap: the drop purges what is not delivered, which is what closing means here.
            drop(producing);
            drop(end);
        };
        spawn("rdkafka-produce", produce)?;
        let delivery_timeout = settings::delivery_timeout(client)?;
        Ok(LibrdkafkaSink { jobs: Some(jobs), deliveries, delivery_timeout, ended })
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<thread::JoinHandle<()>, EngineError> {
    let thread = thread::Builder::new().name(name.into()).spawn(run);
    thread.map_err(|error| EngineError::new(ErrorKind::Fatal, format!("no thread {name}: {error}")))
}

impl Sink for LibrdkafkaSink {
    fn send(
        &mut self,
        batch: OutputBatch,
    ) -> impl Future<Output = Result<Receipt, EngineError>> + Send + 'static {
        let destination = batch.destination.clone();
        let (reply, answer) = oneshot::channel();
        let jobs = self.jobs.as_ref().expect("jobs are taken by close only");
        let sent = jobs.try_send(Job { batch, reply });
        let timeout = self.delivery_timeout;
        let deadline = tokio::time::Instant::now() + timeout;
        let deliveries = Arc::clone(&self.deliveries);
        async move {
            // Without a partition: an error of this sink concerns everything that it was given.
            let retriable =
                |what: String| EngineError::new(ErrorKind::Retriable, format!("{destination}: {what}"));
            sent.map_err(|_| retriable(format!("{MAX_WAITING} batches wait to be written")))?;
            match tokio::time::timeout_at(deadline, answer).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Err(retriable("the sink was closed before the acknowledgement".into())),
                Err(_) => {
                    let error = retriable(format!("not acknowledged within {timeout:?}"));
                    deliveries.fail(error.clone());
                    Err(error)
                }
            }
        }
    }

    /// Librdkafka does not give back what it was given.
    fn forget(&mut self, _origin: &TopicPartition, _assignment: AssignmentId) {}

    async fn close(mut self) {
        self.deliveries.fail(EngineError::new(ErrorKind::Retriable, "the sink was closed"));
        self.jobs = None;
        if tokio::time::timeout(CLOSE, &mut self.ended).await.is_err() {
            tracing::warn!("the producer did not end within {CLOSE:?}");
        }
    }
}

impl Drop for LibrdkafkaSink {
    fn drop(&mut self) {
        self.deliveries.fail(EngineError::new(ErrorKind::Retriable, "the sink was dropped"));
    }
}

/// The produce thread: hands records to librdkafka in the order of the calls.
struct Producing {
    producer: Arc<BaseProducer<SinkContext>>,
    deliveries: Arc<Deliveries>,
    checked: BTreeSet<Arc<str>>,
    routed: Option<Routed>,
    connect_timeout: Duration,
}

impl Producing {
    fn run(&mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(Job { batch, reply }) = jobs.blocking_recv() {
            let destination = batch.destination.clone();
            let Some(ticket) = self.deliveries.open(destination.clone(), batch.record_count(), reply) else {
                continue;
            };
            if let Err(error) = self.write(&batch, ticket) {
                self.deliveries.fail(error.at(&destination));
            }
        }
    }

    fn write(&mut self, batch: &OutputBatch, ticket: Ticket) -> Result<(), EngineError> {
        let to = &batch.destination;
        let refusal = match &mut self.routed {
            Some(routed) => routed.refusal(to)?,
            None => None,
        };
        if let Some(refusal) = refusal {
            for index in 0..batch.record_count() {
                self.deliveries.settle(ticket.at(index), Some(refusal.clone()));
            }
            return Ok(());
        }
        self.check_topic(to).map_err(|error| match &self.routed {
            // Another start asks for it, or makes it.
            Some(routed) if routed.routing().is_routed(&to.topic) => {
                EngineError { kind: ErrorKind::Retriable, ..error }
            }
            _ => error,
        })?;
        let mut index = 0;
        for chunk in &batch.chunks {
            let records = chunk.records().map_err(|error| {
                EngineError::new(ErrorKind::Fatal, format!("an output batch is malformed: {error}"))
            })?;
            for record in &records {
                self.produce(&batch.destination, &chunk.bytes, record, ticket.at(index))?;
                index += 1;
            }
        }
        Ok(())
    }

    /// The first batch for a topic waits until a broker knows it, so that a missing topic is
    /// reported at once.
    fn check_topic(&mut self, destination: &TopicPartition) -> Result<(), EngineError> {
        let topic = &destination.topic;
        if self.checked.contains(topic) {
            return Ok(());
        }
        let deadline = Instant::now() + self.connect_timeout;
        loop {
            let answer = self.producer.client().fetch_metadata(Some(topic), Duration::from_millis(500));
            let known = answer
                .as_ref()
                .is_ok_and(|metadata| metadata.topics().first().is_some_and(|found| found.error().is_none()));
            if known {
                self.deliveries.reporter.connected();
                self.checked.insert(Arc::clone(topic));
                return Ok(());
            }
            if Instant::now() >= deadline || self.deliveries.is_spent() {
                return Err(match answer {
                    Ok(metadata) => {
                        let code = metadata.topics().first().and_then(|found| found.error());
                        let code: RDKafkaErrorCode = code.map_or(RDKafkaErrorCode::UnknownTopic, Into::into);
                        EngineError::new(error::kind(code), format!("topic {topic}: {code}"))
                    }
                    Err(error) => EngineError {
                        kind: ErrorKind::Unreachable,
                        ..engine_error("no broker answered", &error)
                    },
                });
            }
            nap(Duration::from_millis(20));
        }
    }

    #[inline]
    fn produce(
        &self,
        destination: &TopicPartition,
        buffer: &[u8],
        record: &Record,
        ticket: Ticket,
    ) -> Result<(), EngineError> {
        let mut message =
            BaseRecord::<[u8], [u8], usize>::with_opaque_to(&destination.topic, ticket.opaque())
                .partition(destination.partition)
                .timestamp(record.timestamp);
        message.key = record.key.get(buffer);
        message.payload = record.value.get(buffer);
        if record.headers.len() > 1 {
            match headers(record.headers.get(buffer).unwrap_or_default()) {
                Some(headers) => message.headers = Some(headers),
                None => {
                    let what = "a header's name is not UTF-8, which the librdkafka engine cannot write";
                    self.deliveries.settle(ticket, Some(ValueError::new(ErrorClass::Refused, what)));
                    return Ok(());
                }
            }
        }
        loop {
            let (error, back) = match self.producer.send(message) {
                Ok(()) => return Ok(()),
                Err(failed) => failed,
            };
            match error {
                KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) => {
                    if self.deliveries.is_spent() {
                        return Err(EngineError::new(ErrorKind::Retriable, "the sink is spent"));
                    }
                    message = back;
                    nap(Duration::from_millis(1));
                }
                KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge) => {
                    let what = format!("the record has {} bytes, more than max.request.size", size(record));
                    self.deliveries.settle(ticket, Some(ValueError::new(ErrorClass::Oversized, what)));
                    return Ok(());
                }
                error => return Err(engine_error("writing", &error)),
            }
        }
    }
}

fn size(record: &Record) -> usize {
    record.key.len() + record.value.len() + record.headers.len()
}

/// Headers as librdkafka takes them, `None` when a name is not UTF-8.
fn headers(encoded: &[u8]) -> Option<OwnedHeaders> {
    let mut out = OwnedHeaders::new();
    for (key, value) in Headers::new(encoded) {
        out = out.insert(Header { key: std::str::from_utf8(key).ok()?, value });
    }
    Some(out)
}
