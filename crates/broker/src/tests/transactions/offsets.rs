//! Offsets that are committed in a transaction.

use super::*;

/// Offsets of the group `g` in the transaction of `me`.
pub fn offsets(me: Me, offset: i64) -> TxnOffsetCommitRequest {
    let part = txn_offset_commit_request::TxnOffsetCommitRequestPartition::default()
        .with_committed_offset(offset)
        .with_committed_metadata(Some(text("m")));
    let topic = txn_offset_commit_request::TxnOffsetCommitRequestTopic::default().with_name(name("a"));
    TxnOffsetCommitRequest::default()
        .with_transactional_id(id())
        .with_group_id(GroupId(text("g")))
        .with_producer_id(ProducerId(me.id))
        .with_producer_epoch(me.epoch)
        .with_topics(vec![topic.with_partitions(vec![part])])
}

pub async fn commit(core: &Core, version: i16, request: &TxnOffsetCommitRequest) -> i16 {
    ask(core, version, request).await.topics[0].partitions[0].error_code
}

/// The offset that the group has committed and the error code, asked for one that is stable.
async fn stable(core: &Core, version: i16) -> (i64, i16) {
    let request = OffsetFetchRequest::default().with_require_stable(true);
    if version < 8 {
        let topic = offset_fetch_request::OffsetFetchRequestTopic::default().with_name(name("a"));
        let topics = Some(vec![topic.with_partition_indexes(vec![0])]);
        let request = request.with_group_id(GroupId(text("g"))).with_topics(topics);
        let answer = ask(core, version, &request).await;
        let part = &answer.topics[0].partitions[0];
        return (part.committed_offset, part.error_code);
    }
    let topic = offset_fetch_request::OffsetFetchRequestTopics::default().with_name(name("a"));
    let topics = Some(vec![topic.with_partition_indexes(vec![0])]);
    let group = offset_fetch_request::OffsetFetchRequestGroup::default().with_group_id(GroupId(text("g")));
    let answer = ask(core, version, &request.with_groups(vec![group.with_topics(topics)])).await;
    let part = &answer.groups[0].topics[0].partitions[0];
    (part.committed_offset, part.error_code)
}

#[tokio::test]
async fn offsets_count_when_their_transaction_is_committed() {
    let core = core(1 << 20);
    create(&core, "a");
    let unstable = (-1, ResponseError::UnstableOffsetCommit.code());
    let mut me = begin(&core).await;
    // In version 1 the group is added first.
    assert_eq!(commit(&core, 3, &offsets(me, 5)).await, ResponseError::InvalidTxnState.code());
    assert_eq!(commit(&core, 4, &offsets(me, 5)).await, ResponseError::TransactionAbortable.code());
    let add = |me: Me| {
        AddOffsetsToTxnRequest::default()
            .with_transactional_id(id())
            .with_producer_id(ProducerId(me.id))
            .with_producer_epoch(me.epoch)
            .with_group_id(GroupId(text("g")))
    };
    assert_eq!(ask(&core, 3, &add(me)).await.error_code, 0);
    for version in 0..=4 {
        assert_eq!(commit(&core, version, &offsets(me, 5)).await, 0);
    }
    for version in [7, 8, 9] {
        assert_eq!(stable(&core, version).await, unstable);
    }
    assert_eq!(end(&core, 4, me, true).await, Ok(me));
    assert_eq!(stable(&core, 7).await, (5, 0));
    // In version 2 the commit adds it.
    assert_eq!(commit(&core, 5, &offsets(me, 6)).await, 0);
    assert_eq!(stable(&core, 8).await, unstable);
    me = end(&core, 5, me, false).await.unwrap();
    assert_eq!(stable(&core, 8).await, (5, 0));
    // Of two commits the later one counts, whichever is decided first.
    assert_eq!(commit(&core, 5, &offsets(me, 7)).await, 0);
    let part = offset_commit_request::OffsetCommitRequestPartition::default().with_committed_offset(8);
    let plain = offset_commit_request::OffsetCommitRequestTopic::default().with_name(name("a"));
    let plain = OffsetCommitRequest::default()
        .with_group_id(GroupId(text("g")))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![plain.with_partitions(vec![part])]);
    assert_eq!(ask(&core, 8, &plain).await.topics[0].partitions[0].error_code, 0);
    end(&core, 5, me, true).await.unwrap();
    assert_eq!(stable(&core, 9).await, (8, 0));
}

#[tokio::test]
async fn offsets_come_from_a_member_of_this_generation() {
    let core = core(1 << 20);
    create(&core, "a");
    let me = begin(&core).await;
    let join = |member: StrBytes| {
        let protocol = join_group_request::JoinGroupRequestProtocol::default().with_name(text("range"));
        JoinGroupRequest::default()
            .with_group_id(GroupId(text("g")))
            .with_session_timeout_ms(10_000)
            .with_rebalance_timeout_ms(10_000)
            .with_member_id(member)
            .with_group_instance_id(Some(text("instance")))
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol])
    };
    let joined = ask(&core, 7, &join(text(""))).await;
    assert_eq!((joined.error_code, joined.generation_id), (0, 1));
    let claim = |generation: i32, member: &StrBytes, instance: Option<&str>| {
        offsets(me, 5)
            .with_generation_id(generation)
            .with_member_id(member.clone())
            .with_group_instance_id(instance.map(text))
    };
    let member = &joined.member_id;
    let of_none = claim(1, member, None).with_group_id(GroupId(text("none")));
    for (request, error) in [
        (of_none, ResponseError::IllegalGeneration.code()),
        (claim(0, member, None), ResponseError::IllegalGeneration.code()),
        (claim(2, member, Some("instance")), ResponseError::IllegalGeneration.code()),
        (claim(1, &text("another"), None), ResponseError::UnknownMemberId.code()),
        (claim(1, &text("another"), Some("instance")), ResponseError::FencedInstanceId.code()),
        (claim(1, member, Some("another")), ResponseError::UnknownMemberId.code()),
        // The leader has yet to assign the partitions, which does not matter here.
        (claim(1, member, Some("instance")), 0),
        (claim(-1, &text(""), None), 0),
    ] {
        assert_eq!(commit(&core, 5, &request).await, error, "{request:?}");
    }
}
