//! How a client logs in, and what a hostile broker makes of it: all drawn at random.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use proptest::{collection::vec, prelude::*, sample::select};

/// What a hostile broker does with a request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// What an honest one would say, as far as that needs no password.
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
    /// A frame that goes on, byte by byte, for as long as somebody reads it.
    Drip,
    /// A login that goes on, by these words; a `*` is the client's nonce, a `^` its proof.
    Words(String),
    /// A mechanism or a login that is refused with these words.
    Refusal(i16, String),
}

const MECHANISMS: &[&str] = &["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"];

/// A client's way to log in, and what the broker does.
#[derive(Clone, Debug)]
pub struct Meeting {
    pub protocol: &'static str,
    pub mechanism: &'static str,
    pub answers: Vec<Answer>,
}

impl Meeting {
    pub fn is_sasl(&self) -> bool {
        self.protocol == "sasl_plaintext"
    }

    pub fn is_scram(&self) -> bool {
        self.is_sasl() && self.mechanism.starts_with("SCRAM")
    }
}

/// A meeting with a broker that is hostile from the first answer, or after the versions, the
/// mechanism, or the first message of SCRAM have been agreed on as they should be.
pub fn meeting() -> impl Strategy<Value = Meeting> {
    (0..=3_usize).prop_flat_map(meeting_after)
}

fn meeting_after(honest: usize) -> impl Strategy<Value = Meeting> {
    let protocol = match honest {
        0 => prop_oneof![1 => Just("ssl"), 1 => Just("plaintext"), 2 => Just("sasl_plaintext")].boxed(),
        _ => Just("sasl_plaintext").boxed(),
    };
    let mechanism = match honest {
        0 | 1 => select(MECHANISMS).boxed(),
        _ => prop_oneof![1 => select(MECHANISMS), 2 => select(&MECHANISMS[1..=2])].boxed(),
    };
    let first = match honest {
        2 => prop_oneof![answer(), challenge().prop_map(Answer::Words)].boxed(),
        3 => prop_oneof![answer(), proof().prop_map(Answer::Words)].boxed(),
        _ => answer().boxed(),
    };
    (protocol, mechanism, first, vec(answer(), 0..4)).prop_map(move |(protocol, mechanism, first, more)| {
        let answers = std::iter::repeat_n(Answer::Honest, honest).chain([first]).chain(more).collect();
        Meeting { protocol, mechanism, answers }
    })
}

fn answer() -> impl Strategy<Value = Answer> {
    let places = vec((any::<u16>(), any::<u8>()), 1..5);
    prop_oneof![
        4 => Just(Answer::Honest),
        4 => (places, prop::option::of(any::<u16>())).prop_map(|(places, cut)| Answer::Spoilt(places, cut)),
        2 => vec(any::<u8>(), 0..300).prop_map(Answer::Framed),
        1 => vec(any::<u8>(), 0..100).prop_map(Answer::Bytes),
        1 => vec(any::<u8>(), 0..300).prop_map(Answer::Handshake),
        1 => prop_oneof![any::<i32>(), 0..1 << 24].prop_map(Answer::Flood),
        1 => Just(Answer::Drip),
        3 => words().prop_map(Answer::Words),
        2 => (any::<i16>(), ".{0,60}").prop_map(|(code, words)| Answer::Refusal(code, words.repeat(100))),
    ]
}

/// Parts of messages of SCRAM, in any order.
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

/// The first message of a server (RFC 5802, 7) with one thing wrong in it.
fn challenge() -> impl Strategy<Value = String> {
    let nonce = prop_oneof![Just("*".to_owned()), Just("more*".to_owned()), "[!-+\\--~]{0,60}"];
    let salt = "[A-Za-z0-9+/]{0,20}[!?:-]";
    // Some of those above the limit would take a second or two without it, not an hour.
    let iterations = prop_oneof![
        (0..4096_u64).prop_map(|number| number.to_string()),
        (1_000_001..3_000_000_u64).prop_map(|number| number.to_string()),
        (1_u64 << 32..).prop_map(|number| number.to_string()),
        "-?[0-9]{0,3}[a-z]{0,2}",
    ];
    prop_oneof![
        nonce.prop_map(|nonce| format!("r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")),
        salt.prop_map(|salt| format!("r=*more,s={salt},i=4096")),
        iterations.prop_map(|iterations| format!("r=*more,s=W22ZaJ0SNY7soEsUEjb6gQ==,i={iterations}")),
        "m=[a-z]{0,9},".prop_map(|before| format!("{before}r=*more,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")),
    ]
}

/// The last message of a server that does not know the password.
fn proof() -> impl Strategy<Value = String> {
    let signature = |bytes: Vec<u8>| format!("v={}", BASE64.encode(bytes));
    prop_oneof![
        vec(any::<u8>(), 32).prop_map(signature),
        vec(any::<u8>(), 64).prop_map(signature),
        vec(any::<u8>(), 0..3).prop_map(signature),
        // What the client has just said itself.
        Just("v=^".to_owned()),
        "e=[a-z-]{1,30}",
        "[a-z]{0,2}",
    ]
}
