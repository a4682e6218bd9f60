//! Describing, listing and deleting groups.

use kafka_protocol::{
    error::ResponseError,
    messages::{
        ConsumerProtocolSubscription, DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest,
        DescribeGroupsResponse, GroupId, ListGroupsRequest, ListGroupsResponse,
        delete_groups_response::DeletableGroupResult,
        describe_groups_response::{DescribedGroup, DescribedGroupMember},
        list_groups_response::ListedGroup,
    },
    protocol::StrBytes,
};
use topicmill_decode::decode;

use super::{
    Groups,
    group::{Group, State},
};

impl Group {
    /// Whether a member reads `topic`, as far as consumers say.
    pub fn subscribes(&self, topic: &str) -> bool {
        self.protocol_type == "consumer"
            && self.members.values().any(|member| {
                let mut metadata = member.metadata(&self.protocol);
                if metadata.len() < 2 {
                    return false;
                }
                let version = i16::from_be_bytes([metadata[0], metadata[1]]).clamp(0, 3);
                let mut body = metadata.split_off(2);
                decode::<ConsumerProtocolSubscription>(&mut body, version)
                    .is_ok_and(|subscription| subscription.topics.iter().any(|name| name.as_str() == topic))
            })
    }

    fn describe(&self, id: &GroupId) -> DescribedGroup {
        let members = self.members.iter().map(|(id, member)| {
            DescribedGroupMember::default()
                .with_member_id(StrBytes::from_string(id.clone()))
                .with_group_instance_id(member.instance.clone().map(StrBytes::from_string))
                .with_client_id(StrBytes::from_string(member.client_id.clone()))
                .with_client_host(StrBytes::from_string(format!("/{}", member.host)))
                .with_member_metadata(member.metadata(&self.protocol))
                .with_member_assignment(member.assignment.clone())
        });
        DescribedGroup::default()
            .with_group_id(id.clone())
            .with_group_state(StrBytes::from_static_str(self.state.name()))
            .with_protocol_type(StrBytes::from_string(self.protocol_type.clone()))
            .with_protocol_data(StrBytes::from_string(self.protocol.clone()))
            .with_members(members.collect())
    }
}

impl Groups {
    /// Lists the groups, of some states (KIP-518) and types (KIP-848) only if so asked.
    pub fn list(&self, request: &ListGroupsRequest) -> ListGroupsResponse {
        let wanted = |filter: &[StrBytes], name: &str| {
            filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(name))
        };
        let groups = self.lock();
        let listed = groups.iter().filter(|(_, group)| {
            wanted(&request.states_filter, group.state.name()) && wanted(&request.types_filter, "classic")
        });
        let listed = listed.map(|(id, group)| {
            ListedGroup::default()
                .with_group_id(GroupId(StrBytes::from_string(id.clone())))
                .with_protocol_type(StrBytes::from_string(group.protocol_type.clone()))
                .with_group_state(StrBytes::from_static_str(group.state.name()))
                .with_group_type(StrBytes::from_static_str("classic"))
        });
        ListGroupsResponse::default().with_groups(listed.collect())
    }

    /// Describes groups; one that does not exist is dead, which is an error since version 6 (KIP-1043).
    /// `forced` is a fault's error code for each of them, or 0.
    pub fn describe(
        &self,
        request: &DescribeGroupsRequest,
        version: i16,
        forced: i16,
    ) -> DescribeGroupsResponse {
        let described = request.groups.iter().map(|id| {
            if forced != 0 {
                return DescribedGroup::default().with_group_id(id.clone()).with_error_code(forced);
            }
            self.with(id, |group| match group {
                Some(group) => group.describe(id),
                None => {
                    let dead = DescribedGroup::default()
                        .with_group_id(id.clone())
                        .with_group_state(StrBytes::from_static_str("Dead"));
                    if version < 6 {
                        return dead;
                    }
                    let message = format!("there is no group {}", id.as_str());
                    dead.with_error_code(ResponseError::GroupIdNotFound.code())
                        .with_error_message(Some(StrBytes::from_string(message)))
                }
            })
        });
        DescribeGroupsResponse::default().with_groups(described.collect())
    }

    /// Deletes groups without members (KIP-229).
    pub fn delete(&self, request: &DeleteGroupsRequest) -> DeleteGroupsResponse {
        let mut groups = self.lock();
        let deleted = request.groups_names.iter().map(|id| {
            let state = groups.get(id.as_str()).map(|group| group.state);
            let error = match state {
                None => ResponseError::GroupIdNotFound.code(),
                Some(State::Empty) => {
                    groups.remove(id.as_str());
                    0
                }
                Some(_) => ResponseError::NonEmptyGroup.code(),
            };
            DeletableGroupResult::default().with_group_id(id.clone()).with_error_code(error)
        });
        DeleteGroupsResponse::default().with_results(deleted.collect())
    }
}
