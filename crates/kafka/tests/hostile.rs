//! Any bytes from a broker before it has proved who it is: no panic, an error in time, bounded memory,
//! and not a question beyond the login. `SEED` repeats a run, `CASES` makes it longer.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::future::join_all;
use kafka_protocol::{
    messages::{
        ApiKey, ApiVersionsResponse, RequestHeader, ResponseHeader, SaslAuthenticateRequest,
        SaslAuthenticateResponse, SaslHandshakeResponse, api_versions_response::ApiVersion,
    },
    protocol::{Decodable, Encodable, HeaderVersion, StrBytes},
};
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{RngSeed, TestRunner},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use topicmill_kafka::Client;
use topicmill_mill::engine::ClientSettings;

/// How many connect side by side.
const CLIENTS: usize = 16;

/// For how long each tries.
const PATIENCE: Duration = Duration::from_millis(60);

/// When one hangs.
const HANG: Duration = Duration::from_secs(20);

/// What all of them may take together: a multiple of what each may be answered.
const MEMORY_BYTES: usize = 64 << 20;

/// The longest error, in bytes.
const ERROR_BYTES: usize = 4 << 10;

/// More than any answer of a stranger may have.
const FLOOD_BYTES: usize = 16 << 20;

/// The longest request before the login is done, in bytes.
const REQUEST_BYTES: usize = 4 << 10;

/// What a hostile broker does with a request.
#[derive(Clone, Debug)]
enum Answer {
    /// What an honest one would say.
    Honest,
    /// The same with other bytes in some places, and perhaps cut.
    Spoilt(Vec<(u16, u8)>, Option<u16>),
    /// A frame with the right length and number.
    Framed(Vec<u8>),
    /// Anything.
    Bytes(Vec<u8>),
    /// A part of a handshake of TLS.
    Handshake(Vec<u8>),
    /// A frame that says it has so many bytes, and has as many as are taken.
    Flood(i32),
    /// A login that goes on, by these words; a `*` is the client's nonce.
    Words(String),
    /// A login that is refused with these words.
    Refusal(i16, String),
}

fn words() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just("r=*".to_owned()),
        Just("r=*more".to_owned()),
        "r=[!-~]{0,40}",
        "s=[A-Za-z0-9+/]{0,40}={0,2}",
        Just("s=W22ZaJ0SNY7soEsUEjb6gQ==".to_owned()),
        Just("i=4096".to_owned()),
        any::<u64>().prop_map(|number| format!("i={number}")),
        "[evmi]=.{0,20}",
        ".{0,40}",
    ];
    vec(part, 0..6).prop_map(|parts| parts.join(","))
}

fn answer() -> impl Strategy<Value = Answer> {
    let places = vec((any::<u16>(), any::<u8>()), 1..5);
    prop_oneof![
        6 => Just(Answer::Honest),
        3 => (places, prop::option::of(any::<u16>())).prop_map(|(places, cut)| Answer::Spoilt(places, cut)),
        2 => vec(any::<u8>(), 0..300).prop_map(Answer::Framed),
        1 => vec(any::<u8>(), 0..100).prop_map(Answer::Bytes),
        1 => vec(any::<u8>(), 0..300).prop_map(Answer::Handshake),
        1 => prop_oneof![any::<i32>(), 0..1 << 24].prop_map(Answer::Flood),
        4 => words().prop_map(Answer::Words),
        1 => (any::<i16>(), ".{0,60}").prop_map(|(code, words)| Answer::Refusal(code, words.repeat(100))),
    ]
}

const MECHANISMS: &[&str] = &["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"];

/// A client's way to log in, and what the broker does.
#[derive(Clone, Debug)]
struct Meeting {
    protocol: &'static str,
    mechanism: &'static str,
    answers: Vec<Answer>,
}

fn meeting() -> impl Strategy<Value = Meeting> {
    let protocol = prop_oneof![1 => Just("ssl"), 1 => Just("plaintext"), 8 => Just("sasl_plaintext")];
    let all = (protocol, prop::sample::select(MECHANISMS), vec(answer(), 0..6));
    all.prop_map(|(protocol, mechanism, answers)| Meeting { protocol, mechanism, answers })
}

fn honest(api: ApiKey, mechanism: &str, version: i16, correlation: i32, nonce: &str) -> Option<Bytes> {
    match api {
        ApiKey::ApiVersions => {
            let apis = [ApiKey::ApiVersions, ApiKey::SaslHandshake, ApiKey::SaslAuthenticate];
            let offer = apis.map(|api| ApiVersion::default().with_api_key(api as i16).with_max_version(2));
            let answer = ApiVersionsResponse::default().with_api_keys(offer.to_vec());
            Some(framed(&answer, version, correlation))
        }
        ApiKey::SaslHandshake => {
            let mechanisms = vec![StrBytes::from_string(mechanism.to_owned())];
            Some(framed(&SaslHandshakeResponse::default().with_mechanisms(mechanisms), version, correlation))
        }
        ApiKey::SaslAuthenticate => {
            let challenge = format!("r={nonce}more,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
            Some(framed(&say(&challenge), version, correlation))
        }
        _ => None,
    }
}

fn say(words: &str) -> SaslAuthenticateResponse {
    SaslAuthenticateResponse::default().with_auth_bytes(Bytes::copy_from_slice(words.as_bytes()))
}

fn framed<M: Encodable + HeaderVersion>(message: &M, version: i16, correlation: i32) -> Bytes {
    let mut body = BytesMut::new();
    let header = ResponseHeader::default().with_correlation_id(correlation);
    header.encode(&mut body, M::header_version(version)).unwrap();
    message.encode(&mut body, version).unwrap();
    prefixed(&body)
}

fn prefixed(body: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u32(body.len() as u32);
    frame.put_slice(body);
    frame.freeze()
}

/// Counts what a client must not have asked for.
#[derive(Default)]
struct Asked {
    beyond: AtomicUsize,
}

async fn deceive(mut stream: TcpStream, meeting: &Meeting, asked: &Asked) -> Option<()> {
    for answer in &meeting.answers {
        let (mut api, mut version, mut correlation, mut nonce) = (ApiKey::ApiVersions, 3, 0, String::new());
        if meeting.protocol == "ssl" {
            // Whatever it says, that is a part of a handshake.
            stream.read_u8().await.ok()?;
        } else {
            let size = stream.read_u32().await.ok()? as usize;
            assert!(size < REQUEST_BYTES, "a request of {size} bytes");
            let mut frame = vec![0; size];
            stream.read_exact(&mut frame).await.ok()?;
            let mut frame = Bytes::from(frame);
            api = ApiKey::try_from((&frame[..2]).get_i16()).unwrap();
            version = (&frame[2..4]).get_i16();
            let header = RequestHeader::decode(&mut frame, api.request_header_version(version)).unwrap();
            correlation = header.correlation_id;
            match api {
                ApiKey::ApiVersions | ApiKey::SaslHandshake => {}
                ApiKey::SaslAuthenticate => {
                    let said = SaslAuthenticateRequest::decode(&mut frame, version).unwrap();
                    let said = String::from_utf8(said.auth_bytes.to_vec()).unwrap();
                    said.rsplit_once("r=").map_or("", |(_, nonce)| nonce).clone_into(&mut nonce);
                }
                // A login by PLAIN or OAUTHBEARER is over when the broker says so, and without one
                // there is none.
                _ => {
                    if meeting.protocol == "sasl_plaintext" && meeting.mechanism.starts_with("SCRAM") {
                        asked.beyond.fetch_add(1, Ordering::Relaxed);
                    }
                    return None;
                }
            }
        }
        let bytes = match answer {
            Answer::Honest => honest(api, meeting.mechanism, version, correlation, &nonce)?,
            Answer::Spoilt(places, cut) => {
                let honest = honest(api, meeting.mechanism, version, correlation, &nonce)?;
                let mut bytes = honest.to_vec();
                for (place, byte) in places {
                    let place = usize::from(*place) % bytes.len();
                    bytes[place] = *byte;
                }
                bytes.truncate(cut.map_or(bytes.len(), |cut| usize::from(cut) % bytes.len()));
                bytes.into()
            }
            Answer::Framed(body) => prefixed(&[&correlation.to_be_bytes()[..], body].concat()),
            Answer::Bytes(bytes) => bytes.clone().into(),
            Answer::Handshake(body) => {
                [&[22, 3, 3][..], &(body.len() as u16).to_be_bytes(), body].concat().into()
            }
            Answer::Flood(size) => {
                stream.write_i32(*size).await.ok()?;
                stream.write_i32(correlation).await.ok()?;
                let zeros = [0; 64 << 10];
                for _ in 0..FLOOD_BYTES / zeros.len() {
                    stream.write_all(&zeros).await.ok()?;
                }
                continue;
            }
            Answer::Words(words) => {
                framed(&say(&words.replace('*', &nonce)), version.clamp(0, 2), correlation)
            }
            Answer::Refusal(code, words) => {
                let refusal = SaslAuthenticateResponse::default()
                    .with_error_code(*code)
                    .with_error_message(Some(StrBytes::from_string(words.clone())));
                framed(&refusal, version.clamp(0, 2), correlation)
            }
        };
        stream.write_all(&bytes).await.ok()?;
    }
    None
}

async fn listen(meeting: Meeting, asked: Arc<Asked>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let meeting = Arc::new(meeting);
        while let Ok((stream, _)) = listener.accept().await {
            let (meeting, asked) = (Arc::clone(&meeting), Arc::clone(&asked));
            tokio::spawn(async move { deceive(stream, &meeting, &asked).await });
        }
    });
    address
}

/// What the client of a meeting makes of it.
async fn meet(meeting: Meeting) -> Result<(), String> {
    let asked = Arc::new(Asked::default());
    let properties = [
        ("security.protocol", meeting.protocol),
        ("enable.ssl.certificate.verification", "false"),
        ("sasl.mechanism", meeting.mechanism),
        ("sasl.username", "user"),
        ("sasl.password", "password"),
        ("sasl.oauthbearer.token", "a.token"),
    ];
    let properties = properties.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let address = listen(meeting, Arc::clone(&asked)).await;
    let settings = ClientSettings {
        brokers: vec![address.to_string()],
        properties: BTreeMap::from(properties),
        connect_timeout: PATIENCE,
    };
    let connected = timeout(HANG, Client::connect(&settings)).await.map_err(|_| "it hangs".to_owned())?;
    let error = connected.map(drop).err().ok_or("a broker that does not know any topic is believed")?;
    if error.message.len() > ERROR_BYTES {
        return Err(format!("an error of {} bytes", error.message.len()));
    }
    match asked.beyond.load(Ordering::Relaxed) {
        0 => Ok(()),
        beyond => Err(format!("{beyond} questions beyond a login that is not done")),
    }
}

/// The greatest resident memory of this process so far, in bytes.
fn peak_memory() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
fn a_hostile_broker_gets_nowhere() {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // Those of tasks reach nobody otherwise.
        PANICS.fetch_add(1, Ordering::Relaxed);
        told(panic);
    }));
    let seed = setting("SEED").unwrap_or_else(rand::random);
    let cases = setting("CASES").unwrap_or(48) as u32;
    println!("SEED={seed}");
    let config = ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        max_shrink_iters: 200,
        ..ProptestConfig::default()
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let before = peak_memory();
    let outcome = TestRunner::new(config).run(&vec(meeting(), CLIENTS), |meetings| {
        let met = runtime.block_on(join_all(meetings.into_iter().map(meet)));
        for outcome in met {
            prop_assert_eq!(outcome, Ok(()));
        }
        prop_assert_eq!(PANICS.load(Ordering::Relaxed), 0);
        let taken = peak_memory() - before;
        prop_assert!(taken < MEMORY_BYTES, "{} bytes are taken", taken);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("SEED={seed}: {error}"));
}
