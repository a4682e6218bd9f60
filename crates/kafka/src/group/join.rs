//! How a member of the classic protocol gets its assignment: it joins, leads if it is told to, and
//! synchronises. No answer is waited for longer than the coordinator is there to give one.

use std::{collections::BTreeSet, future::Future, time::Duration};

use kafka_protocol::messages::JoinGroupResponse;
use tokio::time::{Instant, sleep, timeout};
use topicmill_mill::{
    batch::TopicPartition,
    engine::{EngineError, ErrorKind, Place},
};

use super::{
    Membership,
    coordinator::GroupRefusal,
    lead,
    protocol::{decode_assignment, encode_subscription},
};
use crate::{assignments::Identity, settings::Assignor};

/// After this time a join is reported as waiting for other members.
const HELD_UP_AFTER: Duration = Duration::from_secs(1);

impl Membership {
    /// Joins, however often it takes. Until the coordinator answers, partitions are kept for the
    /// length of a session.
    pub(super) async fn join(&mut self) -> Result<JoinGroupResponse, EngineError> {
        // A member that joins has just had an answer, or has no partitions.
        let mut alive = Instant::now();
        loop {
            let subscription =
                encode_subscription(&self.settings.topic, &self.owned, self.identity.generation);
            let protocols: Vec<_> =
                self.settings.assignors.iter().map(|assignor| (*assignor, subscription.clone())).collect();
            let refusal = match self.try_join(&protocols, &mut alive).await {
                Ok(joined) => return Ok(joined),
                Err(refusal) => refusal,
            };
            match refusal {
                GroupRefusal::JoinAs(member) => self.identity.member = member,
                GroupRefusal::Over(error) => {
                    self.lose(&error.message).await;
                    // The coordinator does not know this id, and gives a new one. The first time at
                    // once; one that admits nobody is not asked without a pause.
                    self.identity.member.clear();
                    if self.failures > 0 {
                        self.stumble(&error, "the coordinator does not know who joins").await;
                    } else {
                        self.failures = 1;
                    }
                }
                GroupRefusal::Fatal(error) => return Err(error),
                GroupRefusal::Rebalance => sleep(self.backoff(1)).await,
                GroupRefusal::Again(error) => {
                    if alive.elapsed() > self.settings.session_timeout && !self.owned.is_empty() {
                        self.lose("the coordinator is away for longer than a session").await;
                    }
                    self.stumble(&error, "cannot join the group yet").await;
                }
            }
        }
    }

    async fn try_join(
        &self,
        protocols: &[(Assignor, bytes::Bytes)],
        alive: &mut Instant,
    ) -> Result<JoinGroupResponse, GroupRefusal> {
        let (session, rebalance) = (self.settings.session_timeout, self.settings.rebalance_timeout);
        let held_up = async {
            sleep(HELD_UP_AFTER).await;
            let text = "joining the group; the coordinator waits for its other members";
            self.coordinator.troubles.begin(Place::Group, &text);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            joined = self.answered(self.coordinator.join(&self.identity, protocols, session, rebalance), alive) => joined,
            () = held_up => unreachable!("it is pending"),
        }
    }

    /// Waits for the answer to a request that waits for other members, unless the coordinator that
    /// was asked is lost meanwhile: it would never answer.
    async fn answered<T>(
        &self,
        request: impl Future<Output = Result<T, GroupRefusal>>,
        alive: &mut Instant,
    ) -> Result<T, GroupRefusal> {
        let asked = self.coordinator.cluster.coordinator(&self.coordinator.group).await?;
        tokio::select! {
            answer = request => answer,
            error = self.vanished(asked, alive) => {
                self.coordinator.hang_up(asked);
                Err(GroupRefusal::Again(error))
            }
        }
    }

    /// Reports that joining failed, and waits, longer each time.
    async fn stumble(&mut self, error: &EngineError, what: &str) {
        self.coordinator.fails(error, self.failures, what);
        self.failures += 1;
        sleep(self.backoff(self.failures)).await;
    }

    /// Resolves when the broker `asked` no longer coordinates the group, or has not answered for
    /// the length of a session. `alive` is when it last did.
    async fn vanished(&self, asked: i32, alive: &mut Instant) -> EngineError {
        let session = self.settings.session_timeout;
        loop {
            sleep(self.settings.heartbeat_interval).await;
            match self.coordinator.heartbeat(&self.identity, session / 3).await {
                // Whatever it answers, it is there.
                Ok(())
                | Err(
                    GroupRefusal::JoinAs(_)
                    | GroupRefusal::Rebalance
                    | GroupRefusal::Over(_)
                    | GroupRefusal::Fatal(_),
                ) => {
                    *alive = Instant::now();
                }
                Err(GroupRefusal::Again(error)) if alive.elapsed() > session => return error,
                Err(GroupRefusal::Again(error)) => tracing::debug!(%error, "is the coordinator still there?"),
            }
            if let Ok(now) = self.coordinator.cluster.coordinator(&self.coordinator.group).await
                && now != asked
            {
                let text = format!("the group's coordinator was broker {asked} and is broker {now} now");
                return EngineError::new(ErrorKind::Retriable, text);
            }
        }
    }

    /// Assigns the partitions if this member leads; `None` to join again.
    pub(super) async fn lead(
        &mut self,
        joined: &JoinGroupResponse,
    ) -> Result<Option<lead::LedGroup>, EngineError> {
        if joined.leader != joined.member_id {
            return Ok(Some(lead::LedGroup::default()));
        }
        let limit = self.settings.rebalance_timeout;
        let error = match timeout(limit, lead::assign(&self.client, &self.coordinator.group, joined)).await {
            Ok(Ok(led)) => return Ok(Some(led)),
            Ok(Err(error)) if error.kind == ErrorKind::Fatal => return Err(error),
            Ok(Err(error)) => error,
            // An empty plan would be everybody's assignment until something else changes.
            Err(_) => EngineError::new(ErrorKind::Retriable, "assigning took longer than a rebalance may"),
        };
        self.stumble(&error, "cannot share the partitions out yet").await;
        Ok(None)
    }

    /// This member's assignment, or `None` to join again.
    pub(super) async fn sync(
        &mut self,
        joined: &JoinGroupResponse,
        assignments: Vec<(String, bytes::Bytes)>,
    ) -> Result<Option<BTreeSet<TopicPartition>>, EngineError> {
        self.identity.member = joined.member_id.to_string();
        let identity = Identity { generation: joined.generation_id, ..self.identity.clone() };
        let assignor = joined.protocol_name.as_deref().unwrap_or_default();
        let rebalance = self.settings.rebalance_timeout;
        let sync = self.coordinator.sync(&identity, assignor, assignments, rebalance);
        match self.answered(sync, &mut Instant::now()).await {
            Ok(assignment) => {
                self.failures = 0;
                self.coordinator.answers();
                self.identity = identity;
                self.assignments.set_identity(self.identity.clone());
                let mut assigned = decode_assignment(&assignment).ok_or_else(|| {
                    let text = format!("group {}: the assignment is malformed", self.coordinator.group);
                    EngineError::new(ErrorKind::Fatal, text)
                })?;
                assigned.retain(|partition| partition.topic == self.settings.topic);
                return Ok(Some(assigned));
            }
            Err(GroupRefusal::Fatal(error)) => return Err(error),
            Err(GroupRefusal::Over(error)) => self.lose(&error.to_string()).await,
            Err(GroupRefusal::Again(error)) => {
                self.stumble(&error, "cannot synchronise with the group yet").await;
            }
            Err(GroupRefusal::Rebalance | GroupRefusal::JoinAs(_)) => {}
        }
        Ok(None)
    }

    fn backoff(&self, failures: u32) -> Duration {
        self.coordinator.cluster.settings.retry.pause(failures)
    }
}
