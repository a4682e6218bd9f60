//! The broker as a whole, below the socket: logs, memory, and every version that is spoken.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::{
    error::ResponseError,
    messages::*,
    protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes},
};
use topicmill_records::{BatchHeader, Compression, HEADER_LEN, NO_HEADERS, ProducerStamp, RecordWriter};

use super::{
    BrokerSettings, Fault, FaultAction,
    core::Core,
    dispatch::{RequestError, answer},
    log::{Appended, Log},
    owned,
    partition::Partition,
    rules::Rules,
    session::Session,
    topics::Topic,
    versions::SUPPORTED,
};

mod connections;
mod partitions;
mod refusals;
mod transactions;

/// A record batch of `count` values with timestamps 1000, 1001, … from `producer` (id, epoch, sequence).
fn batch(count: usize, producer: (i64, i16, i32)) -> Bytes {
    let mut writer = RecordWriter::new(1 << 20, 1 << 10);
    for i in 0..count {
        writer.push(1000 + i as i64, None, Some(&[b"value"]), NO_HEADERS);
    }
    let [body] = writer.finish().try_into().expect("one batch");
    let mut head = BytesMut::new();
    head.put_i16(0); // attributes
    head.put_i32(count as i32 - 1);
    head.put_i64(1000);
    head.put_i64(1000 + count as i64 - 1);
    head.put_i64(producer.0);
    head.put_i16(producer.1);
    head.put_i32(producer.2);
    head.put_i32(count as i32);
    head.put_slice(&body.bytes[HEADER_LEN..]);
    let mut bytes = BytesMut::new();
    bytes.put_i64(0);
    bytes.put_i32(head.len() as i32 + 9);
    bytes.put_i32(-1);
    bytes.put_i8(2);
    bytes.put_u32(crc32c::crc32c(&head));
    bytes.put_slice(&head);
    bytes.freeze()
}

/// A batch of a transaction with one value, from `producer` (id, epoch, sequence).
fn transactional(producer: (i64, i16, i32), value: &str) -> Bytes {
    let mut writer = RecordWriter::new(1 << 20, 1 << 10);
    writer.push(1000, None, Some(&[value.as_bytes()]), NO_HEADERS);
    let [body] = writer.finish().try_into().expect("one batch");
    let (producer_id, epoch, base_sequence) = producer;
    body.seal(ProducerStamp { producer_id, epoch, base_sequence, transactional: true }, Compression::None)
}

fn append(log: &mut Log, bytes: Bytes, max_message_bytes: usize) -> Result<Appended, ResponseError> {
    let rules = Rules::read(&owned(&[("max.message.bytes", &max_message_bytes.to_string())])).unwrap();
    rules.admit(bytes).map_err(|refused| refused.error).and_then(|admitted| log.append(admitted, false))
}

/// Appends one batch to a partition that takes it.
fn put(partition: &Arc<Partition>, bytes: Bytes) {
    let admitted = partition.admit(bytes, &Rules::default()).unwrap();
    partition.append(admitted, false).unwrap();
}

const NO_PRODUCER: (i64, i16, i32) = (-1, -1, -1);

fn core(memory: usize) -> Core {
    Core::new(&BrokerSettings { listen: ([127, 0, 0, 1], 0).into(), memory, partitions: 1 })
}

fn create(core: &Core, topic: &str) -> Arc<Topic> {
    core.topics.create(topic, 1, BTreeMap::new(), false).unwrap()
}

#[test]
fn a_batch_that_counts_from_another_offset_than_0_is_refused() {
    let mut bytes = batch(2, NO_PRODUCER).to_vec();
    bytes[7] = 5;
    let refused = append(&mut Log::default(), bytes.into(), 1 << 20);
    assert_eq!(refused.unwrap_err(), ResponseError::InvalidRecord);
}

#[test]
fn a_batch_gets_its_offset_without_a_change_to_its_checksum() {
    let mut log = Log::default();
    append(&mut log, batch(3, NO_PRODUCER), 1 << 20).unwrap();
    assert_eq!(append(&mut log, batch(2, NO_PRODUCER), 1 << 20).unwrap().base_offset, 3);
    let [read] = log.read(4, i64::MAX, 0, true).unwrap().try_into().expect("one batch");
    let bytes = [&read.patch()[..], &read.rest()].concat();
    let header = BatchHeader::read(&bytes).unwrap();
    assert_eq!((header.base_offset, header.next_offset(), header.leader_epoch), (3, 5, 0));
    assert_eq!(crc32c::crc32c(&bytes[21..]), header.crc);
}

#[test]
fn what_is_damaged_or_too_large_is_refused() {
    let mut log = Log::default();
    let good = batch(3, NO_PRODUCER);
    let changed = |at: usize| {
        let mut bytes = good.to_vec();
        bytes[at] ^= 1;
        Bytes::from(bytes)
    };
    let last = good.len() - 1;
    for (bytes, error) in [
        (changed(last), ResponseError::CorruptMessage),
        (changed(16), ResponseError::UnsupportedForMessageFormat),
        (good.slice(..last), ResponseError::CorruptMessage),
        (Bytes::new(), ResponseError::CorruptMessage),
        (Bytes::from([&good[..], &good[..]].concat()), ResponseError::InvalidRecord),
    ] {
        assert_eq!(append(&mut log, bytes, 1 << 20), Err(error));
    }
    assert_eq!(append(&mut log, good.clone(), good.len() - 1), Err(ResponseError::MessageTooLarge));
    assert_eq!(log.end(), 0);
    append(&mut log, good.clone(), good.len()).unwrap();
    assert_eq!(log.end(), 3);
}

#[test]
fn a_batch_that_is_sent_again_is_stored_once() {
    let mut log = Log::default();
    let first = append(&mut log, batch(3, (9, 0, 0)), 1 << 20).unwrap();
    append(&mut log, batch(3, (9, 0, 3)), 1 << 20).unwrap();
    let again = append(&mut log, batch(3, (9, 0, 0)), 1 << 20).unwrap();
    assert_eq!((again.base_offset, again.cost), (first.base_offset, 0));
    assert_eq!(append(&mut log, batch(3, (9, 0, 9)), 1 << 20), Err(ResponseError::OutOfOrderSequenceNumber));
    assert_eq!(log.end(), 6);
}

#[test]
fn timestamps_lead_to_the_record() {
    let mut log = Log::default();
    append(&mut log, batch(3, NO_PRODUCER), 1 << 20).unwrap();
    append(&mut log, batch(5, NO_PRODUCER), 1 << 20).unwrap();
    assert_eq!(log.at_timestamp(0), Some((0, 1000)));
    assert_eq!(log.at_timestamp(1001), Some((1, 1001)));
    assert_eq!(log.at_timestamp(1004), Some((7, 1004)));
    assert_eq!(log.at_timestamp(1005), None);
    assert_eq!(log.at_max_timestamp(), Some((7, 1004)));
}

#[test]
fn full_memory_drops_the_oldest_of_all_partitions() {
    let core = core(10_000);
    let (a, b) = (create(&core, "a"), create(&core, "b"));
    let size = batch(100, NO_PRODUCER).len();
    put(&a.partitions[0], batch(100, NO_PRODUCER));
    for _ in 0..100 {
        put(&b.partitions[0], batch(100, NO_PRODUCER));
        assert!(core.store.used() <= 10_000);
    }
    assert!(core.store.used() + 2 * size > 10_000, "no more is dropped than needed");
    let log = a.partitions[0].log();
    assert_eq!((log.start(), log.end()), (100, 100));
    let log = b.partitions[0].log();
    assert_eq!(log.end(), 10_000);
    assert!(log.start() > 0 && log.start() % 100 == 0);
    assert_eq!(
        log.read(log.start() - 1, i64::MAX, 1 << 20, true).unwrap_err(),
        ResponseError::OffsetOutOfRange
    );
    assert_eq!(log.read(log.start(), i64::MAX, 1 << 20, true).unwrap()[0].base_offset, log.start());
}

#[test]
fn a_deleted_topic_gives_its_memory_back() {
    let core = core(1 << 20);
    let topic = create(&core, "a");
    put(&topic.partitions[0], batch(100, NO_PRODUCER));
    assert!(core.store.used() > 0);
    core.topics.delete("a");
    drop(topic);
    core.store.forget_deleted();
    assert_eq!(core.store.used(), 0);
}

fn session() -> Session {
    let address: SocketAddr = ([127, 0, 0, 1], 9).into();
    Session::new(address, address)
}

fn request<R: Request>(version: i16, body: &R) -> Bytes {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(77)
        .with_client_id(Some(StrBytes::from_static_str("test")));
    let mut frame = BytesMut::new();
    header.encode(&mut frame, R::header_version(version)).unwrap();
    body.encode(&mut frame, version).unwrap();
    frame.freeze()
}

async fn ask<R: Request>(core: &Core, version: i16, body: &R) -> R::Response {
    let mut frame = answer(core, &mut session(), request(version, body)).await.unwrap().expect("an answer");
    let mut bytes = frame.copy_to_bytes(frame.remaining());
    assert_eq!(bytes.get_i32() as usize, bytes.len(), "the length in front");
    let header = ResponseHeader::decode(&mut bytes, R::Response::header_version(version)).unwrap();
    assert_eq!(header.correlation_id, 77);
    let response = R::Response::decode(&mut bytes, version).unwrap();
    assert!(bytes.is_empty(), "bytes are left after {} version {version}", R::KEY);
    response
}

/// Asks in every version that is claimed, and with every request cut off at every length.
async fn check_versions<R: Request>(core: &Core, body: impl Fn(i16) -> R) -> i16 {
    let api = SUPPORTED.iter().find(|api| api.key as i16 == R::KEY).expect("spoken");
    for version in api.min..=api.max {
        ask(core, version, &body(version)).await;
        let whole = request(version, &body(version));
        for len in 0..whole.len() {
            // Some cuts leave a shorter request that is whole; none may panic or be answered wrongly.
            if let Err(error) = answer(core, &mut session(), whole.slice(..len)).await {
                assert!(!matches!(error, RequestError::Answer { .. }), "{error}");
            }
        }
    }
    R::KEY
}

fn produce_request(version: i16, topic: &Topic, records: Bytes) -> ProduceRequest {
    let part = produce_request::PartitionProduceData::default().with_index(0).with_records(Some(records));
    let data = produce_request::TopicProduceData::default().with_partition_data(vec![part]);
    let data = match version {
        13.. => data.with_topic_id(topic.id),
        _ => data.with_name(TopicName(StrBytes::from_string(topic.name.to_string()))),
    };
    ProduceRequest::default().with_acks(-1).with_timeout_ms(1000).with_topic_data(vec![data])
}

fn fetch_request(version: i16, topic: &Topic, offset: i64) -> FetchRequest {
    let part = fetch_request::FetchPartition::default()
        .with_partition(0)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(1 << 20);
    let data = fetch_request::FetchTopic::default().with_partitions(vec![part]);
    let data = match version {
        13.. => data.with_topic_id(topic.id),
        _ => data.with_topic(TopicName(StrBytes::from_string(topic.name.to_string()))),
    };
    FetchRequest::default().with_max_bytes(1 << 20).with_topics(vec![data])
}

#[tokio::test]
async fn every_version_that_is_claimed_is_answered() {
    let core = core(1 << 20);
    let topic = create(&core, "a");
    let name = || TopicName(StrBytes::from_static_str("a"));
    let group = || GroupId(StrBytes::from_static_str("g"));
    let mut checked = vec![
        check_versions(&core, |version| produce_request(version, &topic, batch(3, NO_PRODUCER))).await,
        check_versions(&core, |version| fetch_request(version, &topic, 0)).await,
        check_versions(&core, |_| {
            let part = list_offsets_request::ListOffsetsPartition::default().with_timestamp(-1);
            let topic = list_offsets_request::ListOffsetsTopic::default().with_name(name());
            ListOffsetsRequest::default().with_topics(vec![topic.with_partitions(vec![part])])
        })
        .await,
        check_versions(&core, |_| {
            let topic = metadata_request::MetadataRequestTopic::default().with_name(Some(name()));
            MetadataRequest::default().with_topics(Some(vec![topic]))
        })
        .await,
        check_versions(&core, |_| {
            let part = offset_commit_request::OffsetCommitRequestPartition::default();
            let topic = offset_commit_request::OffsetCommitRequestTopic::default().with_name(name());
            let topics = vec![topic.with_partitions(vec![part])];
            OffsetCommitRequest::default()
                .with_group_id(group())
                .with_generation_id_or_member_epoch(-1)
                .with_topics(topics)
        })
        .await,
        check_versions(&core, |version| {
            if version < 8 {
                return OffsetFetchRequest::default().with_group_id(group()).with_topics(Some(Vec::new()));
            }
            let asked = offset_fetch_request::OffsetFetchRequestGroup::default().with_group_id(group());
            OffsetFetchRequest::default().with_groups(vec![asked.with_topics(None)])
        })
        .await,
        check_versions(&core, |version| {
            let key = StrBytes::from_static_str("g");
            match version {
                4.. => FindCoordinatorRequest::default().with_coordinator_keys(vec![key]),
                _ => FindCoordinatorRequest::default().with_key(key),
            }
        })
        .await,
        check_versions(&core, |_| DescribeGroupsRequest::default().with_groups(vec![group()])).await,
        check_versions(&core, |_| {
            let topic = create_topics_request::CreatableTopic::default().with_num_partitions(1);
            let topic = topic.with_replication_factor(1).with_name(TopicName(StrBytes::from_static_str("b")));
            CreateTopicsRequest::default().with_topics(vec![topic])
        })
        .await,
        check_versions(&core, |_| {
            let resource = describe_configs_request::DescribeConfigsResource::default();
            let resource = resource.with_resource_type(2).with_resource_name(name().0);
            DescribeConfigsRequest::default().with_resources(vec![resource.with_configuration_keys(None)])
        })
        .await,
    ];
    checked.extend([
        check_versions(&core, |_| JoinGroupRequest::default().with_group_id(group())).await,
        check_versions(&core, |_| SyncGroupRequest::default().with_group_id(group())).await,
        check_versions(&core, |_| HeartbeatRequest::default().with_group_id(group())).await,
        check_versions(&core, |_| LeaveGroupRequest::default().with_group_id(group())).await,
        check_versions(&core, |_| ListGroupsRequest::default()).await,
        check_versions(&core, |_| ApiVersionsRequest::default()).await,
        check_versions(&core, |_| DeleteTopicsRequest::default()).await,
        check_versions(&core, |_| DeleteRecordsRequest::default()).await,
        check_versions(&core, |_| InitProducerIdRequest::default().with_transactional_id(None)).await,
        check_versions(&core, |_| OffsetForLeaderEpochRequest::default()).await,
        check_versions(&core, |_| CreatePartitionsRequest::default()).await,
        check_versions(&core, |_| DeleteGroupsRequest::default().with_groups_names(vec![group()])).await,
        check_versions(&core, |_| OffsetDeleteRequest::default().with_group_id(group())).await,
        check_versions(&core, |_| DescribeClusterRequest::default()).await,
        check_versions(&core, |_| SaslHandshakeRequest::default()).await,
        check_versions(&core, |_| SaslAuthenticateRequest::default()).await,
        check_versions(&core, |version| {
            let transaction = add_partitions_to_txn_request::AddPartitionsToTxnTransaction::default();
            match version {
                4.. => AddPartitionsToTxnRequest::default().with_transactions(vec![transaction]),
                _ => AddPartitionsToTxnRequest::default(),
            }
        })
        .await,
        check_versions(&core, |_| AddOffsetsToTxnRequest::default().with_group_id(group())).await,
        check_versions(&core, |_| EndTxnRequest::default()).await,
        check_versions(&core, |_| {
            let part = txn_offset_commit_request::TxnOffsetCommitRequestPartition::default();
            let topic = txn_offset_commit_request::TxnOffsetCommitRequestTopic::default().with_name(name());
            let topics = vec![topic.with_partitions(vec![part])];
            TxnOffsetCommitRequest::default().with_group_id(group()).with_topics(topics)
        })
        .await,
        check_versions(&core, |_| {
            let id = TransactionalId(StrBytes::from_static_str("id"));
            DescribeTransactionsRequest::default().with_transactional_ids(vec![id])
        })
        .await,
        check_versions(&core, |_| ListTransactionsRequest::default()).await,
    ]);
    checked.sort_unstable();
    let mut spoken: Vec<i16> = SUPPORTED.iter().map(|api| api.key as i16).collect();
    spoken.sort_unstable();
    assert_eq!(checked, spoken);
}

#[tokio::test]
async fn what_was_produced_is_fetched_in_every_version() {
    let core = core(1 << 20);
    let topic = create(&core, "a");
    let versions = |key| SUPPORTED.iter().find(|api| api.key == key).map(|api| api.min..=api.max).unwrap();
    for (round, version) in versions(ApiKey::Produce).enumerate() {
        let answer = ask(&core, version, &produce_request(version, &topic, batch(3, NO_PRODUCER))).await;
        let part = &answer.responses[0].partition_responses[0];
        assert_eq!((part.error_code, part.base_offset), (0, round as i64 * 3), "version {version}");
    }
    let end = topic.partitions[0].log().end();
    for version in versions(ApiKey::Fetch) {
        let answer = ask(&core, version, &fetch_request(version, &topic, 4)).await;
        let part = &answer.responses[0].partitions[0];
        assert_eq!((part.error_code, part.high_watermark), (0, end), "version {version}");
        let records = part.records.as_ref().unwrap();
        let header = BatchHeader::read(records).unwrap();
        assert_eq!(header.base_offset, 3);
        assert_eq!(records.len(), header.size * (end as usize / 3 - 1));
        let answer = ask(&core, version, &fetch_request(version, &topic, end + 1)).await;
        assert_eq!(answer.responses[0].partitions[0].error_code, ResponseError::OffsetOutOfRange.code());
    }
}

#[tokio::test]
async fn a_newer_client_learns_the_versions() {
    let core = core(1 << 20);
    let mut frame = request(4, &ApiVersionsRequest::default()).to_vec();
    frame[2..4].copy_from_slice(&99_i16.to_be_bytes());
    let mut answer = answer(&core, &mut session(), frame.into()).await.unwrap().unwrap();
    let mut bytes = answer.copy_to_bytes(answer.remaining()).slice(8..);
    let versions = ApiVersionsResponse::decode(&mut bytes, 0).unwrap();
    assert_eq!(versions.error_code, ResponseError::UnsupportedVersion.code());
    assert_eq!(versions.api_keys.len(), SUPPORTED.len());
}

#[tokio::test]
async fn injected_faults_meet_the_request() {
    let core = core(1 << 20);
    let topic = create(&core, "a");
    let produce = || produce_request(9, &topic, batch(3, (9, 0, 0)));
    let error = ResponseError::NotLeaderOrFollower.code();
    core.faults.inject(Fault::once(ApiKey::Produce, FaultAction::Error(error)));
    assert_eq!(ask(&core, 9, &produce()).await.responses[0].partition_responses[0].error_code, error);
    assert_eq!(topic.partitions[0].log().end(), 0);
    core.faults.inject(Fault::once(ApiKey::Produce, FaultAction::LoseResponse));
    let lost = answer(&core, &mut session(), request(9, &produce())).await;
    assert!(matches!(lost, Err(RequestError::Fault)));
    assert_eq!(topic.partitions[0].log().end(), 3);
    let again = ask(&core, 9, &produce()).await;
    let part = &again.responses[0].partition_responses[0];
    assert_eq!((part.error_code, part.base_offset), (0, 0));
    assert_eq!(topic.partitions[0].log().end(), 3);
}

#[tokio::test]
async fn the_coordinators_topics_are_internal_and_there_when_they_are_needed() {
    let core = core(1 << 20);
    create(&core, "a");
    let all = MetadataRequest::default().with_topics(None);
    assert_eq!(ask(&core, 12, &all).await.topics.len(), 1);
    for key_type in [0, 1, 1] {
        let request = FindCoordinatorRequest::default().with_key(StrBytes::from_static_str("x"));
        assert_eq!(ask(&core, 3, &request.with_key_type(key_type)).await.error_code, 0);
    }
    let topics = ask(&core, 12, &all).await.topics;
    let listed = topics.iter().map(|topic| (topic.name.as_ref().unwrap().as_str(), topic.is_internal));
    let expected = [("__consumer_offsets", true), ("__transaction_state", true), ("a", false)];
    assert_eq!(listed.collect::<Vec<_>>(), expected);
}
