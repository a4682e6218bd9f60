//! Questions and connections where brokers are silent, gone, or misconfigured.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicI32, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use kafka_protocol::{
    ResponseError,
    messages::{
        HeartbeatRequest, HeartbeatResponse, ListOffsetsRequest, MetadataRequest, SaslAuthenticateRequest,
        SaslAuthenticateResponse, SaslHandshakeResponse,
    },
    protocol::{Decodable, StrBytes},
};
use tokio::{io::AsyncWriteExt, net::TcpListener, time::timeout};
use topicmill_broker::{Fault, FaultAction};
use topicmill_mill::{
    batch::TopicPartition,
    engine::{Assignment, ClientSettings, Offset, Room, Source, SourceEvent},
};

use super::*;
use crate::{
    NativeSource, OffsetAt,
    fake::{Asked, Fake, FakeCluster, Say, USUAL},
    testing::{embedded, served, source_settings},
    transport::Address,
};

const LIMIT: Duration = Duration::from_secs(30);

fn settings(brokers: Vec<String>, properties: &[(&str, &str)]) -> ClientSettings {
    let properties = properties.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    ClientSettings { brokers, properties: properties.collect(), connect_timeout: Duration::from_secs(10) }
}

fn metadata() -> MetadataRequest {
    MetadataRequest::default().with_topics(Some(Vec::new()))
}

/// A client that has a connection for questions to every broker.
async fn connected(cluster: &FakeCluster, properties: &[(&str, &str)]) -> Client {
    let client = Client::connect(&settings(cluster.bootstrap(), properties)).await.unwrap();
    for number in 0..cluster.brokers.len() {
        client.cluster().connection(number as i32, Lane::Control).await.unwrap();
    }
    client
}

#[tokio::test]
async fn a_silent_broker_holds_up_no_question_that_another_can_answer() {
    let fakes = FakeCluster::start(2).await;
    let client = connected(&fakes, &[]).await;
    fakes.script.frozen.lock().unwrap().push(0);
    let start = Instant::now();
    for _ in 0..8 {
        client.cluster().ask(Whom::Any, &metadata(), LIMIT).await.unwrap();
    }
    // By chance the first few may meet the silent one, until it counts as silent.
    assert!(start.elapsed() < LIMIT / 2, "{:?}", start.elapsed());
}

#[tokio::test]
async fn who_waits_for_a_broker_that_has_left_learns_of_it() {
    let fakes = FakeCluster::start(2).await;
    let client = connected(&fakes, &[]).await;
    let mut open = Vec::new();
    for lane in [Lane::Control, Lane::Fetch, Lane::Produce, Lane::Member] {
        open.push(client.cluster().connection(0, lane).await.unwrap());
    }
    fakes.script.frozen.lock().unwrap().push(0);
    fakes.script.there.lock().unwrap().retain(|(number, _)| *number != 0);
    let start = Instant::now();
    let request = ListOffsetsRequest::default();
    for answer in join_all(open.iter().map(|connection| connection.call_within(&request, LIMIT))).await {
        assert!(matches!(answer, Err(WireError::Closed { .. })), "{answer:?}");
    }
    assert!(start.elapsed() < LIMIT / 2, "{:?}", start.elapsed());
}

#[tokio::test]
async fn attempts_to_reach_a_broker_are_shared() {
    let fakes = FakeCluster::start(2).await;
    let properties = [("socket.connection.setup.timeout.ms", "1000"), ("reconnect.backoff.ms", "60000")];
    let more = [("reconnect.backoff.max.ms", "60000")];
    let client = connected(&fakes, &[&properties[..], &more[..]].concat()).await;
    fakes.script.frozen.lock().unwrap().push(0);
    let before = fakes.brokers[0].accepted();
    let start = Instant::now();
    let waiting = (0..50).map(|_| client.cluster().connection(0, Lane::Produce));
    assert!(join_all(waiting).await.iter().all(Result::is_err));
    // A later one does not wait at all, whatever its purpose.
    for lane in [Lane::Produce, Lane::Fetch] {
        let error = client.cluster().connection(0, lane).await.unwrap_err();
        assert!(format!("{error:?}").contains("BackingOff"), "{error:?}");
        assert_eq!(error.kind, ErrorKind::Retriable);
    }
    assert_eq!(fakes.brokers[0].accepted() - before, 1);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_connection_that_ends_makes_the_leader_be_looked_up_anew() {
    let fakes = FakeCluster::start(2).await;
    let client = connected(&fakes, &[]).await;
    let partition = TopicPartition::new("t", 0);
    assert_eq!(client.cluster().leader(&partition).await.unwrap().broker, 0);
    let connection = client.cluster().connection(0, Lane::Produce).await.unwrap();
    *fakes.script.leader.lock().unwrap() = (1, 1);
    connection.close("as a test wants it");
    assert_eq!(client.cluster().leader(&partition).await.unwrap().broker, 1);
    // A broker that is cut off goes on naming the leader of its time.
    *fakes.script.leader.lock().unwrap() = (0, 0);
    client.cluster().invalidate();
    assert_eq!(client.cluster().leader(&partition).await.unwrap().broker, 1);
}

#[tokio::test]
async fn a_commit_does_not_wait_behind_other_questions() {
    let (broker, settings) = embedded().await;
    broker.create_topic("t", 1, &[]).unwrap();
    let client = Client::connect(&settings).await.unwrap();
    let mut source = NativeSource::new(&client, &settings, source_settings()).await.unwrap();
    let SourceEvent::Assigned(assigned) = source.next(&Room::open()).await.unwrap() else { panic!() };
    broker.inject(Fault::always(ApiKey::ListOffsets, FaultAction::Delay(Duration::from_secs(600))));
    let asking = tokio::spawn({
        let client = client.clone();
        async move { client.offsets("t", OffsetAt::Latest).await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    // Nor is the coordinator looked up again because it cannot write its log for a moment.
    let unavailable = FaultAction::Error(ResponseError::CoordinatorNotAvailable.code());
    broker.inject(Fault::once(ApiKey::OffsetCommit, unavailable).times(3));
    broker.inject(Fault::always(ApiKey::FindCoordinator, FaultAction::Delay(Duration::from_secs(600))));
    let Assignment { partition, id: assignment, .. } = assigned[0].clone();
    let offset = Offset { partition, assignment, next: 1, leader_epoch: -1 };
    timeout(LIMIT / 2, source.commit(vec![offset])).await.expect("it is not held up").unwrap();
    asking.abort();
}

#[tokio::test]
async fn a_silent_bootstrap_broker_does_not_keep_from_the_next() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (_broker, mut settings) = embedded().await;
    settings.brokers.insert(0, silent.local_addr().unwrap().to_string());
    settings.brokers.insert(0, "127.0.0.1:1".to_owned());
    let start = Instant::now();
    Client::connect(&settings).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test]
async fn throttling_holds_up_what_follows_and_costs_no_deadline() {
    let throttle = Arc::new(AtomicI32::new(0));
    let says = Arc::clone(&throttle);
    let fakes = FakeCluster::start(1).await;
    let there = fakes.brokers[0].address;
    let fake = Fake::start(move |asked: &Asked| match asked.api {
        ApiKey::ApiVersions => asked.offer(USUAL),
        ApiKey::Heartbeat => {
            let millis = says.swap(0, Ordering::Relaxed);
            asked.answer(&HeartbeatResponse::default().with_throttle_time_ms(millis))
        }
        _ => Say::Nothing,
    })
    .await;
    fakes.script.there.lock().unwrap().push((1, fake.address));
    let client = Client::connect(&settings(vec![there.to_string()], &[])).await.unwrap();
    throttle.store(1500, Ordering::Relaxed);
    let limit = Duration::from_millis(700);
    let beat = HeartbeatRequest::default();
    let connection = client.cluster().connection(1, Lane::Member).await.unwrap();
    connection.call_within(&beat, LIMIT).await.unwrap();
    let start = Instant::now();
    // A new connection is throttled as well.
    connection.close("as a test wants it");
    let connection = client.cluster().connection(1, Lane::Member).await.unwrap();
    connection.call_within(&beat, limit).await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(1400), "{:?}", start.elapsed());
    // Another purpose is not.
    let other = client.cluster().connection(1, Lane::Group).await.unwrap();
    assert!(other.throttled_until().is_none());
}

#[tokio::test]
async fn what_was_sent_before_a_throttling_has_its_whole_time_after_it() {
    let asked_for = AtomicI32::new(0);
    let fakes = FakeCluster::start(1).await;
    let there = fakes.brokers[0].address;
    let fake = Fake::start(move |asked: &Asked| match asked.api {
        ApiKey::ApiVersions => asked.offer(USUAL),
        ApiKey::Heartbeat => match asked_for.fetch_add(1, Ordering::Relaxed) {
            0 => asked.answer(&HeartbeatResponse::default().with_throttle_time_ms(1500)),
            // While it throttles, a broker reads nothing.
            _ => match asked.answer(&HeartbeatResponse::default()) {
                Say::Answer(bytes) => Say::Later(Duration::from_millis(1400), bytes),
                other => other,
            },
        },
        _ => Say::Nothing,
    })
    .await;
    fakes.script.there.lock().unwrap().push((1, fake.address));
    let client = Client::connect(&settings(vec![there.to_string()], &[])).await.unwrap();
    let connection = client.cluster().connection(1, Lane::Member).await.unwrap();
    let (beat, limit) = (HeartbeatRequest::default(), Duration::from_millis(700));
    let first = connection.send(&beat, limit).await.unwrap();
    let second = connection.send(&beat, limit).await.unwrap();
    first.response().await.unwrap();
    second.response().await.unwrap();
}

/// A broker that wants a password over SASL PLAIN.
async fn with_password(password: Arc<Mutex<String>>) -> Fake {
    let fakes = FakeCluster::start(1).await;
    Fake::start(move |asked: &Asked| match asked.api {
        ApiKey::SaslHandshake => {
            let mechanisms = vec![StrBytes::from_static_str("PLAIN")];
            asked.answer(&SaslHandshakeResponse::default().with_mechanisms(mechanisms))
        }
        ApiKey::SaslAuthenticate => {
            let said = SaslAuthenticateRequest::decode(&mut asked.body.clone(), asked.version).unwrap();
            let expected = format!("\0user\0{}", password.lock().unwrap());
            let code = if said.auth_bytes == expected.as_bytes() {
                0
            } else {
                ResponseError::SaslAuthenticationFailed.code()
            };
            asked.answer(&SaslAuthenticateResponse::default().with_error_code(code))
        }
        ApiKey::ApiVersions => asked.offer(USUAL),
        _ => fakes.script.say(0, asked),
    })
    .await
}

#[tokio::test]
async fn a_login_is_refused_at_the_start_and_tried_again_once_one_has_worked() {
    let expected = Arc::new(Mutex::new("old ".to_owned()));
    let fake = with_password(Arc::clone(&expected)).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "wrong\n").unwrap();
    let properties = [
        ("security.protocol", "sasl_plaintext"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.username", "user"),
        ("sasl.password_file", file.to_str().unwrap()),
    ];
    let settings = settings(vec![fake.address.to_string()], &properties);
    let error = Client::connect(&settings).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Fatal, "{error}");
    std::fs::write(&file, "old \n").unwrap();
    let client = Client::connect(&settings).await.unwrap();
    *expected.lock().unwrap() = "new".to_owned();
    let address = Address::parse(&settings.brokers[0]).unwrap();
    let dial = || client.cluster().connections.dial(std::slice::from_ref(&address));
    let error = dial().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retriable, "{error}");
    // The file is read again.
    std::fs::write(&file, "new\n").unwrap();
    dial().await.unwrap();
}

#[tokio::test]
async fn a_certificate_that_is_renewed_on_disk_is_taken_without_a_restart() {
    let config = Arc::new(Mutex::new(served("one")));
    let fakes = FakeCluster::start(1).await;
    let fake = Fake::start_tls(Arc::clone(&config), move |asked| fakes.script.say(0, asked)).await;
    let folder = tempfile::tempdir().unwrap();
    let trusted = folder.path().join("ca.pem");
    let trust = |name: &str| {
        let from = format!("{}/tests/data/tls/{name}.pem", env!("CARGO_MANIFEST_DIR"));
        std::fs::copy(from, &trusted).unwrap();
    };
    trust("two");
    let properties = [("security.protocol", "ssl"), ("ssl.ca.location", trusted.to_str().unwrap())];
    let settings = settings(vec![format!("localhost:{}", fake.address.port())], &properties);
    let error = Client::connect(&settings).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Fatal, "{error}");
    trust("one");
    let client = Client::connect(&settings).await.unwrap();
    let address = Address::parse(&settings.brokers[0]).unwrap();
    let dial = || client.cluster().connections.dial(std::slice::from_ref(&address));
    *config.lock().unwrap() = served("two");
    let error = dial().await.unwrap_err();
    assert!(matches!(error, WireError::Authentication { again: true, .. }), "{error}");
    // Half written, as it may be met.
    std::fs::write(&trusted, "-----BEGIN CERTIFICATE-----\nMII").unwrap();
    let error = dial().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retriable, "{error}");
    trust("two");
    dial().await.unwrap();
}

#[tokio::test]
async fn every_request_and_answer_shows_in_the_log_at_trace() {
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false);
    let writer = lines.clone();
    let _guard = tracing::subscriber::set_default(subscriber.with_writer(move || writer.clone()).finish());
    let (_broker, settings) = embedded().await;
    // What other tests log for the first time just now may count as disabled: looked at again.
    Client::connect(&settings).await.unwrap();
    tracing::callsite::rebuild_interest_cache();
    Client::connect(&settings).await.unwrap();
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let about = |words: [&str; 2]| text.lines().any(|line| words.iter().all(|word| line.contains(word)));
    for message in ["request", "answer"] {
        assert!(about([message, "api=ApiVersions"]) && about([message, "api=Metadata"]), "{text}");
        assert!(about([message, &format!("broker=\"{}\"", settings.brokers[0])]), "{text}");
        assert!(about([message, "bytes="]) && about([message, "correlation=1"]), "{text}");
    }
    assert!(about(["answer", "after="]), "{text}");
}

/// What a client of these properties says of a port that does as `serve` says.
async fn hint(properties: &[(&str, &str)], answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(answer).await;
        }
    });
    let settings =
        ClientSettings { connect_timeout: Duration::from_secs(1), ..settings(vec![address], properties) };
    Client::connect(&settings).await.unwrap_err().to_string()
}

#[tokio::test]
async fn another_protocol_than_the_ports_is_hinted_at() {
    // What OpenSSL and the JVM say to a client in plain text.
    let text = hint(&[], b"\x15\x03\x03\x00\x02\x02\x46").await;
    assert!(text.contains("looks like a TLS port"), "{text}");
    let text = hint(&[], b"").await;
    assert!(text.contains("security.protocol"), "{text}");
    let text = hint(&[("security.protocol", "ssl")], b"\x00\x00\x00\x00").await;
    assert!(text.contains("security.protocol"), "{text}");
    let text = hint(&[("security.protocol", "ssl")], b"").await;
    assert!(text.contains("security.protocol"), "{text}");
    // A length that no answer has before both sides know each other.
    let text = hint(&[], b"\x10\x00\x00\x00").await;
    assert!(text.contains("is this a Kafka port?"), "{text}");
}

#[tokio::test]
async fn a_broker_that_wants_a_login_is_hinted_at() {
    // It says what it offers to anyone, and closes the connection at the first question.
    let fake = Fake::start(|asked: &Asked| match asked.api {
        ApiKey::ApiVersions => asked.offer(USUAL),
        _ => Say::Close,
    })
    .await;
    let settings = ClientSettings {
        connect_timeout: Duration::from_secs(1),
        ..settings(vec![fake.address.to_string()], &[])
    };
    let text = Client::connect(&settings).await.unwrap_err().to_string();
    assert!(text.contains("security.protocol"), "{text}");
}
