//! The task behind a connection: it writes requests, and reads their answers in the same order.

use std::{
    io::{Error, ErrorKind, Result},
    sync::Arc,
    time::Duration,
};

use bytes::{Buf, Bytes};
use kafka_protocol::messages::ApiKey;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    sync::{mpsc, oneshot},
    time::{Instant, timeout, timeout_at},
};
use topicmill_records::buffers::Buffer;

use super::{
    connection_state::{ConnectionShared, Omen},
    error::WireError,
    pieces::FramePieces,
    transport::{ReadHalf, WriteHalf, is_refusal},
};

/// The largest response in bytes that is accepted; a larger one is from a broken or foreign peer.
/// Somewhat more than `fetch.max.bytes` can be.
const RESPONSE_BYTES_MAX: usize = 640 << 20;

/// The largest response in bytes before negotiation and authentication are done.
const STRANGER_RESPONSE_BYTES_MAX: usize = 256 << 10;

/// How much memory is taken for a response beyond what has arrived of it.
const READ_AHEAD_BYTES: usize = 16 << 20;

/// The most requests that wait to be written, and the most that wait for an answer.
pub const QUEUE_REQUESTS_MAX: usize = 64;

/// How much longer an idle connection is there than it counts as open: who got it just before may
/// still be about to ask.
const IDLE_GRACE: Duration = Duration::from_secs(1);

/// A request as it goes out.
pub struct Outgoing {
    pub frame: FramePieces,
    pub waiting: WaitingRequest,
}

/// A request that waits for its answer.
pub struct WaitingRequest {
    pub api: ApiKey,
    pub version: i16,
    pub correlation: i32,
    /// How long the answer may take once the request is written.
    pub limit: Duration,
    pub answer: oneshot::Sender<std::result::Result<Bytes, WireError>>,
}

/// A request that is written, or is being written.
struct Sent {
    waiting: WaitingRequest,
    at: Instant,
}

/// Writes and reads until one of them ends.
pub async fn serve(
    shared: Arc<ConnectionShared>,
    read: ReadHalf,
    write: WriteHalf,
    mut requests: mpsc::Receiver<Outgoing>,
) {
    let (sent, mut waiting) = mpsc::channel(QUEUE_REQUESTS_MAX);
    let writing = async {
        match write_requests(&shared, write, &mut requests, sent).await {
            // Every handle is gone; the answers in flight are still read.
            Ok(Some(_open)) => std::future::pending().await,
            Ok(None) => {}
            Err(error) => broken(&shared, &error, "write"),
        }
    };
    tokio::select! {
        () = read_responses(&shared, read, &mut waiting) => {}
        () = writing => {}
        () = shared.close.notified() => {}
    }
    // Whoever still waits must find the reason, not just a closed channel. A request is in one of
    // three places: in `requests`, not written yet; in `waiting`, written; or in the hands of
    // `read_responses`. Whatever ended the select noted the reason before it did, and the senders of
    // the answers are dropped after that, with the futures above or at the end of this function: only
    // then do those who wait look for it. A request that comes later finds its channel closed, and
    // the reason too.
    shared.ended_here();
}

/// Returns the open half when no more requests can come; `None` when none has come for so long that
/// the connection is to be closed.
async fn write_requests(
    shared: &ConnectionShared,
    mut write: WriteHalf,
    requests: &mut mpsc::Receiver<Outgoing>,
    sent: mpsc::Sender<Sent>,
) -> Result<Option<WriteHalf>> {
    let max_idle = shared.max_idle().map(|limit| limit + IDLE_GRACE);
    loop {
        let next = match max_idle {
            None => requests.recv().await,
            Some(limit) => match timeout(limit, requests.recv()).await {
                Ok(next) => next,
                Err(_) if shared.is_idle_for(limit) => return Ok(None),
                Err(_) => continue,
            },
        };
        let Some(Outgoing { mut frame, waiting }) = next else { break };
        shared.throttle().wait().await;
        if waiting.answer.is_closed() {
            // The caller is gone, perhaps because of the wait.
            continue;
        }
        let WaitingRequest { api, version, correlation, .. } = waiting;
        let bytes = frame.remaining();
        tracing::trace!(broker = shared.broker(), ?api, version, correlation, bytes, "request");
        // Before the request is written: an answer may come while the rest of it is still on its way
        // (a broker refuses what is too large by its first bytes), and must find who waits.
        if sent.send(Sent { waiting, at: Instant::now() }).await.is_err() {
            break;
        }
        write.write_all_buf(&mut frame).await?;
        write.flush().await?;
    }
    Ok(Some(write))
}

/// Gives every request its answer, until the connection ends or no request can come.
async fn read_responses(shared: &ConnectionShared, read: ReadHalf, waiting: &mut mpsc::Receiver<Sent>) {
    let mut read = BufReader::new(read);
    loop {
        // While nothing is asked, only the broker's closing is of interest.
        let next = tokio::select! {
            next = waiting.recv() => next,
            idle = read.fill_buf() => match idle {
                Ok([]) => return shared.ended_by_broker("by the broker"),
                // The request is in its channel before the first byte of its answer can come, so this
                // is at most a matter of which of the two was looked at first. Bytes that nobody asked
                // for wait for the next request, whose number they do not have.
                Ok(_) => waiting.recv().await,
                Err(error) => return broken(shared, &error, "read"),
            },
        };
        let Some(Sent { waiting: WaitingRequest { api, correlation, limit, answer, .. }, at }) = next else {
            return shared.ended_here();
        };
        shared.set_unanswered(Some(at));
        let size = match await_size(shared, &mut read, at, limit).await {
            Some(Ok(size)) => size,
            Some(Err(error)) => return broken(shared, &error, "read"),
            None => return drop(answer.send(Err(shared.timed_out(api, limit)))),
        };
        match read_frame(&mut read, size, correlation, limit).await {
            // Nobody may be waiting any more; the answer is dropped then.
            Ok(frame) => {
                let after = at.elapsed();
                tracing::trace!(broker = shared.broker(), ?api, correlation, bytes = size, ?after, "answer");
                shared.set_unanswered(None);
                drop(answer.send(Ok(frame)));
            }
            Err(error) if error.kind() == ErrorKind::TimedOut => {
                return drop(answer.send(Err(shared.timed_out(api, limit))));
            }
            Err(error) => return broken(shared, &error, "read"),
        }
    }
}

/// Notes what broke the connection while it tried to `what`.
fn broken(shared: &ConnectionShared, error: &Error, what: &str) {
    match error.kind() {
        _ if is_refusal(error) => shared.ended_by_alert(format!("cannot {what}: {error}")),
        ErrorKind::UnexpectedEof => shared.ended_by_broker("by the broker, without an answer"),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
            shared.ended_by_broker(&format!("cannot {what}: {error}"));
        }
        _ => shared.ended(format!("cannot {what}: {error}")),
    }
}

/// Waits for the response to a request that was sent at `sent`, and reports when that takes long.
/// Returns its size, or `None` when `limit` passes first.
async fn await_size(
    shared: &ConnectionShared,
    read: &mut BufReader<ReadHalf>,
    sent: Instant,
    limit: Duration,
) -> Option<Result<usize>> {
    let size = read_size(shared, read);
    tokio::pin!(size);
    let mut told = Instant::now();
    loop {
        // While its quotas throttle this client, the broker reads nothing that was sent already.
        let held_up = shared.throttle().last().map_or(sent, |until| until.max(sent));
        let deadline = held_up + limit;
        if Instant::now() >= deadline {
            return None;
        }
        let quiet = shared.quiet().map(|quiet| told.max(held_up) + quiet);
        match timeout_at(quiet.map_or(deadline, |quiet| quiet.min(deadline)), &mut size).await {
            Ok(size) => return Some(size),
            Err(_) if quiet.is_some_and(|quiet| Instant::now() >= quiet) => {
                told = Instant::now();
                shared.tell(Omen::Silent);
            }
            Err(_) => {}
        }
    }
}

async fn read_size(shared: &ConnectionShared, read: &mut BufReader<ReadHalf>) -> Result<usize> {
    let number = read.read_i32().await?;
    let limit = if shared.is_ready() { RESPONSE_BYTES_MAX } else { STRANGER_RESPONSE_BYTES_MAX };
    usize::try_from(number).ok().filter(|size| (4..=limit).contains(size)).ok_or_else(|| {
        let text = match number.to_be_bytes() {
            // A TLS record that is an alert, or part of a handshake, of any version.
            [0x15 | 0x16, 3, ..] => {
                "this looks like a TLS port: set security.protocol to ssl or sasl_ssl".to_owned()
            }
            _ => format!("the broker sends a response of {number} bytes; is this a Kafka port?"),
        };
        Error::new(ErrorKind::InvalidData, text)
    })
}

/// Reads the rest of a response, which must answer request number `correlation`. However slowly it
/// arrives, it is read as long as it does not pause for `limit`; requested again, it would arrive
/// as slowly.
async fn read_frame(
    read: &mut BufReader<ReadHalf>,
    size: usize,
    correlation: i32,
    limit: Duration,
) -> Result<Bytes> {
    let mut frame = Buffer::with_room(size.min(READ_AHEAD_BYTES));
    let mut filled = 0;
    while filled < size {
        if filled == frame.capacity() {
            frame.set_len(filled);
            frame.reserve((2 * filled).min(size));
        }
        let end = frame.capacity().min(size);
        let part = timeout(limit, read.read(&mut frame.memory()[filled..end])).await;
        match part.map_err(|_| Error::from(ErrorKind::TimedOut))?? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            part => filled += part,
        }
    }
    frame.set_len(size);
    let frame = frame.share();
    let got = (&frame[..4]).get_i32();
    if got == correlation {
        Ok(frame)
    } else {
        let text = format!("the broker answers request {got}, not {correlation}");
        Err(Error::new(ErrorKind::InvalidData, text))
    }
}
