//! Who is set to use TLS never speaks plain text, nor an old version of TLS, whatever the other side says.

use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use crate::{
    Trial,
    broker::{Listener, PASSWORD, kafka},
    mill::{Mill, Said},
    support::Names,
};

/// The content types of TLS records (RFC 8446, 5.1).
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;

/// The alert `protocol_version` (RFC 8446, 6).
const PROTOCOL_VERSION: u8 = 70;

/// Listens where a broker should, answers the first words by `answer`, and writes down what it hears.
struct Impostor {
    address: String,
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Impostor {
    fn start(answer: Vec<u8>) -> Impostor {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("localhost:{}", listener.local_addr().unwrap().port());
        let heard: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let notes = Arc::clone(&heard);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
                let (mut all, mut chunk) = (Vec::new(), [0; 4096]);
                while let Ok(size @ 1..) = stream.read(&mut chunk) {
                    let is_first = all.is_empty();
                    all.extend_from_slice(&chunk[..size]);
                    if is_first && stream.write_all(&answer).is_err() {
                        break;
                    }
                }
                notes.lock().unwrap().push(all);
            }
        });
        Impostor { address, heard }
    }

    /// What was said on each connection, as TLS records; fails where it is anything else.
    fn records(&self) -> Vec<Vec<(u8, Vec<u8>)>> {
        let heard = self.heard.lock().unwrap();
        assert!(!heard.is_empty(), "somebody connects");
        heard.iter().map(|all| records(all)).collect()
    }
}

fn records(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut records = Vec::new();
    while let [content, 3, _, high, low, rest @ ..] = bytes {
        let (body, rest) = rest.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        records.push((*content, body.to_vec()));
        bytes = rest;
    }
    assert!(bytes.is_empty(), "no TLS: {bytes:?}");
    records
}

/// `run` against an impostor, by a client that wants TLS and a login.
fn deceived(impostor: &Impostor) -> Said {
    Mill::at(&impostor.address, &Names::new("deceived"))
        .with(&["--connect-timeout", "1s"])
        .set("security.protocol", "sasl_ssl")
        .set("ssl.ca.location", &kafka().authority.certificate)
        .login("PLAIN", PASSWORD)
        .run()
}

/// An answer to ApiVersions 3, as a broker in plain text gives it: SASL, Metadata and ApiVersions are offered.
const PLAIN_TEXT: &[u8] = &[
    0, 0, 0, 33, 0, 0, 0, 0, 0, 0, 4, 0, 17, 0, 0, 0, 1, 0, 0, 3, 0, 0, 0, 12, 0, 0, 18, 0, 0, 0, 3, 0, 0, 0,
    0, 0, 0,
];

/// A ServerHello of an old version (RFC 4346, 7.4.1.3), with TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA.
fn old_hello(minor: u8) -> Vec<u8> {
    let body = [&[3, minor][..], &[7; 32], &[0, 0xc0, 0x13, 0]].concat();
    let message = [&[2, 0, 0, body.len() as u8][..], &body].concat();
    [&[HANDSHAKE, 3, minor, 0, message.len() as u8][..], &message].concat()
}

#[test]
fn no_word_is_said_in_plain_text_to_who_answers_in_plain_text() {
    let impostor = Impostor::start(PLAIN_TEXT.to_vec());
    deceived(&impostor).expect(75, &["the port may not speak TLS"]);
    for records in impostor.records() {
        assert!(records.iter().all(|(content, _)| [ALERT, HANDSHAKE].contains(content)), "{records:?}");
        let said: Vec<u8> = records.into_iter().flat_map(|(_, body)| body).collect();
        let said = String::from_utf8_lossy(&said);
        assert!(!said.contains(PASSWORD) && !said.contains("topicmill"), "{said}");
    }
}

#[test]
fn old_versions_of_tls_are_refused() {
    // SSL 3.0, TLS 1.0 and TLS 1.1.
    for minor in 0..=2 {
        let impostor = Impostor::start(old_hello(minor));
        deceived(&impostor).expect(75, &["cannot connect"]);
        for records in impostor.records() {
            let [(HANDSHAKE, hello), (ALERT, alert)] = &records[..] else { panic!("{records:?}") };
            assert_eq!(alert[..], [2, PROTOCOL_VERSION]);
            // The extension `supported_versions`: TLS 1.3 and 1.2.
            let versions = [0, 43, 0, 5, 4, 3, 4, 3, 3];
            assert!(hello.windows(versions.len()).any(|part| part == versions), "{hello:?}");
        }
    }
}

/// Nor does a client in plain text get anywhere at a listener that wants TLS or a login.
#[test]
fn a_listener_that_is_protected_is_not_read_in_plain_text() {
    let trial = Trial::new("plain");
    for listener in [Listener::Tls, Listener::Login] {
        let plain = Mill::at(&kafka().address(listener), &trial.names).with(&["--connect-timeout", "1s"]);
        plain.run().expect(75, &["security.protocol"]);
    }
    let without_login = Mill::at(&kafka().address(Listener::Login), &trial.names)
        .with(&["--connect-timeout", "1s"])
        .set("security.protocol", "ssl")
        .set("ssl.ca.location", &kafka().authority.certificate);
    without_login.run().expect(75, &["The broker may want SASL"]);
}
