//! A member's requests to the group's coordinator, and what its refusals mean.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use kafka_protocol::{
    ResponseError,
    messages::{
        ApiKey, GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
        OffsetCommitRequest, SyncGroupRequest,
        join_group_request::JoinGroupRequestProtocol,
        leave_group_request::MemberIdentity,
        offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
        sync_group_request::SyncGroupRequestAssignment,
    },
    protocol::{Request, StrBytes},
};
use topicmill_mill::{
    batch::TopicPartition,
    engine::{EngineError, ErrorKind, Offset, Place, Troubles},
};

use crate::{
    ask::Whom,
    assignments::Identity,
    cluster::{Cluster, Lane},
    error::check,
    reply::Answer,
    settings::Assignor,
    text::{group_id, text, topic_name},
};

/// The name of the consumers' group protocol.
const PROTOCOL_TYPE: &str = "consumer";

/// The coordinator of one group, whichever broker it is.
#[derive(Clone, Debug)]
pub(super) struct Coordinator {
    pub cluster: Arc<Cluster>,
    pub group: String,
    /// The `group.instance.id` of a static member (KIP-345).
    pub instance: Option<String>,
    /// Where it is reported that the coordinator does not answer.
    pub troubles: Troubles,
}

/// Why the coordinator does not agree.
#[derive(Debug)]
pub(super) enum GroupRefusal {
    /// To join with this id (KIP-394).
    JoinAs(String),
    /// The group is rebalancing; the membership holds.
    Rebalance,
    /// The membership, or its generation, is over.
    Over(EngineError),
    /// Trying again may help.
    Again(EngineError),
    /// Nothing helps.
    Fatal(EngineError),
}

impl From<EngineError> for GroupRefusal {
    fn from(error: EngineError) -> GroupRefusal {
        match error.kind {
            ErrorKind::Fatal => GroupRefusal::Fatal(error),
            ErrorKind::Retriable | ErrorKind::Unreachable => GroupRefusal::Again(error),
        }
    }
}

impl From<GroupRefusal> for EngineError {
    fn from(refusal: GroupRefusal) -> EngineError {
        match refusal {
            GroupRefusal::Over(error) | GroupRefusal::Again(error) | GroupRefusal::Fatal(error) => error,
            GroupRefusal::Rebalance | GroupRefusal::JoinAs(_) => {
                EngineError::new(ErrorKind::Retriable, "the group is rebalancing")
            }
        }
    }
}

impl Coordinator {
    /// The coordinator did not answer, or not as it should; `failures` is how often before. The
    /// failure is reported with its count: logging each attempt would be too much.
    pub fn fails(&self, error: &EngineError, failures: u32, what: &str) {
        self.troubles.begin(Place::Group, &error.message);
        tracing::debug!(%error, group = &*self.group, failures, "{what}");
    }

    /// The coordinator answers as it should.
    pub fn answers(&self) {
        self.troubles.end(&Place::Group);
    }

    /// Joins; resolves when every member has, or `limit` passes.
    pub async fn join(
        &self,
        identity: &Identity,
        protocols: &[(Assignor, Bytes)],
        session_timeout: Duration,
        rebalance_timeout: Duration,
    ) -> Result<JoinGroupResponse, GroupRefusal> {
        let protocols = protocols.iter().map(|(assignor, subscription)| {
            JoinGroupRequestProtocol::default()
                .with_name(StrBytes::from_static_str(assignor.name()))
                .with_metadata(subscription.clone())
        });
        let request = JoinGroupRequest::default()
            .with_group_id(self.group_id())
            .with_session_timeout_ms(millis(session_timeout))
            .with_rebalance_timeout_ms(millis(rebalance_timeout))
            .with_member_id(text(&identity.member))
            .with_group_instance_id(self.instance.as_deref().map(text))
            .with_protocol_type(StrBytes::from_static_str(PROTOCOL_TYPE))
            .with_protocols(protocols.collect());
        let response = self.call(Lane::Group, request, self.patience(rebalance_timeout)).await?;
        if check(response.error_code).is_err_and(|error| error.0 == ResponseError::MemberIdRequired) {
            return Err(GroupRefusal::JoinAs(response.member_id.to_string()));
        }
        self.agreed(response.error_code, "joining")?;
        Ok(response)
    }

    /// Sends the assignment, for the leader, and asks for this member's.
    pub async fn sync(
        &self,
        identity: &Identity,
        assignor: &str,
        assignments: Vec<(String, Bytes)>,
        rebalance_timeout: Duration,
    ) -> Result<Bytes, GroupRefusal> {
        let assignments = assignments.into_iter().map(|(member, assignment)| {
            SyncGroupRequestAssignment::default()
                .with_member_id(StrBytes::from_string(member))
                .with_assignment(assignment)
        });
        let request = SyncGroupRequest::default()
            .with_group_id(self.group_id())
            .with_generation_id(identity.generation)
            .with_member_id(text(&identity.member))
            .with_group_instance_id(self.instance.as_deref().map(text))
            .with_protocol_type(Some(StrBytes::from_static_str(PROTOCOL_TYPE)))
            .with_protocol_name(Some(text(assignor)))
            .with_assignments(assignments.collect());
        let response = self.call(Lane::Group, request, self.patience(rebalance_timeout)).await?;
        self.agreed(response.error_code, "synchronising")?;
        Ok(response.assignment)
    }

    /// Sends a heartbeat.
    pub async fn heartbeat(&self, identity: &Identity, limit: Duration) -> Result<(), GroupRefusal> {
        let request = HeartbeatRequest::default()
            .with_group_id(self.group_id())
            .with_generation_id(identity.generation)
            .with_member_id(text(&identity.member))
            .with_group_instance_id(self.instance.as_deref().map(text));
        let response = self.call(Lane::Member, request, limit).await?;
        self.agreed(response.error_code, "heartbeat")
    }

    /// Commits offsets; returns the partitions for which the coordinator refuses it, with the
    /// reason of each.
    pub async fn commit(
        &self,
        identity: &Identity,
        offsets: &[(Offset, Arc<str>)],
    ) -> Result<HashMap<TopicPartition, GroupRefusal>, GroupRefusal> {
        let mut topics: Vec<OffsetCommitRequestTopic> = Vec::new();
        for (offset, note) in offsets {
            let partition = OffsetCommitRequestPartition::default()
                .with_partition_index(offset.partition.partition)
                .with_committed_offset(offset.next)
                .with_committed_leader_epoch(offset.leader_epoch)
                .with_committed_metadata(Some(text(note)));
            let name = &*offset.partition.topic;
            match topics.iter_mut().find(|topic| topic.name.as_str() == name) {
                Some(topic) => topic.partitions.push(partition),
                None => topics.push(
                    OffsetCommitRequestTopic::default()
                        .with_name(topic_name(name))
                        .with_partitions(vec![partition]),
                ),
            }
        }
        let request = OffsetCommitRequest::default()
            .with_group_id(self.group_id())
            .with_generation_id_or_member_epoch(identity.generation)
            .with_member_id(text(&identity.member))
            .with_group_instance_id(self.instance.as_deref().map(text))
            .with_topics(topics);
        let limit = self.cluster.settings.request_timeout;
        let response = self.call(Lane::Member, request, limit).await?;
        let mut refused = HashMap::new();
        for topic in &response.topics {
            for answer in &topic.partitions {
                if let Err(refusal) = self.agreed(answer.error_code, "committing offsets") {
                    let partition = TopicPartition::new(topic.name.as_str(), answer.partition_index);
                    refused.insert(partition, refusal);
                }
            }
        }
        Ok(refused)
    }

    /// Leaves the group, so that the others need not wait for the session to end.
    pub async fn leave(&self, identity: &Identity, limit: Duration) -> Result<(), GroupRefusal> {
        let broker = self.cluster.coordinator(&self.group).await?;
        let connection = self.cluster.connection(broker, Lane::Member).await?;
        let request = LeaveGroupRequest::default().with_group_id(self.group_id());
        // Version 3 names several members (KIP-345).
        let request = match connection.version(ApiKey::LeaveGroup).map_err(EngineError::from)? {
            ..3 => request.with_member_id(text(&identity.member)),
            _ => {
                let member = MemberIdentity::default().with_member_id(text(&identity.member));
                request.with_members(vec![member])
            }
        };
        let response = connection.call_within(&request, limit).await.map_err(EngineError::from)?;
        self.agreed(response.error_code, "leaving")
    }

    /// Sends a request to the coordinator; one that cannot be reached is looked up again.
    pub async fn call<R: Request<Response: Answer>>(
        &self,
        lane: Lane,
        request: R,
        limit: Duration,
    ) -> Result<R::Response, EngineError> {
        self.cluster.ask(Whom::Coordinator(&self.group, lane), &request, limit).await
    }

    /// Gives up on a broker that no longer coordinates: a request that waits there for other
    /// members would hold up the next one.
    pub fn hang_up(&self, broker: i32) {
        self.cluster.forget_coordinator(&self.group);
        self.cluster.connections.close(broker, Lane::Group, "the group's coordinator is lost");
    }

    /// What an error code in an answer means.
    pub fn agreed(&self, code: i16, what: &str) -> Result<(), GroupRefusal> {
        let Err(error) = check(code) else { return Ok(()) };
        let what = format!("group {}: {what}", self.group);
        match error.0 {
            // The epoch advances with every answer to a heartbeat (KIP-848).
            ResponseError::RebalanceInProgress | ResponseError::StaleMemberEpoch => Err(GroupRefusal::Rebalance),
            ResponseError::UnknownMemberId
            | ResponseError::IllegalGeneration
            | ResponseError::FencedMemberEpoch
            // The group has gone with its last member, whose session ended (KIP-848).
            | ResponseError::GroupIdNotFound => {
                // Joining again helps against all of them.
                let error = EngineError { kind: ErrorKind::Retriable, ..error.because(what, None) };
                Err(GroupRefusal::Over(error))
            }
            _ => Err(self.cluster.failed_in(&self.group, error, &what, None).into()),
        }
    }

    pub fn group_id(&self) -> GroupId {
        group_id(&self.group)
    }

    /// The limit of a request that waits for all other members.
    fn patience(&self, rebalance_timeout: Duration) -> Duration {
        self.cluster.settings.request_timeout.max(rebalance_timeout + Duration::from_secs(5))
    }
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
