//! One connection to one broker: requests go out in order, answers come back in the same order.
//!
//! A task owns the socket (`serve`). It ends, and with it every request that waits, when the broker
//! closes the connection, when a request passes its limit, or when the last handle has been dropped
//! and the last answer has arrived. A request's limit counts from when it is written; time during
//! which the broker's quotas hold it up does not count.

use std::{
    marker::PhantomData,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use kafka_protocol::{
    messages::{ApiKey, RequestHeader},
    protocol::{Encodable, Request, VersionRange},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{
    connection_state::{ConnectionShared, Opening},
    error::WireError,
    pieces::FramePieces,
    reply::{Answer, Reply},
    serve::{Outgoing, QUEUE_REQUESTS_MAX, WaitingRequest, serve},
    transport::{ReadHalf, WriteHalf},
    versions::{self, Versions},
};

/// A connection; clones share it.
#[derive(Clone, Debug)]
pub struct Connection {
    shared: Arc<ConnectionShared>,
    outgoing: mpsc::Sender<Outgoing>,
}

impl Connection {
    /// Serves a connected socket in the background.
    pub(super) fn new(read: ReadHalf, write: WriteHalf, opening: Opening) -> Connection {
        let (outgoing, requests) = mpsc::channel(QUEUE_REQUESTS_MAX);
        let shared = Arc::new(ConnectionShared::new(opening));
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

    /// [`call_within`](Connection::call_within), in a version that is `cap` at most.
    ///
    /// # Errors
    /// As there.
    pub async fn call_in<R: Request<Response: Answer>>(
        &self,
        request: &R,
        cap: i16,
        limit: Duration,
    ) -> Result<R::Response, WireError> {
        let version = self.version_of(key_of::<R>(), R::VERSIONS)?.min(cap);
        self.send_version(request, version, limit).await?.response().await
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
        self.send_parts(head, FramePieces::default(), limit).await
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
        body: FramePieces,
        limit: Duration,
    ) -> Result<Reply<P>, WireError> {
        let Head { api, version, correlation, .. } = head;
        let size = head.bytes.len() - 4 + body.remaining();
        let size =
            i32::try_from(size).map_err(|_| self.malformed(api, version, format!("{size} bytes long")))?;
        head.bytes[..4].copy_from_slice(&size.to_be_bytes());
        let (answer, receiver) = oneshot::channel();
        let waiting = WaitingRequest { api, version, correlation, limit, answer };
        let mut frame = body;
        frame.push_front(head.bytes.freeze());
        let outgoing = Outgoing { frame, waiting };
        self.shared.set_used();
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

    /// The version of transactions that the cluster has agreed on, as the broker said when the connection was
    /// made (KIP-584); 0 where it says nothing.
    pub fn transaction_version(&self) -> i16 {
        self.shared.versions.get().map_or(0, Versions::transaction_version)
    }

    /// Until when the broker's quotas hold up what is sent here (KIP-219).
    pub fn throttled_until(&self) -> Option<Instant> {
        self.shared.throttle().until()
    }

    /// How long the oldest request has waited for its answer.
    pub fn silent_for(&self) -> Duration {
        let unanswered = *self.shared.unanswered.lock();
        unanswered.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Closes the connection; what waits for an answer fails with `reason`.
    pub(super) fn close(&self, reason: &str) {
        self.shared.shut(reason.to_owned());
    }

    /// Whether the connection has ended, or soon will: with its authentication (KIP-368), or because
    /// nothing is asked on it; then a new one is needed.
    pub fn is_closed(&self) -> bool {
        self.outgoing.is_closed()
            || self.shared.closed.get().is_some()
            || self.shared.expires.get().is_some_and(|expires| *expires <= Instant::now())
            || self.shared.max_idle().is_some_and(|limit| self.shared.is_idle_for(limit))
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

fn key_of<R: Request>() -> ApiKey {
    ApiKey::try_from(R::KEY).expect("every request type has a known key")
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
