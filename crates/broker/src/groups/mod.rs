//! The group coordinator: the classic consumer group protocol and committed offsets.

mod committed;
mod describe;
mod group;
mod join;
mod member;
mod offsets;
mod pending;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bytes::Bytes;
use kafka_protocol::{
    error::ResponseError,
    messages::{
        HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
        LeaveGroupResponse, SyncGroupRequest, SyncGroupResponse, leave_group_response::MemberResponse,
    },
};
use parking_lot::{Mutex, MutexGuard};

use self::{
    group::Group,
    join::{JoinAttempt, refused},
    member::Protocol,
};

/// The most groups; beyond that, those without members and offsets are removed.
const MAX_GROUPS: usize = 10_000;

/// The longest session, as Kafka's `group.max.session.timeout.ms`.
const MAX_SESSION: Duration = Duration::from_secs(30 * 60);

/// How often sessions and rounds are checked.
const TICK: Duration = Duration::from_millis(50);

/// All groups.
#[derive(Debug, Default)]
pub struct Groups {
    all: Mutex<BTreeMap<String, Group>>,
}

impl Groups {
    /// Answers a request to join, when all have joined.
    pub async fn join(
        &self,
        request: JoinGroupRequest,
        version: i16,
        client_id: &str,
        host: String,
        forced: i16,
    ) -> JoinGroupResponse {
        let millis = |ms: i32| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
        let session_timeout = millis(request.session_timeout_ms);
        let member_id = request.member_id.to_string();
        if let Some(error) = ResponseError::try_from_code(forced) {
            return refused(error, member_id);
        }
        if session_timeout.is_zero() || session_timeout > MAX_SESSION {
            return refused(ResponseError::InvalidSessionTimeout, member_id);
        }
        let protocols = request.protocols.iter().map(|protocol| Protocol {
            name: protocol.name.to_string(),
            metadata: Bytes::copy_from_slice(&protocol.metadata),
        });
        let rebalance_timeout =
            if version >= 1 { millis(request.rebalance_timeout_ms) } else { session_timeout };
        let attempt = JoinAttempt {
            member_id: member_id.clone(),
            instance: request.group_instance_id.as_ref().map(ToString::to_string),
            client_id: client_id.to_owned(),
            host,
            session_timeout,
            rebalance_timeout: rebalance_timeout.min(MAX_SESSION),
            protocol_type: request.protocol_type.to_string(),
            protocols: protocols.collect(),
            must_know_its_id: version >= 4,
            can_skip_assignment: version >= 9,
        };
        let answer = self.with_or_create(&request.group_id, |group| match group {
            Ok(group) => Ok(group.join(attempt, Instant::now())),
            Err(error) => Err(*error),
        });
        match answer {
            // The sender is gone when the same member has joined again over another connection.
            Ok(answer) => answer.await.unwrap_or_else(|_| refused(ResponseError::UnknownMemberId, member_id)),
            Err(error) => refused(error, member_id),
        }
    }

    /// Answers a member's request for its partitions, once the leader has assigned them.
    pub async fn sync(&self, request: &SyncGroupRequest) -> SyncGroupResponse {
        let error = |error: ResponseError| SyncGroupResponse::default().with_error_code(error.code());
        let answer =
            self.with(&request.group_id, |group| group.map(|group| group.sync(request, Instant::now())));
        match answer {
            Some(answer) => answer.await.unwrap_or_else(|_| error(ResponseError::UnknownMemberId)),
            None => error(ResponseError::UnknownMemberId),
        }
    }

    /// Takes a member's heartbeat.
    pub fn heartbeat(&self, request: &HeartbeatRequest) -> HeartbeatResponse {
        let answer = self.with(&request.group_id, |group| match group {
            Some(group) => group.heartbeat(request, Instant::now()),
            None => Err(ResponseError::UnknownMemberId),
        });
        HeartbeatResponse::default().with_error_code(code(answer))
    }

    /// Lets members go; several at once since version 3 (KIP-345).
    pub fn leave(&self, request: &LeaveGroupRequest, version: i16) -> LeaveGroupResponse {
        let answers = self.with(&request.group_id, |group| match group {
            Some(group) => group.leave(request, Instant::now()),
            None => vec![Err(ResponseError::UnknownMemberId); request.members.len().max(1)],
        });
        if version < 3 {
            return LeaveGroupResponse::default().with_error_code(answers.first().map_or(0, |a| code(*a)));
        }
        let members = request.members.iter().zip(answers).map(|(member, answer)| {
            MemberResponse::default()
                .with_member_id(member.member_id.clone())
                .with_group_instance_id(member.group_instance_id.clone())
                .with_error_code(code(answer))
        });
        LeaveGroupResponse::default().with_members(members.collect())
    }

    /// Checks sessions and rounds for as long as it is polled.
    pub async fn keep_time(&self) {
        let mut tick = tokio::time::interval(TICK);
        loop {
            tick.tick().await;
            let now = Instant::now();
            for group in self.lock().values_mut() {
                group.expire(now);
            }
        }
    }

    /// The number of members of a group in the state of that name.
    pub fn members_in(&self, id: &str, state: &str) -> Option<usize> {
        let count = |group: &mut Group| (group.state.name() == state).then_some(group.members.len());
        self.with(id, |group| group.and_then(count))
    }

    fn with<T>(&self, id: &str, then: impl FnOnce(Option<&mut Group>) -> T) -> T {
        then(self.lock().get_mut(id))
    }

    fn with_or_create<T>(
        &self,
        id: &str,
        then: impl FnOnce(&mut Result<&mut Group, ResponseError>) -> T,
    ) -> T {
        if id.is_empty() {
            return then(&mut Err(ResponseError::InvalidGroupId));
        }
        let mut all = self.lock();
        if all.len() >= MAX_GROUPS && !all.contains_key(id) {
            all.retain(|_, group| !group.is_idle());
            if all.len() >= MAX_GROUPS {
                return then(&mut Err(ResponseError::CoordinatorNotAvailable));
            }
        }
        let group = all.entry(id.to_owned()).or_insert_with(|| Group::new(Instant::now()));
        then(&mut Ok(group))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Group>> {
        self.all.lock()
    }
}

fn code(answer: Result<(), ResponseError>) -> i16 {
    answer.err().map_or(0, |error| error.code())
}
