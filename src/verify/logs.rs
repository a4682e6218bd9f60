//! What `verify` needs of a cluster: four questions.

use std::{collections::BTreeMap, future::Future, ops::Range};

use crate::{
    batch::{PartitionBatch, TopicPartition},
    budget::Budget,
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

    /// Whether the brokers stamp the records of a topic, replacing the producer's timestamps.
    fn stamps_records(&self, topic: &str) -> impl Future<Output = Result<bool, EngineError>> + Send;

    /// The offsets that a group has committed for a topic.
    fn committed(
        &self,
        group: &str,
        topic: &str,
    ) -> impl Future<Output = Result<BTreeMap<i32, i64>, EngineError>> + Send;

    /// Hands the committed records of `range` to `each`, batch by batch.
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
}

impl Logs for ClusterLogs {
    async fn ranges(&self, topic: &str) -> Result<Option<BTreeMap<i32, Range<i64>>>, EngineError> {
        if self.client.topic(topic).await?.is_none() {
            return Ok(None);
        }
        // The ends first: a record that is written meanwhile lies beyond them.
        let ends = self.client.offsets(topic, OffsetAt::Latest).await?;
        let starts = self.client.offsets(topic, OffsetAt::Earliest).await?;
        let start = |partition, end: i64| starts.get(&partition).copied().unwrap_or(0).min(end);
        Ok(Some(ends.into_iter().map(|(partition, end)| (partition, start(partition, end)..end)).collect()))
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
        let (isolation, partition) = (Isolation::ReadCommitted, partition.clone());
        let mut reader = Reader::new(client, partition, range.start, range.end, isolation, budget);
        while let Some((batch, _)) = reader.next().await? {
            each(&batch);
        }
        Ok(())
    }
}
