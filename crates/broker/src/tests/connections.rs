//! The broker over its sockets: what becomes of a connection, and of what waits behind a request.

use std::{
    io,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::*;
use crate::Broker;

/// Longer than anything takes that is not frozen.
const LONG: Duration = Duration::from_secs(30);

/// Short, for what never comes.
const MOMENT: Duration = Duration::from_millis(100);

async fn broker() -> Broker {
    let settings = BrokerSettings { listen: ([127, 0, 0, 1], 0).into(), memory: 1 << 20, partitions: 1 };
    let broker = Broker::start(settings).await.unwrap();
    broker.create_topic("a", 1, &[]).unwrap();
    broker
}

/// A client that sends and reads frames.
struct Client(TcpStream);

impl Client {
    async fn connect(broker: &Broker) -> Client {
        Client(TcpStream::connect(broker.address()).await.unwrap())
    }

    async fn send<R: Request>(&mut self, version: i16, body: &R) {
        let frame = request(version, body);
        let mut bytes = BytesMut::new();
        bytes.put_u32(frame.len() as u32);
        bytes.put_slice(&frame);
        self.0.write_all(&bytes).await.unwrap();
    }

    async fn read<R: Request>(&mut self, version: i16) -> io::Result<R::Response> {
        let len = self.0.read_u32().await?;
        let mut bytes = vec![0; len as usize];
        self.0.read_exact(&mut bytes).await?;
        let mut bytes = Bytes::from(bytes);
        ResponseHeader::decode(&mut bytes, R::Response::header_version(version)).unwrap();
        Ok(R::Response::decode(&mut bytes, version).unwrap())
    }

    async fn ask<R: Request>(&mut self, version: i16, body: &R) -> io::Result<R::Response> {
        self.send(version, body).await;
        timeout(LONG, self.read::<R>(version)).await.expect("an answer or an end in time")
    }
}

fn metadata() -> MetadataRequest {
    MetadataRequest::default().with_topics(None)
}

fn records(bytes: usize) -> ProduceRequest {
    let part = produce_request::PartitionProduceData::default();
    let part = part.with_records(Some(Bytes::from(vec![0; bytes])));
    let name = TopicName(StrBytes::from_static_str("a"));
    let data = produce_request::TopicProduceData::default().with_name(name).with_partition_data(vec![part]);
    ProduceRequest::default().with_acks(-1).with_topic_data(vec![data])
}

#[tokio::test]
async fn a_frozen_broker_accepts_and_answers_when_it_is_thawed() {
    let broker = broker().await;
    let frozen = broker.inject(Fault::everywhere(FaultAction::Freeze));
    let mut client = Client::connect(&broker).await;
    client.send(9, &metadata()).await;
    assert!(timeout(MOMENT, client.read::<MetadataRequest>(9)).await.is_err());
    broker.lift(frozen);
    let answer = timeout(LONG, client.read::<MetadataRequest>(9)).await.expect("thawed").unwrap();
    assert_eq!(answer.topics.len(), 1);
    assert_eq!((broker.seen(ApiKey::Metadata).requests, broker.connections_accepted()), (1, 1));
    broker.stop().await;
}

#[tokio::test]
async fn one_api_is_frozen_and_the_others_answer_on_other_connections() {
    let broker = broker().await;
    broker.inject(Fault::always(ApiKey::Heartbeat, FaultAction::Freeze));
    let (mut frozen, mut other) = (Client::connect(&broker).await, Client::connect(&broker).await);
    frozen.send(4, &HeartbeatRequest::default()).await;
    frozen.send(9, &metadata()).await;
    other.ask(9, &metadata()).await.unwrap();
    assert!(timeout(MOMENT, frozen.0.read_u32()).await.is_err(), "what is behind it waits");
    broker.clear_faults();
    timeout(LONG, frozen.read::<HeartbeatRequest>(4)).await.expect("thawed").unwrap();
    timeout(LONG, frozen.read::<MetadataRequest>(9)).await.expect("behind it").unwrap();
    broker.stop().await;
}

#[tokio::test]
async fn delays_of_one_connection_add_up_and_answers_keep_their_order() {
    let broker = broker().await;
    let delay = Duration::from_millis(20);
    broker.inject(Fault::always(ApiKey::Metadata, FaultAction::Delay(delay)));
    let mut client = Client::connect(&broker).await;
    let started = Instant::now();
    for _ in 0..5 {
        client.send(9, &metadata()).await;
        client.send(4, &HeartbeatRequest::default()).await;
    }
    for _ in 0..5 {
        timeout(LONG, client.read::<MetadataRequest>(9)).await.expect("in time").unwrap();
        timeout(LONG, client.read::<HeartbeatRequest>(4)).await.expect("in time").unwrap();
    }
    assert!(started.elapsed() >= 5 * delay);
    broker.stop().await;
}

#[tokio::test]
async fn a_closed_connection_leaves_the_request_without_an_answer() {
    let broker = broker().await;
    broker.inject(Fault::once(ApiKey::Metadata, FaultAction::Close));
    let mut client = Client::connect(&broker).await;
    assert!(client.ask(9, &metadata()).await.is_err());
    assert!(Client::connect(&broker).await.ask(9, &metadata()).await.is_ok());
    broker.stop().await;
}

#[tokio::test]
async fn a_request_beyond_the_limit_closes_its_connection() {
    let broker = broker().await;
    broker.limit_requests(1000);
    let mut client = Client::connect(&broker).await;
    assert!(client.ask(9, &records(100)).await.is_ok());
    assert!(client.ask(9, &records(2000)).await.is_err());
    broker.stop().await;
}

#[tokio::test]
async fn who_is_throttled_is_answered_at_once_and_not_heard_for_a_while() {
    let broker = broker().await;
    let quiet = Duration::from_millis(300);
    let mut client = Client::connect(&broker).await;
    for api in [ApiKey::Metadata, ApiKey::Fetch, ApiKey::Produce] {
        broker.inject(Fault::once(api, FaultAction::Throttle(quiet)));
        let started = Instant::now();
        let told = match api {
            ApiKey::Metadata => client.ask(9, &metadata()).await.unwrap().throttle_time_ms,
            ApiKey::Produce => client.ask(9, &records(10)).await.unwrap().throttle_time_ms,
            _ => {
                let asked = FetchRequest::default().with_max_wait_ms(60_000).with_min_bytes(1);
                client.ask(12, &asked).await.unwrap().throttle_time_ms
            }
        };
        assert_eq!(told, 300, "{api:?}");
        client.ask(4, &HeartbeatRequest::default()).await.unwrap();
        assert!(started.elapsed() >= quiet, "{api:?}");
    }
    broker.stop().await;
}

#[tokio::test]
async fn a_quota_tells_how_long_to_be_quiet() {
    let broker = broker().await;
    broker.limit_produce_quota(Some(10_000));
    let mut client = Client::connect(&broker).await;
    let told = client.ask(9, &records(1000)).await.unwrap().throttle_time_ms;
    assert!((90..=100).contains(&told), "{told}");
    broker.clear_faults();
    assert_eq!(client.ask(9, &records(1000)).await.unwrap().throttle_time_ms, 0);
    broker.stop().await;
}

async fn log_in(client: &mut Client, password: &str) -> i16 {
    let mechanism = SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str("PLAIN"));
    assert_eq!(client.ask(1, &mechanism).await.unwrap().error_code, 0);
    let message = Bytes::from(format!("\0me\0{password}"));
    let asked = SaslAuthenticateRequest::default().with_auth_bytes(message);
    client.ask(2, &asked).await.unwrap().error_code
}

#[tokio::test]
async fn a_login_is_refused_as_soon_as_the_password_is_another() {
    let broker = broker().await;
    broker.require_login(Some(("me", "old")));
    assert!(Client::connect(&broker).await.ask(9, &metadata()).await.is_err(), "without a login");
    let mut client = Client::connect(&broker).await;
    assert_eq!(log_in(&mut client, "old").await, 0);
    assert!(client.ask(9, &metadata()).await.is_ok());
    broker.require_login(Some(("me", "new")));
    assert!(!format!("{broker:?}").contains("\"new\""));
    assert!(client.ask(9, &metadata()).await.is_ok(), "who is in stays in");
    let mut client = Client::connect(&broker).await;
    assert_eq!(log_in(&mut client, "old").await, ResponseError::SaslAuthenticationFailed.code());
    assert!(client.ask(9, &metadata()).await.is_err(), "the connection is closed");
    let mut client = Client::connect(&broker).await;
    assert_eq!(log_in(&mut client, "new").await, 0);
    broker.stop().await;
}

#[tokio::test]
async fn a_coordinator_is_in_trouble_until_its_faults_are_lifted() {
    let broker = broker().await;
    let code = ResponseError::CoordinatorNotAvailable.code();
    let apis = [ApiKey::FindCoordinator, ApiKey::JoinGroup, ApiKey::Heartbeat, ApiKey::OffsetCommit];
    let faults = apis.map(|api| broker.inject(Fault::always(api, FaultAction::Error(code))));
    let mut client = Client::connect(&broker).await;
    let group = || GroupId(StrBytes::from_static_str("g"));
    let part = offset_commit_request::OffsetCommitRequestPartition::default();
    let topic = offset_commit_request::OffsetCommitRequestTopic::default();
    let topic = topic.with_name(TopicName(StrBytes::from_static_str("a"))).with_partitions(vec![part]);
    let commit = OffsetCommitRequest::default().with_group_id(group());
    let commit = commit.with_generation_id_or_member_epoch(-1).with_topics(vec![topic]);
    let join = JoinGroupRequest::default().with_group_id(group()).with_session_timeout_ms(6000);
    let find = FindCoordinatorRequest::default().with_key(group().0);
    let heartbeat = HeartbeatRequest::default().with_group_id(group());
    let mut codes = Vec::new();
    for _ in 0..3 {
        codes.push([
            client.ask(3, &find).await.unwrap().error_code,
            client.ask(5, &join).await.unwrap().error_code,
            client.ask(4, &heartbeat).await.unwrap().error_code,
            client.ask(8, &commit).await.unwrap().topics[0].partitions[0].error_code,
        ]);
        if codes.len() == 2 {
            faults.iter().for_each(|fault| broker.lift(*fault));
        }
    }
    assert_eq!(codes[..2], [[code; 4]; 2]);
    let unknown = ResponseError::UnknownMemberId.code();
    let without_protocols = ResponseError::InconsistentGroupProtocol.code();
    assert_eq!(codes[2], [0, without_protocols, unknown, 0]);
    broker.stop().await;
}

#[tokio::test]
async fn the_end_of_a_transaction_takes_effect_although_its_client_has_hung_up() {
    let broker = broker().await;
    let topic = broker.core.topics.get("a").unwrap();
    let id = || TransactionalId(StrBytes::from_static_str("id"));
    let mut client = Client::connect(&broker).await;
    let begin = InitProducerIdRequest::default().with_transactional_id(Some(id()));
    let begun = client.ask(5, &begin.with_transaction_timeout_ms(60_000)).await.unwrap();
    let records = transactional((begun.producer_id.0, begun.producer_epoch, 0), "value");
    let write = produce_request(12, &topic, records).with_transactional_id(Some(id()));
    let written = client.ask(12, &write).await.unwrap();
    assert_eq!(written.responses[0].partition_responses[0].error_code, 0);
    broker.inject(Fault::once(ApiKey::EndTxn, FaultAction::Delay(MOMENT)));
    let end = EndTxnRequest::default()
        .with_transactional_id(id())
        .with_producer_id(begun.producer_id)
        .with_producer_epoch(begun.producer_epoch)
        .with_committed(true);
    client.send(5, &end).await;
    drop(client);
    let committed = async {
        while broker.transaction("id").unwrap().state != "CompleteCommit" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LONG, committed).await.expect("in time");
    assert_eq!(broker.last_stable_offset("a", 0), Some(2));
    broker.stop().await;
}
