//! Mock name events, as fast as the brokers take them or at a steady rate.
//!
//! A plain thread makes record batches; a task sends them. Nothing is ever dropped: when the
//! brokers are slower, the thread waits.

#![forbid(unsafe_code)]

mod events;
mod keys;
mod pace;
mod producer;

use std::{
    fmt,
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

pub use events::EventMaker;
use futures_util::{StreamExt, stream::FuturesUnordered};
pub use keys::{KeySource, Keys};
use tokio::sync::mpsc;
use topicmill_kafka::{Client, NativeSink};
use topicmill_mill::{
    cpu,
    engine::{ClientSettings, EngineError, Sink, Troubles},
    transform::ValueError,
};

/// The most bytes in flight.
const OUTSTANDING_BYTES_MAX: usize = 16 << 20;

/// The property for the most requests in flight, here per partition.
pub const IN_FLIGHT: &str = "max.in.flight.requests.per.connection";

/// How often progress is shown.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// What to generate.
#[derive(Clone, Debug)]
pub struct GenerateSettings {
    /// The topic to write to; created when it is missing.
    pub topic: String,
    /// The number of partitions to create the topic with.
    pub partitions: i32,
    /// How many events; `None` goes on until stopped.
    pub count: Option<u64>,
    /// Events per second, positive; `None` is as fast as possible.
    pub rate: Option<f64>,
    /// The seed of the sequence of events.
    pub seed: u64,
    /// The keys of the events.
    pub keys: Keys,
}

/// What was generated, all of it acknowledged by the brokers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Summary {
    /// The number of events.
    pub events: u64,
    /// The encoded size in bytes, before compression.
    pub bytes: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// The processor time of this process meanwhile, where the system reports it.
    pub cpu: Option<Duration>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.elapsed.as_secs_f64();
        let per_second = |amount: u64| if seconds > 0.0 { amount as f64 / seconds } else { 0.0 };
        write!(
            f,
            "{} events in {seconds:.3} s: {:.0} events/s, {:.1} MB/s",
            self.events,
            per_second(self.events),
            per_second(self.bytes) / 1e6
        )?;
        match self.cpu {
            Some(cpu) if self.events > 0 => {
                write!(f, ", {:.3} CPU µs/event", cpu.as_secs_f64() * 1e6 / self.events as f64)
            }
            _ => Ok(()),
        }
    }
}

/// Why generating ended early.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// The cluster did not answer or refused.
    #[error("{0}")]
    Engine(#[from] EngineError),
    /// The topic is missing and may not be created.
    #[error("the topic {topic} does not exist")]
    NoTopic {
        /// The topic.
        topic: String,
    },
    /// The brokers refused events.
    #[error("{topic} refused {refused} events: {first}")]
    Refused {
        /// The topic.
        topic: String,
        /// How many events of one batch.
        refused: usize,
        /// The reason of the first.
        first: ValueError,
    },
    /// The thread that makes events could not be started.
    #[error("cannot start the generator's thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// Creates the topic if it is missing, and generates until the count is reached or `stop` resolves;
/// then waits for what is in flight. `progress` gets the acknowledged events a few times a second.
///
/// # Errors
/// When the cluster does not answer in time, refuses, or leaves the delivery of a batch uncertain.
pub async fn generate(
    client: &Client,
    client_settings: &ClientSettings,
    settings: &GenerateSettings,
    stop: impl Future<Output = ()>,
    progress: impl FnMut(u64),
) -> Result<Summary, GenerateError> {
    let partitions = match client.topic(&settings.topic).await? {
        Some(topic) => topic.partitions,
        None => {
            client.create_topic(&settings.topic, settings.partitions, None, &[]).await?;
            settings.partitions
        }
    };
    let settings_of_sink = taking_turns(client_settings, settings.rate);
    let sink = NativeSink::new(client, &settings_of_sink, Troubles::default()).await?;
    into_sink(sink, settings, partitions, stop, progress).await
}

/// Without a rate, one request in flight per partition, unless the settings say otherwise: several
/// would keep a broker's queue full, and a transformer beside it could never catch up.
fn taking_turns(client: &ClientSettings, rate: Option<f64>) -> ClientSettings {
    let mut client = client.clone();
    if rate.is_none() {
        client.properties.entry(IN_FLIGHT.into()).or_insert_with(|| "1".into());
    }
    client
}

/// As [`generate`], into `sink`, over the partitions `0..partitions`.
///
/// # Errors
/// As [`generate`].
pub async fn into_sink(
    mut sink: impl Sink,
    settings: &GenerateSettings,
    partitions: i32,
    stop: impl Future<Output = ()>,
    progress: impl FnMut(u64),
) -> Result<Summary, GenerateError> {
    let started = Instant::now();
    let cpu_before = cpu::time_used();
    let sent = send(&mut sink, settings, partitions, stop, progress).await;
    let elapsed = started.elapsed();
    sink.close().await;
    let (events, bytes) = sent?;
    let cpu = cpu::time_used_since(cpu_before);
    Ok(Summary { events, bytes, elapsed, cpu })
}

/// Sends what the producer thread makes; the acknowledged events and bytes.
async fn send(
    sink: &mut impl Sink,
    settings: &GenerateSettings,
    partitions: i32,
    stop: impl Future<Output = ()>,
    mut progress: impl FnMut(u64),
) -> Result<(u64, u64), GenerateError> {
    let stopped = Arc::new(AtomicBool::new(false));
    // Dropping the receiver, on an error below, ends the thread as well.
    let (batches, mut made) = mpsc::channel(2);
    producer::start(settings, partitions, Arc::clone(&stopped), batches)?;
    let mut stop = pin!(stop);
    let mut ticks = tokio::time::interval(PROGRESS_INTERVAL);
    let mut on_the_way = FuturesUnordered::new();
    let (mut outstanding, mut making) = (0, true);
    let (mut events, mut bytes) = (0, 0);
    while making || !on_the_way.is_empty() {
        tokio::select! {
            () = &mut stop, if !stopped.load(Ordering::Relaxed) => stopped.store(true, Ordering::Relaxed),
            batch = made.recv(), if making && outstanding < OUTSTANDING_BYTES_MAX => match batch {
                Some(batch) => {
                    let (count, size) = (batch.record_count() as u64, batch.size());
                    outstanding += size;
                    let acknowledgement = sink.send(batch);
                    on_the_way.push(async move { (count, size, acknowledgement.await) });
                }
                None => making = false,
            },
            Some((count, size, receipt)) = on_the_way.next() => {
                let refused = receipt?.refused;
                if let Some(first) = refused.first() {
                    let topic = settings.topic.clone();
                    return Err(GenerateError::Refused { topic, refused: refused.len(), first: first.error.clone() });
                }
                outstanding -= size;
                events += count;
                bytes += size as u64;
            }
            _ = ticks.tick() => progress(events),
        }
    }
    progress(events);
    Ok((events, bytes))
}

#[cfg(test)]
mod tests;
