//! What `--until-caught-up` waits for: the end offsets that were seen at the start.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    batch::TopicPartition,
    config::Config,
    engine::{EngineError, OffsetReset, native::Client},
    lag,
};

/// The offsets to reach, for the partitions that have anything to read.
#[derive(Clone, Debug)]
pub(super) struct Goal {
    topic: Arc<str>,
    ends: BTreeMap<i32, i64>,
}

impl Goal {
    /// The end offsets now, where the group has something left to read.
    pub(super) async fn now(client: &Client, config: &Config) -> Result<Goal, EngineError> {
        let lags = lag::measure_records(client, &config.group, &config.source).await?;
        let reads =
            |committed: Option<i64>| committed.is_some() || config.offset_reset != OffsetReset::Latest;
        let left = lags.iter().filter(|of| of.lag > 0 && reads(of.committed));
        let ends = left.map(|of| (of.partition, of.end)).collect();
        Ok(Goal { topic: Arc::clone(&config.source), ends })
    }

    /// The goal by partition.
    pub(super) fn offsets(&self) -> BTreeMap<TopicPartition, i64> {
        let partition = |number| TopicPartition { topic: Arc::clone(&self.topic), partition: number };
        self.ends.iter().map(|(number, end)| (partition(*number), *end)).collect()
    }

    /// Whether the group's committed offsets have reached it.
    pub(super) fn is_reached(&self, committed: &BTreeMap<i32, i64>) -> bool {
        self.ends.iter().all(|(partition, end)| committed.get(partition).is_some_and(|at| at >= end))
    }
}
