//! The transformer on librdkafka from Rust, record by record and tuned by hand: a polled consumer,
//! a polled producer, no future a message.
//!
//!     peer CODEC BROKERS SOURCE DESTINATION GROUP COUNT
//!
//! CODEC is none, lz4 or zstd; it ends after COUNT events and prints the seconds from the first
//! message to the last acknowledgement.

use std::{
    env,
    error::Error,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use md5::{Digest, Md5};
use rdkafka::{
    ClientContext, Message,
    config::ClientConfig,
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    message::DeliveryResult,
    producer::{BaseProducer, BaseRecord, Producer, ProducerContext},
};
use serde::{Deserialize, Serialize};

/// How often deliveries are taken and the clock is looked at, in records.
const POLL_EVERY: u64 = 1_000;
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, default)]
    first_name: &'a str,
    #[serde(borrow, default)]
    last_name: &'a str,
}

#[derive(Serialize)]
struct Hashed<'a> {
    first_name: &'a str,
    last_name: &'a str,
    hash: &'a str,
}

/// Counts acknowledgements.
#[derive(Default)]
struct Acknowledged(AtomicU64);

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            eprintln!("{error}");
            std::process::exit(1);
        }
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [codec, brokers, source, destination, group, count] = arguments.as_slice() else {
        return Err("usage: peer none|lz4|zstd BROKERS SOURCE DESTINATION GROUP COUNT".into());
    };
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", group)
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("fetch.queue.backoff.ms", "5")
        .set("queued.max.messages.kbytes", "65536")
        .set("max.partition.fetch.bytes", "8388608")
        .create()?;
    let producer: BaseProducer<Acknowledged> = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("linger.ms", "5")
        .set("batch.size", "1000000")
        .set("batch.num.messages", "100000")
        .set("queue.buffering.max.messages", "500000")
        .set("compression.type", codec)
        .create_with_context(Acknowledged::default())?;
    consumer.subscribe(&[source])?;
    let started = transform(&consumer, &producer, destination, count.parse()?)?;
    println!("{:.3}", started.elapsed().as_secs_f64());
    Ok(())
}

/// Returns when `count` events are acknowledged and committed; the time at which the first came.
fn transform(
    consumer: &BaseConsumer,
    producer: &BaseProducer<Acknowledged>,
    destination: &str,
    count: u64,
) -> Result<Instant, Box<dyn Error>> {
    let (mut read, mut started, mut output) = (0, None, Vec::with_capacity(256));
    let mut committed = Instant::now();
    while read < count {
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message?;
        started.get_or_insert_with(Instant::now);
        transform_value(message.payload().unwrap_or_default(), &mut output)?;
        send(producer, destination, message.key(), &output)?;
        consumer.store_offset_from_message(&message)?;
        read += 1;
        if read.is_multiple_of(POLL_EVERY) {
            producer.poll(Duration::ZERO);
            if committed.elapsed() >= COMMIT_INTERVAL {
                flush_and_commit(consumer, producer)?;
                committed = Instant::now();
            }
        }
    }
    flush_and_commit(consumer, producer)?;
    assert_eq!(producer.context().0.load(Ordering::Relaxed), count, "every event is acknowledged");
    Ok(started.unwrap_or(committed))
}

fn transform_value(value: &[u8], output: &mut Vec<u8>) -> Result<(), Box<dyn Error>> {
    let event: Event = serde_json::from_slice(value)?;
    let mut hex = [0; 32];
    for (pair, byte) in hex.chunks_exact_mut(2).zip(Md5::digest(value)) {
        let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
    let hash = std::str::from_utf8(&hex)?;
    output.clear();
    let hashed = Hashed { first_name: event.first_name, last_name: event.last_name, hash };
    Ok(serde_json::to_writer(output, &hashed)?)
}

fn send(
    producer: &BaseProducer<Acknowledged>,
    destination: &str,
    key: Option<&[u8]>,
    value: &[u8],
) -> Result<(), KafkaError> {
    let mut record = BaseRecord::<[u8], [u8]>::to(destination).payload(value);
    record.key = key;
    loop {
        match producer.send(record) {
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) => {
                producer.poll(Duration::from_millis(1));
                record = refused;
            }
            sent => return sent.map_err(|(error, _)| error),
        }
    }
}

fn flush_and_commit(
    consumer: &BaseConsumer,
    producer: &BaseProducer<Acknowledged>,
) -> Result<(), KafkaError> {
    producer.flush(Duration::from_secs(60))?;
    consumer.commit_consumer_state(CommitMode::Sync)
}
