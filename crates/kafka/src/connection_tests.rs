use kafka_protocol::messages::{MetadataRequest, MetadataResponse, OffsetForLeaderEpochRequest};
use tokio::io::AsyncWriteExt;
use topicmill_broker::{Broker, Fault, FaultAction};

use super::*;
use crate::{
    connection_state::Watcher,
    handshake::Dial,
    testing::{dial, embedded},
    throttle::Throttle,
    transport::Address,
};

async fn open() -> (Broker, Dial, Address) {
    let (broker, settings) = embedded().await;
    (broker, dial(Duration::from_secs(10)), Address::parse(&settings.brokers[0]).unwrap())
}

const LIMIT: Duration = Duration::from_secs(10);

async fn open_with(dial: &Dial, address: &Address) -> Result<Connection, WireError> {
    dial.open(address, Throttle::default(), None).await
}

async fn ask(connection: &Connection) -> Result<MetadataResponse, WireError> {
    connection.call_within(&question(), LIMIT).await
}

fn question() -> MetadataRequest {
    MetadataRequest::default().with_topics(Some(Vec::new()))
}

#[tokio::test]
async fn a_request_past_its_deadline_takes_the_connection_with_it() {
    let (broker, dial, address) = open().await;
    let connection = open_with(&dial, &address).await.unwrap();
    let slow = FaultAction::Delay(Duration::from_secs(60));
    broker.inject(Fault::once(ApiKey::Metadata, slow));
    let asked = question();
    let late = connection.call_within(&asked, Duration::from_millis(100));
    let behind = ask(&connection);
    let (late, behind) = tokio::join!(late, behind);
    assert!(matches!(late, Err(WireError::Timeout { api: ApiKey::Metadata, .. })), "{late:?}");
    assert!(matches!(behind, Err(WireError::Closed { .. })), "{behind:?}");
    assert!(connection.is_closed());
    assert!(matches!(ask(&connection).await, Err(WireError::Closed { .. })));
}

#[tokio::test]
async fn what_the_broker_closes_fails_at_once() {
    let (broker, dial, address) = open().await;
    let connection = open_with(&dial, &address).await.unwrap();
    broker.inject(Fault::once(ApiKey::Metadata, FaultAction::Close));
    let error = ask(&connection).await.unwrap_err();
    assert!(matches!(error, WireError::Closed { .. }), "{error}");
    let again = open_with(&dial, &address).await.unwrap();
    assert_eq!(ask(&again).await.unwrap().brokers.len(), 1);
}

#[tokio::test]
async fn an_idle_connection_learns_that_it_was_closed() {
    let (broker, dial, address) = open().await;
    let connection = open_with(&dial, &address).await.unwrap();
    broker.close_connections();
    tokio::time::timeout(Duration::from_secs(10), async {
        while !connection.is_closed() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn answers_go_to_their_questions_in_order() {
    let (_broker, dial, address) = open().await;
    let connection = open_with(&dial, &address).await.unwrap();
    let mut replies = Vec::new();
    for _ in 0..50 {
        replies.push(connection.send(&question(), Duration::from_secs(10)).await.unwrap());
    }
    drop(connection);
    for reply in replies {
        assert_eq!(reply.response().await.unwrap().brokers.len(), 1);
    }
}

#[tokio::test]
async fn without_a_common_version_nothing_is_sent() {
    let (_broker, dial, address) = open().await;
    let connection = open_with(&dial, &address).await.unwrap();
    connection.version(ApiKey::Fetch).unwrap();
    let unknown = ApiKey::iter().find(|api| connection.offered(*api).is_none()).unwrap();
    let error = connection.version(unknown).unwrap_err();
    assert!(error.to_string().contains(&format!("does not offer {unknown:?}")), "{error}");
    if connection.offered(ApiKey::OffsetForLeaderEpoch).is_none() {
        let request = OffsetForLeaderEpochRequest::default();
        assert!(matches!(connection.call_within(&request, LIMIT).await, Err(WireError::Version { .. })));
    }
}

#[tokio::test]
async fn a_port_that_does_not_speak_kafka_is_told() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        stream
    });
    let (_broker, dial, _) = open().await;
    let address = Address { host: "127.0.0.1".to_owned(), port };
    let error = open_with(&dial, &address).await.unwrap_err();
    assert!(error.to_string().contains("is this a Kafka port?"), "{error}");
    server.abort();
}

#[tokio::test]
async fn what_nothing_is_asked_on_is_closed_and_that_is_no_bad_omen() {
    let (broker, mut dial, address) = open().await;
    let limit = Duration::from_millis(500);
    dial.max_idle = Some(limit);
    let tell = |omen| panic!("{omen:?}");
    let watcher = Watcher { quiet: LIMIT, tell: Arc::new(tell) };
    let connection = dial.open(&address, Throttle::default(), Some(watcher)).await.unwrap();
    // Who waits for an answer, however long, is not idle.
    let slow = FaultAction::Delay(4 * limit);
    broker.inject(Fault::once(ApiKey::Metadata, slow));
    ask(&connection).await.unwrap();
    tokio::time::sleep(limit).await;
    assert!(connection.is_closed(), "nobody gets it any more");
    let ended = async {
        while connection.shared.closed.get().is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, ended).await.expect("it is not kept");
    assert!(matches!(ask(&connection).await, Err(WireError::Closed { .. })));
}
