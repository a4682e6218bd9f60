//! As much of Kafka's protocol as is needed to tell requests apart and to meddle with the end of a
//! transaction.

use std::io::{self, Read};

/// Produce.
pub const PRODUCE: i16 = 0;
/// OffsetCommit.
pub const OFFSET_COMMIT: i16 = 8;
/// AddPartitionsToTxn.
pub const ADD_PARTITIONS: i16 = 24;
/// EndTxn.
pub const END_TXN: i16 = 26;
/// TxnOffsetCommit.
pub const TXN_OFFSET_COMMIT: i16 = 28;

/// The most bytes of a request or an answer.
const FRAME_MAX: usize = 256 << 20;

/// More than any header of a request up to its client id.
const HEAD: usize = 512;

/// The beginning of a request or an answer: its length, and as many bytes as are there up to [`HEAD`].
#[derive(Debug)]
pub struct Frame {
    /// The bytes so far, the four of the length first.
    pub bytes: Vec<u8>,
    /// How many more there are.
    pub rest: usize,
}

impl Frame {
    /// Reads the beginning of the next one.
    pub fn begin(stream: &mut impl Read) -> io::Result<Frame> {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let size = usize::try_from(i32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if size > FRAME_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut bytes = length.to_vec();
        bytes.resize(4 + size.min(HEAD), 0);
        stream.read_exact(&mut bytes[4..])?;
        Ok(Frame { rest: size + 4 - bytes.len(), bytes })
    }

    /// Reads the rest as well.
    pub fn complete(&mut self, stream: &mut impl Read) -> io::Result<()> {
        let have = self.bytes.len();
        self.bytes.resize(have + self.rest, 0);
        self.rest = 0;
        stream.read_exact(&mut self.bytes[have..])
    }
}

/// The header of a request (KIP-482 adds only to what follows).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is asked for.
    pub api: i16,
    /// In which version.
    pub version: i16,
    /// The number that the answer bears.
    pub correlation: i32,
    /// Who asks.
    pub client: String,
}

impl Request {
    /// Reads the header of a request; `None` when it is none.
    pub fn parse(frame: &[u8]) -> Option<Request> {
        let two = |at: usize| Some(i16::from_be_bytes(frame.get(at..at + 2)?.try_into().ok()?));
        let length = usize::try_from(two(12)?).unwrap_or(0);
        Some(Request {
            api: two(4)?,
            version: two(6)?,
            correlation: i32::from_be_bytes(frame.get(8..12)?.try_into().ok()?),
            client: String::from_utf8_lossy(frame.get(14..14 + length)?).into_owned(),
        })
    }

    /// Whether this is the beginning of the answer to it.
    pub fn is_answered_by(&self, answer: &[u8]) -> bool {
        answer.get(4..8) == Some(&self.correlation.to_be_bytes())
    }
}

/// Where in a whole EndTxn request it says whether to commit: at the end, before the tags.
fn commits_at(request: &Request, frame: &[u8]) -> usize {
    frame.len() - if request.version >= 3 { 2 } else { 1 }
}

/// Whether an EndTxn request asks for a commit.
pub fn commits(request: &Request, frame: &[u8]) -> bool {
    request.api == END_TXN && frame[commits_at(request, frame)] == 1
}

/// Makes an EndTxn request ask for an abort.
pub fn abort_instead(request: &Request, frame: &mut [u8]) {
    let at = commits_at(request, frame);
    frame[at] = 0;
}

/// The answer to an EndTxn request that was refused with this error.
pub fn refusal(request: &Request, error: i16) -> Vec<u8> {
    let mut answer = vec![0; 4];
    answer.extend(request.correlation.to_be_bytes());
    let flexible = request.version >= 3;
    answer.extend(flexible.then_some(0));
    answer.extend(0_i32.to_be_bytes());
    answer.extend(error.to_be_bytes());
    if request.version >= 5 {
        answer.extend((-1_i64).to_be_bytes());
        answer.extend((-1_i16).to_be_bytes());
    }
    answer.extend(flexible.then_some(0));
    let size = i32::try_from(answer.len() - 4).expect("a short answer");
    answer[..4].copy_from_slice(&size.to_be_bytes());
    answer
}

/// Where the answer to an EndTxn request has its error: after the header and the throttle time.
fn end_error_at(request: &Request) -> std::ops::Range<usize> {
    let at = 4 + 4 + usize::from(request.version >= 3) + 4;
    at..at + 2
}

/// The error of an answer to an EndTxn request.
pub fn end_error(request: &Request, answer: &[u8]) -> Option<i16> {
    Some(i16::from_be_bytes(answer.get(end_error_at(request))?.try_into().ok()?))
}

/// Makes the answer to an EndTxn request bear another error.
pub fn set_end_error(request: &Request, answer: &mut [u8], error: i16) {
    if let Some(bytes) = answer.get_mut(end_error_at(request)) {
        bytes.copy_from_slice(&error.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end_txn(version: i16) -> Vec<u8> {
        let mut body = Vec::new();
        for number in [END_TXN, version] {
            body.extend(number.to_be_bytes());
        }
        body.extend(77_i32.to_be_bytes());
        body.extend(2_i16.to_be_bytes());
        body.extend(b"me");
        if version >= 3 {
            body.extend([0, 3]);
        } else {
            body.extend(2_i16.to_be_bytes());
        }
        body.extend(b"id");
        body.extend(5_i64.to_be_bytes());
        body.extend(1_i16.to_be_bytes());
        body.push(1);
        body.extend((version >= 3).then_some(0));
        let size = i32::try_from(body.len()).unwrap();
        [&size.to_be_bytes(), &body[..]].concat()
    }

    #[test]
    fn the_end_of_a_transaction_is_read_changed_and_answered() {
        for version in 0..=5 {
            let bytes = end_txn(version);
            let mut frame = Frame::begin(&mut &bytes[..]).unwrap();
            assert_eq!((frame.rest, &frame.bytes), (0, &bytes));
            let request = Request::parse(&frame.bytes).unwrap();
            assert_eq!((request.api, request.version), (END_TXN, version));
            assert_eq!((request.correlation, &*request.client), (77, "me"));
            assert!(commits(&request, &frame.bytes));
            abort_instead(&request, &mut frame.bytes);
            assert!(!commits(&request, &frame.bytes));
            let mut answer = refusal(&request, 48);
            assert_eq!(end_error(&request, &answer), Some(48));
            set_end_error(&request, &mut answer, 120);
            assert_eq!(end_error(&request, &answer), Some(120));
            assert!(request.is_answered_by(&answer));
        }
    }

    #[test]
    fn a_long_request_is_read_in_two_steps() {
        let mut bytes = 2000_i32.to_be_bytes().to_vec();
        bytes.resize(2004, 7);
        let mut stream = &bytes[..];
        let mut frame = Frame::begin(&mut stream).unwrap();
        assert_eq!(frame.rest, 2000 - HEAD);
        frame.complete(&mut stream).unwrap();
        assert_eq!((frame.rest, frame.bytes), (0, bytes.clone()));
    }
}
