//! `lag`: how far a consumer group is behind, in records and in seconds.

mod show;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    time::Duration,
};

use futures_util::{StreamExt, stream};
use serde::Serialize;
use tokio::time::{sleep, timeout};

use crate::{
    batch::TopicPartition,
    budget::Budget,
    clock,
    config::LagConfig,
    engine::{
        EngineError, ErrorKind,
        native::{Client, Isolation, OffsetAt, Reader},
    },
    exit::Ended,
};

/// The memory for the one record that gives the age; its batch may be larger.
const READ_MEMORY: usize = 256 << 10;

/// How long a partition that does not answer is asked again: the others should not wait for it.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long to wait for the record that gives the age.
const AGE_PATIENCE: Duration = Duration::from_secs(5);

/// The number of partitions whose ages are looked up at a time.
const AGES_AT_ONCE: usize = 64;

/// How far a group is behind in one partition, as `--json` shows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct PartitionLag {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The committed offset, if there is one.
    pub committed: Option<i64>,
    /// The offset after the last record, whether or not its transaction has ended.
    pub end: Option<i64>,
    /// The records that are there and not committed: from the committed offset, or where the log
    /// starts if that is later, to the end.
    pub lag: Option<i64>,
    /// The age in seconds of the first of them; none without a lag or a timestamp.
    pub lag_seconds: Option<f64>,
    /// The offset of the first record that is still there.
    pub start: Option<i64>,
    /// The last stable offset: records between it and the end belong to an open transaction, or
    /// stand behind one, and cannot be read yet.
    pub stable_end: Option<i64>,
    /// A remark: why something is not known, or what holds readers up.
    pub note: Option<String>,
}

/// Measures the lag of `group`: in every topic that it has offsets for or that a member subscribes
/// to, or in `topic` alone.
///
/// # Errors
/// When there is no such group or topic, or the coordinator does not answer in time. A partition
/// that does not answer is no error: its row says so.
pub(crate) async fn measure(
    client: &Client,
    group: &str,
    topic: Option<&str>,
) -> Result<Vec<PartitionLag>, EngineError> {
    // The commits first, so that none of them is beyond the ends.
    let committed = client.committed_all(group).await?;
    let info = client.group(group).await?;
    if !info.exists() && committed.is_empty() {
        let text = format!("the group {group} does not exist: it has no members and no committed offsets");
        return Err(EngineError::new(ErrorKind::Fatal, text));
    }
    let topics: BTreeSet<String> = match topic {
        Some(topic) => BTreeSet::from([topic.to_owned()]),
        None => {
            let of_members = info.members.iter().flat_map(|member| member.topics.iter().cloned());
            committed.keys().map(|partition| partition.topic.to_string()).chain(of_members).collect()
        }
    };
    let mut all = Vec::new();
    for name in &topics {
        if topic.is_some() && client.topic(name).await?.is_none() {
            return Err(missing(name));
        }
        all.extend(measure_topic(client, name, &of_topic(&committed, name)).await);
    }
    add_ages(client, &mut all).await;
    Ok(all)
}

/// The lag of `group` in each partition of `topic`, without ages, whether or not the group exists.
///
/// # Errors
/// When the topic is missing or the coordinator does not answer in time.
pub(crate) async fn measure_records(
    client: &Client,
    group: &str,
    topic: &str,
) -> Result<Vec<PartitionLag>, EngineError> {
    if client.topic(topic).await?.is_none() {
        return Err(missing(topic));
    }
    let committed = client.committed(group, topic).await?;
    Ok(measure_topic(client, topic, &committed).await)
}

fn missing(topic: &str) -> EngineError {
    EngineError::new(ErrorKind::Fatal, format!("the topic {topic} does not exist"))
}

fn of_topic(committed: &BTreeMap<TopicPartition, i64>, topic: &str) -> BTreeMap<i32, i64> {
    let of_topic = committed.iter().filter(|(partition, _)| &*partition.topic == topic);
    of_topic.map(|(partition, offset)| (partition.partition, *offset)).collect()
}

/// The answers to one request, by partition.
type OffsetAnswers = Result<BTreeMap<i32, Result<i64, EngineError>>, EngineError>;

async fn measure_topic(client: &Client, topic: &str, committed: &BTreeMap<i32, i64>) -> Vec<PartitionLag> {
    let ask = |at| client.offsets_by_partition(topic, at, PATIENCE);
    let (starts, stable_ends, ends) =
        tokio::join!(ask(OffsetAt::Earliest), ask(OffsetAt::Latest), ask(OffsetAt::HighWatermark));
    let answered = [&starts, &stable_ends, &ends].into_iter().flatten();
    let partitions: BTreeSet<i32> =
        answered.flat_map(|of| of.keys().copied()).chain(committed.keys().copied()).collect();
    let of = |answers: &OffsetAnswers, partition: i32| match answers {
        Ok(answers) => answers
            .get(&partition)
            .cloned()
            .unwrap_or_else(|| Err(EngineError::new(ErrorKind::Fatal, "the topic has no such partition"))),
        Err(error) => Err(error.clone()),
    };
    let row = |partition: i32| {
        let answers = [&starts, &stable_ends, &ends].map(|answers| of(answers, partition));
        let place = TopicPartition::new(topic, partition);
        PartitionLag::new(&place, committed.get(&partition).copied(), answers)
    };
    partitions.into_iter().map(row).collect()
}

impl PartitionLag {
    /// From the committed offset and the answers for start, last stable offset and end.
    fn new(
        place: &TopicPartition,
        committed: Option<i64>,
        [start, stable_end, end]: [Result<i64, EngineError>; 3],
    ) -> PartitionLag {
        let failed = [&end, &start, &stable_end].into_iter().find_map(|answer| answer.as_ref().err());
        let mut note = failed.map(|error| match &error.partition {
            // The row says which.
            Some(_) => error.message.clone(),
            None => error.to_string(),
        });
        let [start, stable_end, end] = [start.ok(), stable_end.ok(), end.ok()];
        let mut lag = match (committed, end, start) {
            (Some(committed), Some(end), start) => Some(end - committed.max(start.unwrap_or(committed))),
            (None, Some(end), Some(start)) => Some(end - start),
            _ => None,
        };
        if let (Some(committed), Some(end)) = (committed, end)
            && committed > end
        {
            lag = None;
            note = Some("committed beyond the end: the log was cut off, or the topic made anew".into());
        } else if let (Some(stable), Some(end)) = (stable_end, end)
            && stable < end
        {
            note = Some(format!("{} behind an open transaction", end - stable));
        }
        PartitionLag {
            topic: place.topic.to_string(),
            partition: place.partition,
            committed,
            end,
            lag,
            lag_seconds: None,
            start,
            stable_end,
            note,
        }
    }

    /// The first record that is not committed, if there is one.
    fn first(&self) -> Option<i64> {
        self.lag.filter(|lag| *lag > 0).and_then(|lag| Some(self.end? - lag))
    }
}

/// Reads the first record of each partition that has a lag, several at a time.
async fn add_ages(client: &Client, all: &mut [PartitionLag]) {
    let look_up = async |of: &mut PartitionLag| {
        let (Some(first), Some(end)) = (of.first(), of.end) else { return };
        let partition = TopicPartition::new(of.topic.as_str(), of.partition);
        let stable = of.stable_end.unwrap_or(end);
        let timestamp = first_timestamp(client, &partition, first, stable, end);
        if let Ok(Ok(Some(timestamp))) = timeout(AGE_PATIENCE, timestamp).await {
            of.lag_seconds = Some((clock::now_ms() - timestamp).max(0) as f64 / 1000.0);
        }
    };
    stream::iter(all).for_each_concurrent(AGES_AT_ONCE, look_up).await;
}

/// The timestamp in milliseconds of the first record from `first` on: of those that can be read
/// below `stable`, or of any below `end`. `None` when there is no record, or it has none.
///
/// # Errors
/// When the partition cannot be read.
pub(crate) async fn first_timestamp(
    client: &Client,
    partition: &TopicPartition,
    first: i64,
    stable: i64,
    end: i64,
) -> Result<Option<i64>, EngineError> {
    let (until, isolation) =
        if first < stable { (stable, Isolation::ReadCommitted) } else { (end, Isolation::ReadUncommitted) };
    let mut reader =
        Reader::new(client, partition.clone(), first, until, isolation, Budget::new(READ_MEMORY));
    // A batch may hold nothing but the end of a transaction.
    while let Some((batch, _)) = reader.next().await? {
        if let Some(record) = batch.records.first() {
            return Ok(Some(record.timestamp).filter(|timestamp| *timestamp >= 0));
        }
    }
    Ok(None)
}

/// The command: prints a table, or one JSON object a line, once or again and again.
///
/// # Errors
/// As [`measure`], and when `out` does not take the output.
pub(crate) async fn command(config: &LagConfig, out: &mut impl Write) -> Result<(), Ended> {
    let client = Client::connect(&config.client).await?;
    loop {
        let all = measure(&client, &config.group, config.source.as_deref()).await?;
        if config.json {
            show::json(&all, out)?;
        } else {
            show::table(&all, out)?;
        }
        let Some(pause) = config.watch else { return Ok(()) };
        sleep(pause).await;
        if !config.json {
            writeln!(out)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn away() -> EngineError {
        EngineError::new(ErrorKind::Retriable, "there is no leader").at(&TopicPartition::new("t", 0))
    }

    fn lag(committed: Option<i64>, answers: [Result<i64, EngineError>; 3]) -> PartitionLag {
        PartitionLag::new(&TopicPartition::new("t", 0), committed, answers)
    }

    #[test]
    fn what_retention_removed_is_no_lag() {
        assert_eq!(lag(Some(10), [Ok(100), Ok(100), Ok(100)]).lag, Some(0));
        assert_eq!(lag(Some(10), [Ok(40), Ok(100), Ok(100)]).lag, Some(60));
        assert_eq!(lag(None, [Ok(40), Ok(100), Ok(100)]).lag, Some(60));
        assert_eq!(lag(Some(70), [Ok(40), Ok(100), Ok(100)]).lag, Some(30));
    }

    #[test]
    fn what_is_behind_an_open_transaction_is_said() {
        let of = lag(Some(30), [Ok(0), Ok(30), Ok(1040)]);
        assert_eq!((of.lag, of.stable_end, of.end), (Some(1010), Some(30), Some(1040)));
        assert_eq!(of.note.as_deref(), Some("1010 behind an open transaction"));
    }

    #[test]
    fn a_committed_offset_beyond_the_end_is_told() {
        let of = lag(Some(200), [Ok(0), Ok(100), Ok(100)]);
        assert_eq!((of.committed, of.end, of.lag), (Some(200), Some(100), None));
        assert!(of.note.unwrap().contains("beyond the end"));
    }

    #[test]
    fn what_is_not_known_is_not_made_up() {
        let of = lag(Some(5), [Err(away()), Err(away()), Err(away())]);
        assert_eq!((of.committed, of.end, of.lag), (Some(5), None, None));
        assert_eq!(of.note.as_deref(), Some("there is no leader"));
    }
}
