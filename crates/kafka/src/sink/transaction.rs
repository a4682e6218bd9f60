//! Transactions (KIP-98, KIP-447, KIP-890): two transactional ids, used in turn, so that batches are produced
//! under one while what the other produced is committed.
//!
//! Whatever goes wrong, the cure is the same: both producers are begun anew, which aborts what is open and fences,
//! by the next epoch, every request that is still on its way (`side`). With transactions version 1 that takes
//! InitProducerId, and it is also what keeps a delayed EndTxn or AddPartitionsToTxn out of a later transaction; with
//! version 2 every end has an epoch of its own.

use std::{
    collections::BTreeSet,
    mem::take,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::try_join;
use kafka_protocol::{
    ResponseError,
    messages::{AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, TransactionalId, TxnOffsetCommitRequest},
    protocol::Request,
};
use parking_lot::Mutex;
use tokio::time::Instant;
use topicmill_mill::{
    batch::{TopicPartition, TransactionNumber},
    engine::{EngineError, Place, Stake, Staked, TransactionEnd, Troubles},
};

use super::{
    producer::Producer,
    protocol::{Mode, Protocol},
    questions::{Failure, ask, is_outdated, judge, participants, refused, topics, until_settled},
    side::{Name, Side},
};
use crate::{
    ask::Whom,
    cluster::{Cluster, Lane},
    error::check,
    reply::Answer,
    text::{group_id, text},
};

/// The transactional ids of a sink.
#[derive(Debug)]
pub struct Transactions {
    /// The one of the transactions with even numbers, and of those with odd ones.
    sides: [Side; 2],
}

/// An open transaction.
#[derive(Debug)]
pub struct Transaction {
    pub number: TransactionNumber,
    pub producer: Producer,
    pub mode: Mode,
    cluster: Arc<Cluster>,
    troubles: Troubles,
    /// Whether the coordinator has said that it is open.
    is_begun: AtomicBool,
    has_unanswered: AtomicBool,
    is_to_be_committed: AtomicBool,
    /// When the coordinator will have aborted it.
    pub deadline: Instant,
    wanted: Mutex<BTreeSet<TopicPartition>>,
    enlisted: tokio::sync::Mutex<BTreeSet<TopicPartition>>,
}

impl Transactions {
    /// Begins both producers, which aborts what an earlier process with the same prefix left open. `is_lasting` says
    /// whether a later sink may have that prefix.
    pub async fn begin(
        cluster: &Arc<Cluster>,
        troubles: &Troubles,
        prefix: &str,
        is_lasting: bool,
        timeout: Duration,
    ) -> Result<Transactions, EngineError> {
        let side = |number: usize| {
            let name = Name { text: text(&format!("{prefix}/{number}")), is_lasting };
            Side::begin(cluster, troubles, name, timeout)
        };
        let (even, odd) = try_join(side(0), side(1)).await?;
        Ok(Transactions { sides: [even, odd] })
    }

    /// The transaction of this number, which is opened if it is a new one.
    pub fn open(&self, number: TransactionNumber) -> Arc<Transaction> {
        self.side(number).open(number)
    }

    /// The transactional id of the transaction of this number.
    pub fn side(&self, number: TransactionNumber) -> &Side {
        &self.sides[side_of(number)]
    }

    /// Whether any of these, one of each side, is who writes its transactions now.
    pub fn may_write(&self, producers: &[Option<Producer>; 2]) -> bool {
        self.sides.iter().zip(producers).any(|(side, of)| *of == Some(side.producer()))
    }

    /// Lets each side go on with another producer once its transaction has ended, in version 1 as well.
    pub fn replace_producers(&self) {
        self.sides.iter().for_each(Side::replace_producer);
    }

    /// Puts offsets into a transaction.
    pub async fn stake(&self, number: TransactionNumber, stake: &Stake) -> Result<Staked, EngineError> {
        match self.open(number).stake(stake).await {
            Ok(staked) => Ok(staked),
            Err(Failure::Fatal(error)) => Err(error),
            Err(Failure::Again(error) | Failure::Abort(error)) => Ok(Staked::Refused(error)),
        }
    }

    /// Commits a transaction whose batches are all acknowledged.
    pub async fn commit(&self, number: TransactionNumber) -> Result<TransactionEnd, EngineError> {
        match self.side(number).commit(&self.open(number)).await {
            Ok(()) => Ok(TransactionEnd::Committed),
            Err(Failure::Fatal(error)) => Err(error),
            Err(Failure::Again(error) | Failure::Abort(error)) => Ok(TransactionEnd::Aborted(error)),
        }
    }

    /// Aborts what is open, and begins both producers anew. Returns the transaction that was committed, if one was
    /// whose commit had no answer.
    pub async fn abort(&self) -> Result<Option<TransactionNumber>, EngineError> {
        let [even, odd] = &self.sides;
        // Only one of them was to be committed.
        try_join(even.renew(), odd.renew()).await.map(|(even, odd)| even.or(odd))
    }

    /// Whether anything may be open.
    pub fn is_open(&self) -> bool {
        self.last_open().is_some()
    }

    /// The last one that is not known to have ended.
    pub fn last_open(&self) -> Option<TransactionNumber> {
        self.sides.iter().filter_map(Side::current).max()
    }
}

/// An attempt that has no answer when this is dropped, unless it holds nothing by then.
struct Unanswered<'a>(Option<&'a AtomicBool>);

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some(has_unanswered) = self.0 {
            has_unanswered.store(true, Ordering::Release);
        }
    }
}

/// The side that a transaction is of.
fn side_of(number: TransactionNumber) -> usize {
    (number.0 % 2) as usize
}

impl Transaction {
    /// A transaction of which nothing has been asked yet.
    pub fn open(
        number: TransactionNumber,
        producer: Producer,
        mode: Mode,
        cluster: Arc<Cluster>,
        troubles: Troubles,
        deadline: Instant,
    ) -> Transaction {
        Transaction {
            number,
            producer,
            mode,
            cluster,
            troubles,
            is_begun: AtomicBool::new(false),
            has_unanswered: AtomicBool::new(false),
            is_to_be_committed: AtomicBool::new(false),
            deadline,
            wanted: Mutex::default(),
            enlisted: tokio::sync::Mutex::default(),
        }
    }

    /// Which of the two sides it is of.
    pub fn side(&self) -> usize {
        side_of(self.number)
    }

    /// Whether the coordinator may have it open.
    pub fn may_be_open(&self) -> bool {
        self.is_begun.load(Ordering::Acquire) || self.has_unanswered()
    }

    /// Whether an attempt at a request of it was not answered, so that it may come to the broker later.
    pub fn has_unanswered(&self) -> bool {
        self.has_unanswered.load(Ordering::Acquire)
    }

    /// Whether the coordinator was asked to commit it.
    pub fn is_to_be_committed(&self) -> bool {
        self.is_to_be_committed.load(Ordering::Acquire)
    }

    /// The coordinator is asked to commit it.
    pub fn to_be_committed(&self) {
        self.is_to_be_committed.store(true, Ordering::Release);
    }

    /// The coordinator has it open.
    pub fn begun(&self) {
        self.is_begun.store(true, Ordering::Release);
    }

    /// Makes a partition part of the transaction, before anything is produced to it. What several writers want at
    /// the same time goes in one request.
    pub async fn enlist(&self, to: &TopicPartition) -> Result<(), EngineError> {
        if self.mode.protocol == Protocol::Second {
            return Ok(());
        }
        self.wanted.lock().insert(to.clone());
        let mut enlisted = self.enlisted.lock().await;
        if enlisted.contains(to) {
            return Ok(());
        }
        let mut wanted = take(&mut *self.wanted.lock());
        // Another attempt may have taken it along and failed.
        wanted.insert(to.clone());
        wanted.retain(|partition| !enlisted.contains(partition));
        // A single one that may not be written keeps all of them out.
        while let Some(denied) = self.add(&wanted, to).await.map_err(Failure::error)? {
            wanted.retain(|partition| !denied.contains(partition));
        }
        self.begun();
        enlisted.extend(wanted);
        Ok(())
    }

    /// Makes partitions part of the transaction, unless there are some besides `to` that may not be written: then
    /// these are returned, and none is part of it.
    async fn add(
        &self,
        wanted: &BTreeSet<TopicPartition>,
        to: &TopicPartition,
    ) -> Result<Option<Vec<TopicPartition>>, Failure> {
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(self.id())
            .with_v3_and_below_producer_id(self.producer.id.into())
            .with_v3_and_below_producer_epoch(self.producer.epoch)
            .with_v3_and_below_topics(participants(wanted));
        let (whom, what) = (Whom::Transactions(&self.mode.name), "adding partitions to the transaction");
        let attempt = || async {
            let answer = self.ask(whom, &request, 3, what).await?;
            judge(&self.cluster, whom, answer.error_code, what)?;
            let refused = refused(&answer.results_by_topic_v3_and_below);
            let denied = ResponseError::TopicAuthorizationFailed.code();
            if refused.get(to) == Some(&denied) {
                judge(&self.cluster, whom, denied, what)?;
            }
            let others: Vec<_> =
                refused.iter().filter(|(_, code)| **code == denied).map(|(of, _)| of.clone()).collect();
            if !others.is_empty() {
                return Ok(Some(others));
            }
            // One that is refused keeps the others from being added, and those say OPERATION_NOT_ATTEMPTED.
            let cause =
                refused.values().min_by_key(|code| **code == ResponseError::OperationNotAttempted.code());
            judge(&self.cluster, whom, cause.copied().unwrap_or(0), what).map(|()| None)
        };
        until_settled(&self.troubles, &Place::Commit, self.deadline, attempt).await
    }

    /// Puts offsets into the transaction.
    async fn stake(&self, stake: &Stake) -> Result<Staked, Failure> {
        if self.mode.protocol == Protocol::First {
            let request = AddOffsetsToTxnRequest::default()
                .with_transactional_id(self.id())
                .with_producer_id(self.producer.id.into())
                .with_producer_epoch(self.producer.epoch)
                .with_group_id(group_id(&stake.group));
            let (whom, what) = (Whom::Transactions(&self.mode.name), "adding offsets to the transaction");
            let attempt = || async {
                let answer = self.ask(whom, &request, 3, what).await?;
                judge(&self.cluster, whom, answer.error_code, what)
            };
            until_settled(&self.troubles, &Place::Commit, self.deadline, attempt).await?;
            self.begun();
        }
        let request = TxnOffsetCommitRequest::default()
            .with_transactional_id(self.id())
            .with_group_id(group_id(&stake.group))
            .with_producer_id(self.producer.id.into())
            .with_producer_epoch(self.producer.epoch)
            .with_generation_id(stake.generation)
            .with_member_id(text(&stake.member))
            .with_group_instance_id(stake.instance.as_deref().map(text))
            .with_topics(topics(stake));
        let what = "committing offsets in the transaction";
        let whom = Whom::Coordinator(&stake.group, Lane::Member);
        let cap = self.mode.protocol.cap(4, 5);
        let attempt = || async {
            let answer = self.ask(whom, &request, cap, what).await?;
            let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
            let code = partitions.map(|partition| partition.error_code).find(|code| *code != 0).unwrap_or(0);
            match check(code) {
                Err(error) if is_outdated(&error) => {
                    Ok(Staked::Outdated(self.cluster.failed_in(&stake.group, error, what, None)))
                }
                _ => judge(&self.cluster, whom, code, what).map(|()| Staked::Held),
            }
        };
        until_settled(&self.troubles, &Place::Commit, self.deadline, attempt).await
    }

    /// Asks once, and remembers if there was no answer: none came, or it is waited for no more.
    async fn ask<R: Request<Response: Answer>>(
        &self,
        whom: Whom<'_>,
        request: &R,
        cap: i16,
        what: &str,
    ) -> Result<R::Response, Failure> {
        let mut unanswered = Unanswered(Some(&self.has_unanswered));
        let answer = ask(&self.cluster, whom, request, cap, what, self.deadline).await?;
        unanswered.0 = None;
        Ok(answer)
    }

    fn id(&self) -> TransactionalId {
        TransactionalId(self.mode.name.clone())
    }
}
