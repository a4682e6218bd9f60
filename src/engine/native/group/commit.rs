//! Commits: with the member id and generation of now, until the coordinator agrees.

use std::sync::Arc;

use tokio::time::Instant;

use super::coordinator::{Coordinator, GroupRefusal};
use crate::engine::{EngineError, ErrorKind, Offset, Place, native::assignments::Assignments};

/// Commits for one group, one after the other, so that an older one never overtakes a newer one.
#[derive(Debug)]
pub(in crate::engine::native) struct Committer {
    pub(super) coordinator: Coordinator,
    pub(super) assignments: Arc<Assignments>,
    pub(super) turn: tokio::sync::Mutex<()>,
}

impl Committer {
    /// Commits what this member still may. A rebalance is waited for: while it lasts, the
    /// coordinator may refuse the generation that this member knows.
    ///
    /// # Errors
    /// `Fatal` when the coordinator refuses for good, `Retriable` when it did not agree within
    /// `default.api.timeout.ms`.
    pub async fn commit(&self, offsets: Vec<Offset>) -> Result<(), EngineError> {
        let settings = &self.coordinator.cluster.settings;
        let deadline = Instant::now() + settings.api_timeout;
        let _turn = self.turn.lock().await;
        for failures in 1.. {
            let (identity, commits) = self.assignments.committable(&offsets);
            if commits.is_empty() {
                break;
            }
            let error = match self.coordinator.commit(&identity, &commits).await {
                Ok(()) => {
                    self.assignments.committed(&commits);
                    break;
                }
                Err(GroupRefusal::Fatal(error)) => return Err(error),
                Err(GroupRefusal::Again(error) | GroupRefusal::Over(error)) => {
                    self.coordinator.troubles.begin(Place::Commit, &error.message);
                    error
                }
                Err(GroupRefusal::Rebalance | GroupRefusal::JoinAs(_)) => {
                    let group = &self.coordinator.group;
                    let text = format!("group {group}: committing offsets: the group is rebalancing");
                    EngineError::new(ErrorKind::Retriable, text)
                }
            };
            let pause = settings.retry.pause(failures);
            if Instant::now() + pause >= deadline {
                return Err(error);
            }
            tracing::debug!(%error, ?pause, "committing again");
            tokio::time::sleep(pause).await;
        }
        self.coordinator.troubles.end(&Place::Commit);
        Ok(())
    }
}
