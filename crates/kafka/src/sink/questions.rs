//! The questions to coordinators about transactions: how they are asked, and what the answers mean.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use kafka_protocol::{
    ResponseError,
    messages::{
        EndTxnRequest, TransactionalId,
        txn_offset_commit_request::{TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic},
    },
    protocol::Request,
};
use tokio::time::{Instant, sleep};
use topicmill_mill::{
    backoff::Backoff,
    engine::{EngineError, ErrorKind, Stake},
};

use super::{
    producer::Producer,
    transaction::{Mode, Protocol},
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
const RETRY: Backoff = Backoff { first: Duration::from_millis(5), most: Duration::from_millis(500) };

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
        let (Failure::Again(error) | Failure::Abort(error) | Failure::Fatal(error)) = self;
        error
    }
}

/// Ends the transaction of a producer: the producer to go on with, if it is another one, and whether every attempt
/// was answered. The coordinator refuses it from a producer that was replaced, whatever state its own is in.
pub async fn end(
    cluster: &Cluster,
    mode: &Mode,
    producer: Producer,
    commits: bool,
    deadline: Instant,
) -> Result<(Option<Producer>, bool), Failure> {
    let request = EndTxnRequest::default()
        .with_transactional_id(TransactionalId(mode.name.clone()))
        .with_producer_id(producer.id.into())
        .with_producer_epoch(producer.epoch)
        .with_committed(commits);
    let (whom, what) = (Whom::Transactions(&mode.name), "ending the transaction");
    let cap = mode.protocol.cap(4, 5);
    let is_certain = AtomicBool::new(true);
    let mut patience = Patience::until(deadline);
    let answered = loop {
        let answer = async {
            let answer = ask(cluster, whom, &request, cap, what)
                .await
                .inspect_err(|_| is_certain.store(false, Ordering::Relaxed))?;
            judge(cluster, whom, answer.error_code, what)?;
            let (id, epoch) = (answer.producer_id.0, answer.producer_epoch);
            let is_another = mode.protocol == Protocol::Second && id >= 0;
            Ok::<_, Failure>(is_another.then_some(Producer { id, epoch }))
        };
        if let Some(settled) = patience.settle(answer.await).await {
            break settled;
        }
    };
    Ok((answered?, is_certain.into_inner()))
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

/// Asks once, in at most this version.
pub async fn ask<R: Request<Response: Answer>>(
    cluster: &Cluster,
    whom: Whom<'_>,
    request: &R,
    cap: i16,
    what: &str,
) -> Result<R::Response, Failure> {
    let limit = cluster.settings.request_timeout;
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
        // replaced, or of an older generation, cannot commit in it.
        ProducerFenced
        | InvalidProducerEpoch
        | InvalidProducerIdMapping
        | UnknownProducerId
        | InvalidTxnState
        | TransactionAbortable
        | IllegalGeneration
        | UnknownMemberId
        | FencedInstanceId
        | StaleMemberEpoch
        | FencedMemberEpoch
        | RebalanceInProgress
        | GroupIdNotFound
        | UnstableOffsetCommit
        | OperationNotAttempted => abort(engine_error),
        _ => match error.remedy() {
            Remedy::Retry | Remedy::RefreshMetadata | Remedy::RefreshCoordinator => {
                Failure::Again(engine_error)
            }
            Remedy::Restart => abort(engine_error),
            Remedy::GiveUp => Failure::Fatal(engine_error),
        },
    })
}

pub fn is_fenced(error: &EngineError) -> bool {
    use ResponseError::{InvalidProducerEpoch, ProducerFenced};
    error.cause::<KafkaError>().is_some_and(|error| matches!(error.0, ProducerFenced | InvalidProducerEpoch))
}

/// How often and until when something is tried.
pub struct Patience {
    deadline: Instant,
    failures: u32,
}

impl Patience {
    pub fn until(deadline: Instant) -> Patience {
        Patience { deadline, failures: 0 }
    }

    /// The answer, if it is one, or that nothing more is tried; otherwise `None`, after a pause.
    pub async fn settle<T>(&mut self, answer: Result<T, Failure>) -> Option<Result<T, Failure>> {
        let error = match answer {
            Err(Failure::Again(error)) => error,
            settled => return Some(settled),
        };
        self.failures += 1;
        let pause = RETRY.pause(self.failures);
        if Instant::now() + pause >= self.deadline {
            return Some(Err(Failure::Again(error)));
        }
        tracing::debug!(%error, ?pause, "asking again");
        sleep(pause).await;
        None
    }
}
