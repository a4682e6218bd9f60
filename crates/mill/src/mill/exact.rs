//! Exactly once: what is sent, and the offsets that it stands for, are committed in transactions (see
//! [`checkpoint`](crate::checkpoint)). Here a batch counts as acknowledged once it is sent: the transaction is
//! committed only when that has become true.
//!
//! Whatever fails aborts the transactions that are alive. Then every partition is read again from what is
//! committed, without leaving the group. A partition whose dead letter was refused stays stopped, before
//! anything is read again: its batch would come to the same end, and abort the others each time.

use std::{future::pending, mem::take, pin::Pin, time::Duration};

use tokio::time::Instant;
use tracing::{debug, warn};

use super::{Mill, MillError, Stopped, commit::BACKOFF, portion::Portion};
use crate::{
    batch::{TopicPartition, TransactionNumber},
    checkpoint::{Checkpoint, Step},
    engine::{EngineError, ErrorKind, Offset, Place, Replaced, Sink, Source, Staked, TransactionEnd},
    metrics::{TimedStage, TransactionOutcome},
    offsets::{Halt, Ticket},
};

/// How long to wait before another stake is tried after one that was outdated: the source is about to learn of the
/// generation that holds.
const OUTDATED_PAUSE: Duration = Duration::from_millis(20);

/// The transactions of a mill.
pub(super) struct Exact {
    checkpoint: Checkpoint,
    portion: Portion,
    under_way: Option<UnderWay>,
    /// The membership that the last stake was of, if it was outdated, and when to look for another.
    outdated: Option<(Membership, Instant)>,
    /// How long a transaction may wait for acknowledgements.
    limit: Duration,
    /// Since when the open transaction has had something in it, and the sealed one.
    opened: Option<Instant>,
    sealed: Option<Instant>,
}

enum UnderWay {
    Stake { of: Membership, answer: Pin<Box<dyn Future<Output = Result<Staked, EngineError>> + Send>> },
    Commit { started: Instant, answer: Pin<Box<dyn Future<Output = Committed> + Send>> },
    Abort(Pin<Box<dyn Future<Output = Aborted> + Send>>),
}

/// A member and its generation.
type Membership = (String, i32);

type Committed = Result<TransactionEnd, EngineError>;
type Aborted = Result<Option<TransactionNumber>, EngineError>;

/// The answer to what was under way.
pub(super) enum Ended {
    Stake(Membership, Result<Staked, EngineError>),
    Commit(Duration, Committed),
    Abort(Aborted),
}

impl Exact {
    pub(super) fn new(limit: Duration) -> Exact {
        let (checkpoint, portion) = (Checkpoint::default(), Portion::new());
        Exact { checkpoint, portion, under_way: None, outdated: None, limit, opened: None, sealed: None }
    }

    /// Whether no abort is wanted or under way.
    pub(super) fn is_open(&self) -> bool {
        self.checkpoint.is_open()
    }

    /// Whether no transaction is ending.
    pub(super) fn is_idle(&self) -> bool {
        self.checkpoint.is_idle()
    }

    /// How many transactions are alive.
    pub(super) fn alive(&self) -> usize {
        usize::from(self.opened.is_some()) + usize::from(self.sealed.is_some())
    }

    /// Whether the open transaction has all that it may hold.
    pub(super) fn is_used_up(&self) -> bool {
        self.portion.is_used_up()
    }

    /// Whether so much of the time of a transaction has passed that it may be called slow.
    fn is_slow(&self, since: Option<Instant>) -> bool {
        since.is_some_and(|since| since.elapsed() > self.limit / 2)
    }

    /// When another stake is to be tried, if one was outdated.
    pub(super) fn next_try(&self) -> Option<Instant> {
        self.outdated.as_ref().map(|(_, at)| *at)
    }
}

/// The answer to what is under way; waits while nothing is. Cancel-safe.
pub(super) async fn answer(exact: &mut Option<Exact>) -> Ended {
    let Some(Exact { under_way: under_way @ Some(_), .. }) = exact else { return pending().await };
    let ended = match under_way {
        Some(UnderWay::Stake { of, answer }) => {
            let answer = answer.await;
            Ended::Stake(take(of), answer)
        }
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
    /// Whether batches may be sent. If what was sent is no longer there to be committed, the open transaction
    /// cannot be sealed before there is more in it.
    pub(super) fn may_send(&self) -> bool {
        let Some(exact) = &self.exact else { return true };
        exact.is_open() && !(exact.is_used_up() && self.offsets.has_uncommitted())
    }

    /// The output of a batch is sent, in the open transaction.
    pub(super) fn sent(&mut self, ticket: &Ticket) {
        if let Some(exact) = &mut self.exact {
            exact.opened.get_or_insert_with(Instant::now);
            exact.portion.sent();
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
            exact.portion.seal();
        }
    }

    /// Does what the transactions wait for.
    pub(super) fn step(&mut self) {
        while self.exact.is_some() && self.take_step() {}
        if let Some(exact) = &self.exact {
            self.metrics.transactions_open.set(exact.alive() as i64);
        }
    }

    /// Whether another step may follow.
    fn take_step(&mut self) -> bool {
        let Some(exact) = &mut self.exact else { return false };
        let waits = exact.next_try().is_some_and(|at| at > Instant::now());
        match exact.checkpoint.step(|transaction| self.delivery.is_landed(transaction)) {
            Step::Wait => return false,
            Step::Stake(..) if waits => {
                exact.checkpoint.again();
                return false;
            }
            Step::Stake(transaction, offsets) => {
                let Some(stake) = self.source.stake(offsets) else {
                    exact.checkpoint.not_committed();
                    let text = "a partition was taken away before its transaction was committed";
                    self.begin_abort(&EngineError::new(ErrorKind::Retriable, text));
                    return true;
                };
                let of = (stake.member.clone(), stake.generation);
                if exact.outdated.as_ref().is_some_and(|(outdated, _)| *outdated == of) {
                    exact.outdated = Some((of, Instant::now() + OUTDATED_PAUSE));
                    exact.checkpoint.again();
                    return false;
                }
                exact.outdated = None;
                let answer = self.delivery.stake(transaction, stake);
                exact.under_way = Some(UnderWay::Stake { of, answer });
            }
            Step::Commit(transaction) => {
                let answer = self.delivery.commit(transaction);
                exact.under_way = Some(UnderWay::Commit { started: Instant::now(), answer });
            }
            Step::Abort => {
                exact.outdated = None;
                exact.portion.aborted();
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
        let note = |error: &EngineError| {
            if error.cause::<Replaced>().is_some() {
                self.metrics.transaction(TransactionOutcome::Fenced);
            }
        };
        match ended {
            Ended::Stake(of, answer) => match answer.inspect_err(note)? {
                Staked::Held => exact.checkpoint.staked(),
                Staked::Outdated(error) => {
                    debug!(%error, "the commit waits for the end of a rebalance");
                    exact.outdated = Some((of, Instant::now() + OUTDATED_PAUSE));
                    exact.checkpoint.again();
                }
                Staked::Refused(error) => {
                    exact.checkpoint.not_committed();
                    self.begin_abort(&error);
                }
            },
            Ended::Commit(took, answer) => {
                self.metrics.stage(TimedStage::Commit, took);
                match answer.inspect_err(note)? {
                    TransactionEnd::Committed => {
                        exact.portion.committed(!exact.is_slow(exact.sealed));
                        exact.sealed = None;
                        let offsets = exact.checkpoint.committed();
                        self.transaction_committed(&offsets);
                        self.commits_succeed();
                    }
                    TransactionEnd::Aborted(error) => {
                        exact.checkpoint.not_committed();
                        self.begin_abort(&error);
                    }
                }
            }
            Ended::Abort(answer) => {
                let committed = answer.inspect_err(note)?;
                let is_aborted = committed.is_none() || exact.opened.is_some();
                (exact.opened, exact.sealed) = (None, None);
                let offsets = exact.checkpoint.aborted(committed);
                if committed.is_some() {
                    self.transaction_committed(&offsets);
                }
                if is_aborted {
                    self.metrics.transaction(TransactionOutcome::Aborted);
                }
                self.troubles.end(&Place::Commit);
                self.read_again();
            }
        }
        Ok(())
    }

    fn transaction_committed(&mut self, offsets: &[Offset]) {
        self.metrics.transaction(TransactionOutcome::Committed);
        self.note_committed(offsets);
        for offset in offsets {
            if !self.rewinds.keeps_out(&offset.partition) {
                self.end_rewind(&offset.partition);
            }
        }
    }

    /// Aborts the transactions that are alive, unless that is under way.
    pub(super) fn begin_abort(&mut self, error: &EngineError) {
        let Some(exact) = &mut self.exact else { return };
        if !exact.checkpoint.fail() {
            debug!(%error, "one more reason to abort");
            return;
        }
        warn!(%error, "the transaction is aborted, and what was in it is read again");
        if exact.is_slow(exact.sealed.or(exact.opened)) {
            exact.portion.overdue(self.delivery.in_flight());
        }
        self.troubles.begin(Place::Commit, error);
        self.commits.failed(BACKOFF);
        self.withdraw_all();
    }

    /// Aborts transactions that wait for acknowledgements too long: the brokers would, soon.
    pub(super) fn look_at_transactions(&mut self) {
        let Some(exact) = self.exact.as_ref().filter(|exact| exact.is_open()) else { return };
        let waiting = exact.sealed.filter(|_| exact.checkpoint.is_landing());
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
            let is_final = matches!(self.stopped.get(partition), Some(Stopped::Letter { .. }));
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

#[cfg(test)]
mod tests;
