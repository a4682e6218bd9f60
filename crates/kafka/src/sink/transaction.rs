//! Transactions (KIP-98, KIP-447, KIP-890): two transactional ids, used in turn, so that batches are produced
//! under one while what the other produced is committed.
//!
//! Whatever goes wrong, the cure is the same: both producers are begun anew with InitProducerId, which aborts
//! what is open and fences, by the next epoch, every request that is still on its way. With transactions version 1
//! that is also what keeps a delayed EndTxn or AddPartitionsToTxn out of a later transaction; with version 2 every
//! end has an epoch of its own. Before that EndTxn aborts what is open: if another process has taken over the id,
//! the coordinator says so.

use std::{collections::BTreeSet, mem::take, sync::Arc, time::Duration};

use futures_util::future::try_join;
use kafka_protocol::{
    ResponseError,
    messages::{
        AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, ApiKey, InitProducerIdRequest, TransactionalId,
        TxnOffsetCommitRequest, add_partitions_to_txn_request::AddPartitionsToTxnTopic,
    },
    protocol::StrBytes,
};
use parking_lot::Mutex;
use tokio::time::Instant;
use topicmill_mill::{
    batch::{TopicPartition, TransactionNumber},
    engine::{EngineError, ErrorKind, Stake, TransactionEnd},
};

use super::{
    producer::Producer,
    questions::{Failure, Patience, ask, end, is_fenced, judge, topics},
};
use crate::{
    ask::Whom,
    cluster::{Cluster, Lane},
    text::{group_id, text, topic_name},
};

/// The transactional ids of a sink.
#[derive(Debug)]
pub struct Transactions {
    cluster: Arc<Cluster>,
    /// `transaction.timeout.ms`: the coordinator aborts what is open for longer.
    timeout: Duration,
    /// The one of the transactions with even numbers, and of those with odd ones.
    sides: [Mutex<Side>; 2],
}

#[derive(Debug)]
struct Side {
    name: StrBytes,
    producer: Producer,
    protocol: Protocol,
    current: Option<Arc<Transaction>>,
}

/// The version of transactions (`transaction.version`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Partitions are enlisted before they are produced to.
    First,
    /// Producing enlists them, and every end is followed by another epoch (KIP-890).
    Second,
}

impl Protocol {
    /// The highest version of a request in this version of transactions.
    pub fn cap(self, first: i16, second: i16) -> i16 {
        match self {
            Protocol::First => first,
            Protocol::Second => second,
        }
    }
}

/// What produce requests in a transaction have to name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mode {
    /// The transactional id.
    pub name: StrBytes,
    pub protocol: Protocol,
}

/// An open transaction.
#[derive(Debug)]
pub struct Transaction {
    pub number: TransactionNumber,
    pub producer: Producer,
    pub mode: Mode,
    cluster: Arc<Cluster>,
    opened: Instant,
    /// When the coordinator will have aborted it.
    deadline: Instant,
    wanted: Mutex<BTreeSet<TopicPartition>>,
    enlisted: tokio::sync::Mutex<BTreeSet<TopicPartition>>,
}

impl Transactions {
    /// Begins both producers, which aborts what an earlier process with the same prefix left open.
    pub async fn begin(
        cluster: &Arc<Cluster>,
        prefix: &str,
        timeout: Duration,
    ) -> Result<Transactions, EngineError> {
        let side = |number: usize| {
            let (producer, protocol) = (Producer { id: -1, epoch: -1 }, Protocol::First);
            Mutex::new(Side { name: text(&format!("{prefix}-{number}")), producer, protocol, current: None })
        };
        let begun = Transactions { cluster: Arc::clone(cluster), timeout, sides: [side(0), side(1)] };
        begun.renew_both().await?;
        Ok(begun)
    }

    /// The transaction of this number, which is opened if it is a new one.
    pub fn open(&self, number: TransactionNumber) -> Arc<Transaction> {
        let mut side = self.side(number).lock();
        if let Some(current) = side.current.as_ref().filter(|current| current.number == number) {
            return Arc::clone(current);
        }
        let opened = Instant::now();
        let transaction = Arc::new(Transaction {
            number,
            producer: side.producer,
            mode: Mode { name: side.name.clone(), protocol: side.protocol },
            cluster: Arc::clone(&self.cluster),
            opened,
            deadline: opened + self.timeout,
            wanted: Mutex::default(),
            enlisted: tokio::sync::Mutex::default(),
        });
        side.current = Some(Arc::clone(&transaction));
        transaction
    }

    fn side(&self, number: TransactionNumber) -> &Mutex<Side> {
        &self.sides[(number.0 % 2) as usize]
    }

    /// Commits a transaction whose batches are all acknowledged.
    pub async fn commit(
        &self,
        number: TransactionNumber,
        stake: &Stake,
    ) -> Result<TransactionEnd, EngineError> {
        let transaction = self.open(number);
        match self.end(&transaction, stake).await {
            Ok(()) => Ok(TransactionEnd::Committed),
            Err(Failure::Fatal(error)) => Err(error),
            Err(Failure::Again(error) | Failure::Abort(error)) => Ok(TransactionEnd::Aborted(error)),
        }
    }

    async fn end(&self, transaction: &Transaction, stake: &Stake) -> Result<(), Failure> {
        transaction.stake(stake).await?;
        let Transaction { mode, producer, deadline, .. } = transaction;
        let (ended, is_certain) = end(&self.cluster, mode, *producer, true, *deadline).await?;
        let side = self.side(transaction.number);
        {
            let mut side = side.lock();
            side.current = None;
            if let Some(producer) = ended {
                side.producer = producer;
            }
        }
        // An attempt that was not answered may still reach the coordinator, in the next transaction.
        if !is_certain && transaction.mode.protocol == Protocol::First {
            self.renew(side).await.map_err(Failure::Fatal)?;
        }
        Ok(())
    }

    /// Aborts what is open, and begins both producers anew.
    pub async fn abort(&self) -> Result<(), EngineError> {
        self.renew_both().await
    }

    /// Whether anything may be open.
    pub fn is_open(&self) -> bool {
        self.sides.iter().any(|side| side.lock().current.is_some())
    }

    async fn renew_both(&self) -> Result<(), EngineError> {
        let [even, odd] = &self.sides;
        try_join(self.renew(even), self.renew(odd)).await.map(drop)
    }

    /// Asks for the next epoch of a producer.
    async fn renew(&self, side: &Mutex<Side>) -> Result<(), EngineError> {
        let (mode, mut producer, opened) = {
            let side = side.lock();
            let mode = Mode { name: side.name.clone(), protocol: side.protocol };
            (mode, side.producer, side.current.as_ref().map(|current| current.opened))
        };
        let name = mode.name.clone();
        let deadline = Instant::now() + self.cluster.settings.api_timeout;
        // InitProducerId of a producer that was replaced would abort what its successor has open, before it is
        // refused (the coordinator looks at the epoch only when nothing is open). EndTxn does not.
        if producer.id >= 0 {
            match end(&self.cluster, &mode, producer, false, deadline).await {
                Ok((next, _)) => producer = next.unwrap_or(producer),
                Err(Failure::Abort(error)) if is_fenced(&error) => {
                    return Err(self.fenced(&name, error, opened));
                }
                // Nothing is open.
                Err(Failure::Abort(_)) => {}
                Err(failure) => return Err(failure.error()),
            }
        }
        let Producer { id, epoch } = producer;
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(TransactionalId(name.clone())))
            .with_transaction_timeout_ms(i32::try_from(self.timeout.as_millis()).unwrap_or(i32::MAX))
            .with_producer_id(id.into())
            .with_producer_epoch(epoch);
        let what = format!("beginning transactional id {name}");
        let mut patience = Patience::until(deadline);
        let answered = loop {
            let answer = async {
                let whom = Whom::Transactions(&name);
                let answer = ask(&self.cluster, whom, &request, i16::MAX, &what).await?;
                judge(&self.cluster, whom, answer.error_code, &what)?;
                Ok::<_, Failure>(Producer { id: answer.producer_id.0, epoch: answer.producer_epoch })
            };
            if let Some(settled) = patience.settle(answer.await).await {
                break settled;
            }
        };
        let producer = answered.map_err(|failure| match failure {
            Failure::Abort(error) if is_fenced(&error) => self.fenced(&name, error, opened),
            failure => failure.error(),
        })?;
        let protocol = self.protocol(&name).await?;
        let mut side = side.lock();
        (side.producer, side.protocol, side.current) = (producer, protocol, None);
        Ok(())
    }

    /// The id was taken over; or the coordinator itself has aborted a transaction that was open for too long,
    /// which fences its producer in the same way. Then a new start finds out.
    fn fenced(&self, name: &str, error: EngineError, opened: Option<Instant>) -> EngineError {
        if opened.is_some_and(|opened| opened.elapsed() >= self.timeout) {
            return EngineError { kind: ErrorKind::Retriable, ..error };
        }
        let message = format!(
            "another process writes with transactional id {name}: each instance needs its own \
             group.instance.id ({})",
            error.message
        );
        EngineError { kind: ErrorKind::Fatal, message, ..error }
    }

    /// The version that the cluster has agreed on by now.
    async fn protocol(&self, name: &str) -> Result<Protocol, EngineError> {
        let broker = self.cluster.transactions_coordinator(name).await?;
        let connection = self.cluster.connection(broker, Lane::Control).await?;
        let offers = |api, version| connection.offered(api).is_some_and(|range| range.max >= version);
        if !offers(ApiKey::TxnOffsetCommit, 3) {
            let text = "exactly once needs brokers of Apache Kafka 2.5 or later (KIP-447)";
            return Err(EngineError::new(ErrorKind::Fatal, text));
        }
        let is_second = connection.transaction_version() >= 2
            && offers(ApiKey::EndTxn, 5)
            && offers(ApiKey::TxnOffsetCommit, 5)
            && offers(ApiKey::Produce, 12);
        Ok(if is_second { Protocol::Second } else { Protocol::First })
    }
}

impl Transaction {
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
        let mut topics: Vec<AddPartitionsToTxnTopic> = Vec::new();
        for partition in &wanted {
            match topics.last_mut().filter(|last| last.name.as_str() == &*partition.topic) {
                Some(topic) => topic.partitions.push(partition.partition),
                None => topics.push(
                    AddPartitionsToTxnTopic::default()
                        .with_name(topic_name(&partition.topic))
                        .with_partitions(vec![partition.partition]),
                ),
            }
        }
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(self.id())
            .with_v3_and_below_producer_id(self.producer.id.into())
            .with_v3_and_below_producer_epoch(self.producer.epoch)
            .with_v3_and_below_topics(topics);
        let (whom, what) = (Whom::Transactions(&self.mode.name), "adding partitions to the transaction");
        let mut patience = Patience::until(self.deadline);
        let answered = loop {
            let answer = async {
                let answer = ask(&self.cluster, whom, &request, 3, what).await?;
                judge(&self.cluster, whom, answer.error_code, what)?;
                let topics = answer.results_by_topic_v3_and_below.iter();
                // One that is refused keeps the others from being added, and those say OPERATION_NOT_ATTEMPTED.
                let codes = topics.flat_map(|topic| &topic.results_by_partition);
                let refused = codes.map(|result| result.partition_error_code).filter(|code| *code != 0);
                let cause = refused.min_by_key(|code| *code == ResponseError::OperationNotAttempted.code());
                judge(&self.cluster, whom, cause.unwrap_or(0), what)
            };
            if let Some(settled) = patience.settle(answer.await).await {
                break settled;
            }
        };
        answered.map_err(Failure::error)?;
        enlisted.extend(wanted);
        Ok(())
    }

    /// Puts offsets into the transaction.
    async fn stake(&self, stake: &Stake) -> Result<(), Failure> {
        if self.mode.protocol == Protocol::First {
            let request = AddOffsetsToTxnRequest::default()
                .with_transactional_id(self.id())
                .with_producer_id(self.producer.id.into())
                .with_producer_epoch(self.producer.epoch)
                .with_group_id(group_id(&stake.group));
            let (whom, what) = (Whom::Transactions(&self.mode.name), "adding offsets to the transaction");
            let mut patience = Patience::until(self.deadline);
            let answered = loop {
                let answer = async {
                    let answer = ask(&self.cluster, whom, &request, 3, what).await?;
                    judge(&self.cluster, whom, answer.error_code, what)
                };
                if let Some(settled) = patience.settle(answer.await).await {
                    break settled;
                }
            };
            answered?;
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
        let mut patience = Patience::until(self.deadline);
        loop {
            let answer = async {
                let answer = ask(&self.cluster, whom, &request, self.mode.protocol.cap(4, 5), what).await?;
                let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
                let code = partitions.map(|partition| partition.error_code).find(|code| *code != 0);
                judge(&self.cluster, whom, code.unwrap_or(0), what)
            };
            if let Some(settled) = patience.settle(answer.await).await {
                return settled;
            }
        }
    }

    fn id(&self) -> TransactionalId {
        TransactionalId(self.mode.name.clone())
    }
}
