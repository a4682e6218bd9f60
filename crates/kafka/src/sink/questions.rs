//! The questions to coordinators about transactions: how they are asked, and what the answers mean.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use kafka_protocol::{
    ResponseError,
    messages::{
        EndTxnRequest, TransactionalId,
        add_partitions_to_txn_request::AddPartitionsToTxnTopic,
        add_partitions_to_txn_response::AddPartitionsToTxnTopicResult,
        txn_offset_commit_request::{TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic},
    },
    protocol::Request,
};
use tokio::time::{Instant, sleep};
use topicmill_mill::{
    backoff::Backoff,
    batch::TopicPartition,
    engine::{EngineError, ErrorKind, Place, Stake, Troubles},
};

use super::{
    producer::Producer,
    protocol::{Mode, Protocol},
};
use crate::{
    ask::Whom,
    cluster::Cluster,
    error::{KafkaError, Remedy, check},
    reply::Answer,
    text::{text, topic_name},
};

/// The pauses between two attempts: a coordinator that is still ending the last transaction is ready within
/// milliseconds.
pub const RETRY: Backoff = Backoff { first: Duration::from_millis(5), most: Duration::from_millis(500) };

/// The least time for an answer.
const LEAST_TIME: Duration = Duration::from_secs(1);

/// Why something did not succeed.
#[derive(Debug)]
pub enum Failure {
    /// To ask again.
    Again(EngineError),
    /// The transaction is to be aborted.
    Abort(EngineError),
    /// Nothing helps.
    Fatal(EngineError),
}

impl Failure {
    pub fn error(self) -> EngineError {
        match self {
            Failure::Again(error) | Failure::Abort(error) | Failure::Fatal(error) => error,
        }
    }
}

/// The answer to the end of a transaction.
pub struct Ended {
    /// The producer to go on with, if it is another one.
    pub answer: Result<Option<Producer>, Failure>,
    /// Whether no attempt before the last may have had an effect, or have one later.
    pub is_alone: bool,
}

/// Ends the transaction of a producer. The coordinator refuses it from a producer that was replaced, whatever state
/// its own is in.
pub async fn end(
    cluster: &Cluster,
    troubles: &Troubles,
    mode: &Mode,
    producer: Producer,
    commits: bool,
    deadline: Instant,
) -> Ended {
    let request = EndTxnRequest::default()
        .with_transactional_id(TransactionalId(mode.name.clone()))
        .with_producer_id(producer.id.into())
        .with_producer_epoch(producer.epoch)
        .with_committed(commits);
    let (whom, what) = (Whom::Transactions(&mode.name), "ending the transaction");
    let cap = mode.protocol.cap(4, 5);
    let is_alone = AtomicBool::new(true);
    let attempt = || async {
        let asked = ask(cluster, whom, &request, cap, what, deadline).await;
        let settled = asked.and_then(|answer| {
            judge(cluster, whom, answer.error_code, what)?;
            Ok(answer)
        });
        // A coordinator may also say that it is none any more with the end in its log already.
        let answer = settled.inspect_err(|failure| {
            if matches!(failure, Failure::Again(error) if !is_put_off(error)) {
                is_alone.store(false, Ordering::Relaxed);
            }
        })?;
        let (id, epoch) = (answer.producer_id.0, answer.producer_epoch);
        let is_another = mode.protocol == Protocol::Second && id >= 0;
        Ok(is_another.then_some(Producer { id, epoch }))
    };
    let answer = until_settled(troubles, &Place::Commit, deadline, attempt).await;
    Ended { answer, is_alone: is_alone.into_inner() }
}

pub fn topics(stake: &Stake) -> Vec<TxnOffsetCommitRequestTopic> {
    let mut topics: Vec<TxnOffsetCommitRequestTopic> = Vec::new();
    for (offset, note) in &stake.offsets {
        let partition = TxnOffsetCommitRequestPartition::default()
            .with_partition_index(offset.partition.partition)
            .with_committed_offset(offset.next)
            .with_committed_leader_epoch(offset.leader_epoch)
            .with_committed_metadata(Some(text(note)));
        let name = &*offset.partition.topic;
        match topics.iter_mut().find(|topic| topic.name.as_str() == name) {
            Some(topic) => topic.partitions.push(partition),
            None => topics.push(
                TxnOffsetCommitRequestTopic::default()
                    .with_name(topic_name(name))
                    .with_partitions(vec![partition]),
            ),
        }
    }
    topics
}

/// Partitions that are to be part of a transaction.
pub fn participants(partitions: &BTreeSet<TopicPartition>) -> Vec<AddPartitionsToTxnTopic> {
    let mut topics: Vec<AddPartitionsToTxnTopic> = Vec::new();
    for partition in partitions {
        match topics.last_mut().filter(|last| last.name.as_str() == &*partition.topic) {
            Some(topic) => topic.partitions.push(partition.partition),
            None => topics.push(
                AddPartitionsToTxnTopic::default()
                    .with_name(topic_name(&partition.topic))
                    .with_partitions(vec![partition.partition]),
            ),
        }
    }
    topics
}

/// Those that are not, with the error code of each.
pub fn refused(results: &[AddPartitionsToTxnTopicResult]) -> BTreeMap<TopicPartition, i16> {
    let of_topic = |topic: &AddPartitionsToTxnTopicResult| {
        let name: Arc<str> = topic.name.as_str().into();
        let results = topic.results_by_partition.clone().into_iter();
        results.map(move |result| {
            let partition = TopicPartition { topic: Arc::clone(&name), partition: result.partition_index };
            (partition, result.partition_error_code)
        })
    };
    results.iter().flat_map(of_topic).filter(|(_, code)| *code != 0).collect()
}

/// Asks once, in at most this version, for the time of a request or until the deadline.
pub async fn ask<R: Request<Response: Answer>>(
    cluster: &Cluster,
    whom: Whom<'_>,
    request: &R,
    cap: i16,
    what: &str,
    deadline: Instant,
) -> Result<R::Response, Failure> {
    let limit = cluster
        .settings
        .request_timeout
        .min(deadline.saturating_duration_since(Instant::now()))
        .max(LEAST_TIME);
    cluster.ask_in(whom, request, cap, limit).await.map_err(|error| {
        let message = format!("{what}: {}", error.message);
        let error = EngineError { message, ..error };
        if error.kind == ErrorKind::Fatal { Failure::Fatal(error) } else { Failure::Again(error) }
    })
}

/// What an error code in an answer means for a transaction.
pub fn judge(cluster: &Cluster, whom: Whom<'_>, code: i16, what: &str) -> Result<(), Failure> {
    use ResponseError::*;
    let Err(error) = check(code) else { return Ok(()) };
    let engine_error = match whom {
        Whom::Transactions(name) => cluster.failed_in_transactions(name, error, what),
        Whom::Coordinator(group, _) => cluster.failed_in(group, error, what, None),
        Whom::Any | Whom::Controller | Whom::Broker(_) => cluster.failed(error, what, None),
    };
    let abort = |error| Failure::Abort(EngineError { kind: ErrorKind::Retriable, ..error });
    Err(match error.0 {
        ConcurrentTransactions
        | CoordinatorLoadInProgress
        | CoordinatorNotAvailable
        | NotCoordinator
        | UnknownTopicOrPartition => Failure::Again(engine_error),
        // A transaction that the coordinator has aborted on its own cannot be ended; a member that another has
        // replaced cannot commit in it.
        ProducerFenced
        | InvalidProducerEpoch
        | InvalidProducerIdMapping
        | UnknownProducerId
        | InvalidTxnState
        | TransactionAbortable
        | UnknownMemberId
        | FencedInstanceId
        | FencedMemberEpoch
        | GroupIdNotFound
        | UnstableOffsetCommit
        | OperationNotAttempted
        // The cluster has left the version of transactions that this one was begun in.
        | UnsupportedVersion => abort(engine_error),
        _ => match error.remedy() {
            Remedy::Retry | Remedy::RefreshMetadata | Remedy::RefreshCoordinator => {
                Failure::Again(engine_error)
            }
            Remedy::Restart => abort(engine_error),
            Remedy::GiveUp => Failure::Fatal(engine_error),
        },
    })
}

/// Whether a rebalance has ended, or is ending, of which the member that asks still has to hear.
pub fn is_outdated(error: &KafkaError) -> bool {
    use ResponseError::{IllegalGeneration, RebalanceInProgress, StaleMemberEpoch};
    matches!(error.0, IllegalGeneration | StaleMemberEpoch | RebalanceInProgress)
}

pub fn is_fenced(error: &EngineError) -> bool {
    use ResponseError::{InvalidProducerEpoch, ProducerFenced};
    error.cause::<KafkaError>().is_some_and(|error| matches!(error.0, ProducerFenced | InvalidProducerEpoch))
}

/// Whether it cannot be ended in this way any more: with transactions version 2, every abort succeeds but the one of
/// what was committed.
pub fn is_over(error: &EngineError) -> bool {
    is_because(error, ResponseError::InvalidTxnState)
}

/// Whether the end of the producer's last transaction is still being written.
pub fn is_concurrent(error: &EngineError) -> bool {
    is_because(error, ResponseError::ConcurrentTransactions)
}

/// Whether the coordinator has said that it does nothing yet.
fn is_put_off(error: &EngineError) -> bool {
    is_concurrent(error) || is_because(error, ResponseError::CoordinatorLoadInProgress)
}

/// Whether a broker's answer with this code is what it comes from.
pub fn is_because(error: &EngineError, code: ResponseError) -> bool {
    error.cause::<KafkaError>().is_some_and(|error| error.0 == code)
}

/// Asks, with growing pauses, until there is an answer that settles it or the deadline is near; as long as there is
/// none, that is a trouble of this place.
pub async fn until_settled<T, F: Future<Output = Result<T, Failure>>>(
    troubles: &Troubles,
    place: &Place,
    deadline: Instant,
    attempt: impl Fn() -> F,
) -> Result<T, Failure> {
    let (mut failures, mut is_ours) = (0, false);
    loop {
        let error = match attempt().await {
            Err(Failure::Again(error)) => error,
            settled => {
                if is_ours {
                    troubles.end(place);
                }
                return settled;
            }
        };
        // One that is there already, as after aborts, ends when something is committed.
        is_ours |= failures == 0 && troubles.now().iter().all(|(at, _)| at != place);
        failures += 1;
        troubles.begin(place.clone(), &error);
        let pause = RETRY.pause(failures);
        if Instant::now() + pause >= deadline {
            return Err(Failure::Again(error));
        }
        tracing::debug!(%error, ?pause, "asking again");
        sleep(pause).await;
    }
}
