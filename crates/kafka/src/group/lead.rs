//! The leader's additional work: it assigns the partitions and watches their number.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use kafka_protocol::{ResponseError, messages::JoinGroupResponse};
use topicmill_mill::engine::{EngineError, ErrorKind};

use super::protocol::{decode_subscription, encode_assignment};
use crate::{Client, GroupInfo, settings::Assignor};

/// How often a leader checks whether a missing topic exists now.
const MISSING_INTERVAL: Duration = Duration::from_secs(3);

/// How often a leader checks for new partitions, unless `metadata.max.age.ms` is less.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// The leader's work for one generation; empty for the other members.
#[derive(Debug, Default)]
pub(super) struct LedGroup {
    /// Each member's assignment, encoded.
    pub assignments: Vec<(String, Bytes)>,
    /// What the assignments are based on.
    pub watch: Watch,
}

/// The number of partitions of each topic that the group reads, as the leader saw them.
#[derive(Debug, Default)]
pub(super) struct Watch {
    counts: BTreeMap<String, i32>,
    /// Some of them were not there yet when the assignments were made.
    has_new: bool,
}

/// Assigns the partitions of every topic that the members read to them.
pub(super) async fn assign(
    client: &Client,
    group: &str,
    joined: &JoinGroupResponse,
) -> Result<LedGroup, EngineError> {
    let fatal = |text: String| EngineError::new(ErrorKind::Fatal, text);
    let name = joined.protocol_name.as_deref().unwrap_or_default();
    let assignor = Assignor::named(name).ok_or_else(|| {
        fatal(format!("the group chose the assignor {name:?}, which this member did not offer"))
    })?;
    let members = joined.members.iter().map(|member| {
        let id = member.member_id.as_str();
        let read = decode_subscription(id, member.group_instance_id.as_deref(), &member.metadata);
        read.ok_or_else(|| fatal(format!("the subscription of group member {id} is malformed")))
    });
    let members = members.collect::<Result<Vec<_>, _>>()?;
    let topics: BTreeSet<String> = members.iter().flat_map(|member| member.topics.clone()).collect();
    let what = "counting the partitions of the group";
    let counts = client.retry(what, || counts(client, topics.clone())).await?;
    // A static leader that came back keeps the assignment, but watches (KIP-814): from the moment in which that was
    // made, as nobody has watched while it was away.
    if joined.skip_assignment {
        let has_new = client.group(group).await.is_ok_and(|known| has_new(&counts, &known));
        return Ok(LedGroup { assignments: Vec::new(), watch: Watch { counts, has_new } });
    }
    let plan = assignor.assign(&members, &counts);
    tracing::debug!(%assignor, members = members.len(), "leading the group");
    let assignments = plan.iter().map(|(member, partitions)| (member.clone(), encode_assignment(partitions)));
    Ok(LedGroup { assignments: assignments.collect(), watch: Watch { counts, has_new: false } })
}

/// Whether nobody was given a partition that is there.
fn has_new(counts: &BTreeMap<String, i32>, group: &GroupInfo) -> bool {
    let given: BTreeSet<_> = group.members.iter().flat_map(|member| &member.assigned).collect();
    let count = |topic: &str| given.iter().filter(|partition| &*partition.topic == topic).count();
    // Without any, the coordinator has not said.
    !given.is_empty() && counts.iter().any(|(topic, all)| count(topic) < *all as usize)
}

impl Watch {
    /// Waits until the number of partitions of a topic has changed; forever if this member does not
    /// lead.
    pub async fn changed(&self, client: &Client) {
        if self.has_new {
            return;
        }
        if self.counts.is_empty() {
            std::future::pending::<()>().await;
        }
        let is_complete = self.counts.values().all(|count| *count > 0);
        let age = client.cluster().settings.metadata_max_age;
        let interval = age.min(if is_complete { LOOK_INTERVAL } else { MISSING_INTERVAL });
        loop {
            tokio::time::sleep(interval).await;
            match counts(client, self.counts.keys().cloned()).await {
                Ok(counts) if counts != self.counts => return,
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "looking for new partitions"),
            }
        }
    }
}

/// The current number of partitions of each topic; 0 for one that does not exist.
async fn counts(
    client: &Client,
    topics: impl IntoIterator<Item = String>,
) -> Result<BTreeMap<String, i32>, EngineError> {
    let cluster = client.cluster();
    cluster.invalidate();
    let mut counts = BTreeMap::new();
    for topic in topics {
        let metadata = cluster.metadata(&topic).await?;
        let count = match metadata.topics.get(&*topic) {
            Some(Ok(found)) => found.partitions.len() as i32,
            Some(Err(error)) if error.0 != ResponseError::UnknownTopicOrPartition => {
                return Err(cluster.failed(*error, &format!("topic {topic}"), None));
            }
            Some(Err(_)) | None => 0,
        };
        counts.insert(topic, count);
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use kafka_protocol::{messages::join_group_response::JoinGroupResponseMember, protocol::StrBytes};
    use topicmill_broker::{ApiKey, Broker, Fault, FaultAction};

    use super::*;
    use crate::{
        group::protocol::{decode_assignment, encode_subscription},
        testing::embedded,
    };

    /// A topic of two partitions, and the only member of a group that reads it.
    async fn alone() -> (Broker, Client, JoinGroupResponse) {
        let (broker, settings) = embedded().await;
        broker.create_topic("t", 2, &[]).unwrap();
        let client = Client::connect(&settings).await.unwrap();
        let member = JoinGroupResponseMember::default()
            .with_member_id(StrBytes::from_static_str("m"))
            .with_metadata(encode_subscription("t", &BTreeSet::new(), -1));
        let joined = JoinGroupResponse::default()
            .with_protocol_name(Some(StrBytes::from_static_str("range")))
            .with_members(vec![member]);
        (broker, client, joined)
    }

    #[tokio::test]
    async fn a_leader_that_must_not_assign_still_watches() {
        let (_broker, client, joined) = alone().await;
        let led = assign(&client, "g", &joined.with_skip_assignment(true)).await.unwrap();
        assert!(led.assignments.is_empty());
        assert_eq!(led.watch.counts, BTreeMap::from([("t".to_owned(), 2)]));
    }

    #[tokio::test]
    async fn a_broker_that_goes_away_meanwhile_is_asked_again() {
        let (broker, client, joined) = alone().await;
        broker.inject(Fault::once(ApiKey::Metadata, FaultAction::Close).times(2));
        let led = assign(&client, "g", &joined).await.unwrap();
        assert_eq!(decode_assignment(&led.assignments[0].1).unwrap().len(), 2);
    }
}
