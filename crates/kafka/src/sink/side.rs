//! One of the transactional ids of a sink: its producer, and how that is begun anew.
//!
//! EndTxn comes first, for the coordinator refuses it from a producer that was replaced. InitProducerId would abort
//! what the successor has open, and be refused only then.
//!
//! A sink begins with two epochs, and uses only the second. So the one after that of a producer is nobody's: who has
//! replaced it is at least one further. That tells a producer of version 1, whom the coordinator refuses in both
//! cases, whether it was replaced or the coordinator itself has moved its epoch on.
//!
//! What a sink knows outlasts it. A later one of the same process goes on from there, and is refused like it if
//! another process has come since. Only the first begins without an epoch, which takes the id from whoever has it.

use std::{sync::Arc, time::Duration};

use kafka_protocol::{
    ResponseError,
    messages::{ApiKey, InitProducerIdRequest, TransactionalId},
    protocol::StrBytes,
};
use parking_lot::Mutex;
use tokio::time::Instant;
use topicmill_mill::{
    batch::TransactionNumber,
    engine::{EngineError, ErrorKind, Place, Replaced, Troubles},
};

use super::{
    producer::Producer,
    protocol::{Mode, Protocol},
    questions::{Failure, ask, end, is_because, is_fenced, is_over, judge, until_settled},
    transaction::Transaction,
};
use crate::{
    ask::Whom,
    cluster::{Cluster, Lane},
    handshake::versions_now,
};

/// How often the cluster is asked for its version of transactions: it may be changed while it runs (KIP-890).
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// No id, no epoch.
const NOBODY: Producer = Producer { id: -1, epoch: -1 };

/// How a transactional id is used.
#[derive(Clone, Debug)]
pub struct Name {
    pub text: StrBytes,
    /// Whether a later sink may have the same, as it is not random.
    pub is_lasting: bool,
}

/// A transactional id, with its producer.
#[derive(Debug)]
pub struct Side {
    name: Name,
    cluster: Arc<Cluster>,
    troubles: Troubles,
    /// `transaction.timeout.ms`: the coordinator aborts what is open for longer.
    timeout: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    producer: Producer,
    protocol: Protocol,
    current: Option<Arc<Transaction>>,
    /// The producer is to be another one after this transaction.
    is_spent: bool,
    /// When the cluster was last asked for its version of transactions.
    looked: Instant,
    /// Whether the coordinator may have given the producer its next epoch, without an answer that says so.
    is_doubtful: bool,
}

impl Side {
    /// Begins a producer, which aborts what an earlier one of this name left open.
    pub async fn begin(
        cluster: &Arc<Cluster>,
        troubles: &Troubles,
        name: Name,
        timeout: Duration,
    ) -> Result<Side, EngineError> {
        let known = cluster.last_producer(&name.text).map(|(id, epoch)| Producer { id, epoch });
        let state = State {
            producer: known.unwrap_or(NOBODY),
            protocol: Protocol::First,
            current: None,
            is_spent: false,
            looked: Instant::now(),
            // The earlier sink may not have heard everything.
            is_doubtful: true,
        };
        let (cluster, troubles) = (Arc::clone(cluster), troubles.clone());
        let side = Side { name, cluster, troubles, timeout, state: Mutex::new(state) };
        match known {
            Some(_) => side.take_up().await?,
            None => side.take_over().await?,
        }
        Ok(side)
    }

    /// Takes the id from whoever has it.
    async fn take_over(&self) -> Result<(), EngineError> {
        let deadline = self.deadline();
        // Without an epoch both times: a predecessor that takes the first one for its own is fenced by the second.
        self.initialise(NOBODY, deadline).await.map_err(|failure| self.begun_by_another(failure))?;
        let begun = self.initialise(NOBODY, deadline).await;
        self.settle(begun.map_err(|failure| self.begun_by_another(failure))?).await
    }

    /// Goes on from where an earlier sink of this process was.
    async fn take_up(&self) -> Result<(), EngineError> {
        let attempt = || async {
            self.protocol().await.map_err(|error| match error.kind {
                ErrorKind::Fatal => Failure::Fatal(error),
                _ => Failure::Again(error),
            })
        };
        // The connection that the earlier sink has left may be closed.
        let asked = until_settled(&self.troubles, &Place::Start, self.deadline(), attempt).await;
        self.state.lock().protocol = asked.map_err(Failure::error)?;
        self.renew().await?;
        let (mode, producer) = (self.mode(), self.state.lock().producer);
        if mode.protocol == Protocol::Second {
            return Ok(());
        }
        let producer = self.next_epoch(&mode, producer, self.deadline()).await?;
        self.settle(producer).await
    }

    /// The transaction of this number, which is opened if it is a new one.
    pub fn open(&self, number: TransactionNumber) -> Arc<Transaction> {
        let mut state = self.state.lock();
        if let Some(current) = state.current.as_ref().filter(|current| current.number == number) {
            return Arc::clone(current);
        }
        let mode = Mode { name: self.name.text.clone(), protocol: state.protocol };
        let deadline = Instant::now() + self.timeout;
        let (cluster, troubles) = (Arc::clone(&self.cluster), self.troubles.clone());
        let transaction = Transaction::open(number, state.producer, mode, cluster, troubles, deadline);
        let transaction = Arc::new(transaction);
        state.current = Some(Arc::clone(&transaction));
        transaction
    }

    /// The number of the transaction that is not known to have ended.
    pub fn current(&self) -> Option<TransactionNumber> {
        self.state.lock().current.as_ref().map(|current| current.number)
    }

    /// Who writes its transactions now.
    pub fn producer(&self) -> Producer {
        self.state.lock().producer
    }

    /// Lets it go on with another producer once its transaction has ended, in version 1 as well.
    pub fn replace_producer(&self) {
        self.state.lock().is_spent = true;
    }

    /// Commits a transaction.
    pub async fn commit(&self, transaction: &Transaction) -> Result<(), Failure> {
        let Transaction { mode, producer, deadline, .. } = transaction;
        transaction.to_be_committed();
        let ended = end(&self.cluster, &self.troubles, mode, *producer, true, *deadline).await;
        if let Some(producer) = ended.answer? {
            self.note(producer, false);
        }
        let is_first = mode.protocol == Protocol::First;
        if is_first && !ended.is_alone {
            // By now it may be a node that is the coordinator no more which has answered, by what it knows of the
            // transaction before: they are of the same epoch.
            return match self.renew().await.map_err(Failure::Fatal)? {
                Some(_) => Ok(()),
                None => Err(Failure::Abort(unknown(transaction.number))),
            };
        }
        let (is_due, is_spent) = {
            let mut state = self.state.lock();
            state.current = None;
            (state.looked.elapsed() > LOOK_EVERY, state.is_spent)
        };
        // A request that was not answered may still come, in a later transaction of this epoch: older offsets would
        // take the place of its own, and partitions would begin one that nobody ends.
        if is_first && (is_spent || transaction.has_unanswered()) {
            self.renew().await.map_err(Failure::Fatal)?;
        } else if is_due {
            // If it cannot be asked now, the version known so far serves, or its refusal aborts.
            let protocol = self.protocol().await.unwrap_or(mode.protocol);
            let mut state = self.state.lock();
            (state.protocol, state.looked) = (protocol, Instant::now());
        }
        Ok(())
    }

    /// Aborts what the producer has open, and moves on to its next epoch. Returns the transaction that is certain to
    /// be committed, if its commit had no answer: the coordinator takes no abort of it.
    pub async fn renew(&self) -> Result<Option<TransactionNumber>, EngineError> {
        let (mode, known, deadline) = (self.mode(), self.state.lock().producer, self.deadline());
        let in_doubt = self.in_doubt();
        let mut committed = None;
        let ended = end(&self.cluster, &self.troubles, &mode, known, false, deadline).await;
        let producer = match ended.answer {
            Ok(Some(next)) => next,
            Ok(None) => self.next_epoch(&mode, known, deadline).await?,
            Err(Failure::Abort(error)) if is_fenced(&error) => {
                self.after_next(&mode, known, &error, deadline).await?
            }
            Err(Failure::Abort(error)) if mode.protocol == Protocol::Second && is_over(&error) => {
                // It was committed, and the answer never came. A coordinator that has taken over since would take a
                // producer that begins by its last epoch for one that was replaced; the answer to the same end has
                // the next.
                match end(&self.cluster, &self.troubles, &mode, known, true, deadline).await.answer {
                    Ok(Some(next)) => {
                        committed = in_doubt;
                        next
                    }
                    Err(Failure::Again(error)) => return Err(error),
                    Ok(None) | Err(_) => self.next_epoch(&mode, known, deadline).await?,
                }
            }
            // Nothing is open.
            Err(Failure::Abort(error)) => {
                let producer = self.next_epoch(&mode, known, deadline).await?;
                // With version 1 it was committed if
                //   1. no other attempt has aborted it, after which a delayed request could have opened another;
                //   2. the next epoch follows this one. Were it still open, and this the answer of a node that is the
                //      coordinator no more, the one that is would have fenced it by an epoch between.
                let is_next = producer.id == known.id && known.epoch.checked_add(1) == Some(producer.epoch);
                committed = in_doubt.filter(|_| ended.is_alone && is_over(&error) && is_next);
                producer
            }
            Err(failure) => return Err(failure.error()),
        };
        self.settle(producer).await?;
        Ok(committed)
    }

    /// The transaction that the coordinator was asked to commit, and is not known to have ended.
    fn in_doubt(&self) -> Option<TransactionNumber> {
        let state = self.state.lock();
        let current = state.current.as_ref().filter(|current| current.is_to_be_committed());
        current.map(|current| current.number)
    }

    /// The next epoch of a producer that has nothing open.
    ///
    /// It may be refused though nobody has replaced it. With version 1, a request of its last transaction that was
    /// delayed may open another one after the end: the coordinator fences that, as if it were another's. And one that
    /// has given the next epoch, and was replaced before its answer came, leaves none that knows the epoch before.
    async fn next_epoch(
        &self,
        mode: &Mode,
        known: Producer,
        deadline: Instant,
    ) -> Result<Producer, EngineError> {
        match self.initialise(known, deadline).await {
            Err(Failure::Abort(error)) if is_fenced(&error) => {
                self.after_next(mode, known, &error, deadline).await
            }
            asked => asked.map_err(Failure::error),
        }
    }

    /// The epoch after the next, for a producer that is refused as fenced, if the next one is where the coordinator
    /// is: then nobody else has the id. With version 1 that comes
    ///   1. of a transaction that took too long, which the coordinator has aborted on its own;
    ///   2. of an InitProducerId without an answer, which has left nothing open.
    ///
    /// Where neither can be, nothing is asked. With version 2 the coordinator lets a producer end what it has aborted,
    /// and every end has an answer that can be asked for again.
    async fn after_next(
        &self,
        mode: &Mode,
        known: Producer,
        refusal: &EngineError,
        deadline: Instant,
    ) -> Result<Producer, EngineError> {
        let (is_doubtful, may_be_open) = {
            let state = self.state.lock();
            (state.is_doubtful, state.current.as_ref().is_some_and(|current| current.may_be_open()))
        };
        let next = match known.epoch.checked_add(1) {
            Some(epoch) if mode.protocol == Protocol::First && (is_doubtful || may_be_open) => {
                Producer { epoch, ..known }
            }
            _ => return Err(self.replaced(refusal)),
        };
        match end(&self.cluster, &self.troubles, mode, next, false, deadline).await.answer {
            Ok(_) => {}
            Err(Failure::Abort(error)) if is_doubtful && is_over(&error) => {}
            Err(Failure::Again(error)) => return Err(error),
            Err(_) => return Err(self.replaced(refusal)),
        }
        self.initialise(next, deadline).await.map_err(|failure| self.begun_by_another(failure))
    }

    /// Asks for the next epoch of a producer (KIP-360), or for that of whoever has the id.
    async fn initialise(&self, producer: Producer, deadline: Instant) -> Result<Producer, Failure> {
        if producer != NOBODY {
            self.note(producer, true);
        }
        let (name, Producer { id, epoch }) = (&self.name.text, producer);
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
        let asked = until_settled(&self.troubles, &place, deadline, attempt).await;
        asked.map_err(|failure| match failure {
            Failure::Fatal(error) => Failure::Fatal(self.explained(error)),
            failure => failure,
        })
    }

    /// The producer has nothing open, and has not been used.
    async fn settle(&self, producer: Producer) -> Result<(), EngineError> {
        self.note(producer, false);
        let protocol = self.protocol().await?;
        let mut state = self.state.lock();
        (state.protocol, state.current, state.looked) = (protocol, None, Instant::now());
        state.is_spent = false;
        Ok(())
    }

    /// This is the last producer that is known, for later sinks too.
    fn note(&self, producer: Producer, is_doubtful: bool) {
        let mut state = self.state.lock();
        (state.producer, state.is_doubtful) = (producer, is_doubtful);
        if self.name.is_lasting {
            self.cluster.keep_producer(&self.name.text, (producer.id, producer.epoch));
        }
    }

    fn begun_by_another(&self, failure: Failure) -> EngineError {
        match failure {
            Failure::Abort(error) if is_fenced(&error) => self.replaced(&error),
            failure => failure.error(),
        }
    }

    /// Another process has taken over the id.
    fn replaced(&self, error: &EngineError) -> EngineError {
        let message = format!(
            "another process writes with transactional id {}, or its transaction was ended by an administrator: \
             each instance needs a group.instance.id of its own ({})",
            self.name.text, error.message
        );
        EngineError::new(ErrorKind::Fatal, message).from_cause(Replaced)
    }

    fn mode(&self) -> Mode {
        Mode { name: self.name.text.clone(), protocol: self.state.lock().protocol }
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.cluster.settings.api_timeout
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
    async fn protocol(&self) -> Result<Protocol, EngineError> {
        let broker = self.cluster.transactions_coordinator(&self.name.text).await?;
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

/// Why a commit counts as aborted that may have been made.
fn unknown(number: TransactionNumber) -> EngineError {
    let text = format!("whether transaction {} was committed is not known", number.0);
    EngineError::new(ErrorKind::Retriable, text)
}
