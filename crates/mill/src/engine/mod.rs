//! The seam to Kafka: a [`Source`] of partition batches and a [`Sink`] for output batches.
//!
//! Whoever implements it is a crate of its own; this one knows no Kafka client.

mod error;
mod room;
mod stake;
mod troubles;

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

pub use error::{Cause, EngineError, ErrorKind, PropertyError, Replaced};
pub use room::Room;
pub use stake::{Stake, Staked, TransactionEnd};
use strum::{Display, EnumMessage, EnumString, VariantArray};
use tokio::sync::oneshot;
pub use troubles::{Place, Trouble, Troubles};

use crate::{
    batch::{AssignmentId, OutputBatch, PartitionBatch, TopicPartition, TransactionNumber},
    budget::{Budget, Permit},
};

/// Reads the partitions of a topic that a consumer group assigns to this member.
///
/// Heartbeats, fetching and reconnecting go on in the background, whether or not `next` is called.
/// Memory for batches comes from the [`Budget`]; without any, the source pauses.
///
/// # Contract
/// One task, the [mill](crate::mill::Mill), drives a source: it calls [`next`](Source::next) again and again,
/// and drops the future whenever something else happens first. Nothing may be lost by that. Commits run beside
/// it, one at a time.
///
/// The events of each partition come in this order:
///
/// ```text
/// partition  = tenure*
/// tenure     = assignment (rewind assignment)* end
/// assignment = Assigned (Batch | Skipped)* [Unreadable]
/// end        = Revoked [Lost] | Lost
/// ```
///
/// - `rewind` is no event but a call, of [`rewind`](Source::rewind).
/// - `Batch`, `Skipped` and `Unreadable` carry the [`AssignmentId`] of the `Assigned` before them. Ids of a
///   partition ascend, and none comes twice. Offsets ascend within an assignment; a new one begins at its own
///   position, which may be lower.
/// - Nothing of an assignment comes after the event or the call that ends it. An acknowledgement for it may
///   still arrive, and the source leaves it out of what it commits.
/// - An assignment that has ended before its `Assigned` was handed out need not be announced. So `Revoked` and
///   `Lost` may name partitions that the caller does not hold; they mean nothing for those.
/// - The source does not wait for a release for ever. When it has stopped waiting, the receiver of `release` is
///   gone, and the partition may be `Assigned` again.
///
/// After an error `next` is not called any more. What is acknowledged may still be committed, and then the
/// source is closed. Dropping a source instead of closing it leaves the group without saying so.
pub trait Source: Send {
    /// The next event. `room` says which batches may come. While it is closed only changes of the
    /// assignment come, so that a full pipeline never holds up a rebalance. Partitions that are
    /// full are left out of fetching; what was fetched of them already may still come. Changes come
    /// before batches. Cancel-safe.
    ///
    /// # Errors
    /// Errors that concern all partitions and pass only with a new source, if at all. What can be
    /// retried is retried within, for as long as it takes.
    fn next(&mut self, room: &Room) -> impl Future<Output = Result<SourceEvent, EngineError>> + Send;

    /// Commits for the group: each offset is that of the next record to read. Returns those that
    /// the coordinator has agreed to: not those of an assignment that is over, nor those that it
    /// refuses alone, which may be committed again.
    fn commit(
        &self,
        offsets: Vec<Offset>,
    ) -> impl Future<Output = Result<Vec<Offset>, EngineError>> + Send + 'static;

    /// What a transaction needs to commit these offsets in the name of this member (KIP-447). `None`
    /// when the assignment of one is over, or the source takes part in no transactions: then they
    /// cannot be committed.
    fn stake(&self, offsets: Vec<Offset>) -> Option<Stake> {
        let _ = offsets;
        None
    }

    /// Ends the assignment of each of these partitions and begins a new one at its committed
    /// offset, without leaving the group. Nothing of the old assignment comes any more; an
    /// [`Assigned`](SourceEvent::Assigned) follows for each partition once its position is known,
    /// unless it is revoked or lost before. Partitions that are not assigned are ignored.
    fn rewind(&mut self, partitions: Vec<TopicPartition>) -> impl Future<Output = ()> + Send;

    /// Leaves the group; nothing is committed.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// An event of a [`Source`].
#[derive(Debug)]
pub enum SourceEvent {
    /// Records of an assigned partition, in offset order per partition and assignment, with the
    /// share of the memory budget that they and their output hold until acknowledged.
    Batch(PartitionBatch, Permit),
    /// Offsets of an assigned partition that cannot be read because they are gone; comes in the
    /// order of the batches around it. Earlier batches cover the offsets before it.
    Skipped(Gap),
    /// Partitions were assigned; their batches follow. Empty when this member has joined the group
    /// and there is no partition for it.
    Assigned(Vec<Assignment>),
    /// Partitions are about to be taken away. The source waits, within its own bound, until
    /// `release` is sent or dropped; until then commits for them count.
    Revoked {
        /// The partitions.
        partitions: Vec<TopicPartition>,
        /// To be sent (or dropped) once everything in flight is committed.
        release: oneshot::Sender<()>,
    },
    /// Partitions are gone already (session lost, fenced); nothing can be committed for them.
    Lost(Vec<TopicPartition>),
    /// A partition cannot be read any further under this assignment, whatever is tried (a batch is
    /// malformed). The others go on.
    Unreadable {
        /// The assignment that ends here.
        assignment: AssignmentId,
        /// Why; names the partition and the offset.
        error: EngineError,
    },
}

/// A partition assigned to this member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The partition.
    pub partition: TopicPartition,
    /// The number of this assignment.
    pub id: AssignmentId,
    /// The offset that reading starts at: the committed one, or one that was chosen by policy.
    pub position: i64,
    /// Whether the group has committed `position`. One that it has not is committed before anything
    /// else: chosen by policy a second time, it could be a later one.
    pub is_committed: bool,
    /// Whether other partitions of the same change of the assignment came before: the position of
    /// this one was not known at first.
    pub is_late: bool,
}

/// An offset to commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offset {
    /// The partition.
    pub partition: TopicPartition,
    /// The assignment under which the records were read.
    pub assignment: AssignmentId,
    /// The offset of the next record to read.
    pub next: i64,
    /// The leader epoch of the record before it; -1 when unknown (KIP-320).
    pub leader_epoch: i32,
}

/// Offsets that are passed over because the log does not have them any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The partition.
    pub partition: TopicPartition,
    /// The assignment under which it is read.
    pub assignment: AssignmentId,
    /// The first offset that is passed over.
    pub from: i64,
    /// The offset at which reading continues; above `from`.
    pub to: i64,
    /// Why they are gone.
    pub reason: GapReason,
}

/// Why offsets are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GapReason {
    /// Retention, or DeleteRecords, was faster than the reader.
    Retention,
}

impl GapReason {
    /// The label in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            GapReason::Retention => "retention",
        }
    }
}

/// Writes output batches with `acks=all` and an idempotent producer.
///
/// # Contract
/// One task, through [`Delivery`](crate::delivery::Delivery), drives a sink. Each batch that is sent has one end:
///
/// ```text
/// batch = send (receipt | error | the future is dropped)
/// ```
///
/// - [`send`](Sink::send) and [`forget`](Sink::forget) do not wait. How much may be in flight is up to the
///   caller, who counts what has no receipt yet.
/// - The futures may be polled in any order, or not at all: dropping one gives up the answer, not the batch.
/// - After an error that names a partition, the sink goes on. The caller forgets what is left of that
///   assignment, reads the partition again under a new one, and sends from there.
/// - After an error without a partition, nothing more is sent; the sink is closed.
/// - After [`close`](Sink::close), or when the sink is dropped, every future that is left fails.
///
/// Exactly once, each batch names its transaction. Transactions are numbered from 0, and at most two are alive:
///
/// ```text
/// sink        = generation*
/// generation  = transaction* abort
/// transaction = send* stake+ commit
/// ```
///
/// - [`stake`](Sink::stake) is called once all batches of the transaction are sent, and for a transaction only after
///   the one before it was committed. Their receipts need not have come, and dead letters may follow.
/// - [`commit`](Sink::commit) is called once every receipt of the transaction has come and the stake is
///   [held](Staked::Held). Batches of the next one are sent meanwhile.
/// - After [`Staked::Refused`] or [`TransactionEnd::Aborted`], or when anything else went wrong, [`abort`](Sink::abort) is called, once
///   no stake and no commit is under way. It ends both, and their receipts fail or never come. Until it has succeeded nothing
///   is sent; then the next number is the first of a new generation.
pub trait Sink: Send {
    /// Writes a batch. Within a partition, batches are in the log in the order of these calls. The
    /// future resolves when the brokers have acknowledged every record, or refused some for their
    /// contents, or all because there is no such partition. What can be retried is retried within the delivery timeout. The batch is on its
    /// way once this returns, whether or not the future is polled.
    ///
    /// # Errors
    /// Through the future: when delivery of the batch is uncertain. An error that names a partition
    /// concerns that partition alone: every batch given for it that is not acknowledged fails with
    /// it, and so does each later one of the same origin and assignment; those of a later
    /// assignment are written again. An error without a partition concerns all: the sink cannot be
    /// used any more, and the caller closes it.
    fn send(
        &mut self,
        batch: OutputBatch,
    ) -> impl Future<Output = Result<Receipt, EngineError>> + Send + 'static;

    /// What comes from `origin` under `assignment` or an earlier one is no longer wanted: what has
    /// not been sent is dropped, and its receipts fail.
    fn forget(&mut self, origin: &TopicPartition, assignment: AssignmentId);

    /// Makes offsets part of a transaction. After [`Staked::Outdated`] it may be called again.
    ///
    /// # Errors
    /// As [`commit`](Sink::commit).
    fn stake(
        &mut self,
        transaction: TransactionNumber,
        stake: Stake,
    ) -> impl Future<Output = Result<Staked, EngineError>> + Send + 'static {
        let _ = (transaction, stake);
        std::future::ready(Err(EngineError::new(ErrorKind::Fatal, NO_TRANSACTIONS)))
    }

    /// Commits a transaction: its output becomes visible to who reads committed, and the offsets of
    /// its stake are those of the group, both or neither. That it is not known what became of it, after
    /// retries, counts as aborted: the [`abort`](Sink::abort) that follows tells.
    ///
    /// # Errors
    /// When the sink cannot be used any more; fatal when another process has taken over its
    /// transactional id.
    fn commit(
        &mut self,
        transaction: TransactionNumber,
    ) -> impl Future<Output = Result<TransactionEnd, EngineError>> + Send + 'static {
        let _ = transaction;
        std::future::ready(Err(EngineError::new(ErrorKind::Fatal, NO_TRANSACTIONS)))
    }

    /// Aborts whatever is not committed. Nothing that was sent before can become visible, or land
    /// in a later transaction, once this has succeeded. Returns the transaction that turns out to be
    /// committed, if one does: its [`commit`](Sink::commit) had no answer.
    ///
    /// # Errors
    /// As [`commit`](Sink::commit).
    fn abort(
        &mut self,
    ) -> impl Future<Output = Result<Option<TransactionNumber>, EngineError>> + Send + 'static {
        std::future::ready(Err(EngineError::new(ErrorKind::Fatal, NO_TRANSACTIONS)))
    }

    /// Gives up what is not acknowledged and disconnects.
    fn close(self) -> impl Future<Output = ()> + Send;
}

const NO_TRANSACTIONS: &str = "this sink has no transactions";

/// The brokers' answer for an output batch: every record is acknowledged except the refused ones.
#[derive(Debug, Default)]
pub struct Receipt {
    /// The refused records in ascending order of their index.
    pub refused: Vec<Refusal>,
}

/// A record that the destination does not accept as it is.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The record's index in the output batch, counted over all chunks.
    pub index: usize,
    /// Why.
    pub error: crate::transform::ValueError,
}

/// Which engine to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Display, EnumString, EnumMessage, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum EngineKind {
    /// topicmill's own client, which works on whole record batches.
    #[default]
    Native,
    /// librdkafka, record by record; only in builds with the cargo feature `librdkafka`.
    Librdkafka,
}

/// How to reach the cluster, in Kafka's terms.
#[derive(Clone, Default)]
pub struct ClientSettings {
    /// `host:port` of at least one broker.
    pub brokers: Vec<String>,
    /// The dotted properties of `[kafka]` and `-X`, without `bootstrap.servers`; secrets from
    /// files and the environment are filled in.
    pub properties: BTreeMap<String, String>,
    /// How long to wait for a first broker.
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
    /// Where to start a topic that the group has never read.
    pub offset_reset: OffsetReset,
    /// How long a revoked partition waits for its release.
    pub revoke_timeout: Duration,
    /// The memory budget of responses and batches.
    pub budget: Budget,
    /// Where the source reports failures.
    pub troubles: Troubles,
}

/// `auto.offset.reset`: where to start without a committed offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Display, EnumString, EnumMessage, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum OffsetReset {
    /// At the oldest record.
    #[default]
    Earliest,
    /// At the end.
    Latest,
    /// Nowhere: fail.
    None,
}
