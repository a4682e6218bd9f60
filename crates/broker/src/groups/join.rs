//! Joining a group: who is admitted, and the round in which all join again.

use std::time::{Duration, Instant};

use kafka_protocol::{
    error::ResponseError,
    messages::{JoinGroupResponse, SyncGroupResponse, join_group_response::JoinGroupResponseMember},
    protocol::StrBytes,
};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{
    group::{Group, State},
    member::{Member, Protocol},
};

/// The most members of a group, including those that have yet to join.
const MAX_MEMBERS: usize = 1000;

/// A request to join.
#[derive(Clone, Debug)]
pub struct JoinAttempt {
    /// The id it was given, or empty.
    pub member_id: String,
    /// The id that outlives the process (KIP-345).
    pub instance: Option<String>,
    /// The client's id.
    pub client_id: String,
    /// The client's host.
    pub host: String,
    /// The silence after which it counts as dead.
    pub session_timeout: Duration,
    /// The time it gets to join again when the group rebalances.
    pub rebalance_timeout: Duration,
    /// The type of group that it expects.
    pub protocol_type: String,
    /// The protocols it supports, the best first.
    pub protocols: Vec<Protocol>,
    /// Whether it has to come again with the id it is given (KIP-394, since version 4).
    pub must_know_its_id: bool,
    /// Whether it can be told to keep the assignment as it is (KIP-814, since version 9).
    pub can_skip_assignment: bool,
}

/// The outcome of an attempt.
enum JoinOutcome {
    /// It is to come again with this id.
    ComeAgain(String),
    /// It is in, and all have to join again.
    Rebalance(String),
    /// It is in, and nothing changes for the others.
    Unchanged(String),
    /// As before, and it continues as the leader of a round that is over (KIP-814).
    LeaderUnchanged { id: String, former: String },
}

impl Group {
    /// Takes a member's request to join.
    pub fn join(&mut self, attempt: JoinAttempt, now: Instant) -> oneshot::Receiver<JoinGroupResponse> {
        let (answer, receiver) = oneshot::channel();
        let can_skip = attempt.can_skip_assignment;
        let asked_as = attempt.member_id.clone();
        match self.admit(attempt, now) {
            Err(error) => drop(answer.send(refused(error, asked_as))),
            Ok(JoinOutcome::ComeAgain(id)) => drop(answer.send(refused(ResponseError::MemberIdRequired, id))),
            Ok(JoinOutcome::Unchanged(id)) => drop(answer.send(self.joined(&id))),
            Ok(JoinOutcome::LeaderUnchanged { id, former }) => {
                let response = self.joined(&id).with_skip_assignment(can_skip);
                // A member that cannot be told to keep the assignment must not take itself for the
                // leader.
                let response = if can_skip {
                    response
                } else {
                    response.with_leader(StrBytes::from_string(former)).with_members(Vec::new())
                };
                drop(answer.send(response));
            }
            Ok(JoinOutcome::Rebalance(id)) => {
                self.members.get_mut(&id).expect("admitted").joining = Some(answer);
                self.prepare_rebalance(now);
            }
        }
        receiver
    }

    fn admit(&mut self, attempt: JoinAttempt, now: Instant) -> Result<JoinOutcome, ResponseError> {
        self.check_protocols(&attempt)?;
        if let Some(instance) = &attempt.instance {
            match self.instances.get(instance).cloned() {
                Some(id) if attempt.member_id.is_empty() => return Ok(self.replace(&id, attempt, now)),
                Some(id) if id != attempt.member_id => return Err(ResponseError::FencedInstanceId),
                None if !attempt.member_id.is_empty() => return Err(ResponseError::UnknownMemberId),
                Some(_) | None => {}
            }
        }
        if attempt.member_id.is_empty() {
            if self.members.len() + self.invited.len() >= MAX_MEMBERS {
                return Err(ResponseError::GroupMaxSizeReached);
            }
            let id = new_member_id(&attempt);
            if attempt.must_know_its_id && attempt.instance.is_none() {
                self.invited.insert(id.clone(), now + attempt.session_timeout);
                return Ok(JoinOutcome::ComeAgain(id));
            }
            return Ok(self.add(id, attempt, now));
        }
        if self.invited.remove(&attempt.member_id).is_some() {
            let id = attempt.member_id.clone();
            return Ok(self.add(id, attempt, now));
        }
        self.rejoin(attempt, now)
    }

    fn check_protocols(&self, attempt: &JoinAttempt) -> Result<(), ResponseError> {
        let mut others = self.members.iter().filter(|(id, _)| **id != attempt.member_id).peekable();
        let none = attempt.protocol_type.is_empty() || attempt.protocols.is_empty();
        let other_type = others.peek().is_some() && attempt.protocol_type != self.protocol_type;
        let understood = |name: &str| {
            others.clone().all(|(_, member)| member.protocols.iter().any(|own| own.name == name))
        };
        if none || other_type || !attempt.protocols.iter().any(|protocol| understood(&protocol.name)) {
            return Err(ResponseError::InconsistentGroupProtocol);
        }
        Ok(())
    }

    fn add(&mut self, id: String, attempt: JoinAttempt, now: Instant) -> JoinOutcome {
        self.protocol_type = attempt.protocol_type;
        if let Some(instance) = &attempt.instance {
            self.instances.insert(instance.clone(), id.clone());
        }
        let member = Member {
            instance: attempt.instance,
            client_id: attempt.client_id,
            host: attempt.host,
            session_timeout: attempt.session_timeout,
            rebalance_timeout: attempt.rebalance_timeout,
            protocols: attempt.protocols,
            assignment: Default::default(),
            session_deadline: now + attempt.session_timeout,
            joining: None,
            syncing: None,
        };
        self.members.insert(id.clone(), member);
        JoinOutcome::Rebalance(id)
    }

    fn rejoin(&mut self, attempt: JoinAttempt, now: Instant) -> Result<JoinOutcome, ResponseError> {
        let member = self.members.get_mut(&attempt.member_id).ok_or(ResponseError::UnknownMemberId)?;
        let changed = member.protocols != attempt.protocols;
        member.protocols = attempt.protocols;
        member.session_timeout = attempt.session_timeout;
        member.rebalance_timeout = attempt.rebalance_timeout;
        member.refresh(now);
        let id = attempt.member_id;
        Ok(match self.state {
            // It did not get the answer of this round.
            State::CompletingRebalance if !changed => JoinOutcome::Unchanged(id),
            // A follower that joins again has nothing new to say; a leader wants a new round.
            State::Stable if !changed && id != self.leader => JoinOutcome::Unchanged(id),
            _ => JoinOutcome::Rebalance(id),
        })
    }

    /// A static member has been started again: it takes its predecessor's place (KIP-345).
    fn replace(&mut self, former: &str, attempt: JoinAttempt, now: Instant) -> JoinOutcome {
        let id = new_member_id(&attempt);
        let Some(mut member) = self.members.remove(former) else { return self.add(id, attempt, now) };
        if let Some(answer) = member.joining.take() {
            drop(answer.send(refused(ResponseError::FencedInstanceId, former.to_owned())));
        }
        if let Some(answer) = member.syncing.take() {
            let fenced = SyncGroupResponse::default().with_error_code(ResponseError::FencedInstanceId.code());
            drop(answer.send(fenced));
        }
        let unchanged = member.protocols == attempt.protocols;
        member.protocols = attempt.protocols;
        member.session_timeout = attempt.session_timeout;
        member.rebalance_timeout = attempt.rebalance_timeout;
        member.client_id = attempt.client_id;
        member.host = attempt.host;
        member.refresh(now);
        self.members.insert(id.clone(), member);
        self.instances.insert(attempt.instance.unwrap_or_default(), id.clone());
        let led = self.leader == former;
        if led {
            self.leader.clone_from(&id);
        }
        match (self.state == State::Stable && unchanged, led) {
            (true, true) => JoinOutcome::LeaderUnchanged { id, former: former.to_owned() },
            (true, false) => JoinOutcome::Unchanged(id),
            (false, _) => JoinOutcome::Rebalance(id),
        }
    }

    /// Members have left: the others share out their partitions.
    pub fn members_changed(&mut self, now: Instant) {
        match self.state {
            State::Stable | State::CompletingRebalance => self.prepare_rebalance(now),
            State::PreparingRebalance => self.complete_join(now, false),
            State::Empty => {}
        }
    }

    /// Begins a round, unless one has begun, and ends it if nobody is missing.
    fn prepare_rebalance(&mut self, now: Instant) {
        if self.state != State::PreparingRebalance {
            let waiting: Vec<_> =
                self.members.values_mut().filter_map(|member| member.syncing.take()).collect();
            for answer in waiting {
                let again =
                    SyncGroupResponse::default().with_error_code(ResponseError::RebalanceInProgress.code());
                drop(answer.send(again));
            }
            self.state = State::PreparingRebalance;
            self.rebalance_deadline = now + self.rebalance_timeout();
        }
        self.complete_join(now, false);
    }

    /// Ends the round when all have joined, or when it is `late` without those who have not.
    pub fn complete_join(&mut self, now: Instant, late: bool) {
        let all = self.members.values().all(|member| member.joining.is_some()) && self.invited.is_empty();
        if !all && !late {
            return;
        }
        // A static member keeps its place until its session ends.
        let missing = |member: &Member| member.joining.is_none() && member.instance.is_none();
        self.members.retain(|_, member| !missing(member));
        if self.members.is_empty() {
            self.next_generation();
            self.state = State::Empty;
            self.protocol.clear();
            self.leader.clear();
            return;
        }
        let leads = |id: &str| self.members.get(id).is_some_and(|member| member.joining.is_some());
        if !leads(&self.leader) {
            let mut joined = self.members.iter().filter(|(_, member)| member.joining.is_some());
            let Some((id, _)) = joined.next() else {
                // Only static members that are away: wait for them or for the end of their sessions.
                self.rebalance_deadline = now + self.rebalance_timeout();
                return;
            };
            self.leader = id.clone();
        }
        self.next_generation();
        self.protocol = self.choose_protocol();
        self.state = State::CompletingRebalance;
        self.rebalance_deadline = now + self.rebalance_timeout();
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let response = self.joined(&id);
            let member = self.members.get_mut(&id).expect("listed above");
            if let Some(answer) = member.joining.take() {
                member.refresh(now);
                drop(answer.send(response));
            }
        }
    }

    fn next_generation(&mut self) {
        self.generation = self.generation.wrapping_add(1).max(1);
    }

    /// The protocol that all support and most prefer.
    fn choose_protocol(&self) -> String {
        let understood = |name: &str| {
            self.members.values().all(|member| member.protocols.iter().any(|own| own.name == name))
        };
        let mut votes: Vec<(&str, usize)> = Vec::new();
        for member in self.members.values() {
            let Some(liked) = member.protocols.iter().find(|own| understood(&own.name)) else { continue };
            match votes.iter_mut().find(|(name, _)| *name == liked.name) {
                Some((_, count)) => *count += 1,
                None => votes.push((&liked.name, 1)),
            }
        }
        votes.into_iter().max_by_key(|(_, count)| *count).map(|(name, _)| name.to_owned()).unwrap_or_default()
    }

    /// What a member learns at the end of a round; the leader learns of all members.
    fn joined(&self, id: &str) -> JoinGroupResponse {
        let mut members = Vec::new();
        if id == self.leader {
            members.extend(self.members.iter().map(|(id, member)| {
                JoinGroupResponseMember::default()
                    .with_member_id(StrBytes::from_string(id.clone()))
                    .with_group_instance_id(member.instance.clone().map(StrBytes::from_string))
                    .with_metadata(member.metadata(&self.protocol))
            }));
        }
        JoinGroupResponse::default()
            .with_generation_id(self.generation)
            .with_protocol_type(Some(StrBytes::from_string(self.protocol_type.clone())))
            .with_protocol_name(Some(StrBytes::from_string(self.protocol.clone())))
            .with_leader(StrBytes::from_string(self.leader.clone()))
            .with_member_id(StrBytes::from_string(id.to_owned()))
            .with_members(members)
    }
}

/// The answer to a member that is not admitted.
pub fn refused(error: ResponseError, member_id: String) -> JoinGroupResponse {
    JoinGroupResponse::default()
        .with_error_code(error.code())
        .with_generation_id(-1)
        .with_protocol_name(Some(StrBytes::new()))
        .with_member_id(StrBytes::from_string(member_id))
}

fn new_member_id(attempt: &JoinAttempt) -> String {
    let random: Uuid = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
    let name = attempt.instance.as_deref().unwrap_or(&attempt.client_id);
    format!("{name}-{random}")
}
