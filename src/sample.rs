//! Real records to try something on: read without a consumer group, and without a trace.

use std::{str::FromStr, time::Duration};

use crate::{
    batch::{PartitionBatch, TopicPartition},
    budget::Budget,
    clock,
    config::units::parse_duration,
    engine::{
        EngineError,
        native::{Client, Isolation, OffsetAt, Reader},
    },
};

/// Where to begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Begin {
    /// At the oldest records.
    #[default]
    Earliest,
    /// At the first record that is not older than this.
    Ago(Duration),
}

impl FromStr for Begin {
    type Err = String;

    fn from_str(text: &str) -> Result<Begin, String> {
        match text {
            "earliest" => Ok(Begin::Earliest),
            text => match parse_duration(text.strip_prefix('-').unwrap_or(text)) {
                Ok(ago) => Ok(Begin::Ago(ago)),
                Err(_) => Err("must be `earliest`, or how long ago, such as `-1h` or `-30m`".into()),
            },
        }
    }
}

/// How many records are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Amount {
    /// All that there are.
    All,
    /// About so many, spread evenly over all.
    Spread(u64),
    /// The first ones.
    First(u64),
}

/// What to read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub topic: &'a str,
    pub begin: Begin,
    pub amount: Amount,
    /// The memory in bytes that batches may hold while they are read.
    pub memory: usize,
}

/// Hands the records that are wanted to `each`, in batches that hold no others, partition by partition.
/// Those that come after the start of the reading are not among them.
///
/// # Errors
/// When the topic is missing or cannot be read, and at the first error of `each`.
pub(crate) async fn read<E: From<EngineError>>(
    client: &Client,
    wanted: Wanted<'_>,
    mut each: impl FnMut(PartitionBatch) -> Result<(), E>,
) -> Result<(), E> {
    let ends = client.offsets(wanted.topic, OffsetAt::Latest).await?;
    let at = match wanted.begin {
        Begin::Earliest => OffsetAt::Earliest,
        Begin::Ago(ago) => {
            OffsetAt::Timestamp(clock::now_ms() - i64::try_from(ago.as_millis()).unwrap_or(i64::MAX))
        }
    };
    let begins = client.offsets(wanted.topic, at).await?;
    let begin = |partition: i32| begins.get(&partition).copied().unwrap_or(0);
    let total: u64 = ends.iter().map(|(number, end)| (end - begin(*number)).max(0) as u64).sum();
    let mut pick = Pick::new(wanted.amount, total);
    let budget = Budget::new(wanted.memory);
    for (number, end) in ends {
        let partition = TopicPartition::new(wanted.topic, number);
        let isolation = Isolation::ReadCommitted;
        let mut reader = Reader::new(client, partition, begin(number), end, isolation, budget.clone());
        while !pick.is_done()
            && let Some((mut batch, _memory)) = reader.next().await?
        {
            batch.records.retain(|_| pick.takes());
            if !batch.records.is_empty() {
                each(batch)?;
            }
        }
    }
    Ok(())
}

/// Chooses records one after the other.
struct Pick {
    /// One of so many.
    every: u64,
    /// Until the next one.
    pause: u64,
    /// How many are still wanted.
    left: u64,
}

impl Pick {
    fn new(amount: Amount, total: u64) -> Pick {
        let (every, left) = match amount {
            Amount::All => (1, u64::MAX),
            Amount::Spread(count) => (total.div_ceil(count.max(1)).max(1), count),
            Amount::First(count) => (1, count),
        };
        Pick { every, pause: 0, left }
    }

    fn is_done(&self) -> bool {
        self.left == 0
    }

    fn takes(&mut self) -> bool {
        if self.pause > 0 {
            self.pause -= 1;
            return false;
        }
        if self.left == 0 {
            return false;
        }
        (self.pause, self.left) = (self.every - 1, self.left - 1);
        true
    }
}

#[cfg(test)]
mod tests {
    use topicmill_broker::{Broker, BrokerSettings};

    use super::*;
    use crate::{
        batch::OutputBatch,
        engine::{ClientSettings, ErrorKind, Sink, native::NativeSink},
        records::{NO_HEADERS, RecordWriter},
    };

    #[test]
    fn as_many_as_wanted_are_picked_from_all_over() {
        let picked = |amount, total| {
            let mut pick = Pick::new(amount, total);
            (0..total).filter(|_| pick.takes()).collect::<Vec<_>>()
        };
        assert_eq!(picked(Amount::All, 4), [0, 1, 2, 3]);
        assert_eq!(picked(Amount::First(2), 4), [0, 1]);
        assert_eq!(picked(Amount::Spread(3), 9), [0, 3, 6]);
        assert_eq!(picked(Amount::Spread(4), 10), [0, 3, 6, 9]);
        assert_eq!(picked(Amount::Spread(9), 3), [0, 1, 2]);
        assert_eq!(picked(Amount::Spread(0), 3), [0u64; 0]);
    }

    #[tokio::test]
    async fn the_first_error_ends_it() {
        let settings =
            BrokerSettings { listen: "127.0.0.1:0".parse().unwrap(), memory: 1 << 20, partitions: 0 };
        let broker = Broker::start(settings).await.unwrap();
        broker.create_topic("t", 3, &[]).unwrap();
        let settings = ClientSettings {
            brokers: vec![broker.address().to_string()],
            properties: Default::default(),
            connect_timeout: Duration::from_secs(10),
        };
        let client = Client::connect(&settings).await.unwrap();
        let mut sink = NativeSink::new(&client, &settings, Default::default()).await.unwrap();
        for partition in 0..3 {
            let mut writer = RecordWriter::new(1000, 0);
            writer.push(1, None, Some(&[b"value"]), NO_HEADERS);
            let (destination, chunks) = (TopicPartition::new("t", partition), writer.finish());
            sink.send(OutputBatch { destination, chunks, ..OutputBatch::default() }).await.unwrap();
        }
        let wanted = Wanted { topic: "t", begin: Begin::Earliest, amount: Amount::All, memory: 16 << 20 };
        let mut handed_out = Vec::new();
        let read = read(&client, wanted, |batch| {
            handed_out.push(batch.origin.partition);
            if batch.origin.partition == 1 {
                Err(EngineError::new(ErrorKind::Fatal, "broken"))
            } else {
                Ok(())
            }
        });
        assert_eq!(read.await.unwrap_err().message, "broken");
        assert_eq!(handed_out, [0, 1]);
    }

    #[test]
    fn a_beginning_is_read_from_text() {
        assert_eq!("earliest".parse(), Ok(Begin::Earliest));
        assert_eq!("-1h".parse(), Ok(Begin::Ago(Duration::from_secs(3600))));
        assert_eq!("30m".parse(), Ok(Begin::Ago(Duration::from_secs(1800))));
        assert!("yesterday".parse::<Begin>().unwrap_err().contains("such as `-1h`"));
    }
}
