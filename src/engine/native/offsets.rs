//! Offsets: where a partition begins and ends, and what a group has committed.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join_all;
use kafka_protocol::{
    messages::ApiKey,
    messages::{
        BrokerId, ConsumerGroupDescribeRequest, DescribeGroupsRequest, GroupId, ListOffsetsRequest,
        OffsetFetchRequest, TopicName,
        list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
    },
    protocol::StrBytes,
};

use super::{Client, GroupInfo, MemberInfo, OffsetAt, cluster::Lane, metadata::Leader};
use crate::{
    batch::TopicPartition,
    engine::{EngineError, ErrorKind},
};

impl Client {
    /// The offset of a place in each partition of a topic. With [`OffsetAt::Timestamp`], a
    /// partition without such a record gives its end.
    ///
    /// # Errors
    /// When the topic is missing or the cluster does not answer in time.
    pub async fn offsets(&self, topic: &str, at: OffsetAt) -> Result<BTreeMap<i32, i64>, EngineError> {
        let what = format!("the offsets of topic {topic}");
        let mut found = self.retry(&what, || self.list_offsets(topic, at, None)).await?;
        if found.values().any(|offset| *offset < 0) {
            let ends = self.retry(&what, || self.list_offsets(topic, OffsetAt::Latest, None)).await?;
            for (partition, offset) in found.iter_mut().filter(|(_, offset)| **offset < 0) {
                *offset = ends.get(partition).copied().unwrap_or_default();
            }
        }
        Ok(found)
    }

    /// Where each of `partitions` begins or ends, whatever state the topic's others are in; one that
    /// the cluster does not know is left out.
    ///
    /// # Errors
    /// As [`offsets`](Client::offsets).
    pub(super) async fn offsets_of(
        &self,
        topic: &str,
        partitions: &BTreeSet<i32>,
        at: OffsetAt,
    ) -> Result<BTreeMap<i32, i64>, EngineError> {
        let what = format!("the offsets of topic {topic}");
        self.retry(&what, || self.list_offsets(topic, at, Some(partitions))).await
    }

    /// The offsets that a group has committed for a topic; partitions without one are left out.
    ///
    /// # Errors
    /// When the coordinator refuses or does not answer in time.
    pub async fn committed(&self, group: &str, topic: &str) -> Result<BTreeMap<i32, i64>, EngineError> {
        let what = format!("the committed offsets of group {group}");
        let request = OffsetFetchRequest::default().with_group_id(group_id(group)).with_topics(None);
        self.retry(&what, || async {
            let broker = self.cluster().coordinator(group).await?;
            let connection = self.cluster().connection(broker, Lane::Control).await?;
            let response = connection.call(request.clone()).await?;
            connection.throttle(response.throttle_time_ms);
            self.checked(response.error_code, &what, None)?;
            let partitions = response.topics.iter().filter(|t| t.name.0.as_str() == topic);
            let mut offsets = BTreeMap::new();
            for partition in partitions.flat_map(|t| &t.partitions) {
                self.checked(partition.error_code, &what, None)?;
                if partition.committed_offset >= 0 {
                    offsets.insert(partition.partition_index, partition.committed_offset);
                }
            }
            Ok(offsets)
        })
        .await
    }

    /// Describes a consumer group; one that does not exist has the state `Dead` and no members.
    ///
    /// # Errors
    /// When the coordinator refuses or does not answer in time.
    pub async fn group(&self, group: &str) -> Result<GroupInfo, EngineError> {
        let what = format!("describing group {group}");
        self.retry(&what, || self.describe_group(group, &what)).await
    }

    async fn describe_group(&self, group: &str, what: &str) -> Result<GroupInfo, EngineError> {
        let broker = self.cluster().coordinator(group).await?;
        let connection = self.cluster().connection(broker, Lane::Control).await?;
        let request = DescribeGroupsRequest::default().with_groups(vec![group_id(group)]);
        let response = connection.call(request).await?;
        connection.throttle(response.throttle_time_ms);
        let mut info = GroupInfo { group: group.to_owned(), state: "Dead".to_owned(), members: Vec::new() };
        let Some(described) = response.groups.first() else { return Ok(info) };
        self.checked(described.error_code, what, None)?;
        if described.group_state.as_str() != "Dead" {
            info.state = described.group_state.to_string();
            let members = described.members.iter();
            info.members = members.map(|m| member(&m.member_id, &m.client_id, &m.client_host)).collect();
        } else if connection.offered(ApiKey::ConsumerGroupDescribe).is_some() {
            // A group of the newer protocol (KIP-848) looks dead to the older question.
            let request = ConsumerGroupDescribeRequest::default().with_group_ids(vec![group_id(group)]);
            let response = connection.call(request).await?;
            if let Some(described) = response.groups.first().filter(|described| described.error_code == 0) {
                info.state = described.group_state.to_string();
                let members = described.members.iter();
                info.members = members.map(|m| member(&m.member_id, &m.client_id, &m.client_host)).collect();
            }
        }
        Ok(info)
    }

    /// Asks the leader of each partition, or of each of `only` (KIP-79).
    async fn list_offsets(
        &self,
        topic: &str,
        at: OffsetAt,
        only: Option<&BTreeSet<i32>>,
    ) -> Result<BTreeMap<i32, i64>, EngineError> {
        let mut by_leader: BTreeMap<i32, Vec<(i32, Leader)>> = BTreeMap::new();
        let mut partitions = self.cluster().topic(topic).await?.partitions;
        partitions.retain(|partition, _| only.is_none_or(|only| only.contains(partition)));
        for (partition, leader) in partitions {
            by_leader.entry(leader.broker).or_default().push((partition, leader));
        }
        let asking = by_leader.into_iter().map(|(broker, partitions)| async move {
            if broker < 0 {
                self.cluster().invalidate();
                let error = EngineError::new(ErrorKind::Retriable, "there is no leader");
                return Err(error.at(&TopicPartition::new(topic, partitions[0].0)));
            }
            self.list_offsets_of(broker, topic, &partitions, at).await
        });
        Ok(try_join_all(asking).await?.into_iter().flatten().collect())
    }

    async fn list_offsets_of(
        &self,
        broker: i32,
        topic: &str,
        partitions: &[(i32, Leader)],
        at: OffsetAt,
    ) -> Result<Vec<(i32, i64)>, EngineError> {
        let (timestamp, read_committed) = match at {
            OffsetAt::Earliest => (-2, false),
            OffsetAt::Latest => (-1, true),
            OffsetAt::Timestamp(timestamp) => (timestamp, false),
        };
        let asked = partitions.iter().map(|(partition, leader)| {
            ListOffsetsPartition::default()
                .with_partition_index(*partition)
                .with_current_leader_epoch(leader.epoch)
                .with_timestamp(timestamp)
        });
        let name = TopicName(StrBytes::from_string(topic.to_owned()));
        let request = ListOffsetsRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_isolation_level(i8::from(read_committed))
            .with_topics(vec![ListOffsetsTopic::default().with_name(name).with_partitions(asked.collect())]);
        let connection = self.cluster().connection(broker, Lane::Control).await?;
        let response = connection.call(request).await?;
        connection.throttle(response.throttle_time_ms);
        let mut offsets = Vec::new();
        for answer in response.topics.iter().flat_map(|topic| &topic.partitions) {
            let at = TopicPartition::new(topic, answer.partition_index);
            self.checked(answer.error_code, "listing offsets", None).map_err(|error| error.at(&at))?;
            offsets.push((answer.partition_index, answer.offset));
        }
        Ok(offsets)
    }
}

fn group_id(group: &str) -> GroupId {
    GroupId(StrBytes::from_string(group.to_owned()))
}

fn member(member: &str, client: &str, host: &str) -> MemberInfo {
    MemberInfo { member: member.to_owned(), client: client.to_owned(), host: host.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::native::testing::embedded;

    #[tokio::test]
    async fn a_partition_without_a_leader_delays_none_but_itself() {
        let (broker, settings) = embedded().await;
        broker.create_topic("t", 2, &[]).unwrap();
        let client = Client::connect(&settings).await.unwrap();
        client.cluster().metadata("t").await.unwrap();
        client.cluster().unseat("t", 1);
        let only = |partition| BTreeSet::from([partition]);
        let found = client.list_offsets("t", OffsetAt::Earliest, Some(&only(0))).await;
        assert_eq!(found.unwrap(), BTreeMap::from([(0, 0)]));
        let error = client.list_offsets("t", OffsetAt::Earliest, Some(&only(1))).await.unwrap_err();
        assert_eq!((error.kind, error.partition), (ErrorKind::Retriable, Some(TopicPartition::new("t", 1))));
    }
}
