//! `lag`: how far a consumer group is behind, in records and in seconds.

use std::io::{self, Write};

use serde::Serialize;

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

/// The memory for the one record that tells the age, whose batch may be large.
const READ_MEMORY: usize = 16 << 20;

/// How far a group is behind in one partition. The JSON has exactly these keys.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PartitionLag {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The committed offset, if there is one.
    pub committed: Option<i64>,
    /// The offset after the last record.
    pub end: i64,
    /// The records between; from the first one on when nothing is committed.
    pub lag: i64,
    /// The age in seconds of the first record that is not committed; none without a lag.
    pub lag_seconds: Option<f64>,
}

/// Measures the lag of `group` in each partition of `topic`.
///
/// # Errors
/// When the topic is missing or the cluster does not answer in time.
pub async fn measure(client: &Client, group: &str, topic: &str) -> Result<Vec<PartitionLag>, EngineError> {
    let mut all = measure_records(client, group, topic).await?;
    for of in all.iter_mut().filter(|of| of.lag > 0) {
        of.lag_seconds = first_timestamp(client, of).await?.map(age_in_seconds);
    }
    Ok(all)
}

/// As [`measure`] without `lag_seconds`, for which a record of each partition must be read.
///
/// # Errors
/// As [`measure`].
pub async fn measure_records(
    client: &Client,
    group: &str,
    topic: &str,
) -> Result<Vec<PartitionLag>, EngineError> {
    if client.topic(topic).await?.is_none() {
        return Err(EngineError::new(ErrorKind::Fatal, format!("the topic {topic} does not exist")));
    }
    // The commits first: what is committed meanwhile is not beyond the ends.
    let committed = client.committed(group, topic).await?;
    let starts = client.offsets(topic, OffsetAt::Earliest).await?;
    let ends = client.offsets(topic, OffsetAt::Latest).await?;
    let of = |(partition, end): (i32, i64)| {
        let start = starts.get(&partition).copied().unwrap_or(0);
        let committed = committed.get(&partition).copied();
        let lag = (end - committed.unwrap_or(start)).max(0);
        PartitionLag { topic: topic.into(), partition, committed, end, lag, lag_seconds: None }
    };
    Ok(ends.into_iter().map(of).collect())
}

/// The timestamp of the first record that is not committed, in milliseconds.
async fn first_timestamp(client: &Client, of: &PartitionLag) -> Result<Option<i64>, EngineError> {
    let partition = TopicPartition::new(of.topic.as_str(), of.partition);
    let starts = client.offsets(&of.topic, OffsetAt::Earliest).await?;
    let first = starts.get(&of.partition).copied().unwrap_or(0).max(of.end - of.lag);
    let budget = Budget::new(READ_MEMORY);
    let mut reader = Reader::new(client, partition, first, of.end, Isolation::ReadCommitted, budget);
    // A batch may hold nothing but the end of a transaction.
    while let Some((batch, _)) = reader.next().await? {
        if let Some(record) = batch.records.first() {
            return Ok(Some(record.timestamp));
        }
    }
    Ok(None)
}

fn age_in_seconds(timestamp: i64) -> f64 {
    (clock::now_ms() - timestamp).max(0) as f64 / 1000.0
}

/// The command: prints a table, or one JSON object a line.
///
/// # Errors
/// As [`measure`], and when `out` does not take the output.
pub async fn command(config: &LagConfig, out: &mut impl Write) -> Result<(), Ended> {
    let client = Client::connect(&config.client).await?;
    let all = measure(&client, &config.group, &config.source).await?;
    if config.json {
        write_json(&all, out)?;
    } else {
        write_table(&all, out)?;
    }
    Ok(())
}

fn write_json(all: &[PartitionLag], out: &mut impl Write) -> io::Result<()> {
    for of in all {
        serde_json::to_writer(&mut *out, of)?;
        writeln!(out)?;
    }
    Ok(())
}

fn write_table(all: &[PartitionLag], out: &mut impl Write) -> io::Result<()> {
    let topic_width = all.iter().map(|of| of.topic.len()).max().unwrap_or(0).max("TOPIC".len());
    let row = |cells: [&str; 6]| {
        let [topic, partition, committed, end, lag, seconds] = cells;
        format!("{topic:<topic_width$} {partition:>9} {committed:>14} {end:>14} {lag:>12} {seconds:>11}")
    };
    writeln!(out, "{}", row(["TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "LAG SECONDS"]))?;
    for of in all {
        let committed = of.committed.map_or("-".into(), |offset| offset.to_string());
        let seconds = of.lag_seconds.map_or("-".into(), |seconds| format!("{seconds:.1}"));
        let (partition, end, lag) = (of.partition.to_string(), of.end.to_string(), of.lag.to_string());
        writeln!(out, "{}", row([&of.topic, &partition, &committed, &end, &lag, &seconds]))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> [PartitionLag; 2] {
        let caught_up = PartitionLag {
            topic: "names".into(),
            partition: 0,
            committed: Some(12),
            end: 12,
            lag: 0,
            lag_seconds: None,
        };
        let behind = PartitionLag {
            partition: 1,
            committed: None,
            end: 1000,
            lag: 900,
            lag_seconds: Some(3.25),
            ..caught_up.clone()
        };
        [caught_up, behind]
    }

    #[test]
    fn json_is_one_object_a_line_with_exactly_these_keys() {
        let mut out = Vec::new();
        write_json(&two(), &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            concat!(
                r#"{"topic":"names","partition":0,"committed":12,"end":12,"lag":0,"lag_seconds":null}"#,
                "\n",
                r#"{"topic":"names","partition":1,"committed":null,"end":1000,"lag":900,"lag_seconds":3.25}"#,
                "\n",
            )
        );
    }

    #[test]
    fn the_table_has_a_row_for_each_partition() {
        let mut out = Vec::new();
        write_table(&two(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let cells: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(cells[1], ["names", "0", "12", "12", "0", "-"]);
        assert_eq!(cells[2], ["names", "1", "-", "1000", "900", "3.2"]);
    }
}
