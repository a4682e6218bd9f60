//! Reads one partition from an offset to another without a consumer group.

use super::Client;
use crate::{
    batch::{PartitionBatch, TopicPartition},
    budget::Budget,
    engine::EngineError,
};

/// Which records of transactions are read (KIP-98).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// Also those of transactions that are open or aborted.
    ReadUncommitted,
    /// Only those of committed transactions.
    #[default]
    ReadCommitted,
}

/// Reads a partition from one offset up to, not including, another.
#[derive(Debug)]
pub struct Reader {}

impl Reader {
    /// A reader of the offsets `from..until` of `partition`.
    pub fn new(
        client: &Client,
        partition: TopicPartition,
        from: i64,
        until: i64,
        isolation: Isolation,
        budget: Budget,
    ) -> Reader {
        let _ = (client, partition, from, until, isolation, budget);
        todo!()
    }

    /// The next batch, or `None` once `until` is reached.
    ///
    /// # Errors
    /// When the partition cannot be read: gone, corrupt, out of range, no answer in time.
    pub async fn next(&mut self) -> Result<Option<PartitionBatch>, EngineError> {
        todo!()
    }
}
