//! The life of a member in the consumer protocol (KIP-848): release what is no longer assigned,
//! report it, read what is newly assigned; again.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::time::sleep;
use topicmill_mill::{batch::TopicPartition, engine::EngineError};

use super::{
    Membership,
    consumer::{Beats, Joined, Share},
    heart::Pulse,
};
use crate::assignments::Identity;

/// How long a member that lost its membership waits before it joins again.
const REJOIN_DELAY: Duration = Duration::from_millis(100);

impl Membership {
    /// Takes part until nothing helps.
    pub(super) async fn live_as_consumer(&mut self) -> EngineError {
        // A member that could not leave comes back as itself, so that nobody waits for its session.
        let member = self.memory.take_member().unwrap_or_else(|| format!("{:032x}", rand::random::<u128>()));
        loop {
            self.identity = Identity { member: member.clone(), generation: 0 };
            let beats = Beats {
                coordinator: self.coordinator.clone(),
                assignments: Arc::clone(&self.assignments),
                member: member.clone(),
                topic: Arc::clone(&self.settings.topic),
                rebalance_timeout: self.settings.rebalance_timeout,
                session_timeout: self.settings.session_timeout,
            };
            if let Err(error) = self.reconcile(beats.start()).await {
                return error;
            }
            sleep(REJOIN_DELAY).await;
        }
    }

    /// Follows the coordinator's assignment until the membership is lost.
    async fn reconcile(&mut self, mut joined: Joined) -> Result<(), EngineError> {
        let mut topic = None;
        loop {
            let pulse = tokio::select! {
                biased;
                pulse = joined.heart.stopped() => pulse,
                Ok(()) = joined.target.changed() => Pulse::Steady,
            };
            match pulse {
                Pulse::Steady | Pulse::Rebalance => {}
                Pulse::Lost(reason) => {
                    self.lose(&reason).await;
                    return Ok(());
                }
                Pulse::Fatal(error) => return Err(error),
            }
            let Some(target) = joined.target.borrow_and_update().clone() else { continue };
            let name = &self.settings.topic;
            let assigned: BTreeSet<_> = target
                .partitions
                .iter()
                .map(|number| TopicPartition::new(Arc::clone(name), *number))
                .collect();
            // A topic that was deleted and created again shares nothing with the old one. What was
            // read of that one must not be committed for this one.
            if topic.is_some_and(|topic| topic != target.topic) && !assigned.is_empty() {
                self.drop_owned("the topic was deleted and made anew").await;
                self.report(&joined, target.topic);
            }
            let revoked: BTreeSet<_> = self.owned.difference(&assigned).cloned().collect();
            if !revoked.is_empty() {
                if !self.revoke(revoked, &mut joined.heart).await? {
                    return Ok(());
                }
                self.report(&joined, topic.unwrap_or(target.topic));
            }
            let added: BTreeSet<_> = assigned.difference(&self.owned).cloned().collect();
            self.start(added).await;
            topic = Some(target.topic);
            self.report(&joined, target.topic);
            tracing::info!(
                group = self.coordinator.group,
                partitions = self.owned.len(),
                "assigned by the group"
            );
        }
    }

    /// Has the next heartbeat, which is sent at once, report what this member owns.
    fn report(&self, joined: &Joined, topic: uuid::Uuid) {
        let partitions = self.owned.iter().map(|partition| partition.partition).collect();
        joined.owned.send_replace(Share { topic, partitions });
    }
}
