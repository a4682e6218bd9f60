//! A member's life in the consumer protocol (KIP-848): give up what is not assigned any more, say
//! so, read what is assigned anew; again.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::time::sleep;

use super::{
    Identity, Membership,
    consumer::{Beats, Joined, Share},
    heart::Pulse,
};
use crate::{batch::TopicPartition, engine::EngineError};

/// How long a member that lost its membership waits before it joins again.
const REJOIN: Duration = Duration::from_millis(100);

impl Membership {
    /// Takes part until nothing helps.
    pub(super) async fn live_as_consumer(&mut self) -> EngineError {
        let member = format!("{:032x}", rand::random::<u128>());
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
            sleep(REJOIN).await;
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
            // A topic of the same name that was created anew shares nothing with the old one.
            let is_other = topic.is_some_and(|topic| topic != target.topic) && !assigned.is_empty();
            let revoked: BTreeSet<_> =
                self.owned.iter().filter(|held| is_other || !assigned.contains(held)).cloned().collect();
            if !revoked.is_empty() {
                if !self.revoke(revoked, &mut joined.heart).await? {
                    return Ok(());
                }
                self.report(&joined, topic.unwrap_or(target.topic));
            }
            let added: BTreeSet<_> = assigned.difference(&self.owned).cloned().collect();
            if let Pulse::Steady = self.start(added, &mut joined.heart).await? {
                topic = Some(target.topic);
                self.report(&joined, target.topic);
                tracing::info!(
                    group = self.coordinator.group,
                    partitions = self.owned.len(),
                    "assigned by the group"
                );
            }
        }
    }

    /// Has the next heartbeat, which goes out at once, tell what this member has.
    fn report(&self, joined: &Joined, topic: uuid::Uuid) {
        let partitions = self.owned.iter().map(|partition| partition.partition).collect();
        joined.owned.send_replace(Share { topic, partitions });
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        budget::Budget,
        engine::{
            ClientSettings, Offset, OffsetReset, Source, SourceEvent, SourceSettings,
            native::{Client, NativeSource, group::coordinator::Coordinator, testing},
        },
    };

    use super::*;

    async fn next(source: &mut NativeSource) -> SourceEvent {
        tokio::time::timeout(Duration::from_secs(60), source.next(false)).await.expect("stuck").unwrap()
    }

    async fn kafka() -> ClientSettings {
        assert!(std::env::var_os("TEST_KAFKA").is_some(), "TEST_KAFKA must name a real Kafka");
        let (_, mut settings) = testing::cluster().await;
        settings.properties.insert("group.protocol".into(), "consumer".into());
        settings
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_member_that_the_coordinator_drops_commits_nothing_and_joins_again() {
        let settings = kafka().await;
        let client = Client::connect(&settings).await.unwrap();
        let topic = testing::fresh("dropped");
        client.create_topic(&topic, 2, None, &[]).await.unwrap();
        let group = testing::fresh("group");
        let source = SourceSettings {
            topic: topic.as_str().into(),
            group: group.clone(),
            offset_reset: OffsetReset::Earliest,
            revoke_timeout: Duration::from_secs(10),
            budget: Budget::new(8 << 20),
        };
        let mut source = NativeSource::new(&client, &settings, source).await.unwrap();
        let SourceEvent::Assigned(before) = next(&mut source).await else { panic!("an assignment first") };
        assert_eq!(before.len(), 2);

        let member = client.group(&group).await.unwrap().members.remove(0).member;
        let cluster = Arc::clone(client.cluster());
        let coordinator = Coordinator { cluster, group: group.clone(), instance: None };
        coordinator.leave_consumer(&member, Duration::from_secs(10)).await.unwrap();
        let SourceEvent::Lost(lost) = next(&mut source).await else { panic!("there is no time to release") };
        assert_eq!(lost.len(), 2);
        let SourceEvent::Assigned(after) = next(&mut source).await else { panic!("assigned again") };
        assert_eq!(after.len(), 2);
        let offset = |of: &crate::engine::Assignment, next| Offset {
            partition: of.partition.clone(),
            generation: of.generation,
            next,
        };
        source.commit(vec![offset(&before[0], 7)]).await.unwrap();
        assert!(
            client.committed(&group, &topic).await.unwrap().is_empty(),
            "an old assignment commits nothing"
        );
        source.commit(vec![offset(&after[0], 5)]).await.unwrap();
        assert_eq!(client.committed(&group, &topic).await.unwrap().len(), 1);
        source.close().await;
        assert_eq!(client.group(&group).await.unwrap().members.len(), 0, "it has left");
        client.delete_topic(&topic).await.unwrap();
    }
}
