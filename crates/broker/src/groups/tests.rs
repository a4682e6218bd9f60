//! The states of a group, with time as an argument.

use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::{
    error::ResponseError,
    messages::{
        GroupId, HeartbeatRequest, JoinGroupResponse, LeaveGroupRequest, OffsetCommitRequest,
        OffsetFetchRequest, SyncGroupRequest, SyncGroupResponse, TopicName,
        leave_group_request::MemberIdentity,
        offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
        sync_group_request::SyncGroupRequestAssignment,
    },
    protocol::StrBytes,
};
use tokio::sync::oneshot::{Receiver, error::TryRecvError};

use super::{
    Groups,
    group::{Group, State},
    join::JoinAttempt,
    member::Protocol,
};
use crate::{faults::Faults, partition::Store, topics::Topics};

const SESSION: Duration = Duration::from_secs(10);
const REBALANCE: Duration = Duration::from_secs(60);

fn attempt(member_id: &str) -> JoinAttempt {
    JoinAttempt {
        member_id: member_id.to_owned(),
        instance: None,
        client_id: "client".to_owned(),
        host: "127.0.0.1".to_owned(),
        session_timeout: SESSION,
        rebalance_timeout: REBALANCE,
        protocol_type: "consumer".to_owned(),
        protocols: protocols(&["range"]),
        must_know_its_id: false,
        can_skip_assignment: true,
    }
}

fn protocols(names: &[&str]) -> Vec<Protocol> {
    let protocol = |name: &&str| Protocol { name: (*name).to_owned(), metadata: Bytes::from_static(b"m") };
    names.iter().map(protocol).collect()
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn now_answered<T>(mut receiver: Receiver<T>) -> T {
    receiver.try_recv().expect("answered by now")
}

fn sync_request(joined: &JoinGroupResponse, shares: &[(&str, &'static [u8])]) -> SyncGroupRequest {
    let assignments = shares.iter().map(|(id, share)| {
        SyncGroupRequestAssignment::default()
            .with_member_id(text(id))
            .with_assignment(Bytes::from_static(share))
    });
    SyncGroupRequest::default()
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_assignments(assignments.collect())
}

fn heartbeat(group: &mut Group, joined: &JoinGroupResponse, now: Instant) -> Result<(), ResponseError> {
    let request = HeartbeatRequest::default()
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone());
    group.heartbeat(&request, now)
}

/// A stable group of one member.
fn group_of_one(now: Instant) -> (Group, JoinGroupResponse) {
    let mut group = Group::new(now);
    let joined = now_answered(group.join(attempt(""), now));
    let synced = now_answered(group.sync(&sync_request(&joined, &[(&joined.member_id, b"all")]), now));
    assert_eq!((synced.error_code, &synced.assignment[..]), (0, b"all".as_slice()));
    assert_eq!(group.state, State::Stable);
    (group, joined)
}

/// A stable group of two, the leader first.
fn group_of_two(now: Instant) -> (Group, JoinGroupResponse, JoinGroupResponse) {
    let (mut group, first) = group_of_one(now);
    let second = group.join(attempt(""), now);
    let first = now_answered(group.join(attempt(&first.member_id), now));
    let second = now_answered(second);
    let shares: &[(&str, &'static [u8])] = &[(&first.member_id, b"a"), (&second.member_id, b"b")];
    let waiting = group.sync(&sync_request(&second, &[]), now);
    let own = now_answered(group.sync(&sync_request(&first, shares), now));
    let other: SyncGroupResponse = now_answered(waiting);
    assert_eq!((&own.assignment[..], &other.assignment[..]), (b"a".as_slice(), b"b".as_slice()));
    (group, first, second)
}

#[test]
fn who_must_know_its_id_comes_again_with_it() {
    let now = Instant::now();
    let mut group = Group::new(now);
    let told = now_answered(group.join(JoinAttempt { must_know_its_id: true, ..attempt("") }, now));
    assert_eq!(told.error_code, ResponseError::MemberIdRequired.code());
    assert_eq!(group.state, State::Empty);
    let joined = now_answered(group.join(attempt(&told.member_id), now));
    assert_eq!((joined.error_code, joined.generation_id), (0, 1));
    assert_eq!((&joined.leader, joined.members.len()), (&told.member_id, 1));
    let unknown = now_answered(group.join(attempt("never given out"), now));
    assert_eq!(unknown.error_code, ResponseError::UnknownMemberId.code());
}

#[test]
fn a_second_member_makes_the_first_join_again() {
    let now = Instant::now();
    let (mut group, first) = group_of_one(now);
    let mut second = group.join(attempt(""), now);
    assert_eq!(second.try_recv().unwrap_err(), TryRecvError::Empty);
    assert_eq!(heartbeat(&mut group, &first, now), Err(ResponseError::RebalanceInProgress));
    let again = now_answered(group.join(attempt(&first.member_id), now));
    let second = now_answered(second);
    assert_eq!((again.generation_id, second.generation_id), (2, 2));
    assert_eq!((again.leader.clone(), again.members.len()), (again.member_id.clone(), 2));
    assert_eq!((second.leader.clone(), second.members.len()), (again.member_id.clone(), 0));
    assert_eq!(group.state, State::CompletingRebalance);
}

#[test]
fn an_earlier_generation_and_a_stranger_are_refused() {
    let now = Instant::now();
    let (mut group, first, _) = group_of_two(now);
    let earlier = first.clone().with_generation_id(1);
    assert_eq!(heartbeat(&mut group, &earlier, now), Err(ResponseError::IllegalGeneration));
    let synced = now_answered(group.sync(&sync_request(&earlier, &[]), now));
    assert_eq!(synced.error_code, ResponseError::IllegalGeneration.code());
    let stranger = first.clone().with_member_id(text("stranger"));
    assert_eq!(heartbeat(&mut group, &stranger, now), Err(ResponseError::UnknownMemberId));
    assert_eq!(heartbeat(&mut group, &first, now), Ok(()));
}

#[test]
fn a_silent_member_loses_its_place() {
    let now = Instant::now();
    let (mut group, first, second) = group_of_two(now);
    let later = now + SESSION - Duration::from_millis(1);
    heartbeat(&mut group, &first, later).unwrap();
    group.expire(later);
    assert_eq!(group.state, State::Stable);
    group.expire(now + SESSION);
    assert_eq!(group.state, State::PreparingRebalance);
    assert!(!group.members.contains_key(second.member_id.as_str()));
    let alone = now_answered(group.join(attempt(&first.member_id), now + SESSION));
    assert_eq!((alone.generation_id, alone.members.len()), (3, 1));
}

#[test]
fn the_end_of_one_round_does_not_end_the_next() {
    let now = Instant::now();
    let (mut group, first, second) = group_of_two(now);
    let long_after = now + 2 * REBALANCE;
    for member in [&first, &second] {
        heartbeat(&mut group, member, long_after).unwrap();
    }
    let silence = long_after + SESSION;
    heartbeat(&mut group, &first, silence).unwrap();
    group.expire(silence);
    assert_eq!(group.state, State::PreparingRebalance);
    assert!(group.members.contains_key(first.member_id.as_str()));
}

#[test]
fn a_round_ends_without_who_does_not_join_again() {
    let now = Instant::now();
    let (mut group, first) = group_of_one(now);
    let mut second = group.join(attempt(""), now);
    for second_passed in 1..REBALANCE.as_secs() {
        let at = now + Duration::from_secs(second_passed);
        // It is alive but does not join.
        assert_eq!(heartbeat(&mut group, &first, at), Err(ResponseError::RebalanceInProgress));
        group.expire(at);
        assert_eq!(second.try_recv().unwrap_err(), TryRecvError::Empty);
    }
    group.expire(now + REBALANCE);
    let second = now_answered(second);
    assert_eq!((second.leader.clone(), second.members.len()), (second.member_id.clone(), 1));
    assert_eq!(heartbeat(&mut group, &first, now), Err(ResponseError::UnknownMemberId));
}

#[test]
fn a_leader_that_does_not_share_out_in_time_is_dropped() {
    let now = Instant::now();
    let (mut group, first) = group_of_one(now);
    let second = group.join(attempt(""), now);
    let first = now_answered(group.join(attempt(&first.member_id), now));
    let second = now_answered(second);
    let waiting = group.sync(&sync_request(&second, &[]), now);
    heartbeat(&mut group, &first, now + REBALANCE).unwrap();
    group.expire(now + REBALANCE);
    assert_eq!(now_answered(waiting).error_code, ResponseError::RebalanceInProgress.code());
    let second = now_answered(group.join(attempt(&second.member_id), now + REBALANCE));
    assert_eq!(second.leader, second.member_id);
}

#[test]
fn the_rest_shares_out_anew_when_a_member_leaves_and_nobody_is_left_at_last() {
    let now = Instant::now();
    let (mut group, first, second) = group_of_two(now);
    let leave = |id: &StrBytes| {
        let leaving = MemberIdentity::default().with_member_id(id.clone());
        LeaveGroupRequest::default().with_members(vec![leaving])
    };
    assert_eq!(group.leave(&leave(&first.member_id), now), [Ok(())]);
    assert_eq!(group.leave(&leave(&first.member_id), now), [Err(ResponseError::UnknownMemberId)]);
    assert_eq!(heartbeat(&mut group, &second, now), Err(ResponseError::RebalanceInProgress));
    let alone = now_answered(group.join(attempt(&second.member_id), now));
    assert_eq!(alone.leader, second.member_id);
    assert_eq!(group.leave(&leave(&second.member_id), now), [Ok(())]);
    assert_eq!(group.state, State::Empty);
}

#[test]
fn a_static_member_that_comes_back_keeps_its_share_and_fences_its_former_self() {
    let now = Instant::now();
    let mut group = Group::new(now);
    let fixed = |id: &str| JoinAttempt { instance: Some("one".to_owned()), ..attempt(id) };
    let before = now_answered(group.join(fixed(""), now));
    now_answered(group.sync(&sync_request(&before, &[(&before.member_id, b"all")]), now));
    let after = now_answered(group.join(fixed(""), now));
    assert_ne!(after.member_id, before.member_id);
    assert_eq!((after.generation_id, after.skip_assignment), (before.generation_id, true));
    let share = now_answered(group.sync(&sync_request(&after, &[]), now));
    assert_eq!((share.error_code, &share.assignment[..]), (0, b"all".as_slice()));
    let fenced = now_answered(group.join(fixed(&before.member_id), now));
    assert_eq!(fenced.error_code, ResponseError::FencedInstanceId.code());
}

#[test]
fn the_protocol_is_one_that_all_understand() {
    let now = Instant::now();
    let mut group = Group::new(now);
    let first = JoinAttempt { protocols: protocols(&["sticky", "range"]), ..attempt("") };
    let joined = now_answered(group.join(first.clone(), now));
    assert_eq!(joined.protocol_name.as_deref(), Some("sticky"));
    let stranger = JoinAttempt { protocols: protocols(&["other"]), ..attempt("") };
    let refused = now_answered(group.join(stranger, now));
    assert_eq!(refused.error_code, ResponseError::InconsistentGroupProtocol.code());
    let second = group.join(attempt(""), now);
    now_answered(group.join(JoinAttempt { member_id: joined.member_id.to_string(), ..first }, now));
    assert_eq!(now_answered(second).protocol_name.as_deref(), Some("range"));
}

fn commit(groups: &Groups, topics: &Topics, generation: i32, member_id: &str, offset: i64) -> i16 {
    let part = OffsetCommitRequestPartition::default().with_partition_index(0).with_committed_offset(offset);
    let topic =
        OffsetCommitRequestTopic::default().with_name(TopicName(text("t"))).with_partitions(vec![part]);
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(text("g")))
        .with_generation_id_or_member_epoch(generation)
        .with_member_id(text(member_id))
        .with_topics(vec![topic]);
    groups.commit(&request, topics, &Faults::default(), 0).topics[0].partitions[0].error_code
}

fn committed(groups: &Groups) -> i64 {
    let request = OffsetFetchRequest::default().with_group_id(GroupId(text("g"))).with_topics(None);
    let answer = groups.committed(&request, 7, 0);
    answer.topics.first().map_or(-1, |topic| topic.partitions[0].committed_offset)
}

#[test]
fn only_members_of_this_generation_commit_while_there_are_any() {
    let topics = Topics::new(Store::new(1 << 20), 1);
    topics.get_or_create("t").unwrap();
    let groups = Groups::default();
    assert_eq!(commit(&groups, &topics, -1, "", 5), 0);
    assert_eq!(committed(&groups), 5);

    let (group, first, second) = group_of_two(Instant::now());
    groups.lock().insert("g".to_owned(), group);
    assert_eq!(committed(&groups), -1);
    assert_eq!(commit(&groups, &topics, -1, "", 6), ResponseError::UnknownMemberId.code());
    let id = first.member_id.as_str();
    assert_eq!(commit(&groups, &topics, 1, id, 6), ResponseError::IllegalGeneration.code());
    assert_eq!(committed(&groups), -1);
    assert_eq!(commit(&groups, &topics, 2, id, 7), 0);
    assert_eq!(committed(&groups), 7);

    // Who is asked to join again may still commit; who has joined must get its new share first.
    let now = Instant::now();
    let rejoined = groups.with("g", |group| group.unwrap().join(attempt(id), now));
    let other = second.member_id.as_str();
    assert_eq!(commit(&groups, &topics, 2, other, 8), 0);
    let again = groups.with("g", |group| group.unwrap().join(attempt(other), now));
    assert_eq!(commit(&groups, &topics, 2, other, 9), ResponseError::IllegalGeneration.code());
    let generation = now_answered(again).generation_id;
    assert_eq!(now_answered(rejoined).generation_id, generation);
    assert_eq!(commit(&groups, &topics, generation, id, 9), ResponseError::RebalanceInProgress.code());
    assert_eq!(committed(&groups), 8);
}
