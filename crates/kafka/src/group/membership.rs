//! The life of a member: join, synchronise, read what is assigned, release what is revoked; again,
//! for as long as it takes. It ends by itself only when nothing would help.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;
use topicmill_mill::{
    batch::TopicPartition,
    engine::{EngineError, ErrorKind, OffsetReset, Place, SourceEvent, SourceSettings, Troubles},
};

use super::{
    Committer,
    coordinator::{Coordinator, GroupRefusal},
    finder::Finder,
    heart::{Heart, Pulse},
};
use crate::{
    Client,
    assignments::{Assignments, Identity},
    fetch::{FetchHandle, Fetching},
    memory::Memory,
    settings::{Assignor, GroupProtocol, GroupSettings},
    topic_lookup::gone,
};

/// How a member takes part in its group.
#[derive(Clone, Debug)]
pub(crate) struct MemberSettings {
    /// Who assigns.
    pub protocol: GroupProtocol,
    /// The topic that it reads.
    pub topic: Arc<str>,
    /// Where to start a topic that the group has never read.
    pub offset_reset: OffsetReset,
    /// `session.timeout.ms`: without a heartbeat for this long the membership is over.
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
pub(crate) struct Membership {
    pub(super) client: Client,
    pub(super) coordinator: Coordinator,
    pub(super) settings: MemberSettings,
    pub(super) assignments: Arc<Assignments>,
    fetcher: FetchHandle,
    events: mpsc::Sender<Result<SourceEvent, EngineError>>,
    pub(super) memory: Memory,
    pub(super) identity: Identity,
    pub(super) owned: BTreeSet<TopicPartition>,
    /// How often joining has failed since it last succeeded.
    pub(super) failures: u32,
}

impl Membership {
    /// Not yet a member.
    pub fn new(
        client: Client,
        group: String,
        settings: MemberSettings,
        troubles: Troubles,
        assignments: Arc<Assignments>,
        fetcher: FetchHandle,
        events: mpsc::Sender<Result<SourceEvent, EngineError>>,
    ) -> Membership {
        let (cluster, instance) = (Arc::clone(client.cluster()), settings.instance.clone());
        let memory = cluster.memory(&group, &settings.topic);
        let coordinator = Coordinator { cluster, group, instance, troubles };
        let (identity, owned) = (Identity::default(), BTreeSet::new());
        Membership {
            client,
            coordinator,
            settings,
            assignments,
            fetcher,
            events,
            memory,
            identity,
            owned,
            failures: 0,
        }
    }

    /// Commits for this member.
    pub fn committer(&self) -> Committer {
        let (coordinator, assignments) = (self.coordinator.clone(), Arc::clone(&self.assignments));
        Committer { coordinator, assignments, turn: Default::default() }
    }

    /// Takes part until `closing` is sent; then leaves, unless the member is static (KIP-345). If
    /// `closing` is dropped, ends without leaving. `fetching` runs beside it.
    pub async fn run(mut self, closing: oneshot::Receiver<()>, mut fetching: Fetching) {
        let mut finding = AbortOnDropHandle::new(tokio::spawn(self.finder().run()));
        let is_leaving = tokio::select! {
            biased;
            closed = closing => closed.is_ok(),
            error = async {
                tokio::select! {
                    error = self.live() => error,
                    error = fetching.ended() => error,
                    error = &mut finding => error.unwrap_or_else(|error| {
                        EngineError::new(ErrorKind::Retriable, format!("finding positions: {error}"))
                    }),
                }
            } => self.events.send(Err(error)).await.is_ok(),
        };
        drop((finding, fetching));
        // What is no longer tried is no longer failing.
        self.coordinator.troubles.end_where(|place| match place {
            Place::Fetch(_) | Place::Commit | Place::Group | Place::Source(_) => true,
            Place::Write(_) | Place::Rewind(_) | Place::Destination(_) | Place::Start => false,
        });
        if is_leaving && !self.identity.member.is_empty() {
            let limit = Duration::from_secs(5);
            let left = timeout(limit, self.leave(limit)).await;
            if !matches!(left, Ok(Ok(()))) {
                tracing::debug!(?left, "leaving the group");
                // Its session lasts: the next member of this process takes its place.
                self.memory.keep_member(&self.identity.member);
            }
        }
    }

    fn finder(&self) -> Finder {
        Finder {
            client: self.client.clone(),
            coordinator: self.coordinator.clone(),
            assignments: Arc::clone(&self.assignments),
            memory: self.memory.clone(),
            topic: Arc::clone(&self.settings.topic),
            reset: self.settings.offset_reset,
            fetcher: self.fetcher.commands(),
            events: self.events.clone(),
            search: Default::default(),
        }
    }

    async fn leave(&self, limit: Duration) -> Result<(), GroupRefusal> {
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
        // A member that could not leave comes back as itself, so that nobody waits for its session.
        self.identity.member = self.memory.take_member().unwrap_or_default();
        loop {
            if let Err(error) = self.generation().await {
                return error;
            }
        }
    }

    /// One generation of the group, from joining to the next rebalance.
    async fn generation(&mut self) -> Result<(), EngineError> {
        let joined = self.join().await?;
        let Some(led) = self.lead(&joined).await? else { return Ok(()) };
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
        self.start(added).await;
        // What was released is assigned in a rebalance that follows at once (KIP-429).
        let pulse = if revoked.is_empty() {
            tokio::select! {
                pulse = heart.disturbed() => pulse,
                () = led.watch.changed(&self.client) => Pulse::Rebalance,
            }
        } else {
            Pulse::Rebalance
        };
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

    /// Starts to read new partitions, each once its position is known.
    pub(super) async fn start(&mut self, partitions: BTreeSet<TopicPartition>) {
        if partitions.is_empty() && self.owned.is_empty() {
            self.tell(SourceEvent::Assigned(Vec::new())).await;
        }
        self.assignments.add(&partitions);
        self.owned.extend(partitions);
    }

    /// Releases partitions once everything in flight for them is committed; `false` when the
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
        self.fetcher.stop(&partitions).await;
        let (release, released) = oneshot::channel();
        let event = SourceEvent::Revoked { partitions: partitions.iter().cloned().collect(), release };
        let released = async {
            self.tell(event).await;
            // Dropping means the same as sending.
            let _ = released.await;
        };
        let limit = self.settings.revoke_timeout.min(self.settings.rebalance_timeout);
        let Coordinator { cluster, troubles, .. } = &self.coordinator;
        let mut is_gone = false;
        let pulse = tokio::select! {
            biased;
            pulse = heart.stopped() => pulse,
            released = timeout(limit, released) => {
                if released.is_err() {
                    tracing::warn!(?limit, "revoked partitions were not released in time; giving them up");
                }
                Pulse::Steady
            }
            // What is read of a topic that was deleted can never be committed.
            () = gone(cluster, &self.settings.topic, troubles) => {
                is_gone = true;
                Pulse::Steady
            }
        };
        match pulse {
            Pulse::Steady | Pulse::Rebalance => {
                self.assignments.remove(&partitions);
                self.owned.retain(|partition| !partitions.contains(partition));
                if is_gone {
                    self.tell(SourceEvent::Lost(partitions.into_iter().collect())).await;
                }
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
        self.identity.generation = Identity::default().generation;
        self.assignments.set_identity(self.identity.clone());
        self.drop_owned(reason).await;
    }

    /// Gives all partitions up without a commit.
    pub(super) async fn drop_owned(&mut self, reason: &str) {
        let partitions = std::mem::take(&mut self.owned);
        self.assignments.remove(&partitions);
        if !partitions.is_empty() {
            tracing::warn!(group = self.coordinator.group, reason, "lost what the group had assigned");
            self.fetcher.stop(&partitions).await;
            self.tell(SourceEvent::Lost(partitions.into_iter().collect())).await;
        }
    }

    /// If nobody listens, the source is being dropped.
    async fn tell(&self, event: SourceEvent) {
        let _ = self.events.send(Ok(event)).await;
    }
}
