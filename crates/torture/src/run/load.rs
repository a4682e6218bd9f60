//! Writes the events to the source, at a steady rate, by librdkafka's idempotent producer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rand::{Rng, SeedableRng, rngs::StdRng};
use rdkafka::{
    ClientConfig, ClientContext,
    error::KafkaError,
    message::{Header, Message, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext},
    types::RDKafkaErrorCode,
};

use super::error::RunError;
use crate::event::{self, Load};

/// How often the rate is kept.
const TICK: Duration = Duration::from_millis(10);

/// How long everything may take to be acknowledged once all brokers are there.
const FLUSH: Duration = Duration::from_secs(120);

/// Writes until it is dropped.
pub(super) struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    rate: AtomicU64,
    ended: AtomicBool,
    /// Events of each partition that were given to the producer.
    sent: Vec<AtomicU64>,
    /// Of these, acknowledged.
    acked: Vec<AtomicU64>,
    failure: Mutex<Option<String>>,
}

/// Counts what is acknowledged.
struct Acknowledgements(Arc<Shared>);

impl ClientContext for Acknowledgements {}

impl ProducerContext for Acknowledgements {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(message) => {
                let partition = usize::try_from(message.partition()).unwrap_or_default();
                self.0.acked[partition].fetch_add(1, Ordering::SeqCst);
            }
            Err((error, _)) => *self.0.failure.lock() = Some(error.to_string()),
        }
    }
}

impl Writer {
    /// Begins to write so many events a second.
    pub fn start(
        brokers: &str,
        topic: &str,
        load: Load,
        partitions: usize,
        rate: u64,
    ) -> Result<Writer, RunError> {
        let zeros = || (0..partitions).map(|_| AtomicU64::new(0)).collect();
        let shared = Arc::new(Shared {
            rate: AtomicU64::new(rate),
            ended: AtomicBool::new(false),
            sent: zeros(),
            acked: zeros(),
            failure: Mutex::new(None),
        });
        let producer: BaseProducer<Acknowledgements> = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("client.id", "torture-load")
            .set("enable.idempotence", "true")
            .set("message.timeout.ms", "0")
            .set("linger.ms", "20")
            .set("compression.type", "lz4")
            .set("topic.metadata.refresh.interval.ms", "2000")
            .set("socket.timeout.ms", "10000")
            .create_with_context(Acknowledgements(Arc::clone(&shared)))
            .map_err(RunError::kafka("the load"))?;
        let (topic, state) = (topic.to_owned(), Arc::clone(&shared));
        let thread = thread::spawn(move || write(&producer, &topic, load, &state));
        Ok(Writer { shared, thread: Some(thread) })
    }

    /// Writes so many events a second from now on.
    pub fn set_rate(&self, rate: u64) {
        self.shared.rate.store(rate, Ordering::SeqCst);
    }

    /// Events of each partition that may be in the source.
    pub fn sent(&self) -> Vec<u64> {
        self.shared.sent.iter().map(|sent| sent.load(Ordering::SeqCst)).collect()
    }

    /// Events of a partition that may be in the source.
    pub fn sent_of(&self, partition: usize) -> u64 {
        self.shared.sent.get(partition).map_or(0, |sent| sent.load(Ordering::SeqCst))
    }

    /// Events of each partition that are in the source.
    pub fn acked(&self) -> Vec<u64> {
        self.shared.acked.iter().map(|acked| acked.load(Ordering::SeqCst)).collect()
    }

    /// Writes nothing more, and waits until all that was sent is acknowledged.
    pub fn quiesce(&self) -> Result<Vec<u64>, RunError> {
        self.set_rate(0);
        // The event that was being sent when the rate changed.
        thread::sleep(3 * TICK);
        let start = Instant::now();
        while self.sent() != self.acked() {
            self.check()?;
            if start.elapsed() > FLUSH {
                return Err(RunError::Late { what: "the load is acknowledged".into(), limit: FLUSH });
            }
            thread::sleep(TICK);
        }
        Ok(self.sent())
    }

    /// Fails when the source could not be written.
    pub fn check(&self) -> Result<(), RunError> {
        self.shared.failure.lock().clone().map_or(Ok(()), |error| Err(RunError::Load(error)))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // It panicked; that was printed.
            let _ = thread.join();
        }
    }
}

fn write(producer: &BaseProducer<Acknowledgements>, topic: &str, load: Load, shared: &Shared) {
    let mut random = StdRng::seed_from_u64(load.seed);
    let (mut credit, mut last) = (0.0, Instant::now());
    while !shared.ended.load(Ordering::SeqCst) {
        producer.poll(TICK);
        let rate = shared.rate.load(Ordering::SeqCst) as f64;
        // After a stall it goes on at its rate: nothing is made up for.
        credit = (credit + rate * last.elapsed().as_secs_f64()).min(rate / 5.0);
        last = Instant::now();
        while credit >= 1.0 && shared.rate.load(Ordering::SeqCst) > 0 {
            credit -= 1.0;
            let partition = random.random_range(0..shared.sent.len());
            // First counted, then sent: what a reader sees must have been counted.
            let seq = shared.sent[partition].fetch_add(1, Ordering::SeqCst);
            if !send(producer, topic, load, partition, seq, shared) {
                return;
            }
        }
    }
    // What is still under way is nobody's concern any more.
    producer.purge(rdkafka::producer::PurgeConfig::default().queue().inflight());
}

/// Gives an event to the producer as soon as that takes it; whether it did.
fn send(
    producer: &BaseProducer<Acknowledgements>,
    topic: &str,
    load: Load,
    partition: usize,
    seq: u64,
    shared: &Shared,
) -> bool {
    let (event, number) = (load.event(partition, seq), event::number(partition, seq));
    let headers = OwnedHeaders::new().insert(Header { key: event::NUMBER, value: Some(&number) });
    let mut record = BaseRecord::<str, str>::to(topic)
        .partition(i32::try_from(partition).unwrap_or(i32::MAX))
        .timestamp(event.timestamp)
        .headers(headers);
    record.key = event.key.as_deref();
    record.payload = event.value.as_deref();
    loop {
        match producer.send(record) {
            Ok(()) => return true,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                if shared.ended.load(Ordering::SeqCst) {
                    return false;
                }
                producer.poll(TICK);
                record = back;
            }
            Err((error, _)) => {
                *shared.failure.lock() = Some(error.to_string());
                return false;
            }
        }
    }
}
