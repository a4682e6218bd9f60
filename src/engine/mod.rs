//! The seam to Kafka: a [`Source`] of partition batches and a [`Sink`] for output batches.
//!
//! Architecture invariant: nothing above this module knows a Kafka client, and only
//! `engine/librdkafka` names rdkafka.

mod error;
#[cfg(feature = "librdkafka")]
pub mod librdkafka;
pub mod native;

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

pub use error::{EngineError, ErrorKind, PropertyError};
use tokio::sync::oneshot;

use crate::{
    batch::{Generation, OutputBatch, PartitionBatch, TopicPartition},
    budget::Budget,
};

/// Reads the partitions of a topic that a consumer group assigns to this member.
///
/// Heartbeats, fetching and reconnecting go on in the background, whether or not `next` is
/// called; memory for batches comes from the [`Budget`], and without any the source pauses.
pub trait Source: Send {
    /// The next event. With `room` false only changes of the assignment come, no batches, so
    /// that a full road never holds up a rebalance. Changes come before batches. Cancel-safe.
    ///
    /// # Errors
    /// Fatal ones only; what can be retried is retried within.
    fn next(&mut self, room: bool) -> impl Future<Output = Result<SourceEvent, EngineError>> + Send;

    /// Commits for the group: each offset is that of the next record to read. Offsets of a
    /// generation that is no longer assigned are left out. Resolves when the coordinator agreed.
    fn commit(&self, offsets: Vec<Offset>) -> impl Future<Output = Result<(), EngineError>> + Send + 'static;

    /// Leaves the group; nothing is committed.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// What a [`Source`] has to say.
#[derive(Debug)]
pub enum SourceEvent {
    /// Records of an assigned partition, in offset order per partition and generation.
    Batch(PartitionBatch),
    /// Partitions were assigned; batches of this generation follow. It is empty when this member
    /// has joined the group and there is no partition for it.
    Assigned(Vec<Assignment>),
    /// Partitions are about to be taken away. The source waits, within its own bound, until
    /// `release` is sent or dropped; until then commits for them count.
    Revoked {
        /// The partitions.
        partitions: Vec<TopicPartition>,
        /// Send (or drop) it once everything in flight is committed.
        release: oneshot::Sender<()>,
    },
    /// Partitions are gone already (session lost, fenced); nothing can be committed for them.
    Lost(Vec<TopicPartition>),
}

/// A partition assigned to this member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The partition.
    pub partition: TopicPartition,
    /// The number of this assignment.
    pub generation: Generation,
    /// The offset that reading starts at: the committed one, or what `auto.offset.reset` says.
    pub position: i64,
}

/// An offset to commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offset {
    /// The partition.
    pub partition: TopicPartition,
    /// The assignment under which the records were read.
    pub generation: Generation,
    /// The offset of the next record to read.
    pub next: i64,
}

/// Writes output batches with `acks=all` and an idempotent producer.
pub trait Sink: Send {
    /// Writes a batch; within a partition, batches stand in the log in the order of these calls.
    /// The future resolves when the brokers acknowledged every record or refused some for what
    /// they are. What can be retried is retried within the delivery timeout. The batch is on its
    /// way once this returns, whether or not the future is polled.
    ///
    /// # Errors
    /// Through the future: when delivery of the batch is not certain. Then this sink is spent: the caller closes it, and
    /// reads again from the committed offsets with a new one.
    fn send(
        &mut self,
        batch: OutputBatch,
    ) -> impl Future<Output = Result<Receipt, EngineError>> + Send + 'static;

    /// Gives up what is not acknowledged and disconnects.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// The brokers' answer for an output batch: every record is acknowledged but the refused ones.
#[derive(Debug, Default)]
pub struct Receipt {
    /// The refused records in ascending order of their index.
    pub refused: Vec<Refusal>,
}

/// A record that the destination does not take as it is.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The record's index in the output batch, counted over all chunks.
    pub index: usize,
    /// Why.
    pub error: crate::transform::ValueError,
}

/// Which engine to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum EngineKind {
    /// topicmill's own wire, which never leaves whole record batches.
    #[default]
    Native,
    /// librdkafka, record by record; needs the cargo feature `librdkafka`.
    Librdkafka,
}

/// How to reach the cluster, as Kafka users write it.
#[derive(Clone, Default)]
pub struct ClientSettings {
    /// `host:port` of at least one broker.
    pub brokers: Vec<String>,
    /// The dotted properties of `[kafka]` and `-X`, without `bootstrap.servers`; secrets from
    /// files and the environment are filled in.
    pub properties: BTreeMap<String, String>,
    /// How long to try for a first broker.
    pub connect_timeout: Duration,
}

impl std::fmt::Debug for ClientSettings {
    /// Names the properties without their values: some are secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientSettings")
            .field("brokers", &self.brokers)
            .field("properties", &self.properties.keys())
            .finish_non_exhaustive()
    }
}

/// What a [`Source`] reads.
#[derive(Clone, Debug)]
pub struct SourceSettings {
    /// The topic.
    pub topic: Arc<str>,
    /// The consumer group.
    pub group: String,
    /// Where a partition without a committed offset starts.
    pub offset_reset: OffsetReset,
    /// How long a revoked partition waits for its release.
    pub revoke_timeout: Duration,
    /// The memory that batches take their shares from.
    pub budget: Budget,
}

/// `auto.offset.reset`: where to read without a committed offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum OffsetReset {
    /// At the oldest record.
    #[default]
    Earliest,
    /// At the end.
    Latest,
    /// Nowhere: it is an error.
    None,
}
