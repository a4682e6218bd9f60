//! The ceilings: how fast consuming alone and producing alone are.

use std::{process::Command, sync::Arc, time::Duration};

use tokio::{task::JoinSet, time::Instant};
use topicmill_generate::IN_FLIGHT;
use topicmill_kafka::{Client, Isolation, OffsetAt, Reader};
use topicmill_mill::{batch::TopicPartition, budget::Budget, cpu};

use super::{BenchError, TURN_LIMIT, fill::Source, process::Running};

/// The memory for batches while consuming.
const MEMORY: usize = 128 << 20;

/// What a ceiling took.
#[derive(Clone, Copy, Debug)]
pub struct Ceiling {
    /// The events.
    pub events: u64,
    /// The time.
    pub seconds: f64,
    /// The processor time of the client.
    pub cpu: Duration,
}

/// Reads all of a source, all partitions at once, and does nothing with it.
///
/// # Errors
/// When it cannot be read.
pub async fn consume(client: &Client, source: &Source) -> Result<Ceiling, BenchError> {
    let ends = client.offsets(&source.topic, OffsetAt::Latest).await?;
    let topic: Arc<str> = source.topic.as_str().into();
    let budget = Budget::new(MEMORY);
    let (started, cpu_before) = (Instant::now(), cpu::time_used());
    let mut readers = JoinSet::new();
    for (partition, end) in ends {
        let partition = TopicPartition::new(Arc::clone(&topic), partition);
        let mut reader = Reader::new(client, partition, 0, end, Isolation::ReadUncommitted, budget.clone());
        readers.spawn(async move {
            let mut events = 0;
            while let Some((batch, _)) = reader.next().await? {
                events += batch.records.len() as u64;
            }
            Ok::<u64, BenchError>(events)
        });
    }
    let mut events = 0;
    while let Some(read) = readers.join_next().await {
        events += read.map_err(std::io::Error::other)??;
    }
    let cpu = cpu::time_used_since(cpu_before);
    let seconds = started.elapsed().as_secs_f64();
    Ok(Ceiling { events, seconds, cpu: cpu.unwrap_or_default() })
}

/// Runs `generate` to `topic`, which exists, as a process of its own; it generates natural events
/// in batches of its own choice, with as many requests in flight as the protocol allows.
///
/// # Errors
/// When it fails.
pub async fn produce(mut command: Command, topic: &str, events: u64) -> Result<Ceiling, BenchError> {
    command.args(["-X", &format!("{IN_FLIGHT}=5")]);
    command.args(["--topic", topic, "--count", &events.to_string()]);
    let finished = Running::start("generate", command)?.finish(TURN_LIMIT).await?;
    // N events in S s: …
    let mut words = finished.output.split(' ').skip(3);
    let seconds = words.next().and_then(|seconds| seconds.parse().ok());
    let seconds = seconds.ok_or_else(|| BenchError::NoResult { contender: "generate".into() })?;
    Ok(Ceiling { events, seconds, cpu: finished.cpu })
}
