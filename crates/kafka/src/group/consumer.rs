//! The heartbeats of the consumer protocol (KIP-848): they join the group, report the owned
//! partitions and return the target assignment.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant as Clock},
};

use kafka_protocol::messages::{
    ApiKey, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
    consumer_group_heartbeat_request::TopicPartitions,
};
use tokio::{sync::watch, time::timeout};
use topicmill_mill::engine::{EngineError, ErrorKind};
use uuid::Uuid;

use super::{
    coordinator::{Coordinator, GroupRefusal},
    heart::{Heart, Pulse},
};
use crate::{
    assignments::{Assignments, Identity},
    cluster::Lane,
    text::{text, topic_name},
};

/// The epoch of a member that joins.
const JOINING: i32 = 0;
/// The epoch of a member that leaves.
const LEAVING: i32 = -1;
/// The epoch of a static member that leaves for a while (KIP-345).
const PAUSING: i32 = -2;

/// Partitions of the one topic that the member reads, by its id, which distinguishes it from a
/// deleted one of the same name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Share {
    pub topic: Uuid,
    pub partitions: BTreeSet<i32>,
}

/// A member of the consumer protocol as its heartbeats know it.
#[derive(Debug)]
pub(super) struct Beats {
    pub coordinator: Coordinator,
    pub assignments: Arc<Assignments>,
    /// Chosen by the member, for as long as it lives (KIP-1082).
    pub member: String,
    pub topic: Arc<str>,
    /// How long the group waits for a revoked partition.
    pub rebalance_timeout: Duration,
    /// The membership counts as lost after this without an answer.
    pub session_timeout: Duration,
}

/// A membership from joining until it is lost; its heartbeats end when this is dropped.
#[derive(Debug)]
pub(super) struct Joined {
    pub heart: Heart,
    /// The target assignment; `None` until the coordinator has sent it.
    pub target: watch::Receiver<Option<Share>>,
    /// The partitions it owns.
    pub owned: watch::Sender<Share>,
}

impl Beats {
    /// Joins in the background.
    pub fn start(self) -> Joined {
        let (pulse, pulses) = watch::channel(Pulse::Steady);
        let (targets, target) = watch::channel(None);
        let (owned, owns) = watch::channel(Share::default());
        let task = tokio::spawn(async move {
            let end = self.beat(owns, targets).await;
            pulse.send_replace(end);
        });
        Joined { heart: Heart::new(pulses, task), target, owned }
    }

    /// Sends heartbeats until the membership is over.
    async fn beat(self, mut owned: watch::Receiver<Share>, target: watch::Sender<Option<Share>>) -> Pulse {
        let mut epoch = JOINING;
        let mut alive = Clock::now();
        let mut failures = 0;
        // Everything is reported at first and after a failure; in between, only changes.
        let mut said = None;
        loop {
            let mine = owned.borrow_and_update().clone();
            let left = self.session_timeout.saturating_sub(alive.elapsed());
            if left.is_zero() {
                let limit = self.session_timeout;
                return Pulse::Lost(format!("no heartbeat reached the coordinator within {limit:?}"));
            }
            let sent = Clock::now();
            let limit = (self.session_timeout / 3).min(left);
            let request = self.request(epoch, &mine, said.as_ref());
            let pause = match timeout(left, self.coordinator.consumer_heartbeat(request, limit)).await {
                Ok(Ok(response)) => {
                    (alive, failures, epoch, said) = (sent, 0, response.member_epoch, Some(mine));
                    self.coordinator.answers();
                    let identity = Identity { member: self.member.clone(), generation: epoch };
                    self.assignments.set_identity(identity);
                    let share = response.assignment.as_ref().map(share);
                    target.send_if_modified(|target| {
                        let next = share.or_else(|| target.is_none().then(Share::default));
                        let is_new = next.is_some() && *target != next;
                        if is_new {
                            *target = next;
                        }
                        is_new
                    });
                    Duration::from_millis(response.heartbeat_interval_ms.max(1) as u64)
                }
                Ok(Err(GroupRefusal::Over(error))) => {
                    if epoch == JOINING {
                        self.coordinator.fails(&error, failures, "cannot join the group yet");
                    }
                    return Pulse::Lost(error.to_string());
                }
                Ok(Err(GroupRefusal::Fatal(error))) => return Pulse::Fatal(error),
                Ok(Err(GroupRefusal::Again(error))) => {
                    let what = match epoch {
                        JOINING => "cannot join the group yet",
                        _ => "a heartbeat failed",
                    };
                    self.coordinator.fails(&error, failures, what);
                    (failures, said) = (failures + 1, None);
                    // A member that has never joined has no session to lose.
                    alive = if epoch == JOINING { Clock::now() } else { alive };
                    self.coordinator.cluster.settings.retry.pause(failures)
                }
                Ok(Err(GroupRefusal::Rebalance | GroupRefusal::JoinAs(_))) | Err(_) => {
                    (failures, said) = (failures + 1, None);
                    self.coordinator.cluster.settings.retry.pause(failures)
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // Released partitions are reported at once, as others wait for them.
                changed = owned.changed(), if failures == 0 => {
                    if changed.is_err() {
                        return Pulse::Lost("the member is gone".to_owned());
                    }
                }
            }
        }
    }

    fn request(&self, epoch: i32, owned: &Share, said: Option<&Share>) -> ConsumerGroupHeartbeatRequest {
        let request = self.coordinator.heartbeat_of(&self.member, epoch);
        let partitions = || {
            if owned.partitions.is_empty() {
                return Vec::new();
            }
            let partitions = owned.partitions.iter().copied().collect();
            vec![TopicPartitions::default().with_topic_id(owned.topic).with_partitions(partitions)]
        };
        match said {
            Some(said) => request.with_topic_partitions((said != owned).then(partitions)),
            None => {
                let topic = topic_name(&self.topic);
                let limit = i32::try_from(self.rebalance_timeout.as_millis()).unwrap_or(i32::MAX);
                request
                    .with_rebalance_timeout_ms(limit)
                    .with_subscribed_topic_names(Some(vec![topic]))
                    .with_topic_partitions(Some(partitions()))
            }
        }
    }
}

/// What the coordinator assigns. Only one topic is read; should it have been created again, its
/// last id counts.
fn share(assignment: &kafka_protocol::messages::consumer_group_heartbeat_response::Assignment) -> Share {
    let last = assignment.topic_partitions.last();
    last.map_or_else(Share::default, |topic| Share {
        topic: topic.topic_id,
        partitions: topic.partitions.iter().copied().collect(),
    })
}

impl Coordinator {
    /// Leaves the group; a static member only for a while, so that its successor is admitted.
    pub async fn leave_consumer(&self, member: &str, limit: Duration) -> Result<(), GroupRefusal> {
        let epoch = if self.instance.is_some() { PAUSING } else { LEAVING };
        self.consumer_heartbeat(self.heartbeat_of(member, epoch), limit).await.map(drop)
    }

    fn heartbeat_of(&self, member: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
        ConsumerGroupHeartbeatRequest::default()
            .with_group_id(self.group_id())
            .with_member_id(text(member))
            .with_member_epoch(epoch)
            .with_instance_id(self.instance.as_deref().map(text))
            .with_rebalance_timeout_ms(-1)
            .with_subscribed_topic_names(None)
            .with_topic_partitions(None)
    }

    async fn consumer_heartbeat(
        &self,
        request: ConsumerGroupHeartbeatRequest,
        limit: Duration,
    ) -> Result<ConsumerGroupHeartbeatResponse, GroupRefusal> {
        let broker = self.cluster.coordinator(&self.group).await?;
        let connection = self.cluster.connection(broker, Lane::Member).await;
        let connection = connection.inspect_err(|_| self.cluster.forget_coordinator(&self.group))?;
        if connection.offered(ApiKey::ConsumerGroupHeartbeat).is_none() {
            let text = format!(
                "broker {} does not offer group.protocol=consumer (KIP-848); leave it out, or set it to classic",
                connection.broker()
            );
            return Err(GroupRefusal::Fatal(EngineError::new(ErrorKind::Fatal, text)));
        }
        let response = self.call(Lane::Member, request, limit).await?;
        self.agreed(response.error_code, "heartbeat")?;
        Ok(response)
    }
}
