//! A member's life: join, synchronise, read what is assigned, give up what is revoked; again.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use kafka_protocol::messages::JoinGroupResponse;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, timeout},
};

use super::{
    Assignments, Assignor, Committer, Identity,
    coordinator::{Coordinator, Refusal},
    heart::{Heart, Pulse},
    lead,
    positions::{self, Position},
    protocol::{decode_assignment, encode_subscription},
};
use crate::{
    batch::TopicPartition,
    engine::{
        Assignment, EngineError, ErrorKind, OffsetReset, SourceEvent, SourceSettings,
        native::{
            Client,
            fetch::{FetchHandle, Start},
            settings::{GroupProtocol, GroupSettings},
        },
    },
};

/// How long the coordinator may stay away before the member gives up.
const GIVE_UP: Duration = Duration::from_secs(300);

/// How a member takes part in its group.
#[derive(Clone, Debug)]
pub(in crate::engine::native) struct MemberSettings {
    /// Who assigns.
    pub protocol: GroupProtocol,
    /// The topic that it reads.
    pub topic: Arc<str>,
    /// Where a partition without a committed offset starts.
    pub offset_reset: OffsetReset,
    /// `session.timeout.ms`: after this without a heartbeat the membership is over.
    pub session_timeout: Duration,
    /// `heartbeat.interval.ms`.
    pub heartbeat_interval: Duration,
    /// `max.poll.interval.ms`: how long the group waits for this member in a rebalance.
    pub rebalance_timeout: Duration,
    /// How long a revoked partition waits for its release.
    pub revoke_timeout: Duration,
    /// `group.instance.id` of a static member (KIP-345).
    pub instance: Option<String>,
    /// `partition.assignment.strategy`, the preferred one first.
    pub assignors: Vec<Assignor>,
}

impl MemberSettings {
    /// What the properties and the source's settings ask for.
    pub fn new(group: &GroupSettings, settings: &SourceSettings) -> MemberSettings {
        MemberSettings {
            protocol: group.protocol,
            topic: Arc::clone(&settings.topic),
            offset_reset: group.offset_reset.unwrap_or(settings.offset_reset),
            session_timeout: group.session_timeout,
            heartbeat_interval: group.heartbeat_interval,
            rebalance_timeout: group.max_poll_interval,
            revoke_timeout: settings.revoke_timeout,
            instance: group.instance_id.clone(),
            assignors: group.assignors.clone(),
        }
    }

    /// Whether partitions are kept through a rebalance (KIP-429): only if every assignor can.
    fn is_cooperative(&self) -> bool {
        self.assignors.iter().all(|assignor| *assignor == Assignor::CooperativeSticky)
    }
}

/// A member of a group, run as a task.
#[derive(Debug)]
pub(in crate::engine::native) struct Membership {
    client: Client,
    pub(super) coordinator: Coordinator,
    pub(super) settings: MemberSettings,
    pub(super) assignments: Arc<Assignments>,
    fetcher: FetchHandle,
    events: mpsc::Sender<Result<SourceEvent, EngineError>>,
    pub(super) identity: Identity,
    pub(super) owned: BTreeSet<TopicPartition>,
}

impl Membership {
    /// A stranger to the group so far.
    pub fn new(
        client: Client,
        group: String,
        settings: MemberSettings,
        assignments: Arc<Assignments>,
        fetcher: FetchHandle,
        events: mpsc::Sender<Result<SourceEvent, EngineError>>,
    ) -> Membership {
        let (cluster, instance) = (Arc::clone(client.cluster()), settings.instance.clone());
        let coordinator = Coordinator { cluster, group, instance };
        let (identity, owned) = (Identity::default(), BTreeSet::new());
        Membership { client, coordinator, settings, assignments, fetcher, events, identity, owned }
    }

    /// Commits for this member.
    pub fn committer(&self) -> Committer {
        let (coordinator, assignments) = (self.coordinator.clone(), Arc::clone(&self.assignments));
        Committer { coordinator, assignments, turn: Default::default() }
    }

    /// Takes part until `closing` is sent; then leaves, unless the member is static (KIP-345).
    /// If `closing` is dropped, ends without a word.
    pub async fn run(mut self, closing: oneshot::Receiver<()>) {
        let is_leaving = tokio::select! {
            biased;
            closed = closing => closed.is_ok(),
            error = self.live() => self.events.send(Err(error)).await.is_ok(),
        };
        if is_leaving && !self.identity.member.is_empty() {
            let limit = Duration::from_secs(5);
            match timeout(limit, self.leave(limit)).await {
                Ok(Ok(())) => {}
                Ok(Err(refusal)) => tracing::debug!(?refusal, "leaving the group"),
                Err(_) => tracing::debug!("leaving the group: no answer"),
            }
        }
    }

    async fn leave(&self, limit: Duration) -> Result<(), Refusal> {
        match self.settings.protocol {
            GroupProtocol::Consumer => self.coordinator.leave_consumer(&self.identity.member, limit).await,
            GroupProtocol::Classic if self.coordinator.instance.is_some() => Ok(()),
            GroupProtocol::Classic => self.coordinator.leave(&self.identity, limit).await,
        }
    }

    async fn live(&mut self) -> EngineError {
        match self.settings.protocol {
            GroupProtocol::Classic => self.live_as_classic().await,
            GroupProtocol::Consumer => self.live_as_consumer().await,
        }
    }

    async fn live_as_classic(&mut self) -> EngineError {
        loop {
            if let Err(error) = self.generation().await {
                return error;
            }
        }
    }

    /// One generation of the group, from joining to the next rebalance.
    async fn generation(&mut self) -> Result<(), EngineError> {
        let joined = self.join().await?;
        let led = self.lead(&joined).await?;
        let Some(assigned) = self.sync(&joined, led.assignments).await? else { return Ok(()) };
        let (interval, session) = (self.settings.heartbeat_interval, self.settings.session_timeout);
        let mut heart = Heart::start(self.coordinator.clone(), self.identity.clone(), interval, session);
        tracing::info!(
            group = self.coordinator.group,
            generation = self.identity.generation,
            partitions = assigned.len(),
            "joined the group"
        );
        let revoked: BTreeSet<_> = self.owned.difference(&assigned).cloned().collect();
        if !revoked.is_empty() && !self.revoke(revoked.clone(), &mut heart).await? {
            return Ok(());
        }
        let added = assigned.difference(&self.owned).cloned().collect();
        let mut pulse = self.start(added, &mut heart).await?;
        // What was given up is shared out in a rebalance that follows at once (KIP-429).
        if matches!(pulse, Pulse::Steady) && revoked.is_empty() {
            pulse = tokio::select! {
                pulse = heart.disturbed() => pulse,
                () = led.watch.changed(&self.client) => Pulse::Rebalance,
            };
        }
        match pulse {
            Pulse::Steady | Pulse::Rebalance if self.settings.is_cooperative() => {}
            Pulse::Steady | Pulse::Rebalance => {
                self.revoke(self.owned.clone(), &mut heart).await?;
            }
            Pulse::Lost(reason) => self.lose(&reason).await,
            Pulse::Fatal(error) => return Err(error),
        }
        Ok(())
    }

    /// Joins, however often it takes. Until the coordinator answers, partitions are kept for the
    /// length of a session.
    async fn join(&mut self) -> Result<JoinGroupResponse, EngineError> {
        let mut failing: Option<(Instant, u32)> = None;
        loop {
            let subscription =
                encode_subscription(&self.settings.topic, &self.owned, self.identity.generation);
            let protocols: Vec<_> =
                self.settings.assignors.iter().map(|assignor| (*assignor, subscription.clone())).collect();
            let (session, rebalance) = (self.settings.session_timeout, self.settings.rebalance_timeout);
            match self.coordinator.join(&self.identity, &protocols, session, rebalance).await {
                Ok(joined) => return Ok(joined),
                Err(Refusal::JoinAs(member)) => self.identity.member = member,
                Err(Refusal::Over(error)) => {
                    self.lose(&error.to_string()).await;
                    // Nobody of this name: the coordinator gives a new one.
                    self.identity.member.clear();
                }
                Err(Refusal::Fatal(error)) => return Err(error),
                Err(Refusal::Rebalance) => sleep(self.backoff(1)).await,
                Err(Refusal::Again(error)) => {
                    let (since, failures) = failing.unwrap_or((Instant::now(), 0));
                    failing = Some((since, failures + 1));
                    if since.elapsed() > session && !self.owned.is_empty() {
                        self.lose("the coordinator is away for longer than a session").await;
                    }
                    if since.elapsed() > GIVE_UP {
                        return Err(error);
                    }
                    tracing::warn!(%error, failures, "cannot join the group yet");
                    sleep(self.backoff(failures + 1)).await;
                }
            }
        }
    }

    /// Shares the partitions out if this member leads.
    async fn lead(&self, joined: &JoinGroupResponse) -> Result<lead::Led, EngineError> {
        if joined.leader != joined.member_id {
            return Ok(lead::Led::default());
        }
        let limit = self.settings.rebalance_timeout;
        timeout(limit, lead::assign(&self.client, joined)).await.unwrap_or_else(|_| Ok(lead::Led::default()))
    }

    /// This member's assignment, or `None` to join again.
    async fn sync(
        &mut self,
        joined: &JoinGroupResponse,
        assignments: Vec<(String, bytes::Bytes)>,
    ) -> Result<Option<BTreeSet<TopicPartition>>, EngineError> {
        self.identity.member = joined.member_id.to_string();
        let identity = Identity { generation: joined.generation_id, ..self.identity.clone() };
        let assignor = joined.protocol_name.as_deref().unwrap_or_default();
        let rebalance = self.settings.rebalance_timeout;
        match self.coordinator.sync(&identity, assignor, assignments, rebalance).await {
            Ok(assignment) => {
                self.identity = identity;
                self.assignments.set_identity(self.identity.clone());
                let mut assigned = decode_assignment(&assignment).ok_or_else(|| {
                    let text = format!("group {}: the assignment is malformed", self.coordinator.group);
                    EngineError::new(ErrorKind::Fatal, text)
                })?;
                assigned.retain(|partition| partition.topic == self.settings.topic);
                return Ok(Some(assigned));
            }
            Err(Refusal::Fatal(error)) => return Err(error),
            Err(Refusal::Over(error)) => self.lose(&error.to_string()).await,
            Err(Refusal::Again(error)) => {
                tracing::warn!(%error, "cannot synchronise with the group yet");
                sleep(self.backoff(1)).await;
            }
            Err(Refusal::Rebalance | Refusal::JoinAs(_)) => {}
        }
        Ok(None)
    }

    /// Starts to read new partitions, unless the group changes again before their positions are
    /// known.
    pub(super) async fn start(
        &mut self,
        partitions: BTreeSet<TopicPartition>,
        heart: &mut Heart,
    ) -> Result<Pulse, EngineError> {
        if partitions.is_empty() {
            if self.owned.is_empty() {
                self.tell(SourceEvent::Assigned(Vec::new())).await;
            }
            return Ok(Pulse::Steady);
        }
        let reset = self.settings.offset_reset;
        let positions = tokio::select! {
            pulse = heart.disturbed() => return Ok(pulse),
            positions = positions::positions(&self.client, &self.coordinator, &partitions, reset) => positions?,
        };
        let (mut starts, mut assigned) = (Vec::new(), Vec::new());
        for (partition, Position { offset, leader_epoch, is_committed }) in positions {
            let id = self.assignments.add(&partition);
            let (position, epoch) = (offset, leader_epoch);
            assigned.push(Assignment { partition: partition.clone(), id, position, is_committed });
            starts.push(Start { partition, assignment: id, position, epoch });
        }
        self.tell(SourceEvent::Assigned(assigned)).await;
        self.owned.extend(partitions);
        self.fetcher.start(starts).await;
        Ok(Pulse::Steady)
    }

    /// Gives partitions up once everything in flight for them is committed; `false` when the
    /// membership ended before.
    pub(super) async fn revoke(
        &mut self,
        partitions: BTreeSet<TopicPartition>,
        heart: &mut Heart,
    ) -> Result<bool, EngineError> {
        if partitions.is_empty() {
            return Ok(true);
        }
        self.assignments.stop_reading(&partitions);
        self.fetcher.stop(partitions.clone()).await;
        let (release, released) = oneshot::channel();
        let event = SourceEvent::Revoked { partitions: partitions.iter().cloned().collect(), release };
        let released = async {
            self.tell(event).await;
            // Dropped says the same as sent.
            let _ = released.await;
        };
        let limit = self.settings.revoke_timeout.min(self.settings.rebalance_timeout);
        let pulse = tokio::select! {
            biased;
            pulse = heart.stopped() => pulse,
            released = timeout(limit, released) => {
                if released.is_err() {
                    tracing::warn!(?limit, "revoked partitions were not released in time; giving them up");
                }
                Pulse::Steady
            }
        };
        match pulse {
            Pulse::Steady | Pulse::Rebalance => {
                self.assignments.remove(&partitions);
                self.owned.retain(|partition| !partitions.contains(partition));
                Ok(true)
            }
            Pulse::Lost(reason) => {
                self.lose(&reason).await;
                Ok(false)
            }
            Pulse::Fatal(error) => Err(error),
        }
    }

    /// Gives everything up without a commit. The member keeps its id: should the coordinator still
    /// know it, the group need not wait for a member that never comes back.
    pub(super) async fn lose(&mut self, reason: &str) {
        tracing::warn!(group = self.coordinator.group, reason, "lost the membership of the group");
        let partitions = std::mem::take(&mut self.owned);
        self.assignments.remove(&partitions);
        self.identity.generation = Identity::default().generation;
        self.assignments.set_identity(self.identity.clone());
        if !partitions.is_empty() {
            self.fetcher.stop(partitions.clone()).await;
            self.tell(SourceEvent::Lost(partitions.into_iter().collect())).await;
        }
    }

    /// Nobody listening is the same as nobody minding: the source is being dropped.
    async fn tell(&self, event: SourceEvent) {
        let _ = self.events.send(Ok(event)).await;
    }

    fn backoff(&self, failures: u32) -> Duration {
        self.coordinator.cluster.settings.retry.pause(failures)
    }
}
