//! Transactions (KIP-98, KIP-447, KIP-890): two transactional ids, used in turn, so that batches are produced
//! under one while what the other produced is committed.
//!
//! Whatever goes wrong, the cure is the same: both producers are begun anew, which aborts what is open and fences,
//! by the next epoch, every request that is still on its way. With transactions version 1 that takes
//! InitProducerId, and it is also what keeps a delayed EndTxn or AddPartitionsToTxn out of a later transaction; with
//! version 2 every end has an epoch of its own.
//!
//! EndTxn comes first, for the coordinator refuses it from a producer that was replaced. InitProducerId would abort
//! what the successor has open, and be refused only then.

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
    messages::{
        AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, ApiKey, InitProducerIdRequest, TransactionalId,
        TxnOffsetCommitRequest,
    },
    protocol::{Request, StrBytes},
};
use parking_lot::Mutex;
use tokio::time::Instant;
use topicmill_mill::{
    batch::{TopicPartition, TransactionNumber},
    engine::{EngineError, ErrorKind, Place, Replaced, Stake, Staked, TransactionEnd, Troubles},
};

use super::{
    producer::Producer,
    questions::{
        Failure, ask, end, is_because, is_fenced, is_outdated, is_over, judge, participants, refused, topics,
        until_settled,
    },
};
use crate::{
    ask::Whom,
    cluster::{Cluster, Lane},
    error::check,
    handshake::versions_now,
    reply::Answer,
    text::{group_id, text},
};

/// The transactional ids of a sink.
#[derive(Debug)]
pub struct Transactions {
    cluster: Arc<Cluster>,
    troubles: Troubles,
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
    /// When the cluster was last asked for its version of transactions.
    looked: Instant,
}

/// How often the cluster is asked for its version of transactions: it may be changed while it runs (KIP-890).
const LOOK_EVERY: Duration = Duration::from_secs(30);

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
    troubles: Troubles,
    /// Whether the coordinator has said that it is open.
    is_begun: AtomicBool,
    /// Whether an attempt at a request of it was not answered, so that it may come to the broker later.
    has_unanswered: AtomicBool,
    /// When the coordinator will have aborted it.
    deadline: Instant,
    wanted: Mutex<BTreeSet<TopicPartition>>,
    enlisted: tokio::sync::Mutex<BTreeSet<TopicPartition>>,
}

impl Transactions {
    /// Begins both producers, which aborts what an earlier process with the same prefix left open.
    pub async fn begin(
        cluster: &Arc<Cluster>,
        troubles: &Troubles,
        prefix: &str,
        timeout: Duration,
    ) -> Result<Transactions, EngineError> {
        let side = |number: usize| {
            let name = text(&format!("{prefix}/{number}"));
            let (producer, protocol) = (Producer { id: -1, epoch: -1 }, Protocol::First);
            Mutex::new(Side { name, producer, protocol, current: None, looked: Instant::now() })
        };
        let (cluster, troubles, sides) = (Arc::clone(cluster), troubles.clone(), [side(0), side(1)]);
        let begun = Transactions { cluster, troubles, timeout, sides };
        begun.renew_both().await?;
        Ok(begun)
    }

    /// The transaction of this number, which is opened if it is a new one.
    pub fn open(&self, number: TransactionNumber) -> Arc<Transaction> {
        let mut side = self.side(number).lock();
        if let Some(current) = side.current.as_ref().filter(|current| current.number == number) {
            return Arc::clone(current);
        }
        let transaction = Arc::new(Transaction {
            number,
            producer: side.producer,
            mode: Mode { name: side.name.clone(), protocol: side.protocol },
            cluster: Arc::clone(&self.cluster),
            troubles: self.troubles.clone(),
            is_begun: AtomicBool::new(false),
            has_unanswered: AtomicBool::new(false),
            deadline: Instant::now() + self.timeout,
            wanted: Mutex::default(),
            enlisted: tokio::sync::Mutex::default(),
        });
        side.current = Some(Arc::clone(&transaction));
        transaction
    }

    fn side(&self, number: TransactionNumber) -> &Mutex<Side> {
        &self.sides[(number.0 % 2) as usize]
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
        match self.end(&self.open(number)).await {
            Ok(()) => Ok(TransactionEnd::Committed),
            Err(Failure::Fatal(error)) => Err(error),
            Err(Failure::Again(error) | Failure::Abort(error)) => Ok(TransactionEnd::Aborted(error)),
        }
    }

    async fn end(&self, transaction: &Transaction) -> Result<(), Failure> {
        let Transaction { mode, producer, deadline, .. } = transaction;
        let (ended, is_certain) =
            end(&self.cluster, &self.troubles, mode, *producer, true, *deadline).await?;
        let side = self.side(transaction.number);
        let is_due = {
            let mut side = side.lock();
            side.current = None;
            if let Some(producer) = ended {
                side.producer = producer;
            }
            side.looked.elapsed() > LOOK_EVERY
        };
        // An attempt that was not answered may still come, in a later transaction of this epoch: an end would end
        // that, older offsets would take the place of its own, and partitions would begin one that nobody ends.
        let is_certain = is_certain && !transaction.has_unanswered.load(Ordering::Acquire);
        if !is_certain && mode.protocol == Protocol::First {
            self.renew(side).await.map_err(Failure::Fatal)?;
        } else if is_due {
            // If it cannot be asked now, the version known so far serves, or its refusal aborts.
            let protocol = self.protocol(&mode.name).await.unwrap_or(mode.protocol);
            let mut side = side.lock();
            (side.protocol, side.looked) = (protocol, Instant::now());
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

    /// The last one that is not known to have ended.
    pub fn last_open(&self) -> Option<TransactionNumber> {
        let number = |side: &Mutex<Side>| side.lock().current.as_ref().map(|current| current.number);
        self.sides.iter().filter_map(number).max()
    }

    async fn renew_both(&self) -> Result<(), EngineError> {
        let [even, odd] = &self.sides;
        try_join(self.renew(even), self.renew(odd)).await.map(drop)
    }

    /// Aborts what a producer has open, and moves on to its next epoch.
    async fn renew(&self, side: &Mutex<Side>) -> Result<(), EngineError> {
        let (mode, known, current) = {
            let side = side.lock();
            let mode = Mode { name: side.name.clone(), protocol: side.protocol };
            (mode, side.producer, side.current.clone())
        };
        let deadline = Instant::now() + self.cluster.settings.api_timeout;
        let abort = |producer| end(&self.cluster, &self.troubles, &mode, producer, false, deadline);
        let ended = match known.id {
            ..0 => Known::Nothing,
            _ => match abort(known).await {
                Ok((Some(next), _)) => Known::Next(next),
                Ok((None, _)) => Known::Current(known),
                Err(Failure::Abort(error)) if is_fenced(&error) => {
                    let is_begun = current.is_some_and(|current| current.is_begun.load(Ordering::Acquire));
                    match after_timeout(&mode, known).filter(|_| is_begun) {
                        Some(bumped) => match abort(bumped).await {
                            Ok(_) => Known::Current(bumped),
                            Err(Failure::Again(error)) => return Err(error),
                            Err(_) => return Err(replaced(&mode.name, &error)),
                        },
                        None => return Err(replaced(&mode.name, &error)),
                    }
                }
                Err(Failure::Abort(error)) if mode.protocol == Protocol::Second && is_over(&error) => {
                    // It was committed, and the answer never came. A coordinator that has taken over since would
                    // take a producer that begins by its last epoch for one that was replaced; the answer to the
                    // same end has the next.
                    match end(&self.cluster, &self.troubles, &mode, known, true, deadline).await {
                        Ok((Some(next), _)) => Known::Next(next),
                        Err(Failure::Again(error)) => return Err(error),
                        Ok((None, _)) | Err(_) => Known::Current(known),
                    }
                }
                // Nothing is open.
                Err(Failure::Abort(_)) => Known::Current(known),
                Err(failure) => return Err(failure.error()),
            },
        };
        let producer = match ended {
            Known::Next(producer) => producer,
            Known::Current(producer) => self.initialise(&mode.name, producer, deadline).await?,
            Known::Nothing => self.initialise(&mode.name, known, deadline).await?,
        };
        let protocol = self.protocol(&mode.name).await?;
        let mut side = side.lock();
        (side.producer, side.protocol, side.current) = (producer, protocol, None);
        side.looked = Instant::now();
        Ok(())
    }

    /// Asks for the next epoch of a producer (KIP-360), or for a new one if its id is -1.
    async fn initialise(
        &self,
        name: &StrBytes,
        producer: Producer,
        deadline: Instant,
    ) -> Result<Producer, EngineError> {
        let Producer { id, epoch } = producer;
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(TransactionalId(name.clone())))
            .with_transaction_timeout_ms(i32::try_from(self.timeout.as_millis()).unwrap_or(i32::MAX))
            .with_producer_id(id.into())
            .with_producer_epoch(epoch);
        let what = format!("beginning transactional id {name}");
        let whom = Whom::Transactions(name);
        let attempt = || async {
            let answer = ask(&self.cluster, whom, &request, i16::MAX, &what, deadline).await?;
            judge(&self.cluster, whom, answer.error_code, &what)?;
            Ok(Producer { id: answer.producer_id.0, epoch: answer.producer_epoch })
        };
        let place = if id < 0 { Place::Start } else { Place::Commit };
        until_settled(&self.troubles, &place, deadline, attempt).await.map_err(|failure| match failure {
            Failure::Abort(error) if is_fenced(&error) => replaced(name, &error),
            failure => self.explained(failure.error()),
        })
    }

    /// `error` with the property that caused it, if one did.
    fn explained(&self, error: EngineError) -> EngineError {
        if !is_because(&error, ResponseError::InvalidTransactionTimeout) {
            return error;
        }
        let message = format!(
            "{}: transaction.timeout.ms={} is more than the brokers' transaction.max.timeout.ms",
            error.message,
            self.timeout.as_millis()
        );
        EngineError { message, ..error }
    }

    /// The version that the cluster has agreed on by now.
    async fn protocol(&self, name: &str) -> Result<Protocol, EngineError> {
        let broker = self.cluster.transactions_coordinator(name).await?;
        let connection = self.cluster.connection(broker, Lane::Control).await?;
        // What it said when the connection was made may hold no more.
        let versions = versions_now(&connection, self.cluster.settings.request_timeout).await?;
        let offers = |api, version| versions.offered(api).is_some_and(|range| range.max >= version);
        if !offers(ApiKey::TxnOffsetCommit, 3) {
            let text = "exactly once needs brokers of Apache Kafka 2.5 or later (KIP-447)";
            return Err(EngineError::new(ErrorKind::Fatal, text));
        }
        let is_second = versions.transaction_version() >= 2
            && offers(ApiKey::EndTxn, 5)
            && offers(ApiKey::TxnOffsetCommit, 5)
            && offers(ApiKey::Produce, 12);
        Ok(if is_second { Protocol::Second } else { Protocol::First })
    }
}

/// The producer that a transactional id has, as far as it is known.
enum Known {
    Nothing,
    /// This one, whose transaction is over.
    Current(Producer),
    /// This one, which has nothing open and has not been used.
    Next(Producer),
}

/// What the producer of an open transaction has become if the coordinator has aborted that on its own, because it
/// took too long: then nobody else has the id. With transactions version 2 the coordinator lets a producer end what
/// it has aborted; with version 1 it refuses, as if another process had taken over:
///   1. a timeout moves the epoch on by one, and so does a successor that finds the transaction open;
///   2. the successor then moves it on by one more, for itself.
///
/// So one more than the known epoch is nobody's, provided that the transaction was open indeed. If it was not, a
/// successor has that very epoch.
fn after_timeout(mode: &Mode, producer: Producer) -> Option<Producer> {
    let epoch = producer.epoch.checked_add(1)?;
    (mode.protocol == Protocol::First).then_some(Producer { epoch, ..producer })
}

/// Another process has taken over a transactional id.
fn replaced(name: &str, error: &EngineError) -> EngineError {
    let message = format!(
        "another process writes with transactional id {name}, or its transaction was ended by an administrator: \
         each instance needs a group.instance.id of its own ({})",
        error.message
    );
    EngineError::new(ErrorKind::Fatal, message).from_cause(Replaced)
}

impl Transaction {
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

    /// Asks once, and remembers if there was no answer.
    async fn ask<R: Request<Response: Answer>>(
        &self,
        whom: Whom<'_>,
        request: &R,
        cap: i16,
        what: &str,
    ) -> Result<R::Response, Failure> {
        let answer = ask(&self.cluster, whom, request, cap, what, self.deadline).await;
        answer.inspect_err(|_| self.has_unanswered.store(true, Ordering::Release))
    }

    fn id(&self) -> TransactionalId {
        TransactionalId(self.mode.name.clone())
    }
}
