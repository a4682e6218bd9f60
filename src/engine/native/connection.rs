//! One connection to one broker: requests go out in order, answers come back in the same order.
//!
//! A task owns the socket (`serve`). It ends, and with it every request that waits, when the broker
//! closes the connection, when a request passes its limit, or when the last handle has been dropped
//! and the last answer has arrived. A request's limit counts from when it is written; time during
//! which the broker's quotas hold it up does not count.

use std::{
    fmt,
    marker::PhantomData,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicI32, Ordering},
    },
    time::Duration,
};

use bytes::{Buf, BytesMut};
use kafka_protocol::{
    messages::{ApiKey, RequestHeader},
    protocol::{Encodable, Request, StrBytes, VersionRange},
};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::Instant,
};

use super::{
    error::WireError,
    pieces::Pieces,
    reply::{Answer, Reply},
    serve::{Outgoing, QUEUE, Waiting, serve},
    throttle::Throttle,
    transport::{ReadHalf, WriteHalf},
    versions::{self, Versions},
};

/// A connection; clones share it.
#[derive(Clone, Debug)]
pub struct Connection {
    shared: Arc<Shared>,
    outgoing: mpsc::Sender<Outgoing>,
}

/// What a connection is started with.
#[derive(Debug)]
pub(super) struct Opening {
    /// The broker's `host:port`, for errors.
    pub broker: String,
    pub client_id: String,
    pub throttle: Throttle,
    /// Who is notified of misbehaviour.
    pub watcher: Option<Watcher>,
    pub is_tls: bool,
    pub is_sasl: bool,
}

/// Who is notified when a connection misbehaves.
#[derive(Clone)]
pub(super) struct Watcher {
    /// How long an answer may take before it counts as late.
    pub quiet: Duration,
    pub tell: Arc<dyn Fn(Omen) + Send + Sync>,
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher").field("quiet", &self.quiet).finish_non_exhaustive()
    }
}

/// How a connection can misbehave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Omen {
    /// An answer is late; reported again each time as long has passed.
    Silent,
    /// The connection ended, and not because this side closed it.
    Ended,
}

/// What all handles of a connection and its task share.
#[derive(Debug)]
pub(super) struct Shared {
    opening: Opening,
    client_id: StrBytes,
    versions: OnceLock<Versions>,
    correlation: AtomicI32,
    pub(super) close: Notify,
    closed: OnceLock<String>,
    /// When to replace the connection.
    expires: OnceLock<Instant>,
    /// Whether it may be used for more than negotiation and authentication.
    ready: AtomicBool,
    /// Whether anything has been answered since.
    trusted: AtomicBool,
    /// Whether the broker ended it by a TLS alert.
    refused: AtomicBool,
    /// When the oldest request was written that is not answered.
    unanswered: Mutex<Option<Instant>>,
}

impl Connection {
    /// Serves a connected socket in the background.
    pub(super) fn new(read: ReadHalf, write: WriteHalf, opening: Opening) -> Connection {
        let (outgoing, requests) = mpsc::channel(QUEUE);
        let shared = Arc::new(Shared {
            client_id: StrBytes::from_string(opening.client_id.clone()),
            opening,
            versions: OnceLock::new(),
            correlation: AtomicI32::new(0),
            close: Notify::new(),
            closed: OnceLock::new(),
            expires: OnceLock::new(),
            ready: AtomicBool::new(false),
            trusted: AtomicBool::new(false),
            refused: AtomicBool::new(false),
            unanswered: Mutex::new(None),
        });
        tokio::spawn(serve(Arc::clone(&shared), read, write, requests));
        Connection { shared, outgoing }
    }

    /// Sends a request and waits for the response; when `limit` passes, the connection closes.
    ///
    /// # Errors
    /// Any [`WireError`]; the error codes in the response are the caller's.
    pub async fn call_within<R: Request<Response: Answer>>(
        &self,
        request: &R,
        limit: Duration,
    ) -> Result<R::Response, WireError> {
        self.send(request, limit).await?.response().await
    }

    /// Queues a request; requests are written in the order of these calls' completion. The
    /// response is awaited through the [`Reply`], and is read whether or not that is polled.
    ///
    /// # Errors
    /// When the connection is closed, or the request has no version that both sides speak.
    pub async fn send<R: Request<Response: Answer>>(
        &self,
        request: &R,
        limit: Duration,
    ) -> Result<Reply<R::Response>, WireError> {
        let api = key_of::<R>();
        self.send_version(request, self.version_of(api, R::VERSIONS)?, limit).await
    }

    /// [`send`](Connection::send) in a version that the caller chose.
    pub(super) async fn send_version<R: Request<Response: Answer>>(
        &self,
        request: &R,
        version: i16,
        limit: Duration,
    ) -> Result<Reply<R::Response>, WireError> {
        let api = key_of::<R>();
        let malformed = |message: String| self.malformed(api, version, message);
        let size = request.compute_size(version).map_err(|e| malformed(e.to_string()))?;
        let mut head = self.head(api, version, R::header_version(version), size);
        request.encode(&mut head.bytes, version).map_err(|e| malformed(e.to_string()))?;
        self.send_parts(head, Pieces::default(), limit).await
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

    /// Queues a request made of a head and a body that is written without copying it.
    pub(super) async fn send_parts<P: Answer>(
        &self,
        mut head: Head,
        body: Pieces,
        limit: Duration,
    ) -> Result<Reply<P>, WireError> {
        let Head { api, version, correlation, .. } = head;
        let size = head.bytes.len() - 4 + body.remaining();
        let size =
            i32::try_from(size).map_err(|_| self.malformed(api, version, format!("{size} bytes long")))?;
        head.bytes[..4].copy_from_slice(&size.to_be_bytes());
        let (answer, receiver) = oneshot::channel();
        let waiting = Waiting { api, version, correlation, limit, answer };
        let mut frame = body;
        frame.push_front(head.bytes.freeze());
        let outgoing = Outgoing { frame, waiting };
        // A full queue moves on or ends with its connection: a written request has a limit.
        if self.outgoing.send(outgoing).await.is_err() {
            return Err(self.shared.closed());
        }
        let shared = Arc::clone(&self.shared);
        Ok(Reply { shared, api, version, receiver, response: PhantomData })
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

    /// Until when the broker's quotas hold up what is sent here (KIP-219).
    pub fn throttled_until(&self) -> Option<Instant> {
        self.shared.throttle().until()
    }

    /// How long the oldest request has waited for its answer.
    pub fn silent_for(&self) -> Duration {
        let unanswered = *self.shared.unanswered.lock().expect("no panic while locked");
        unanswered.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Closes the connection; what waits for an answer fails with `reason`.
    pub(super) fn close(&self, reason: &str) {
        self.shared.shut(reason.to_owned());
    }

    /// Whether the connection has ended, or its authentication soon will (KIP-368); then a new one
    /// is needed.
    pub fn is_closed(&self) -> bool {
        self.outgoing.is_closed()
            || self.shared.closed.get().is_some()
            || self.shared.expires.get().is_some_and(|expires| *expires <= Instant::now())
    }

    /// Has the connection replaced in time before its authentication ends.
    pub(super) fn set_lifetime(&self, lifetime: Option<Duration>) {
        if let Some(lifetime) = lifetime {
            self.shared.expires.get_or_init(|| Instant::now() + lifetime.mul_f64(0.8));
        }
    }

    /// Allows it for all requests: negotiation and authentication are done.
    pub(super) fn set_ready(&self) {
        self.shared.ready.store(true, Ordering::Relaxed);
    }

    /// Whether the broker ended the connection by a TLS alert.
    pub(super) fn was_refused(&self) -> bool {
        self.shared.refused.load(Ordering::Relaxed)
    }

    /// The broker's `host:port`.
    pub fn broker(&self) -> &str {
        self.shared.broker()
    }

    /// Sets what the broker offers, once.
    pub(super) fn set_versions(&self, versions: Versions) {
        self.shared.versions.get_or_init(|| versions);
    }

    fn version_of(&self, api: ApiKey, implemented: VersionRange) -> Result<i16, WireError> {
        let ours = versions::ours(api, implemented);
        let versions = self.shared.versions.get();
        versions.and_then(|versions| versions.common(api, ours)).ok_or_else(|| WireError::Version {
            broker: self.shared.broker().to_owned(),
            api,
            theirs: self.offered(api),
            ours,
        })
    }

    fn malformed(&self, api: ApiKey, version: i16, message: String) -> WireError {
        WireError::Malformed { broker: self.shared.broker().to_owned(), api, version, message }
    }
}

/// The start of a request made by hand; the caller appends the body's first fields to `bytes`.
pub(super) struct Head {
    api: ApiKey,
    version: i16,
    correlation: i32,
    pub(super) bytes: BytesMut,
}

impl Shared {
    /// The broker's `host:port`.
    pub(super) fn broker(&self) -> &str {
        &self.opening.broker
    }

    /// What the broker's quotas hold up.
    pub(super) fn throttle(&self) -> &Throttle {
        &self.opening.throttle
    }

    /// Whether negotiation and authentication are done; until then, answers are small.
    pub(super) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// How long an answer may take before it counts as late.
    pub(super) fn quiet(&self) -> Option<Duration> {
        self.opening.watcher.as_ref().map(|watcher| watcher.quiet)
    }

    /// Notifies the watcher.
    pub(super) fn tell(&self, omen: Omen) {
        if let Some(watcher) = &self.opening.watcher {
            (watcher.tell)(omen);
        }
    }

    /// Notes since when the oldest request waits for its answer.
    pub(super) fn set_unanswered(&self, since: Option<Instant>) {
        *self.unanswered.lock().expect("no panic while locked") = since;
        if since.is_none() && self.is_ready() {
            self.trusted.store(true, Ordering::Relaxed);
        }
    }

    /// Notes that this side ended the connection because nobody needs it any more.
    pub(super) fn ended_here(&self) {
        self.closed.get_or_init(|| "by this side".to_owned());
    }

    /// Notes why the connection ended; the first reason stays.
    pub(super) fn ended(&self, reason: String) {
        let mut is_first = false;
        self.closed.get_or_init(|| {
            is_first = true;
            reason
        });
        if is_first {
            self.tell(Omen::Ended);
        }
    }

    /// [`ended`](Shared::ended) by a TLS alert.
    pub(super) fn ended_by_alert(&self, reason: String) {
        self.refused.store(true, Ordering::Relaxed);
        self.ended(reason);
    }

    /// [`ended`](Shared::ended) by the broker. One that has never answered a question may expect
    /// another protocol: then it closes the connection without a word.
    pub(super) fn ended_by_broker(&self, reason: &str) {
        let hint = match (self.trusted.load(Ordering::Relaxed), self.opening.is_tls, self.opening.is_sasl) {
            (true, ..) | (false, true, true) => "",
            (false, false, false) => "; is security.protocol right? The broker may want TLS or SASL",
            (false, false, true) => "; is security.protocol right? The broker may want TLS",
            (false, true, false) => "; is security.protocol right? The broker may want SASL",
        };
        self.ended(format!("{reason}{hint}"));
    }

    /// Ends the connection.
    pub(super) fn shut(&self, reason: String) {
        self.ended(reason);
        self.close.notify_one();
    }

    /// The error for requests that still wait after the end.
    pub(super) fn closed(&self) -> WireError {
        let reason = self.closed.get().cloned().unwrap_or_else(|| "by this side".to_owned());
        WireError::Closed { broker: self.broker().to_owned(), reason }
    }

    /// Closes the connection for a request that passed its limit.
    pub(super) fn timed_out(&self, api: ApiKey, after: Duration) -> WireError {
        self.shut(format!("no answer to {api:?} within {after:?}"));
        WireError::Timeout { broker: self.broker().to_owned(), api, after }
    }
}

fn key_of<R: Request>() -> ApiKey {
    ApiKey::try_from(R::KEY).expect("every request type has a known key")
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
