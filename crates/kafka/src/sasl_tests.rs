//! A broker, or who stands in its place, cannot talk this client out of its login, nor its secret out
//! of it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use kafka_protocol::{
    ResponseError,
    messages::{
        ApiKey, MetadataResponse, SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeResponse,
        metadata_response::MetadataResponseBroker,
    },
    protocol::Decodable,
};
use tokio::{io::AsyncReadExt, net::TcpListener, sync::oneshot, time::timeout};
use topicmill_mill::engine::{ClientSettings, ErrorKind};

use super::*;
use crate::{
    Client,
    cluster::Lane,
    fake::{Asked, Fake, Say, USUAL},
    scram::held,
    testing::served,
};

const PASSWORD: &str = "hunter2-and-more";
const TOKEN: &str = "token.of.a.user";

/// A fake that writes down what it is asked for.
async fn fake(say: impl Fn(&Asked) -> Say + Send + Sync + 'static) -> (Fake, Arc<Mutex<Vec<ApiKey>>>) {
    let asked_for: Arc<Mutex<Vec<ApiKey>>> = Arc::default();
    let notes = Arc::clone(&asked_for);
    let fake = Fake::start(move |asked| {
        notes.lock().unwrap().push(asked.api);
        say(asked)
    });
    (fake.await, asked_for)
}

fn settings(broker: &str, properties: &[(&str, &str)]) -> ClientSettings {
    let properties = properties.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let connect_timeout = Duration::from_millis(500);
    ClientSettings { brokers: vec![broker.to_owned()], properties: properties.collect(), connect_timeout }
}

fn login(mechanism: &str) -> [(&str, &str); 5] {
    [
        ("security.protocol", "sasl_plaintext"),
        ("sasl.mechanism", mechanism),
        ("sasl.username", "user"),
        ("sasl.password", PASSWORD),
        ("sasl.oauthbearer.token", TOKEN),
    ]
}

/// What keeps a client from connecting that logs in by `mechanism`.
async fn refusal(fake: &Fake, mechanism: &str) -> (ErrorKind, String) {
    let settings = settings(&fake.address.to_string(), &login(mechanism));
    let error = Client::connect(&settings).await.unwrap_err();
    (error.kind, error.to_string())
}

fn offers(asked: &Asked, mechanism: &str) -> Say {
    let mechanisms = vec![StrBytes::from_string(mechanism.to_owned())];
    asked.answer(&SaslHandshakeResponse::default().with_mechanisms(mechanisms))
}

fn says(asked: &Asked, bytes: &'static str) -> Say {
    asked.answer(&SaslAuthenticateResponse::default().with_auth_bytes(Bytes::from_static(bytes.as_bytes())))
}

const MECHANISMS: [&str; 4] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"];

#[tokio::test]
async fn a_broker_that_knows_no_login_gets_no_question() {
    for mechanism in MECHANISMS {
        let without = |asked: &Asked| match asked.api {
            ApiKey::ApiVersions => asked.offer(&[(ApiKey::ApiVersions, 3), (ApiKey::Metadata, 12)]),
            _ => Say::Nothing,
        };
        let (fake, asked_for) = fake(without).await;
        let (kind, error) = refusal(&fake, mechanism).await;
        assert!(kind == ErrorKind::Fatal && error.contains("does not offer SaslHandshake"), "{error}");
        assert_eq!(*asked_for.lock().unwrap(), [ApiKey::ApiVersions]);
    }
}

#[tokio::test]
async fn a_broker_of_another_mechanism_learns_no_secret() {
    for mechanism in MECHANISMS {
        let other = if mechanism == "PLAIN" { "SCRAM-SHA-256" } else { "PLAIN" };
        let (fake, asked_for) = fake(move |asked| match asked.api {
            ApiKey::ApiVersions => asked.offer(USUAL),
            ApiKey::SaslHandshake => {
                let code = ResponseError::UnsupportedSaslMechanism.code();
                let mechanisms = vec![StrBytes::from_static_str(other)];
                asked.answer(
                    &SaslHandshakeResponse::default().with_error_code(code).with_mechanisms(mechanisms),
                )
            }
            _ => Say::Nothing,
        })
        .await;
        let (kind, error) = refusal(&fake, mechanism).await;
        let expected = format!("sasl.mechanism {mechanism} is not among the broker's: {other}");
        assert!(kind == ErrorKind::Fatal && error.contains(&expected), "{error}");
        assert_eq!(*asked_for.lock().unwrap(), [ApiKey::ApiVersions, ApiKey::SaslHandshake]);
    }
}

#[tokio::test]
async fn a_broker_that_does_not_know_the_password_is_not_believed() {
    // At once; with a proof that is empty, or somebody else's.
    for last in [None, Some(""), Some("v="), Some("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")] {
        let (fake, asked_for) = fake(move |asked| match asked.api {
            ApiKey::ApiVersions => asked.offer(USUAL),
            ApiKey::SaslHandshake => offers(asked, "SCRAM-SHA-256"),
            ApiKey::SaslAuthenticate => {
                let said = SaslAuthenticateRequest::decode(&mut asked.body.clone(), asked.version).unwrap();
                let said = String::from_utf8(said.auth_bytes.to_vec()).unwrap();
                match (said.strip_prefix("n,,n=user,r="), last) {
                    (Some(nonce), Some(_)) => {
                        let challenge = format!("r={nonce}more,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
                        asked.answer(&SaslAuthenticateResponse::default().with_auth_bytes(challenge.into()))
                    }
                    (Some(_), None) => says(asked, ""),
                    (None, last) => says(asked, last.unwrap()),
                }
            }
            _ => Say::Nothing,
        })
        .await;
        let (kind, error) = refusal(&fake, "SCRAM-SHA-256").await;
        assert!(kind == ErrorKind::Fatal && error.contains("authentication failed"), "{error}");
        assert!(!asked_for.lock().unwrap().contains(&ApiKey::Metadata));
    }
}

#[tokio::test]
async fn what_a_broker_says_is_shown_without_the_secret_and_in_few_words() {
    for (mechanism, secret) in [("PLAIN", PASSWORD), ("OAUTHBEARER", TOKEN)] {
        let long = "x".repeat(100_000);
        let (fake, _) = fake(move |asked| match asked.api {
            ApiKey::ApiVersions => asked.offer(USUAL),
            ApiKey::SaslHandshake => offers(asked, mechanism),
            ApiKey::SaslAuthenticate => {
                let message = format!("not you:\n\u{1b}[31m{secret} {long}");
                let refused = SaslAuthenticateResponse::default()
                    .with_error_code(ResponseError::SaslAuthenticationFailed.code())
                    .with_error_message(Some(StrBytes::from_string(message)));
                asked.answer(&refused)
            }
            _ => Say::Nothing,
        })
        .await;
        let (_, error) = refusal(&fake, mechanism).await;
        assert!(error.contains("not you:") && error.contains("***"), "{error}");
        assert!(!error.contains(secret) && !error.chars().any(char::is_control), "{error}");
        assert!(error.len() < 1000, "{}", error.len());
    }
}

/// What a broker says that stands in a conversation by SCRAM up to its first message, and then goes
/// on by this one; a `*` is the client's nonce.
fn challenges(asked: &Asked, mechanism: &str, challenge: &str) -> Say {
    match asked.api {
        ApiKey::ApiVersions => asked.offer(USUAL),
        ApiKey::SaslHandshake => offers(asked, mechanism),
        ApiKey::SaslAuthenticate => {
            let said = SaslAuthenticateRequest::decode(&mut asked.body.clone(), asked.version).unwrap();
            let said = String::from_utf8(said.auth_bytes.to_vec()).unwrap();
            let challenge = challenge.replace('*', said.strip_prefix("n,,n=user,r=").unwrap_or_default());
            asked.answer(&SaslAuthenticateResponse::default().with_auth_bytes(challenge.into()))
        }
        _ => Say::Nothing,
    }
}

/// Who gets a proof can try passwords on it: only a challenge that makes that dear, and was not heard
/// before, is answered.
#[tokio::test]
async fn a_challenge_that_is_not_as_it_should_be_gets_no_proof() {
    for (challenge, why) in [
        ("r=more*,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", "does not continue ours"),
        ("r=*,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", "does not continue ours"),
        ("r=*more,s=W22ZaJ0SNY7soEsUEjb6gQ,i=4096", "salt is not base64"),
        ("r=*more,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4095", "iterations are out of range"),
        ("r=*more,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1000001", "iterations are out of range"),
        ("m=x,r=*more,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", "r= in its place"),
    ] {
        for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
            let (fake, asked_for) = fake(move |asked| challenges(asked, mechanism, challenge)).await;
            let (kind, error) = refusal(&fake, mechanism).await;
            assert!(kind == ErrorKind::Fatal && error.contains(why), "{challenge}: {error}");
            let expected = [ApiKey::ApiVersions, ApiKey::SaslHandshake, ApiKey::SaslAuthenticate];
            assert_eq!(*asked_for.lock().unwrap(), expected, "{challenge}");
        }
    }
}

/// A broker may ask for many hashes: on the only thread of the runtime others go on meanwhile, and nobody waits for
/// them past the limit of a login.
#[tokio::test]
async fn a_proof_that_takes_long_holds_up_nobody() {
    let (begun, release) = held::next();
    let challenge = format!("r=*more,s={},i=4096", STANDARD.encode(held::SALT));
    let (fake, asked_for) = fake(move |asked| challenges(asked, "SCRAM-SHA-512", &challenge)).await;
    let settings = settings(&fake.address.to_string(), &login("SCRAM-SHA-512"));
    let connecting = tokio::spawn(async move { Client::connect(&settings).await });
    begun.await.unwrap();
    assert!(!connecting.is_finished(), "this goes on while the proof is computed");
    let ended = timeout(Duration::from_secs(15), connecting).await.expect("it is given up").unwrap();
    let error = ended.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
    // Until now the proof was held.
    release.send(()).unwrap();
    let expected = [ApiKey::ApiVersions, ApiKey::SaslHandshake, ApiKey::SaslAuthenticate];
    assert_eq!(*asked_for.lock().unwrap(), expected);
}

/// Each answer may take its time; all of them together may not.
#[tokio::test]
async fn a_login_that_does_not_end_is_given_up() {
    for slow in [ApiKey::ApiVersions, ApiKey::SaslHandshake, ApiKey::SaslAuthenticate] {
        let (slow, _) = fake(move |asked| match asked.api {
            api if api == slow => Say::Drip,
            ApiKey::ApiVersions => asked.offer(USUAL),
            ApiKey::SaslHandshake => offers(asked, "PLAIN"),
            _ => Say::Nothing,
        })
        .await;
        let port = slow.address.port();
        let (first, _) = fake(move |asked| match asked.api {
            ApiKey::ApiVersions => asked.offer(USUAL),
            ApiKey::SaslHandshake => offers(asked, "PLAIN"),
            ApiKey::SaslAuthenticate => says(asked, ""),
            ApiKey::Metadata => {
                let broker = MetadataResponseBroker::default()
                    .with_node_id(1.into())
                    .with_host(StrBytes::from_static_str("127.0.0.1"))
                    .with_port(port.into());
                asked.answer(&MetadataResponse::default().with_brokers(vec![broker]))
            }
            _ => Say::Nothing,
        })
        .await;
        let settings = settings(&first.address.to_string(), &login("PLAIN"));
        let client = Client::connect(&settings).await.unwrap();
        let connecting = timeout(Duration::from_secs(20), client.cluster().connection(1, Lane::Control));
        let error = connecting.await.expect("it is given up").unwrap_err();
        assert!(error.to_string().contains("is not ready within 500ms"), "{error}");
    }
}

/// Whatever a broker calls the others, each is spoken to over TLS.
#[tokio::test]
async fn every_broker_that_is_named_is_reached_over_tls() {
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = other.local_addr().unwrap().port();
    let config = Arc::new(Mutex::new(served("one")));
    let fake = Fake::start_tls(config, move |asked| match asked.api {
        ApiKey::ApiVersions => asked.offer(USUAL),
        ApiKey::Metadata => {
            let broker = MetadataResponseBroker::default()
                .with_node_id(1.into())
                .with_host(StrBytes::from_static_str("localhost"))
                .with_port(port.into());
            asked.answer(&MetadataResponse::default().with_brokers(vec![broker]))
        }
        _ => Say::Nothing,
    })
    .await;
    let (first_byte, heard) = oneshot::channel();
    tokio::spawn(async move { first_byte.send(other.accept().await.unwrap().0.read_u8().await.unwrap()) });
    let ca = format!("{}/tests/data/tls/one.pem", env!("CARGO_MANIFEST_DIR"));
    let settings = settings(
        &format!("localhost:{}", fake.address.port()),
        &[("security.protocol", "ssl"), ("ssl.ca.location", &ca)],
    );
    let client = Client::connect(&settings).await.unwrap();
    client.cluster().connection(1, Lane::Control).await.unwrap_err();
    assert_eq!(heard.await.unwrap(), 0x16, "a handshake");
}
