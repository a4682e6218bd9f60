//! One connection to one broker: requests go out in order, answers come back in the same order.
//!
//! A task owns the socket. It ends, and with it every request that waits, when the broker closes
//! the connection, when a request passes its deadline, or when the last handle is dropped and
//! the last answer is there. Nothing waits on a connection without a deadline.

use std::{
    marker::PhantomData,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicI32, Ordering},
    },
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::{
    messages::{ApiKey, RequestHeader, ResponseHeader},
    protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes, VersionRange},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    sync::{Notify, mpsc, oneshot},
    time::{Instant, sleep_until, timeout_at},
};

use super::{
    error::WireError,
    pieces::Pieces,
    transport::{ReadHalf, WriteHalf},
    versions::{self, Versions},
};
use crate::buffers::Buffer;

/// The greatest response in bytes that is taken; more is a broken or foreign peer.
const FRAME_LIMIT: usize = 512 << 20;

/// The greatest number of requests that wait to be written, and of those that wait for an answer.
const QUEUE: usize = 64;

/// A connection; clones share it.
#[derive(Clone, Debug)]
pub struct Connection {
    shared: Arc<Shared>,
    outgoing: mpsc::Sender<Outgoing>,
}

#[derive(Debug)]
struct Shared {
    broker: String,
    client_id: StrBytes,
    timeout: Duration,
    versions: OnceLock<Versions>,
    correlation: AtomicI32,
    throttled_until: Mutex<Option<Instant>>,
    close: Notify,
    closed: OnceLock<String>,
    /// When to replace the connection.
    expires: OnceLock<Instant>,
}

/// A request as it goes out.
struct Outgoing {
    frame: Pieces,
    waiting: Waiting,
}

/// A request that waits for its answer.
struct Waiting {
    api: ApiKey,
    correlation: i32,
    after: Duration,
    deadline: Instant,
    answer: oneshot::Sender<Result<Bytes, WireError>>,
}

impl Connection {
    /// Serves a connected socket in the background. `broker` names it in errors.
    pub(super) fn new(
        read: ReadHalf,
        write: WriteHalf,
        broker: String,
        client_id: &str,
        timeout: Duration,
    ) -> Connection {
        let (outgoing, requests) = mpsc::channel(QUEUE);
        let shared = Arc::new(Shared {
            broker,
            client_id: StrBytes::from_string(client_id.to_owned()),
            timeout,
            versions: OnceLock::new(),
            correlation: AtomicI32::new(0),
            throttled_until: Mutex::new(None),
            close: Notify::new(),
            closed: OnceLock::new(),
            expires: OnceLock::new(),
        });
        tokio::spawn(serve(Arc::clone(&shared), read, write, requests));
        Connection { shared, outgoing }
    }

    /// Sends a request and waits for the response, within the connection's request timeout.
    ///
    /// # Errors
    /// Any [`WireError`]; the error codes in the response are the caller's.
    pub async fn call<R: Request>(&self, request: R) -> Result<R::Response, WireError> {
        self.call_within(request, self.shared.timeout).await
    }

    /// [`call`](Connection::call) with a limit of its own; when it passes, the connection closes.
    ///
    /// # Errors
    /// Any [`WireError`].
    pub async fn call_within<R: Request>(
        &self,
        request: R,
        timeout: Duration,
    ) -> Result<R::Response, WireError> {
        self.send(&request, timeout).await?.response().await
    }

    /// Queues a request; requests are written in the order of these calls' completion. The
    /// response is awaited through the [`Reply`], and is read whether or not that is polled.
    ///
    /// # Errors
    /// When the connection is closed, or the request has no version that both sides speak.
    pub async fn send<R: Request>(
        &self,
        request: &R,
        timeout: Duration,
    ) -> Result<Reply<R::Response>, WireError> {
        let api = key_of::<R>();
        self.send_version(request, self.version_of(api, R::VERSIONS)?, timeout).await
    }

    /// [`send`](Connection::send) in a version that the caller chose.
    pub(super) async fn send_version<R: Request>(
        &self,
        request: &R,
        version: i16,
        timeout: Duration,
    ) -> Result<Reply<R::Response>, WireError> {
        let api = key_of::<R>();
        let malformed = |message: String| self.malformed(api, version, message);
        let size = request.compute_size(version).map_err(|e| malformed(e.to_string()))?;
        let mut head = self.head(api, version, R::header_version(version), size);
        request.encode(&mut head.bytes, version).map_err(|e| malformed(e.to_string()))?;
        self.send_parts(head, Pieces::default(), timeout).await
    }

    /// Starts a request by hand: the frame's length (filled in later) and the header, with room
    /// for `size` bytes more.
    pub(super) fn head(&self, api: ApiKey, version: i16, header_version: i16, size: usize) -> Head {
        let correlation = self.shared.correlation.fetch_add(1, Ordering::Relaxed);
        let header = RequestHeader::default()
            .with_request_api_key(api as i16)
            .with_request_api_version(version)
            .with_correlation_id(correlation)
            .with_client_id(Some(self.shared.client_id.clone()));
        let mut bytes = BytesMut::with_capacity(4 + 16 + self.shared.client_id.len() + size);
        bytes.extend_from_slice(&[0; 4]);
        header.encode(&mut bytes, header_version).expect("a header of fixed fields is encodable");
        Head { api, version, correlation, bytes }
    }

    /// Queues a request made of a head and a body that is written from where it lies.
    pub(super) async fn send_parts<P: Decodable + HeaderVersion>(
        &self,
        mut head: Head,
        body: Pieces,
        timeout: Duration,
    ) -> Result<Reply<P>, WireError> {
        let Head { api, version, correlation, .. } = head;
        let size = head.bytes.len() - 4 + body.remaining();
        let size =
            i32::try_from(size).map_err(|_| self.malformed(api, version, format!("{size} bytes long")))?;
        head.bytes[..4].copy_from_slice(&size.to_be_bytes());
        let (answer, receiver) = oneshot::channel();
        let deadline = Instant::now() + timeout;
        let waiting = Waiting { api, correlation, after: timeout, deadline, answer };
        let mut frame = body;
        frame.push_front(head.bytes.freeze());
        let outgoing = Outgoing { frame, waiting };
        match timeout_at(deadline, self.outgoing.send(outgoing)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(self.shared.closed()),
            Err(_) => return Err(self.shared.timed_out(api, timeout)),
        }
        let shared = Arc::clone(&self.shared);
        Ok(Reply { shared, api, version, after: timeout, deadline, receiver, response: PhantomData })
    }

    /// The version in which a request is sent on this connection.
    ///
    /// # Errors
    /// [`WireError::Version`] when the two sides have none in common.
    pub fn version(&self, api: ApiKey) -> Result<i16, WireError> {
        self.version_of(api, api.valid_versions())
    }

    /// What the broker offers of a request.
    pub fn offered(&self, api: ApiKey) -> Option<VersionRange> {
        self.shared.versions.get()?.offered(api)
    }

    /// Waits with the next requests, as the broker asked in a response (KIP-219).
    pub fn throttle(&self, millis: i32) {
        if let Ok(millis @ 1..) = u64::try_from(millis) {
            let until = Instant::now() + Duration::from_millis(millis.min(30_000));
            let mut current = self.shared.throttled_until.lock().expect("no panic while locked");
            *current = (*current).max(Some(until));
        }
    }

    /// Whether the connection has ended, or its authentication soon will (KIP-368); a new one is
    /// needed then.
    pub fn is_closed(&self) -> bool {
        self.outgoing.is_closed()
            || self.shared.closed.get().is_some()
            || self.shared.expires.get().is_some_and(|expires| *expires <= Instant::now())
    }

    /// Lets the connection be replaced in time before its authentication ends.
    pub(super) fn set_lifetime(&self, lifetime: Option<Duration>) {
        if let Some(lifetime) = lifetime {
            self.shared.expires.get_or_init(|| Instant::now() + lifetime.mul_f64(0.8));
        }
    }

    /// The broker's `host:port`.
    pub fn broker(&self) -> &str {
        &self.shared.broker
    }

    /// Sets what the broker offers, once.
    pub(super) fn set_versions(&self, versions: Versions) {
        self.shared.versions.get_or_init(|| versions);
    }

    fn version_of(&self, api: ApiKey, implemented: VersionRange) -> Result<i16, WireError> {
        let ours = versions::ours(api, implemented);
        let versions = self.shared.versions.get();
        versions.and_then(|versions| versions.common(api, ours)).ok_or_else(|| WireError::Version {
            broker: self.shared.broker.clone(),
            api,
            theirs: self.offered(api),
            ours,
        })
    }

    fn malformed(&self, api: ApiKey, version: i16, message: String) -> WireError {
        WireError::Malformed { broker: self.shared.broker.clone(), api, version, message }
    }
}

/// The start of a request made by hand; the caller appends the body's first fields to `bytes`.
pub(super) struct Head {
    api: ApiKey,
    version: i16,
    correlation: i32,
    pub(super) bytes: BytesMut,
}

/// The response to come of a request that was queued.
#[derive(Debug)]
pub struct Reply<P> {
    shared: Arc<Shared>,
    api: ApiKey,
    version: i16,
    after: Duration,
    deadline: Instant,
    receiver: oneshot::Receiver<Result<Bytes, WireError>>,
    response: PhantomData<fn() -> P>,
}

impl<P: Decodable + HeaderVersion> Reply<P> {
    /// Waits for the response. Its byte fields are slices of the frame, not copies.
    ///
    /// # Errors
    /// [`WireError::Timeout`], `Closed` or `Malformed`.
    pub async fn response(mut self) -> Result<P, WireError> {
        self.arrival().await
    }

    /// [`response`](Reply::response) for use in a `select!`: cancel-safe, once.
    pub(super) async fn arrival(&mut self) -> Result<P, WireError> {
        let mut frame = self.frame().await?;
        let (api, version) = (self.api, self.version);
        let broker = self.shared.broker.clone();
        let mut decode = || {
            ResponseHeader::decode(&mut frame, P::header_version(version))?;
            P::decode(&mut frame, version)
        };
        decode().map_err(|e| WireError::Malformed { broker, api, version, message: e.to_string() })
    }

    /// Waits for the whole response as bytes, its header included.
    pub(super) async fn frame(&mut self) -> Result<Bytes, WireError> {
        match timeout_at(self.deadline, &mut self.receiver).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(self.shared.closed()),
            Err(_) => Err(self.shared.timed_out(self.api, self.after)),
        }
    }
}

impl Shared {
    /// Notes why the connection ended; the first reason stays.
    fn ended(&self, reason: String) {
        self.closed.get_or_init(|| reason);
    }

    fn shut(&self, reason: String) {
        self.ended(reason);
        self.close.notify_one();
    }

    fn closed(&self) -> WireError {
        let reason = self.closed.get().cloned().unwrap_or_else(|| "by this side".to_owned());
        WireError::Closed { broker: self.broker.clone(), reason }
    }

    /// Closes the connection for a request that passed its deadline.
    fn timed_out(&self, api: ApiKey, after: Duration) -> WireError {
        let error = WireError::Timeout { broker: self.broker.clone(), api, after };
        self.shut(format!("no answer to {api:?} within {after:?}"));
        error
    }
}

/// Writes and reads until one of them ends.
async fn serve(
    shared: Arc<Shared>,
    read: ReadHalf,
    write: WriteHalf,
    mut requests: mpsc::Receiver<Outgoing>,
) {
    let (sent, mut waiting) = mpsc::channel(QUEUE);
    let writing = async {
        match write_requests(&shared, write, &mut requests, sent).await {
            // Every handle is gone; the answers under way are still read.
            Ok(_open) => std::future::pending().await,
            Err(error) => shared.ended(format!("cannot write: {error}")),
        }
    };
    tokio::select! {
        () = read_responses(&shared, read, &mut waiting) => {}
        () = writing => {}
        () = shared.close.notified() => {}
    }
    // The reason is known by now; what still waits is dropped after it, and so learns of it.
    shared.ended("by this side".to_owned());
}

/// Returns the open half when no more requests can come.
async fn write_requests(
    shared: &Shared,
    mut write: WriteHalf,
    requests: &mut mpsc::Receiver<Outgoing>,
    sent: mpsc::Sender<Waiting>,
) -> std::io::Result<WriteHalf> {
    while let Some(Outgoing { mut frame, waiting }) = requests.recv().await {
        let throttled = shared.throttled_until.lock().expect("no panic while locked").take();
        if let Some(until) = throttled {
            sleep_until(until).await;
        }
        if sent.send(waiting).await.is_err() {
            break;
        }
        write.write_all_buf(&mut frame).await?;
        write.flush().await?;
    }
    Ok(write)
}

/// Gives every request its answer, until the connection ends or no request can come.
async fn read_responses(shared: &Shared, read: ReadHalf, waiting: &mut mpsc::Receiver<Waiting>) {
    let mut read = BufReader::new(read);
    loop {
        // While nothing is asked for, only the broker's closing is of interest.
        let next = tokio::select! {
            next = waiting.recv() => next,
            idle = read.fill_buf() => match idle {
                Ok([]) => return shared.ended("by the broker".to_owned()),
                Ok(_) => waiting.recv().await,
                Err(error) => return shared.ended(format!("cannot read: {error}")),
            },
        };
        let Some(Waiting { api, correlation, after, deadline, answer }) = next else {
            return shared.ended("by this side".to_owned());
        };
        match timeout_at(deadline, read_frame(&mut read, correlation)).await {
            // Nobody may be waiting any more; the answer is dropped then.
            Ok(Ok(frame)) => drop(answer.send(Ok(frame))),
            Ok(Err(error)) => return shared.ended(format!("cannot read: {error}")),
            Err(_) => {
                drop(answer.send(Err(shared.timed_out(api, after))));
                return;
            }
        }
    }
}

/// Reads the next response, which must be the one to request number `correlation`.
async fn read_frame(read: &mut BufReader<ReadHalf>, correlation: i32) -> std::io::Result<Bytes> {
    let foreign = |what: String| std::io::Error::new(std::io::ErrorKind::InvalidData, what);
    let size = read.read_i32().await?;
    let size =
        usize::try_from(size).ok().filter(|size| (4..=FRAME_LIMIT).contains(size)).ok_or_else(|| {
            foreign(format!("the broker sends a response of {size} bytes; is this a Kafka port?"))
        })?;
    let mut frame = Buffer::with_room(size);
    read.read_exact(&mut frame.memory()[..size]).await?;
    frame.set_len(size);
    let frame = frame.share();
    let got = (&frame[..4]).get_i32();
    if got == correlation {
        Ok(frame)
    } else {
        Err(foreign(format!("the broker answers request {got}, not {correlation}")))
    }
}

fn key_of<R: Request>() -> ApiKey {
    ApiKey::try_from(R::KEY).expect("every request type has a known key")
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
