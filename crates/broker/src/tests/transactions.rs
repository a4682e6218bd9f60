//! Transactions over the protocol's messages, in every version that is spoken.

use std::{pin::pin, time::Duration};

use futures_util::poll;
use topicmill_records::{AbortedTransaction, AssembleSettings, Assembler, Compression, ProducerStamp};

use super::*;
use crate::Broker;

const ID: &str = "id";

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn name(topic: &str) -> TopicName {
    TopicName(text(topic))
}

fn id() -> TransactionalId {
    TransactionalId(text(ID))
}

/// A producer as a client knows itself.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Me {
    id: i64,
    epoch: i16,
}

impl Me {
    fn next(self) -> Me {
        Me { epoch: self.epoch + 1, ..self }
    }

    fn of(id: ProducerId, epoch: i16) -> Me {
        Me { id: id.0, epoch }
    }
}

fn init(timeout_ms: i32) -> InitProducerIdRequest {
    InitProducerIdRequest::default().with_transactional_id(Some(id())).with_transaction_timeout_ms(timeout_ms)
}

async fn begin(core: &Core) -> Me {
    let answer = ask(core, 5, &init(60_000)).await;
    assert_eq!(answer.error_code, 0);
    Me::of(answer.producer_id, answer.producer_epoch)
}

/// A batch with one record, `value`.
fn one(me: Me, sequence: i32, value: &str) -> Bytes {
    let mut writer = RecordWriter::new(1 << 20, 1 << 10);
    writer.push(1000, None, Some(&[value.as_bytes()]), NO_HEADERS);
    let [body] = writer.finish().try_into().expect("one batch");
    let stamp =
        ProducerStamp { producer_id: me.id, epoch: me.epoch, base_sequence: sequence, transactional: true };
    body.seal(stamp, Compression::None)
}

async fn produce(core: &Core, version: i16, topic: &Topic, records: Bytes) -> i16 {
    let request = produce_request(version, topic, records).with_transactional_id(Some(id()));
    ask(core, version, &request).await.responses[0].partition_responses[0].error_code
}

async fn add(core: &Core, version: i16, me: Me, topics: &[(&str, &[i32])]) -> Vec<i16> {
    let topics = topics.iter().map(|(topic, partitions)| {
        add_partitions_to_txn_request::AddPartitionsToTxnTopic::default()
            .with_name(name(topic))
            .with_partitions(partitions.to_vec())
    });
    let topics = topics.collect();
    let request = AddPartitionsToTxnRequest::default();
    let results = if version < 4 {
        let request = request
            .with_v3_and_below_transactional_id(id())
            .with_v3_and_below_producer_id(ProducerId(me.id))
            .with_v3_and_below_producer_epoch(me.epoch)
            .with_v3_and_below_topics(topics);
        ask(core, version, &request).await.results_by_topic_v3_and_below
    } else {
        let asked = add_partitions_to_txn_request::AddPartitionsToTxnTransaction::default()
            .with_transactional_id(id())
            .with_producer_id(ProducerId(me.id))
            .with_producer_epoch(me.epoch)
            .with_topics(topics);
        let mut answer = ask(core, version, &request.with_transactions(vec![asked])).await;
        answer.results_by_transaction.remove(0).topic_results
    };
    let parts = results.iter().flat_map(|topic| &topic.results_by_partition);
    parts.map(|part| part.partition_error_code).collect()
}

async fn end(core: &Core, version: i16, me: Me, committed: bool) -> Result<Me, ResponseError> {
    let request = EndTxnRequest::default()
        .with_transactional_id(id())
        .with_producer_id(ProducerId(me.id))
        .with_producer_epoch(me.epoch)
        .with_committed(committed);
    let answer = ask(core, version, &request).await;
    match ResponseError::try_from_code(answer.error_code) {
        Some(error) => Err(error),
        None if version < 5 => Ok(me),
        None => Ok(Me::of(answer.producer_id, answer.producer_epoch)),
    }
}

/// The values that a reader of committed records gets from `offset` on.
async fn committed(core: &Core, version: i16, topic: &Topic, offset: i64) -> Vec<String> {
    let request = fetch_request(version, topic, offset).with_isolation_level(1);
    let mut answer = ask(core, version, &request).await;
    let part = answer.responses.remove(0).partitions.remove(0);
    assert_eq!(part.error_code, 0);
    let aborted = part.aborted_transactions.unwrap_or_default().into_iter().map(|aborted| {
        AbortedTransaction { producer_id: aborted.producer_id.0, first_offset: aborted.first_offset }
    });
    let settings = AssembleSettings { read_committed: true, ..AssembleSettings::default() };
    let records = part.records.unwrap_or_default();
    let pieces = Assembler::new(records, offset, aborted.collect(), settings);
    let pieces: Vec<_> = pieces.map(|piece| piece.unwrap()).collect();
    let values = pieces.iter().flat_map(|piece| {
        piece.records.iter().map(|record| record.value.get(&piece.buffer).expect("a value").to_vec())
    });
    values.map(|value| String::from_utf8(value).unwrap()).collect()
}

#[tokio::test]
async fn version_1_adds_partitions_and_keeps_the_epoch() {
    for (added, ended, fetched) in [(0, 0, 4), (3, 4, 11), (3, 4, 12), (5, 2, 17)] {
        let core = core(1 << 20);
        let topic = create(&core, "a");
        let me = begin(&core).await;
        let invalid = ResponseError::InvalidTxnState.code();
        assert_eq!(produce(&core, 9, &topic, one(me, 0, "early")).await, invalid);
        let abortable = ResponseError::TransactionAbortable.code();
        assert_eq!(produce(&core, 11, &topic, one(me, 0, "early")).await, abortable);
        assert_eq!(add(&core, added, me, &[("a", &[0])]).await, [0]);
        assert_eq!(produce(&core, 9, &topic, one(me, 0, "first")).await, 0);
        assert_eq!(produce(&core, 9, &topic, one(me, 1, "second")).await, 0);
        assert_eq!(committed(&core, fetched, &topic, 0).await, [] as [String; 0]);
        assert_eq!(end(&core, ended, me, true).await, Ok(me));
        assert_eq!(committed(&core, fetched, &topic, 0).await, ["first", "second"]);
        assert_eq!(topic.partitions[0].log().end(), 3, "with the end of the transaction");
        assert_eq!(add(&core, added, me, &[("a", &[0])]).await, [0]);
        assert_eq!(produce(&core, 9, &topic, one(me, 2, "aborted")).await, 0);
        assert_eq!(end(&core, ended, me, false).await, Ok(me));
        assert_eq!(add(&core, added, me, &[("a", &[0])]).await, [0]);
        assert_eq!(produce(&core, 9, &topic, one(me, 3, "third")).await, 0);
        assert_eq!(end(&core, ended, me, true).await, Ok(me));
        for (offset, values) in [(0, &["first", "second", "third"][..]), (3, &["third"]), (4, &["third"])] {
            assert_eq!(committed(&core, fetched, &topic, offset).await, values, "{offset}");
        }
    }
}

#[tokio::test]
async fn version_2_adds_partitions_by_writing_and_makes_an_epoch_with_each_end() {
    let core = core(1 << 20);
    let topic = create(&core, "a");
    let me = begin(&core).await;
    assert_eq!(produce(&core, 12, &topic, one(me, 0, "first")).await, 0);
    let next = end(&core, 5, me, true).await.unwrap();
    assert_eq!(next, me.next());
    assert_eq!(end(&core, 5, me, true).await, Ok(next), "the answer was lost");
    let fenced = ResponseError::InvalidProducerEpoch.code();
    assert_eq!(produce(&core, 12, &topic, one(me, 1, "late")).await, fenced);
    assert_eq!(produce(&core, 13, &topic, one(next, 0, "aborted")).await, 0);
    assert_eq!(end(&core, 5, me, true).await, Err(ResponseError::ProducerFenced), "a late one");
    let third = end(&core, 5, next, false).await.unwrap();
    let out_of_order = ResponseError::OutOfOrderSequenceNumber.code();
    assert_eq!(produce(&core, 12, &topic, one(third, 1, "gap")).await, out_of_order);
    assert_eq!(produce(&core, 12, &topic, one(third, 0, "second")).await, 0);
    assert_eq!(end(&core, 5, third, true).await, Ok(third.next()));
    assert_eq!(committed(&core, 17, &topic, 0).await, ["first", "second"]);
}

#[tokio::test]
async fn who_has_no_transaction_open_is_refused() {
    let core = core(1 << 20);
    let topic = create(&core, "a");
    let me = begin(&core).await;
    let stranger = Me { id: me.id + 1, ..me };
    let mapping = ResponseError::InvalidProducerIdMapping.code();
    assert_eq!(produce(&core, 12, &topic, one(stranger, 0, "x")).await, mapping);
    assert_eq!(add(&core, 3, stranger, &[("a", &[0])]).await, [mapping]);
    let without_id = produce_request(12, &topic, one(me, 0, "x"));
    let answer = ask(&core, 12, &without_id).await;
    let code = answer.responses[0].partition_responses[0].error_code;
    assert_eq!(code, ResponseError::TransactionalIdAuthorizationFailed.code());
    // One that is missing keeps the others out.
    let codes = [ResponseError::OperationNotAttempted.code(), ResponseError::UnknownTopicOrPartition.code()];
    assert_eq!(add(&core, 3, me, &[("a", &[0, 1])]).await, codes);
    assert_eq!(end(&core, 4, me, true).await, Err(ResponseError::InvalidTxnState));
    // A record without a transaction, while one is open.
    assert_eq!(produce(&core, 12, &topic, one(me, 0, "x")).await, 0);
    let outside = batch(1, (me.id, me.epoch, 1));
    assert_eq!(produce(&core, 12, &topic, outside).await, ResponseError::InvalidTxnState.code());
    assert_eq!(topic.partitions[0].log().end(), 1);
}

#[tokio::test]
async fn a_producer_that_is_fenced_is_told_as_its_version_knows() {
    let core = core(1 << 20);
    let topic = create(&core, "a");
    let me = begin(&core).await;
    assert_eq!(produce(&core, 12, &topic, one(me, 0, "lost")).await, 0);
    let again = ask(&core, 5, &init(60_000)).await;
    assert_eq!(again.error_code, ResponseError::ConcurrentTransactions.code());
    let successor = begin(&core).await;
    assert_eq!(successor, me.next().next());
    let (fenced, epoch) = (ResponseError::ProducerFenced, ResponseError::InvalidProducerEpoch);
    assert_eq!(end(&core, 1, me, true).await, Err(epoch));
    assert_eq!(end(&core, 4, me, true).await, Err(fenced));
    assert_eq!(end(&core, 5, me, true).await, Err(fenced));
    assert_eq!(add(&core, 1, me, &[("a", &[0])]).await, [epoch.code()]);
    assert_eq!(add(&core, 3, me, &[("a", &[0])]).await, [fenced.code()]);
    assert_eq!(produce(&core, 12, &topic, one(me, 1, "zombie")).await, epoch.code());
    let goes_on = |version: i16| {
        let request = init(60_000).with_producer_id(ProducerId(me.id)).with_producer_epoch(me.epoch);
        let core = &core;
        async move { ask(core, version, &request).await.error_code }
    };
    assert_eq!((goes_on(3).await, goes_on(5).await), (epoch.code(), fenced.code()));
    for (timeout_ms, error) in [(0, 50), (15 * 60 * 1000 + 1, 50), (15 * 60 * 1000, 0)] {
        assert_eq!(ask(&core, 5, &init(timeout_ms)).await.error_code, error, "{timeout_ms}");
    }
    assert_eq!(committed(&core, 12, &topic, 0).await, [] as [String; 0]);
    assert_eq!(topic.partitions[0].log().end(), 2, "the record and the end of its transaction");
}

#[tokio::test]
async fn a_transaction_that_takes_too_long_is_aborted_and_its_readers_go_on() {
    let broker = broker().await;
    let core = &Arc::clone(&broker.core);
    let topic = core.topics.get("a").unwrap();
    let answer = ask(core, 5, &init(200)).await;
    let me = Me::of(answer.producer_id, answer.producer_epoch);
    assert_eq!(produce(core, 12, &topic, one(me, 0, "slow")).await, 0);
    put(&topic.partitions[0], batch(1, NO_PRODUCER));
    assert_eq!(broker.last_stable_offset("a", 0), Some(0));
    let waiting = fetch_request(12, &topic, 0).with_isolation_level(1);
    let waiting = waiting.with_max_wait_ms(60_000).with_min_bytes(1);
    let mut answer = pin!(ask(core, 12, &waiting));
    assert!(poll!(&mut answer).is_pending());
    let answer = tokio::time::timeout(Duration::from_secs(30), answer).await.expect("in time");
    let part = &answer.responses[0].partitions[0];
    assert_eq!((part.last_stable_offset, part.high_watermark), (3, 3));
    assert_eq!(committed(core, 12, &topic, 0).await, ["value"]);
    assert_eq!(broker.transaction(ID).unwrap().state, "CompleteAbort");
    assert_eq!(end(core, 5, me, true).await, Err(ResponseError::InvalidTxnState));
    assert_eq!(end(core, 5, me, false).await, Ok(me.next()), "and so it goes on");
    assert_eq!(end(core, 4, me, true).await, Err(ResponseError::ProducerFenced));
    broker.stop().await;
}

async fn broker() -> Broker {
    let settings = BrokerSettings { listen: ([127, 0, 0, 1], 0).into(), memory: 1 << 20, partitions: 1 };
    let broker = Broker::start(settings).await.unwrap();
    broker.create_topic("a", 1, &[]).unwrap();
    broker
}

fn offsets(me: Me, offset: i64) -> TxnOffsetCommitRequest {
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

async fn commit(core: &Core, version: i16, request: &TxnOffsetCommitRequest) -> i16 {
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
    for (request, error) in [
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

#[tokio::test]
async fn until_the_end_is_written_everything_waits() {
    let broker = broker().await;
    let core = &broker.core;
    let topic = core.topics.get("a").unwrap();
    broker.delay_markers(Duration::from_secs(3600));
    let me = begin(core).await;
    assert_eq!(produce(core, 12, &topic, one(me, 0, "first")).await, 0);
    let next = end(core, 5, me, true).await.unwrap();
    let concurrent = ResponseError::ConcurrentTransactions;
    assert_eq!(end(core, 5, me, true).await, Err(concurrent));
    assert_eq!(produce(core, 12, &topic, one(next, 0, "second")).await, concurrent.code());
    assert_eq!(add(core, 3, next, &[("a", &[0])]).await, [concurrent.code()]);
    assert_eq!(commit(core, 5, &offsets(next, 1)).await, concurrent.code());
    assert_eq!(ask(core, 5, &init(1000)).await.error_code, concurrent.code());
    assert_eq!(committed(core, 12, &topic, 0).await, [] as [String; 0]);
    assert_eq!(broker.transaction(ID).unwrap().state, "PrepareCommit");
    core.transactions.pass_time(core, std::time::Instant::now() + Duration::from_secs(3600));
    assert_eq!(committed(core, 12, &topic, 0).await, ["first"]);
    // A record waits for a short end.
    broker.delay_markers(Duration::from_millis(20));
    assert_eq!(produce(core, 12, &topic, one(next, 0, "second")).await, 0);
    let third = end(core, 5, next, true).await.unwrap();
    assert_eq!(produce(core, 12, &topic, one(third, 0, "third")).await, 0);
    broker.stop().await;
}

#[tokio::test]
async fn the_end_is_written_as_soon_as_there_is_a_leader() {
    let broker = broker().await;
    let core = &broker.core;
    broker.create_topic("b", 1, &[]).unwrap();
    let (a, b) = (core.topics.get("a").unwrap(), core.topics.get("b").unwrap());
    let me = begin(core).await;
    assert_eq!(produce(core, 12, &a, one(me, 0, "first")).await, 0);
    assert_eq!(produce(core, 12, &b, one(me, 0, "first")).await, 0);
    broker.set_leaderless("b", 0, true).unwrap();
    end(core, 5, me, true).await.unwrap();
    let seen = broker.transaction(ID).unwrap();
    assert_eq!((seen.state, seen.partitions), ("PrepareCommit", vec![("b".to_owned(), 0)]));
    assert_eq!(committed(core, 12, &a, 0).await, ["first"]);
    broker.set_leaderless("b", 0, false).unwrap();
    let complete = async {
        while broker.transaction(ID).unwrap().state != "CompleteCommit" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), complete).await.expect("in time");
    assert_eq!(committed(core, 12, &b, 0).await, ["first"]);
    broker.stop().await;
}

#[tokio::test]
async fn what_tests_do_to_transactions_shows() {
    let broker = broker().await;
    let core = &broker.core;
    let topic = core.topics.get("a").unwrap();
    let me = begin(core).await;
    broker.abort_next_transactions(1);
    assert_eq!(produce(core, 12, &topic, one(me, 0, "aborted")).await, 0);
    assert_eq!(end(core, 5, me, true).await, Err(ResponseError::InvalidTxnState));
    let me = begin(core).await;
    assert_eq!(produce(core, 12, &topic, one(me, 0, "first")).await, 0);
    let me = end(core, 5, me, true).await.unwrap();
    assert_eq!(produce(core, 12, &topic, one(me, 0, "aborted, too")).await, 0);
    broker.take_over(ID).unwrap();
    assert_eq!(end(core, 5, me, true).await, Err(ResponseError::ProducerFenced));

    broker.age_producer(ID, 1).unwrap();
    let me = begin(core).await;
    assert_eq!(me.epoch, i16::MAX - 1);
    assert_eq!(produce(core, 12, &topic, one(me, 0, "second")).await, 0);
    let next = end(core, 5, me, true).await.unwrap();
    assert!(next.id != me.id && next.epoch == 0, "{next:?}");
    broker.forget_producers("a", 0).unwrap();
    let unknown = ResponseError::OutOfOrderSequenceNumber.code();
    assert_eq!(produce(core, 12, &topic, one(next, 1, "gap")).await, unknown);
    assert_eq!(produce(core, 12, &topic, one(next, 0, "third")).await, 0);
    assert!(!broker.forget_transactional_id(ID), "it is open");
    assert!(broker.abort_transaction(ID));
    assert!(broker.forget_transactional_id(ID));
    let mapping = ResponseError::InvalidProducerIdMapping.code();
    assert_eq!(add(core, 3, next.next(), &[("a", &[0])]).await, [mapping]);
    assert_eq!(committed(core, 12, &topic, 0).await, ["first", "second"]);
    broker.stop().await;
}

#[tokio::test]
async fn clients_are_told_which_version_to_speak() {
    let broker = broker().await;
    let core = &broker.core;
    let mut epochs = Vec::new();
    for level in [2, 1, 2] {
        broker.set_transaction_version(level).unwrap();
        for version in 3..=4 {
            let answer = ask(core, version, &ApiVersionsRequest::default()).await;
            let feature = &answer.finalized_features[0];
            assert_eq!(feature.name.as_str(), "transaction.version");
            assert_eq!(feature.max_version_level, level);
            assert_eq!(answer.supported_features.len(), if version < 4 { 0 } else { 1 });
            epochs.push(answer.finalized_features_epoch);
        }
    }
    assert_eq!(epochs, [0, 0, 1, 1, 2, 2]);
    assert!(broker.set_transaction_version(3).is_err());
    broker.stop().await;
}

#[tokio::test]
async fn transactions_are_listed_and_described() {
    let core = core(1 << 20);
    let topic = create(&core, "a");
    let me = begin(&core).await;
    produce(&core, 12, &topic, one(me, 0, "first")).await;
    commit(&core, 5, &offsets(me, 1)).await;
    let other = TransactionalId(text("other"));
    let request = DescribeTransactionsRequest::default().with_transactional_ids(vec![id(), other]);
    let described = ask(&core, 0, &request).await.transaction_states;
    assert_eq!(described[0].transaction_state.as_str(), "Ongoing");
    assert_eq!((described[0].producer_id.0, described[0].transaction_timeout_ms), (me.id, 60_000));
    assert!(described[0].transaction_start_time_ms > 0);
    let topics: Vec<_> = described[0].topics.iter().map(|topic| topic.topic.as_str()).collect();
    assert_eq!(topics, ["__consumer_offsets", "a"]);
    assert_eq!(described[1].error_code, ResponseError::TransactionalIdNotFound.code());
    for (filter, found) in [(None, 1), (Some("Ongoing"), 1), (Some("Empty"), 0), (Some("Nonsense"), 0)] {
        let filters = filter.into_iter().map(text).collect();
        let listed = ask(&core, 1, &ListTransactionsRequest::default().with_state_filters(filters)).await;
        assert_eq!(listed.transaction_states.len(), found, "{filter:?}");
        assert_eq!(listed.unknown_state_filters.len(), usize::from(filter == Some("Nonsense")));
    }
}
