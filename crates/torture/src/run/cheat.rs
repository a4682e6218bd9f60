//! Programs in the place of topicmill that do not keep what it promises: the judge must find out about each.

use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use rdkafka::{
    ClientConfig, Message,
    consumer::{BaseConsumer, CommitMode, Consumer},
    message::OwnedMessage,
    producer::{BaseProducer, BaseRecord, Producer},
};

use super::error::RunError;
use crate::event;

/// How long records are gathered.
const GATHER: Duration = Duration::from_millis(50);

/// The most records of a batch.
const BATCH: usize = 500;

/// One in so many records is cheated with.
const EVERY: u64 = 1000;

/// How long everything written may take to be acknowledged.
const FLUSH: Duration = Duration::from_secs(30);

/// How a program cheats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Cheat {
    /// It commits, and writes a little later.
    CommitFirst,
    /// It passes over what it cannot transform.
    SkipErrors,
    /// It writes a record before the one that it follows, now and then.
    Reorder,
    /// It writes a record twice, now and then.
    Duplicate,
    /// It leaves a record out, now and then.
    Drop,
}

/// What a cheat is started with, as topicmill is.
#[derive(Clone, Debug, Args)]
pub struct CheatSettings {
    /// How it cheats
    #[arg(value_enum)]
    pub cheat: Cheat,
    #[arg(long)]
    brokers: String,
    #[arg(long)]
    source: String,
    #[arg(long)]
    destination: String,
    #[arg(long)]
    dead_letter: String,
    #[arg(long)]
    group: String,
    /// It has no metrics.
    #[arg(long)]
    admin: Option<String>,
    /// Of its consumer, such as `group.instance.id=a`.
    #[arg(short = 'X')]
    properties: Vec<String>,
}

/// Reads, transforms as `name-event` does, writes and commits, but for how it cheats, until it is killed.
///
/// # Errors
/// The cluster cannot be used.
pub fn cheat(settings: &CheatSettings) -> Result<(), RunError> {
    let mut config = ClientConfig::new();
    for (name, value) in settings.properties.iter().filter_map(|property| property.split_once('=')) {
        config.set(name, value);
    }
    let consumer: BaseConsumer = config
        .set("bootstrap.servers", &settings.brokers)
        .set("group.id", &settings.group)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("session.timeout.ms", "6000")
        .create()
        .map_err(RunError::kafka("the cheat's consumer"))?;
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &settings.brokers)
        .set("enable.idempotence", "true")
        .create()
        .map_err(RunError::kafka("the cheat's producer"))?;
    let failed = || RunError::kafka("the cheat");
    consumer.subscribe(&[&settings.source]).map_err(failed())?;
    let mut count = 0;
    loop {
        let batch = gather(&consumer);
        if settings.cheat == Cheat::CommitFirst && !batch.is_empty() {
            consumer.commit_consumer_state(CommitMode::Sync).map_err(failed())?;
            std::thread::sleep(2 * GATHER);
        }
        for message in cheated(settings.cheat, batch, &mut count) {
            write(settings, &producer, &message)?;
        }
        producer.flush(FLUSH).map_err(failed())?;
        // There may be nothing to commit.
        let _ = consumer.commit_consumer_state(CommitMode::Sync);
    }
}

fn gather(consumer: &BaseConsumer) -> Vec<OwnedMessage> {
    let (start, mut batch) = (Instant::now(), Vec::new());
    while start.elapsed() < GATHER && batch.len() < BATCH {
        // Brokers come and go.
        batch.extend(consumer.poll(GATHER).and_then(Result::ok).map(|message| message.detach()));
    }
    batch
}

/// What is left of a batch, and in which order.
fn cheated(cheat: Cheat, batch: Vec<OwnedMessage>, count: &mut u64) -> Vec<OwnedMessage> {
    let mut left = Vec::with_capacity(batch.len());
    for message in batch {
        *count += 1;
        let is_due = count.is_multiple_of(EVERY);
        match cheat {
            Cheat::Drop if is_due => continue,
            Cheat::Duplicate if is_due => left.push(message.clone()),
            Cheat::Reorder if is_due => {
                let of_partition = |other: &OwnedMessage| other.partition() == message.partition();
                let before = left.iter().rposition(of_partition).unwrap_or(left.len());
                left.insert(before, message);
                continue;
            }
            _ => {}
        }
        left.push(message);
    }
    left
}

fn write(settings: &CheatSettings, producer: &BaseProducer, message: &OwnedMessage) -> Result<(), RunError> {
    let value = message.payload().map(|value| String::from_utf8_lossy(value));
    let is_good =
        value.as_deref().is_none_or(|value| serde_json::from_str::<serde_json::Value>(value).is_ok());
    if !is_good && settings.cheat == Cheat::SkipErrors {
        return Ok(());
    }
    let written = value.map(|value| if is_good { event::hashed(&value) } else { value.into_owned() });
    let topic = if is_good { &settings.destination } else { &settings.dead_letter };
    let mut record = BaseRecord::to(topic).partition(message.partition());
    record.key = message.key();
    record.payload = written.as_deref().map(str::as_bytes);
    record.timestamp = message.timestamp().to_millis();
    record.headers = message.headers().cloned();
    producer.send::<[u8], [u8]>(record).map_err(|(error, _)| RunError::kafka("the cheat")(error))?;
    producer.poll(Duration::ZERO);
    Ok(())
}
