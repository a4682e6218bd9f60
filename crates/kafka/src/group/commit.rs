//! Commits, with the current member id and generation, until the coordinator agrees.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use topicmill_mill::engine::{EngineError, ErrorKind, Offset, Place, Stake};

use super::coordinator::{Coordinator, GroupRefusal};
use crate::assignments::{Assignments, Identity};

/// How long a refused commit is retried here: what is acknowledged meanwhile waits for it, and the
/// caller asks again.
const REFUSED_TIMEOUT: Duration = Duration::from_secs(5);

/// Commits for one group, one after another, so that an older one never overtakes a newer one.
#[derive(Debug)]
pub(crate) struct Committer {
    pub(super) coordinator: Coordinator,
    pub(super) assignments: Arc<Assignments>,
    pub(super) turn: tokio::sync::Mutex<()>,
}

impl Committer {
    /// What a transaction needs to commit for this member.
    pub fn stake(&self, identity: Identity, offsets: Vec<(Offset, Arc<str>)>) -> Stake {
        let Coordinator { group, instance, .. } = &self.coordinator;
        let Identity { member, generation } = identity;
        Stake { group: group.clone(), member, generation, instance: instance.clone(), offsets }
    }

    /// Commits what this member still may; returns what the coordinator has agreed to by now. Waits
    /// for a rebalance to end: while it lasts, the coordinator may refuse the generation that this
    /// member knows. Does not wait for single partitions that are refused, so that the others go
    /// on.
    ///
    /// # Errors
    /// `Fatal` when the coordinator refuses for good, `Retriable` when it has agreed to nothing
    /// within some seconds, or the group rebalances for longer than `default.api.timeout.ms`.
    pub async fn commit(&self, offsets: Vec<Offset>) -> Result<Vec<Offset>, EngineError> {
        let settings = &self.coordinator.cluster.settings;
        let started = Instant::now();
        let _turn = self.turn.lock().await;
        for failures in 1.. {
            let (identity, commits) = self.assignments.committable(&offsets);
            if commits.is_empty() {
                break;
            }
            let refusal = match self.coordinator.commit(&identity, &commits).await {
                Ok(mut refused) => {
                    let is_agreed = |offset: &Offset| !refused.contains_key(&offset.partition);
                    let agreed: Vec<_> =
                        commits.into_iter().filter(|(offset, _)| is_agreed(offset)).collect();
                    self.assignments.committed(&agreed);
                    let fatal = refused.extract_if(|_, refusal| matches!(refusal, GroupRefusal::Fatal(_)));
                    let fatal = fatal.map(|(_, refusal)| refusal).next();
                    match fatal.or_else(|| refused.into_values().next()) {
                        None => break,
                        Some(refusal) if agreed.is_empty() => refusal,
                        Some(GroupRefusal::Fatal(error)) => return Err(error),
                        Some(refusal) => {
                            self.troubled(refusal);
                            return Ok(self.assignments.agreed(offsets));
                        }
                    }
                }
                Err(refusal) => refusal,
            };
            if let GroupRefusal::Fatal(error) = refusal {
                return Err(error);
            }
            let limit = match refusal {
                GroupRefusal::Rebalance | GroupRefusal::JoinAs(_) => settings.api_timeout,
                GroupRefusal::Over(_) | GroupRefusal::Again(_) | GroupRefusal::Fatal(_) => {
                    settings.api_timeout.min(REFUSED_TIMEOUT)
                }
            };
            let pause = settings.retry.pause(failures);
            if started.elapsed() + pause >= limit {
                // Whoever gets the error reports it.
                return Err(self.error(refusal));
            }
            let error = self.troubled(refusal);
            tracing::debug!(%error, ?pause, "committing again");
            tokio::time::sleep(pause).await;
        }
        self.coordinator.troubles.end(&Place::Commit);
        Ok(self.assignments.agreed(offsets))
    }

    /// Reports that commits are refused; a rebalance is no failure.
    fn troubled(&self, refusal: GroupRefusal) -> EngineError {
        let is_failure = !matches!(refusal, GroupRefusal::Rebalance | GroupRefusal::JoinAs(_));
        let error = self.error(refusal);
        if is_failure {
            self.coordinator.troubles.begin(Place::Commit, &error.message);
        }
        error
    }

    fn error(&self, refusal: GroupRefusal) -> EngineError {
        match refusal {
            GroupRefusal::Fatal(error) | GroupRefusal::Again(error) | GroupRefusal::Over(error) => error,
            GroupRefusal::Rebalance | GroupRefusal::JoinAs(_) => {
                let group = &self.coordinator.group;
                let text = format!("group {group}: committing offsets: the group is rebalancing");
                EngineError::new(ErrorKind::Retriable, text)
            }
        }
    }
}
