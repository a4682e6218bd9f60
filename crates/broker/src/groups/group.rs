//! The state of one consumer group: the classic protocol. Pure: time comes in, answers go out by channels.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use bytes::Bytes;
use kafka_protocol::{
    error::ResponseError,
    messages::{HeartbeatRequest, LeaveGroupRequest, SyncGroupRequest, SyncGroupResponse},
    protocol::StrBytes,
};
use tokio::sync::oneshot;

use super::{
    committed::{CommitPlace, CommittedOffset},
    member::Member,
};

/// The state of a group's current round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// There is no member; there may be offsets.
    Empty,
    /// The members are asked to join again.
    PreparingRebalance,
    /// All have joined; the leader assigns the partitions.
    CompletingRebalance,
    /// Every member knows its partitions.
    Stable,
}

impl State {
    /// The name that clients know.
    pub fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::PreparingRebalance => "PreparingRebalance",
            State::CompletingRebalance => "CompletingRebalance",
            State::Stable => "Stable",
        }
    }
}

/// A consumer group.
#[derive(Debug)]
pub struct Group {
    /// Where it is in its round.
    pub state: State,
    /// The number of the round.
    pub generation: i32,
    /// What kind of group it is, `consumer` for consumers; empty until a member has joined.
    pub protocol_type: String,
    /// The assignment strategy that all members support.
    pub protocol: String,
    /// The member that assigns the partitions.
    pub leader: String,
    /// The members by their ids.
    pub members: BTreeMap<String, Member>,
    /// The member behind each instance id (KIP-345).
    pub instances: HashMap<String, String>,
    /// Ids that were given out but have not joined, and until when they may (KIP-394).
    pub invited: HashMap<String, Instant>,
    /// When a round ends without those who are missing.
    pub rebalance_deadline: Instant,
    /// The committed offsets.
    pub offsets: BTreeMap<CommitPlace, CommittedOffset>,
    /// Those that wait for the end of a transaction, by its producer's id.
    pub pending: BTreeMap<i64, BTreeMap<CommitPlace, CommittedOffset>>,
    /// The number of offsets written so far, pending or not.
    written: u64,
}

impl Group {
    /// A group without members.
    pub fn new(now: Instant) -> Group {
        Group {
            state: State::Empty,
            generation: 0,
            protocol_type: String::new(),
            protocol: String::new(),
            leader: String::new(),
            members: BTreeMap::new(),
            instances: HashMap::new(),
            invited: HashMap::new(),
            rebalance_deadline: now,
            offsets: BTreeMap::new(),
            pending: BTreeMap::new(),
            written: 0,
        }
    }

    /// Whether nothing would be missed without it.
    pub fn is_idle(&self) -> bool {
        self.state == State::Empty && self.offsets.is_empty() && self.pending.is_empty()
    }

    /// The place of the next offset among all that are written.
    pub fn next_order(&mut self) -> u64 {
        self.written += 1;
        self.written
    }

    /// Takes a member's request for its partitions; the leader's brings everyone's.
    pub fn sync(&mut self, request: &SyncGroupRequest, now: Instant) -> oneshot::Receiver<SyncGroupResponse> {
        let (answer, receiver) = oneshot::channel();
        match self.admit_sync(request, now) {
            Err(error) => drop(answer.send(self.synced(error.code(), Bytes::new()))),
            Ok(()) if self.state == State::Stable => {
                drop(
                    answer.send(self.synced(0, self.members[request.member_id.as_str()].assignment.clone())),
                );
            }
            Ok(()) => {
                let member = self.members.get_mut(request.member_id.as_str()).expect("admitted");
                member.syncing = Some(answer);
                if self.leader == request.member_id.as_str() {
                    self.share_out(request, now);
                }
            }
        }
        receiver
    }

    fn admit_sync(&mut self, request: &SyncGroupRequest, now: Instant) -> Result<(), ResponseError> {
        let instance = request.group_instance_id.as_deref();
        self.hear_of(&request.member_id, instance, request.generation_id, now)?;
        let differs =
            |wanted: &Option<StrBytes>, own: &str| wanted.as_deref().is_some_and(|name| name != own);
        if differs(&request.protocol_type, &self.protocol_type)
            || differs(&request.protocol_name, &self.protocol)
        {
            return Err(ResponseError::InconsistentGroupProtocol);
        }
        match self.state {
            State::CompletingRebalance | State::Stable => Ok(()),
            State::PreparingRebalance => Err(ResponseError::RebalanceInProgress),
            State::Empty => Err(ResponseError::UnknownMemberId),
        }
    }

    /// Gives every member its assignment from the leader.
    fn share_out(&mut self, request: &SyncGroupRequest, now: Instant) {
        for member in self.members.values_mut() {
            member.assignment = Bytes::new();
        }
        for part in &request.assignments {
            if let Some(member) = self.members.get_mut(part.member_id.as_str()) {
                member.assignment = Bytes::copy_from_slice(&part.assignment);
            }
        }
        self.state = State::Stable;
        let mut waiting = Vec::new();
        for member in self.members.values_mut() {
            member.refresh(now);
            waiting.extend(member.syncing.take().map(|answer| (answer, member.assignment.clone())));
        }
        for (answer, assignment) in waiting {
            drop(answer.send(self.synced(0, assignment)));
        }
    }

    fn synced(&self, error: i16, assignment: Bytes) -> SyncGroupResponse {
        SyncGroupResponse::default()
            .with_error_code(error)
            .with_protocol_type(Some(StrBytes::from_string(self.protocol_type.clone())))
            .with_protocol_name(Some(StrBytes::from_string(self.protocol.clone())))
            .with_assignment(assignment)
    }

    /// Takes a heartbeat.
    ///
    /// # Errors
    /// What the member has to act on: join again, or start over.
    pub fn heartbeat(&mut self, request: &HeartbeatRequest, now: Instant) -> Result<(), ResponseError> {
        let instance = request.group_instance_id.as_deref();
        self.hear_of(&request.member_id, instance, request.generation_id, now)?;
        match self.state {
            State::PreparingRebalance => Err(ResponseError::RebalanceInProgress),
            State::Empty | State::CompletingRebalance | State::Stable => Ok(()),
        }
    }

    /// Removes members that leave; returns one answer for each that the request names.
    pub fn leave(&mut self, request: &LeaveGroupRequest, now: Instant) -> Vec<Result<(), ResponseError>> {
        let mut answers = Vec::new();
        if request.members.is_empty() {
            answers.push(self.let_go(&request.member_id, None));
        }
        for leaving in &request.members {
            answers.push(self.let_go(&leaving.member_id, leaving.group_instance_id.as_deref()));
        }
        if answers.iter().any(Result::is_ok) {
            self.members_changed(now);
        }
        answers
    }

    fn let_go(&mut self, member_id: &str, instance: Option<&str>) -> Result<(), ResponseError> {
        if self.invited.remove(member_id).is_some() {
            return Ok(());
        }
        let id = match instance {
            Some(instance) => {
                let id = self.instances.get(instance).ok_or(ResponseError::UnknownMemberId)?;
                if !member_id.is_empty() && id != member_id {
                    return Err(ResponseError::FencedInstanceId);
                }
                id.clone()
            }
            None => member_id.to_owned(),
        };
        self.remove(&id).then_some(()).ok_or(ResponseError::UnknownMemberId)
    }

    /// Removes a member, if there is one of that id.
    pub fn remove(&mut self, id: &str) -> bool {
        let Some(member) = self.members.remove(id) else { return false };
        if let Some(instance) = member.instance {
            self.instances.remove(&instance);
        }
        true
    }

    /// Checks that a request comes from a member of this generation, and notes that it lives.
    ///
    /// # Errors
    /// `UnknownMemberId`, `FencedInstanceId` or `IllegalGeneration`.
    pub fn hear_of(
        &mut self,
        member_id: &str,
        instance: Option<&str>,
        generation: i32,
        now: Instant,
    ) -> Result<(), ResponseError> {
        if let Some(instance) = instance {
            let id = self.instances.get(instance).ok_or(ResponseError::UnknownMemberId)?;
            if id != member_id {
                return Err(ResponseError::FencedInstanceId);
            }
        }
        let member = self.members.get_mut(member_id).ok_or(ResponseError::UnknownMemberId)?;
        if generation != self.generation {
            return Err(ResponseError::IllegalGeneration);
        }
        member.refresh(now);
        Ok(())
    }

    /// Lets time pass: removes the dead, ends rounds that have waited long enough.
    pub fn expire(&mut self, now: Instant) {
        self.invited.retain(|_, deadline| now < *deadline);
        let late = now >= self.rebalance_deadline;
        let expired: Vec<String> = self
            .members
            .iter()
            .filter(|(_, member)| {
                // A member that has joined but does not ask for its partitions in time holds up all
                // others.
                let silent = late && self.state == State::CompletingRebalance && member.syncing.is_none();
                silent || member.is_expired(now)
            })
            .map(|(id, _)| id.clone())
            .collect();
        for id in &expired {
            tracing::debug!(member = %id, "a member of a consumer group was not heard of in time");
            self.remove(id);
        }
        if !expired.is_empty() {
            self.members_changed(now);
        }
        if self.state == State::PreparingRebalance {
            // Not the deadline of before: the round may have begun just now.
            self.complete_join(now, now >= self.rebalance_deadline);
        }
    }

    /// The longest time that a member needs to join again.
    pub fn rebalance_timeout(&self) -> Duration {
        self.members.values().map(|member| member.rebalance_timeout).max().unwrap_or_default()
    }
}
