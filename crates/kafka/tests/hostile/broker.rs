//! A broker that does as a meeting says, and notes what a client must not have done.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        ApiKey, ApiVersionsResponse, RequestHeader, ResponseHeader, SaslAuthenticateRequest,
        SaslAuthenticateResponse, SaslHandshakeResponse, api_versions_response::ApiVersion,
    },
    protocol::{Decodable, Encodable, HeaderVersion, StrBytes},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::sleep,
};
use topicmill_decode::decode;

use crate::meeting::{Answer, Meeting};

/// More than any answer of a stranger may have.
const FLOOD_BYTES: usize = 16 << 20;

/// What a frame that drips says that it has, and how long each byte takes.
const DRIP_BYTES: i32 = 200 << 10;
const DRIP_INTERVAL: Duration = Duration::from_millis(5);

/// The longest request before the login is done, in bytes.
const REQUEST_BYTES: usize = 4 << 10;

/// What a client did that it must not do.
pub type Complaints = Arc<Mutex<Vec<&'static str>>>;

/// Meets whoever connects to this address.
pub async fn listen(meeting: Meeting, complaints: Complaints) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let meeting = Arc::new(meeting);
        while let Ok((stream, _)) = listener.accept().await {
            let (meeting, complaints) = (Arc::clone(&meeting), Arc::clone(&complaints));
            tokio::spawn(async move { deceive(stream, &meeting, &complaints).await });
        }
    });
    address
}

/// One connection.
async fn deceive(mut stream: TcpStream, meeting: &Meeting, complaints: &Complaints) -> Option<()> {
    let mut talk = Talk::default();
    for answer in &meeting.answers {
        let asked = if meeting.protocol == "ssl" {
            // Whatever it says, that is a part of a handshake.
            stream.read_u8().await.ok()?;
            Asked { api: ApiKey::ApiVersions, version: 3, correlation: 0 }
        } else {
            talk.listen(&mut stream, meeting, complaints).await?
        };
        let honest = || talk.honest(&asked, meeting.mechanism);
        let bytes = match answer {
            Answer::Honest => honest()?,
            Answer::Spoilt(places, cut) => {
                let mut bytes = honest()?.to_vec();
                for (place, byte) in places {
                    let place = usize::from(*place) % bytes.len();
                    bytes[place] = *byte;
                }
                bytes.truncate(cut.map_or(bytes.len(), |cut| usize::from(cut) % bytes.len()));
                bytes.into()
            }
            Answer::Framed(body) => prefixed(&[&asked.correlation.to_be_bytes()[..], body].concat()),
            Answer::Bytes(bytes) => bytes.clone().into(),
            Answer::Handshake(body) => {
                [&[22, 3, 3][..], &(body.len() as u16).to_be_bytes(), body].concat().into()
            }
            Answer::Flood(size) => {
                stream.write_i32(*size).await.ok()?;
                stream.write_i32(asked.correlation).await.ok()?;
                let zeros = [0; 64 << 10];
                for _ in 0..FLOOD_BYTES / zeros.len() {
                    stream.write_all(&zeros).await.ok()?;
                }
                return None;
            }
            Answer::Drip => {
                stream.write_i32(DRIP_BYTES).await.ok()?;
                stream.write_i32(asked.correlation).await.ok()?;
                for _ in 4..DRIP_BYTES {
                    stream.write_u8(0).await.ok()?;
                    sleep(DRIP_INTERVAL).await;
                }
                return None;
            }
            Answer::Words(words) => {
                let words = words.replace('*', &talk.nonce).replace('^', &talk.proof);
                asked.framed(&say(&words), asked.version.clamp(0, 2))
            }
            Answer::Refusal(code, words) => {
                let words = StrBytes::from_string(words.clone());
                match asked.api {
                    ApiKey::SaslHandshake => {
                        let refusal = SaslHandshakeResponse::default().with_error_code(*code);
                        asked.framed(&refusal.with_mechanisms(vec![words]), asked.version)
                    }
                    _ => {
                        let refusal = SaslAuthenticateResponse::default().with_error_code(*code);
                        asked.framed(&refusal.with_error_message(Some(words)), asked.version.clamp(0, 2))
                    }
                }
            }
        };
        stream.write_all(&bytes).await.ok()?;
        talk.is_in_step &= bytes.len() >= 8 && (&bytes[..4]).get_u32() as usize == bytes.len() - 4;
        talk.last = Some((asked, bytes));
    }
    // The client may have something to say to the last of them.
    if meeting.protocol != "ssl" {
        talk.listen(&mut stream, meeting, complaints).await?;
    }
    None
}

/// A question.
struct Asked {
    api: ApiKey,
    version: i16,
    correlation: i32,
}

impl Asked {
    fn framed<M: Encodable + HeaderVersion>(&self, message: &M, version: i16) -> Bytes {
        let mut body = BytesMut::new();
        let header = ResponseHeader::default().with_correlation_id(self.correlation);
        header.encode(&mut body, M::header_version(version)).unwrap();
        message.encode(&mut body, version).unwrap();
        prefixed(&body)
    }

    /// What `bytes` say to it, when a client can know that.
    fn read<M: Decodable + HeaderVersion>(&self, bytes: &Bytes) -> Option<M> {
        let mut bytes = bytes.slice(4..);
        decode::<ResponseHeader>(&mut bytes, M::header_version(self.version)).ok()?;
        decode(&mut bytes, self.version).ok()
    }
}

fn say(words: &str) -> SaslAuthenticateResponse {
    SaslAuthenticateResponse::default().with_auth_bytes(Bytes::copy_from_slice(words.as_bytes()))
}

fn prefixed(body: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u32(body.len() as u32);
    frame.put_slice(body);
    frame.freeze()
}

/// What was said on one connection so far.
struct Talk {
    /// The client's part of the nonce, and its proof.
    nonce: String,
    proof: String,
    /// How often it has said something of a login.
    steps: usize,
    /// The last question, and all bytes that were sent for an answer.
    last: Option<(Asked, Bytes)>,
    /// Whether each answer was one frame, so that the client takes it for what it was meant for.
    is_in_step: bool,
}

impl Default for Talk {
    fn default() -> Talk {
        Talk { nonce: String::new(), proof: String::new(), steps: 0, last: None, is_in_step: true }
    }
}

impl Talk {
    /// The next question, unless the client has none that a stranger may hear.
    async fn listen(
        &mut self,
        stream: &mut TcpStream,
        meeting: &Meeting,
        complaints: &Complaints,
    ) -> Option<Asked> {
        let size = stream.read_u32().await.ok()? as usize;
        assert!(size < REQUEST_BYTES, "a request of {size} bytes");
        let mut frame = vec![0; size];
        stream.read_exact(&mut frame).await.ok()?;
        let mut frame = Bytes::from(frame);
        let api = ApiKey::try_from((&frame[..2]).get_i16()).unwrap();
        let version = (&frame[2..4]).get_i16();
        let header = RequestHeader::decode(&mut frame, api.request_header_version(version)).unwrap();
        if let Some(complaint) = self.complaint(api, meeting) {
            complaints.lock().unwrap().push(complaint);
            return None;
        }
        match api {
            ApiKey::ApiVersions | ApiKey::SaslHandshake => {}
            ApiKey::SaslAuthenticate => {
                let said = SaslAuthenticateRequest::decode(&mut frame, version).unwrap();
                let said = String::from_utf8(said.auth_bytes.to_vec()).unwrap();
                self.steps += 1;
                if let Some(nonce) = said.strip_prefix("n,,n=user,r=") {
                    nonce.clone_into(&mut self.nonce);
                }
                if let Some((_, proof)) = said.rsplit_once(",p=") {
                    proof.clone_into(&mut self.proof);
                }
            }
            // A login by PLAIN or OAUTHBEARER is over when the broker says so, and without one
            // there is none.
            _ => return None,
        }
        Some(Asked { api, version, correlation: header.correlation_id })
    }

    fn honest(&self, asked: &Asked, mechanism: &str) -> Option<Bytes> {
        match asked.api {
            ApiKey::ApiVersions => {
                // The metadata are what a client asks for first that believes it has logged in.
                let login = [ApiKey::ApiVersions, ApiKey::SaslHandshake, ApiKey::SaslAuthenticate];
                let apis = login.map(|api| (api, 2)).into_iter().chain([(ApiKey::Metadata, 12)]);
                let offer = apis.map(|(api, version)| {
                    ApiVersion::default().with_api_key(api as i16).with_max_version(version)
                });
                let answer = ApiVersionsResponse::default().with_api_keys(offer.collect());
                Some(asked.framed(&answer, asked.version))
            }
            ApiKey::SaslHandshake => {
                let mechanisms = vec![StrBytes::from_string(mechanism.to_owned())];
                let answer = SaslHandshakeResponse::default().with_mechanisms(mechanisms);
                Some(asked.framed(&answer, asked.version))
            }
            ApiKey::SaslAuthenticate => {
                let challenge = format!("r={}more,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", self.nonce);
                Some(asked.framed(&say(&challenge), asked.version))
            }
            _ => None,
        }
    }

    /// What is wrong with asking for `api` now.
    fn complaint(&self, api: ApiKey, meeting: &Meeting) -> Option<&'static str> {
        let is_login = matches!(api, ApiKey::ApiVersions | ApiKey::SaslHandshake | ApiKey::SaslAuthenticate);
        let (is_sasl, is_scram) = (meeting.is_sasl(), meeting.is_scram());
        if is_scram && !is_login {
            return Some("a broker is believed that does not prove that it knows the password");
        }
        if is_sasl && self.steps >= 2 {
            return Some("a login goes on that has come to its end");
        }
        let (asked, bytes) = self.last.as_ref().filter(|_| self.is_in_step)?;
        if (&bytes[4..8]).get_i32() != asked.correlation {
            return Some("the answer to another question is taken");
        }
        match asked.api {
            ApiKey::SaslHandshake => {
                let is_refused = asked.read::<SaslHandshakeResponse>(bytes)?.error_code != 0;
                is_refused.then_some("a login goes on whose mechanism is refused")
            }
            ApiKey::SaslAuthenticate => {
                let answer = asked.read::<SaslAuthenticateResponse>(bytes)?;
                let words = String::from_utf8_lossy(&answer.auth_bytes);
                // To a token, any word is a refusal (RFC 7628, 3.2.2), to which the client agrees.
                let is_word = meeting.mechanism == "OAUTHBEARER" && !words.is_empty() && !is_login;
                if answer.error_code != 0 || is_word {
                    Some("a login goes on that is refused")
                } else if is_scram && !may_be_answered(&words, &self.nonce) {
                    Some("a proof is given to who must not have one")
                } else {
                    None
                }
            }
            _ if is_sasl && !is_login => Some("nobody has logged in"),
            _ => None,
        }
    }
}

/// Whether a client may answer a server's first message with its proof (RFC 5802, 5.1 and 7; RFC 7677
/// for the fewest iterations): anyone who gets one can try passwords on it.
fn may_be_answered(words: &str, nonce: &str) -> bool {
    let mut parts = words.split(',');
    let mut next = |name: &str| parts.next().and_then(|part| part.strip_prefix(name));
    let (Some(all), Some(salt), Some(iterations)) = (next("r="), next("s="), next("i=")) else {
        return false;
    };
    all.len() > nonce.len()
        && all.starts_with(nonce)
        && BASE64.decode(salt).is_ok()
        && iterations.parse().is_ok_and(|number: u32| (4096..=1_000_000).contains(&number))
}
