//! Consumer groups: what they have committed, who is in them; delete.

use std::collections::BTreeMap;

use kafka_protocol::{
    ResponseError,
    messages::{
        ApiKey, ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, DeleteGroupsRequest,
        DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse, OffsetFetchRequest,
        OffsetFetchResponse, consumer_group_describe_response, describe_groups_response,
    },
};
use topicmill_mill::{batch::TopicPartition, engine::EngineError};

use super::{
    Client, GroupInfo, MemberInfo,
    ask::{Whom, accepted},
    client::NO_GROUP,
    cluster::Lane,
    group::{decode_assignment, subscribed_topics},
    text::group_id,
};

impl Client {
    /// The offsets that a group has committed for a topic; partitions without one are left out.
    ///
    /// # Errors
    /// When the coordinator refuses or does not answer in time.
    pub async fn committed(&self, group: &str, topic: &str) -> Result<BTreeMap<i32, i64>, EngineError> {
        let all = self.committed_all(group).await?;
        let of_topic = all.into_iter().filter(|(partition, _)| &*partition.topic == topic);
        Ok(of_topic.map(|(partition, offset)| (partition.partition, offset)).collect())
    }

    /// The offsets that a group has committed, of all its topics.
    ///
    /// # Errors
    /// When the coordinator refuses or does not answer in time.
    pub async fn committed_all(&self, group: &str) -> Result<BTreeMap<TopicPartition, i64>, EngineError> {
        let what = format!("the committed offsets of group {group}");
        let request = OffsetFetchRequest::default().with_group_id(group_id(group)).with_topics(None);
        let read = |response: OffsetFetchResponse| {
            accepted(response.error_code, None)?;
            let mut offsets = BTreeMap::new();
            for topic in &response.topics {
                for partition in &topic.partitions {
                    accepted(partition.error_code, None)?;
                    if partition.committed_offset >= 0 {
                        let place = TopicPartition::new(topic.name.as_str(), partition.partition_index);
                        offsets.insert(place, partition.committed_offset);
                    }
                }
            }
            Ok(offsets)
        };
        self.ask(&what, Whom::Coordinator(group, Lane::Control), &request, read).await
    }

    /// Describes a consumer group; one that does not exist has the state `Dead` and no members.
    ///
    /// # Errors
    /// When the coordinator refuses or does not answer in time.
    pub async fn group(&self, group: &str) -> Result<GroupInfo, EngineError> {
        let what = format!("describing group {group}");
        let coordinator = Whom::Coordinator(group, Lane::Control);
        let request = DescribeGroupsRequest::default().with_groups(vec![group_id(group)]);
        let read = |response: DescribeGroupsResponse| {
            let Some(described) = response.groups.first() else { return Ok(None) };
            accepted(described.error_code, None)?;
            let members = described.members.iter().map(classic).collect();
            Ok(info(group, &described.group_state, members))
        };
        if let Some(found) = self.ask(&what, coordinator, &request, read).await? {
            return Ok(found);
        }
        // To the older request, a group of the newer protocol (KIP-848) looks dead.
        let none = GroupInfo { group: group.to_owned(), state: NO_GROUP.to_owned(), members: Vec::new() };
        let broker = self.cluster().coordinator(group).await?;
        let connection = self.cluster().connection(broker, Lane::Control).await?;
        if connection.offered(ApiKey::ConsumerGroupDescribe).is_none() {
            return Ok(none);
        }
        let request = ConsumerGroupDescribeRequest::default().with_group_ids(vec![group_id(group)]);
        let read = |response: ConsumerGroupDescribeResponse| {
            let described = response.groups.first().filter(|described| described.error_code == 0);
            Ok(described.and_then(|described| {
                info(group, &described.group_state, described.members.iter().map(newer).collect())
            }))
        };
        Ok(self.ask(&what, coordinator, &request, read).await?.unwrap_or(none))
    }

    /// Deletes a consumer group with its offsets (KIP-229), once its members have left; a missing
    /// one is no error.
    ///
    /// # Errors
    /// When the coordinator refuses or does not answer in time, or a member stays.
    pub async fn delete_group(&self, group: &str) -> Result<(), EngineError> {
        let request = DeleteGroupsRequest::default().with_groups_names(vec![group_id(group)]);
        let read = |response: DeleteGroupsResponse| {
            let code = response.results.first().map_or(0, |result| result.error_code);
            if code == ResponseError::GroupIdNotFound.code() { Ok(()) } else { accepted(code, None) }
        };
        let coordinator = Whom::Coordinator(group, Lane::Control);
        self.ask(&format!("deleting group {group}"), coordinator, &request, read).await
    }
}

/// The group, if there is one.
fn info(group: &str, state: &str, members: Vec<MemberInfo>) -> Option<GroupInfo> {
    let info = GroupInfo { group: group.to_owned(), state: state.to_owned(), members };
    info.exists().then_some(info)
}

fn classic(member: &describe_groups_response::DescribedGroupMember) -> MemberInfo {
    MemberInfo {
        member: member.member_id.to_string(),
        client: member.client_id.to_string(),
        host: member.client_host.to_string(),
        // While the group rebalances, the coordinator leaves it out.
        topics: subscribed_topics(&member.member_metadata).unwrap_or_default(),
        assigned: decode_assignment(&member.member_assignment).unwrap_or_default(),
    }
}

fn newer(member: &consumer_group_describe_response::Member) -> MemberInfo {
    let topics = member.assignment.topic_partitions.iter();
    let assigned = topics.flat_map(|topic| {
        topic.partitions.iter().map(|partition| TopicPartition::new(topic.topic_name.as_str(), *partition))
    });
    MemberInfo {
        member: member.member_id.to_string(),
        client: member.client_id.to_string(),
        host: member.client_host.to_string(),
        topics: member.subscribed_topic_names.iter().map(|name| name.to_string()).collect(),
        assigned: assigned.collect(),
    }
}
