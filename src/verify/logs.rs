//! What `verify` needs of a cluster: five questions.

use std::{collections::BTreeMap, future::Future, ops::Range, sync::Arc};

use crate::{
    batch::{PartitionBatch, TopicPartition},
    budget::Budget,
    config::{VerifyConfig, transactions::reads_uncommitted},
    engine::{
        EngineError,
        native::{Client, Isolation, OffsetAt, Reader},
    },
};

/// The logs of a cluster, to be read.
pub(crate) trait Logs {
    /// The offsets that each partition of a topic holds now; `None` when there is no such topic.
    fn ranges(
        &self,
        topic: &str,
    ) -> impl Future<Output = Result<Option<BTreeMap<i32, Range<i64>>>, EngineError>> + Send;

    /// Of the partitions of a topic in which a transaction is open: from which offset on readers of committed records
    /// see nothing yet.
    fn held_up(&self, topic: &str) -> impl Future<Output = Result<BTreeMap<i32, i64>, EngineError>> + Send;

    /// Whether the brokers stamp the records of a topic, replacing the producer's timestamps.
    fn stamps_records(&self, topic: &str) -> impl Future<Output = Result<bool, EngineError>> + Send;

    /// The offsets that a group has committed for a topic.
    fn committed(
        &self,
        group: &str,
        topic: &str,
    ) -> impl Future<Output = Result<BTreeMap<i32, i64>, EngineError>> + Send;

    /// Hands the records of `range` to `each`, batch by batch.
    fn read(
        &self,
        partition: &TopicPartition,
        range: Range<i64>,
        each: impl FnMut(&PartitionBatch) + Send,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;
}

/// The logs as a cluster's clients see them.
#[derive(Debug)]
pub(crate) struct ClusterLogs {
    /// The cluster.
    pub client: Client,
    /// The memory that batches may hold while they are read.
    pub budget: Budget,
    /// The topic that is read with `isolation.level=read_uncommitted`, if there is one.
    pub uncommitted: Option<Arc<str>>,
}

impl ClusterLogs {
    /// The logs as `config` has them read: the source as the transformer read it.
    pub(crate) fn new(client: Client, config: &VerifyConfig) -> ClusterLogs {
        let uncommitted = reads_uncommitted(&config.client).then(|| Arc::clone(&config.source));
        ClusterLogs { client, budget: Budget::new(config.memory), uncommitted }
    }

    fn isolation(&self, topic: &str) -> Isolation {
        let is_uncommitted = self.uncommitted.as_deref() == Some(topic);
        if is_uncommitted { Isolation::ReadUncommitted } else { Isolation::ReadCommitted }
    }
}

impl Logs for ClusterLogs {
    async fn ranges(&self, topic: &str) -> Result<Option<BTreeMap<i32, Range<i64>>>, EngineError> {
        if self.client.topic(topic).await?.is_none() {
            return Ok(None);
        }
        // The ends first: a record that is written meanwhile lies beyond them.
        let end = match self.isolation(topic) {
            Isolation::ReadCommitted => OffsetAt::Latest,
            Isolation::ReadUncommitted => OffsetAt::HighWatermark,
        };
        let ends = self.client.offsets(topic, end).await?;
        let starts = self.client.offsets(topic, OffsetAt::Earliest).await?;
        let start = |partition, end: i64| starts.get(&partition).copied().unwrap_or(0).min(end);
        Ok(Some(ends.into_iter().map(|(partition, end)| (partition, start(partition, end)..end)).collect()))
    }

    async fn held_up(&self, topic: &str) -> Result<BTreeMap<i32, i64>, EngineError> {
        // The high watermarks first: what is written meanwhile moves only the others beyond them.
        let ends = self.client.offsets(topic, OffsetAt::HighWatermark).await?;
        let mut stable = self.client.offsets(topic, OffsetAt::Latest).await?;
        stable.retain(|partition, offset| ends.get(partition).is_some_and(|end| *offset < *end));
        Ok(stable)
    }

    async fn stamps_records(&self, topic: &str) -> Result<bool, EngineError> {
        let config = self.client.topic_config(topic).await?;
        Ok(config.get("message.timestamp.type").is_some_and(|kind| kind == "LogAppendTime"))
    }

    async fn committed(&self, group: &str, topic: &str) -> Result<BTreeMap<i32, i64>, EngineError> {
        self.client.committed(group, topic).await
    }

    async fn read(
        &self,
        partition: &TopicPartition,
        range: Range<i64>,
        mut each: impl FnMut(&PartitionBatch) + Send,
    ) -> Result<(), EngineError> {
        let (client, budget) = (&self.client, self.budget.clone());
        let (isolation, partition) = (self.isolation(&partition.topic), partition.clone());
        let mut reader = Reader::new(client, partition, range.start, range.end, isolation, budget);
        while let Some((batch, _)) = reader.next().await? {
            each(&batch);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use topicmill_broker::{Broker, BrokerSettings};

    use super::{super::tests::config, *};
    use crate::{
        batch::{OutputBatch, TransactionNumber},
        engine::{ClientSettings, Sink, native::NativeSink},
        records::{NO_HEADERS, RecordWriter},
        strategy::Order,
    };

    #[tokio::test]
    async fn what_was_aborted_belongs_to_a_source_that_is_read_uncommitted() {
        let settings =
            BrokerSettings { listen: "127.0.0.1:0".parse().unwrap(), memory: 1 << 20, partitions: 0 };
        let broker = Broker::start(settings).await.unwrap();
        let settings = ClientSettings {
            brokers: vec![broker.address().to_string()],
            properties: Default::default(),
            connect_timeout: Duration::from_secs(10),
        };
        let client = Client::connect(&settings).await.unwrap();
        let mut sink =
            NativeSink::transactional(&client, &settings, Default::default(), None, "g").await.unwrap();
        for (topic, level, expected) in [
            ("s", "read_uncommitted", 1),
            ("s", "READ_UNCOMMITTED", 1),
            ("s", "read_committed", 0),
            ("d", "read_uncommitted", 0),
        ] {
            if broker.create_topic(topic, 1, &[]).is_ok() {
                let mut writer = RecordWriter::new(1000, 0);
                writer.push(1, None, Some(&[b"value"]), NO_HEADERS);
                let (destination, chunks) = (TopicPartition::new(topic, 0), writer.finish());
                let transaction = Some(TransactionNumber(0));
                sink.send(OutputBatch { destination, chunks, transaction, ..OutputBatch::default() })
                    .await
                    .unwrap();
                sink.abort().await.unwrap();
            }
            let mut config = config(Order::Partition);
            config.client.properties.insert("isolation.level".to_owned(), level.to_owned());
            let logs = ClusterLogs::new(client.clone(), &config);
            let range = logs.ranges(topic).await.unwrap().unwrap()[&0].clone();
            let mut records = 0;
            logs.read(&TopicPartition::new(topic, 0), range, |batch| records += batch.records.len())
                .await
                .unwrap();
            assert_eq!(records, expected, "{topic} {level}");
        }
    }
}
