//! Exactly once: what is sent, and the offsets that it stands for, are committed in transactions (see
//! [`checkpoint`](crate::checkpoint)). Here a batch counts as acknowledged once it is sent: the transaction is
//! committed only when that has become true.
//!
//! Whatever fails aborts the transactions that are alive. Then every partition is read again from what is
//! committed, without leaving the group. A partition whose dead letter was refused stays stopped, before
//! anything is read again: its batch would come to the same end, and abort the others each time.

use std::{future::pending, pin::Pin, time::Duration};

use tokio::time::Instant;
use tracing::{debug, warn};

use super::{Mill, MillError, Stopped, commit::BACKOFF};
use crate::{
    batch::TopicPartition,
    checkpoint::{Checkpoint, Step},
    engine::{EngineError, ErrorKind, Place, Sink, Source, TransactionEnd},
    metrics::{TimedStage, TransactionOutcome},
    offsets::{Halt, Ticket},
};

/// The transactions of a mill.
pub(super) struct Exact {
    checkpoint: Checkpoint,
    under_way: Option<UnderWay>,
    /// How long a transaction may wait for acknowledgements.
    limit: Duration,
    /// Since when the open transaction has had something in it, and the sealed one.
    opened: Option<Instant>,
    sealed: Option<Instant>,
}

enum UnderWay {
    Commit { started: Instant, answer: Pin<Box<dyn Future<Output = Committed> + Send>> },
    Abort(Pin<Box<dyn Future<Output = Aborted> + Send>>),
}

type Committed = Result<TransactionEnd, EngineError>;
type Aborted = Result<(), EngineError>;

/// The answer to what was under way.
pub(super) enum Ended {
    Commit(Duration, Committed),
    Abort(Aborted),
}

impl Exact {
    pub(super) fn new(limit: Duration) -> Exact {
        Exact { checkpoint: Checkpoint::default(), under_way: None, limit, opened: None, sealed: None }
    }

    /// Whether batches may be sent.
    pub(super) fn is_open(&self) -> bool {
        self.checkpoint.is_open()
    }

    /// Whether no transaction is ending.
    pub(super) fn is_idle(&self) -> bool {
        self.checkpoint.is_idle()
    }
}

/// The answer to what is under way; waits while nothing is. Cancel-safe.
pub(super) async fn answer(exact: &mut Option<Exact>) -> Ended {
    let Some(Exact { under_way: under_way @ Some(_), .. }) = exact else { return pending().await };
    let ended = match under_way {
        Some(UnderWay::Commit { started, answer }) => {
            let answer = answer.await;
            Ended::Commit(started.elapsed(), answer)
        }
        Some(UnderWay::Abort(answer)) => Ended::Abort(answer.await),
        None => return pending().await,
    };
    *under_way = None;
    ended
}

impl<S: Source, K: Sink> Mill<S, K> {
    /// The output of a batch is sent, in the open transaction.
    pub(super) fn sent(&mut self, ticket: &Ticket) {
        if let Some(exact) = &mut self.exact {
            exact.opened.get_or_insert_with(Instant::now);
            self.acknowledge(ticket);
        }
    }

    /// Seals the open transaction, if there is anything to commit.
    pub(super) fn seal(&mut self) {
        let Some(exact) = &mut self.exact else { return };
        let offsets = self.offsets.committable();
        if !exact.is_idle() || offsets.is_empty() {
            return;
        }
        if let Some(transaction) = self.delivery.seal() {
            exact.checkpoint.seal(transaction, offsets);
            exact.sealed = exact.opened.take();
        }
    }

    /// Does what the transactions wait for.
    pub(super) fn step(&mut self) {
        while self.exact.is_some() && self.take_step() {}
    }

    /// Whether another step may follow.
    fn take_step(&mut self) -> bool {
        let Some(exact) = &mut self.exact else { return false };
        match exact.checkpoint.step(|transaction| self.delivery.is_landed(transaction)) {
            Step::Wait => return false,
            Step::Commit(transaction, offsets) => {
                let Some(stake) = self.source.stake(offsets) else {
                    exact.checkpoint.not_committed();
                    let text = "a partition was taken away before its transaction was committed";
                    self.begin_abort(&EngineError::new(ErrorKind::Retriable, text));
                    return true;
                };
                let answer = self.delivery.commit(transaction, stake);
                exact.under_way = Some(UnderWay::Commit { started: Instant::now(), answer });
            }
            Step::Abort => {
                (exact.opened, exact.sealed) = (None, None);
                exact.under_way = Some(UnderWay::Abort(self.delivery.abort()));
            }
        }
        true
    }

    /// Takes the answer to a commit or an abort.
    ///
    /// # Errors
    /// When the sink cannot be used any more.
    pub(super) fn end_transaction(&mut self, ended: Ended) -> Result<(), MillError> {
        let Some(exact) = &mut self.exact else { return Ok(()) };
        match ended {
            Ended::Commit(took, answer) => {
                self.metrics.stage(TimedStage::Commit, took);
                match answer? {
                    TransactionEnd::Committed => {
                        exact.sealed = None;
                        let offsets = exact.checkpoint.committed();
                        self.metrics.transaction(TransactionOutcome::Committed);
                        self.note_committed(&offsets);
                        for offset in &offsets {
                            if !self.rewinds.keeps_out(&offset.partition) {
                                self.end_rewind(&offset.partition);
                            }
                        }
                        self.commits_succeed();
                    }
                    TransactionEnd::Aborted(error) => {
                        exact.checkpoint.not_committed();
                        self.begin_abort(&error);
                    }
                }
            }
            Ended::Abort(answer) => {
                answer?;
                exact.checkpoint.aborted();
                self.troubles.end(&Place::Commit);
                self.metrics.transaction(TransactionOutcome::Aborted);
                self.read_again();
            }
        }
        Ok(())
    }

    /// Aborts the transactions that are alive, unless that is under way.
    pub(super) fn begin_abort(&mut self, error: &EngineError) {
        let Some(exact) = &mut self.exact else { return };
        if !exact.checkpoint.fail() {
            debug!(%error, "one more reason to abort");
            return;
        }
        warn!(%error, "the transaction is aborted, and what was in it is read again");
        self.troubles.begin(Place::Commit, error);
        self.commits.failed(BACKOFF);
        self.withdraw_all();
    }

    /// Aborts transactions that wait for acknowledgements too long: the brokers would, soon.
    pub(super) fn look_at_transactions(&mut self) {
        let Some(exact) = &self.exact else { return };
        let waiting = exact.checkpoint.landing().and(exact.sealed);
        let oldest = waiting.or(exact.opened.filter(|_| exact.is_idle()));
        if oldest.is_some_and(|since| since.elapsed() > exact.limit) {
            let text = format!("not everything in the transaction was acknowledged within {:?}", exact.limit);
            self.begin_abort(&EngineError::new(ErrorKind::Retriable, text));
        }
    }

    /// What was sent and is not committed does not count, and nothing more is taken before it is read again.
    fn withdraw_all(&mut self) {
        let partitions: Vec<TopicPartition> = self.offsets.partitions().cloned().collect();
        for partition in &partitions {
            let is_final = matches!(self.stopped.get(partition), Some(Stopped::Letter(_)));
            // What is not read again stays stopped where it is.
            let is_kept = self.is_draining && self.stopped.contains_key(partition);
            let why = if is_final || is_kept { Halt::Stopped } else { Halt::Rewinding };
            if why == Halt::Rewinding {
                self.forget_stop(partition);
            }
            self.offsets.withdraw(partition, why);
            self.goal.begin_again(partition);
            self.refresh_room(partition);
        }
    }

    /// Has every partition read again, apart from those that are stopped.
    fn read_again(&mut self) {
        self.withdraw_all();
        if self.is_draining {
            return;
        }
        let partitions: Vec<TopicPartition> = self.offsets.partitions().cloned().collect();
        for partition in &partitions {
            if self.offsets.halted(partition) == Some(Halt::Rewinding) {
                self.rewinds.wait(partition, self.settings.rewind_backoff, Instant::now());
                self.refresh_room(partition);
            }
        }
    }
}
