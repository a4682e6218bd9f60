//! Commits what is acknowledged: at every tick, sooner when something waits for it, and once more
//! before anything is given up. A commit that fails is retried for as long as it takes.

use std::{future::pending, pin::Pin, time::Duration};

use tokio::time::{Instant, timeout};
use tracing::{debug, warn};

use super::{Mill, exact::Exact};
use crate::{
    backoff::Backoff,
    engine::{EngineError, ErrorKind, Offset, Place, Sink, Source},
    metrics::TimedStage,
};

/// The least time between two commits that do not wait for a tick: while a stop or a rebalance
/// waits, every acknowledgement makes something new to commit.
const PACE: Duration = Duration::from_millis(100);

/// The backoff after commits that failed.
pub(super) const BACKOFF: Backoff =
    Backoff { first: Duration::from_millis(100), most: Duration::from_secs(5) };

/// The commits of a mill.
#[derive(Default)]
pub(super) struct Commits {
    under_way: Option<Commit>,
    /// No commit before this time.
    next: Option<Instant>,
    /// How many failed in a row.
    failures: u32,
    /// Exactly once: a tick came while a transaction ended.
    is_overdue: bool,
}

struct Commit {
    offsets: Vec<Offset>,
    started: Instant,
    answer: Pin<Box<dyn Future<Output = Agreed> + Send>>,
}

/// What the coordinator has agreed to.
pub(super) type Agreed = Result<Vec<Offset>, EngineError>;

impl Commits {
    /// The answer to the commit in flight; waits while there is none. Cancel-safe.
    pub(super) async fn answer(&mut self) -> Agreed {
        match &mut self.under_way {
            Some(commit) => commit.answer.as_mut().await,
            None => pending().await,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.under_way.is_none()
    }

    /// Nothing is committed for a while.
    pub(super) fn failed(&mut self, backoff: Backoff) {
        self.failures += 1;
        self.next = Some(Instant::now() + backoff.steady(self.failures));
    }

    fn is_due(&self) -> bool {
        self.next.is_none_or(|next| next <= Instant::now())
    }
}

impl<S: Source, K: Sink> Mill<S, K> {
    /// Starts a commit when it must not wait for the next tick: something waits for it, or a
    /// position was chosen that the group has not committed yet. Returns when to call this again,
    /// if it is too early now.
    pub(super) fn hurry_commit(&mut self) -> Option<Instant> {
        if self.is_committing() {
            return None;
        }
        if !self.offsets.has_uncommitted() {
            self.commits.is_overdue = false;
            return None;
        }
        let goal = self.goal.wants_commit(&self.stopped);
        let awaited = self.is_draining || !self.revoking.is_empty() || self.rewinds.any_waits();
        let fails = self.commits.failures > 0;
        let is_used_up = self.exact.as_ref().is_some_and(Exact::is_used_up);
        let is_due = is_used_up || self.commits.is_overdue;
        if !(goal || awaited || fails || is_due || self.offsets.has_unplaced()) {
            return None;
        }
        // With nothing in flight, waiting would not make it a larger commit; nor if it may not be larger.
        let at_once =
            is_used_up && !self.offsets.has_unplaced() || !fails && (goal || self.delivery.in_flight() == 0);
        if at_once || self.commits.is_due() {
            self.start_commit();
            return None;
        }
        self.commits.next
    }

    /// At every tick. Exactly once, one that comes while a transaction ends is made up for when it has ended: with a
    /// short interval, readers would wait for two of them otherwise. But where the sink is the bottleneck, and a
    /// transaction takes as long as what waits before it, more of them would only cost more.
    pub(super) fn tick_commit(&mut self) {
        if self.is_committing() {
            self.commits.is_overdue = self.exact.is_some() && self.delivery.has_room();
        } else if self.commits.is_due() {
            self.start_commit();
        }
    }

    /// Whether a commit is under way, so that another one has to wait.
    pub(super) fn is_committing(&self) -> bool {
        match &self.exact {
            None => !self.commits.is_idle(),
            Some(exact) => !exact.is_idle() || !self.commits.is_idle(),
        }
    }

    fn start_commit(&mut self) {
        self.commits.is_overdue = false;
        let offsets = match self.exact {
            None => self.offsets.committable(),
            // A position that was chosen is committed on its own, before any transaction: it must outlast
            // one that is aborted.
            Some(_) if self.offsets.has_unplaced() => self.offsets.unplaced(),
            Some(_) => return self.seal(),
        };
        if !offsets.is_empty() {
            let answer = Box::pin(self.source.commit(offsets.clone()));
            self.commits.under_way = Some(Commit { offsets, started: Instant::now(), answer });
        }
    }

    /// Takes the coordinator's answer.
    ///
    /// # Errors
    /// When a retry would fail in the same way.
    pub(super) fn end_commit(&mut self, answer: Agreed) -> Result<(), EngineError> {
        let Some(commit) = self.commits.under_way.take() else { return Ok(()) };
        self.metrics.stage(TimedStage::Commit, commit.started.elapsed());
        match answer {
            Ok(agreed) => {
                self.note_committed(&agreed);
                if agreed.len() < commit.offsets.len() {
                    // What was left out is refused, or of an assignment that is over, which the
                    // source is about to tell: asked again at once, it would not come to that.
                    self.commits.failed(BACKOFF);
                    return Ok(());
                }
                self.commits_succeed();
                Ok(())
            }
            Err(error) if error.kind == ErrorKind::Fatal => Err(error),
            Err(error) => {
                // Whoever shows the troubles counts them.
                self.troubles.begin(Place::Commit, &error);
                self.commits.failed(BACKOFF);
                debug!(%error, failures = self.commits.failures, "the commit failed and is tried again");
                Ok(())
            }
        }
    }

    /// Notes what is committed.
    pub(super) fn note_committed(&mut self, agreed: &[Offset]) {
        let noted = self.offsets.committed(agreed);
        if !noted.is_empty() {
            for offset in &noted {
                self.goal.committed(&offset.partition, offset.next);
            }
            self.tell_committed(&noted);
            self.work.committed();
            self.progressed = true;
        }
    }

    /// A commit succeeded altogether.
    pub(super) fn commits_succeed(&mut self) {
        if self.commits.failures > 0 {
            self.troubles.end(&Place::Commit);
        }
        self.commits.failures = 0;
        // What comes at a tick is not paced further: the ticks may be closer.
        self.commits.next = self.exact.is_none().then(|| Instant::now() + PACE);
    }

    /// Commits what is acknowledged once more, within `limit`, whatever ended the mill: what is not
    /// committed is read again.
    pub(super) async fn last_commit(&mut self, limit: Duration) {
        let committing = async {
            if !self.commits.is_idle() {
                let answer = self.commits.answer().await;
                self.end_commit(answer)?;
            }
            self.start_commit();
            if !self.commits.is_idle() {
                let answer = self.commits.answer().await;
                self.end_commit(answer)?;
            }
            Ok::<(), EngineError>(())
        };
        match timeout(limit, committing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(%error, "the last commit failed; what it is about is read again"),
            Err(_) => warn!(?limit, "the last commit was not answered; what it is about is read again"),
        }
    }
}
