//! Latency end to end at a steady rate: from an event's creation until a consumer of the
//! destination has it.

use std::{
    future::pending,
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::Serialize;
use tokio::time::timeout;
use topicmill_generate::{GenerateSettings, Keys, generate};
use topicmill_kafka::{Client, NativeSource};
use topicmill_mill::{
    budget::Budget,
    engine::{ClientSettings, OffsetReset, Room, Source, SourceEvent, SourceSettings, Troubles},
};

use super::{BenchError, contender::Contender, contender::Turn, process::Running};

/// Events within this time after the start do not count: groups form, caches fill.
const WARM_UP: Duration = Duration::from_secs(3);

/// How long after the last event everything must have arrived.
const LATE: Duration = Duration::from_secs(30);

/// The memory for batches of the destination.
const MEMORY: usize = 64 << 20;

/// Latency in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// Half of the events arrive within.
    pub p50: f64,
    /// 99 of 100.
    pub p99: f64,
    /// 999 of 1000.
    pub p999: f64,
    /// All.
    pub max: f64,
}

impl Percentiles {
    /// The percentiles (nearest rank) of latencies in microseconds with how many events had each;
    /// `None` without any.
    pub fn of(latencies: &mut [(u64, u64)]) -> Option<Percentiles> {
        latencies.sort_unstable();
        let total: u64 = latencies.iter().map(|(_, count)| count).sum();
        let max = latencies.last()?.0;
        let at = |share: f64| {
            let rank = ((total as f64 * share).ceil() as u64).max(1);
            let mut seen = 0;
            let found = latencies.iter().find(|(_, count)| {
                seen += count;
                seen >= rank
            });
            found.map_or(max, |(micros, _)| *micros) as f64 / 1000.0
        };
        Some(Percentiles { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: max as f64 / 1000.0 })
    }
}

/// Generates `rate` events a second for `lasting` after a warm-up while `contender` transforms
/// them, and consumes the destination. An event's creation is its timestamp, whose fraction of a
/// millisecond is cut off: latencies are up to 1 ms too long, never too short.
///
/// # Errors
/// When a part fails or events arrive too late.
pub async fn measure(
    client: &Client,
    settings: &ClientSettings,
    contender: &Contender,
    turn: &Turn,
    mut run: Command,
    rate: f64,
    lasting: Duration,
) -> Result<Percentiles, BenchError> {
    for topic in [&turn.source, &turn.destination] {
        client.create_topic(topic, 1, None, &[]).await?;
    }
    contender.add_run_arguments(turn, &mut run);
    let running = Running::start(contender.to_string(), run)?;
    let lasting = WARM_UP + lasting;
    let events = (rate * lasting.as_secs_f64()) as u64;
    let generator = GenerateSettings {
        topic: turn.source.clone(),
        partitions: 1,
        count: Some(events),
        rate: Some(rate),
        seed: 0,
        keys: Keys::None,
    };
    let source = SourceSettings {
        topic: turn.destination.as_str().into(),
        group: format!("{}_latency", turn.group),
        offset_reset: OffsetReset::Earliest,
        revoke_timeout: Duration::from_secs(1),
        budget: Budget::new(MEMORY),
        troubles: Troubles::default(),
    };
    let consumer = NativeSource::new(client, settings, source).await?;
    let from = now_micros() + WARM_UP.as_micros() as u64;
    let generate = generate(client, settings, &generator, pending(), |_| ());
    let generate = async { generate.await.map_err(BenchError::from) };
    let both = async { tokio::try_join!(generate, consume(consumer, events, from)) };
    let (_, mut latencies) = timeout(lasting + LATE, both)
        .await
        .map_err(|_| BenchError::TimedOut { name: contender.to_string(), limit: lasting + LATE })??;
    drop(running);
    Percentiles::of(&mut latencies).ok_or_else(|| BenchError::NoResult { contender: contender.to_string() })
}

/// Consumes `events` events; the latency in microseconds of those created since `from`, with how
/// many have each.
async fn consume(mut consumer: NativeSource, events: u64, from: u64) -> Result<Vec<(u64, u64)>, BenchError> {
    let mut latencies: Vec<(u64, u64)> = Vec::new();
    let mut left = events;
    while left > 0 {
        let SourceEvent::Batch(batch, _) = consumer.next(&Room::open()).await? else { continue };
        let now = now_micros();
        left = left.saturating_sub(batch.records.len() as u64);
        for record in &batch.records {
            let created = record.timestamp.max(0) as u64 * 1000;
            if created < from {
                continue;
            }
            let latency = now.saturating_sub(created);
            match latencies.last_mut() {
                Some((last, count)) if *last == latency => *count += 1,
                _ => latencies.push((latency, 1)),
            }
        }
    }
    consumer.close().await;
    Ok(latencies)
}

fn now_micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_micros() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_the_nearest_ranks() {
        let mut each: Vec<(u64, u64)> = (1..=1000).rev().map(|millis| (millis * 1000, 1)).collect();
        let found = Percentiles::of(&mut each).unwrap();
        assert_eq!(found, Percentiles { p50: 500.0, p99: 990.0, p999: 999.0, max: 1000.0 });
    }

    #[test]
    fn counts_weigh() {
        let found = Percentiles::of(&mut [(9000, 1), (1500, 999)]).unwrap();
        assert_eq!(found, Percentiles { p50: 1.5, p99: 1.5, p999: 1.5, max: 9.0 });
        assert_eq!(Percentiles::of(&mut []), None);
        assert_eq!(Percentiles::of(&mut [(2000, 1)]).unwrap().p50, 2.0);
    }
}
