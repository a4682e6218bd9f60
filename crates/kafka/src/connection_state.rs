//! What the handles of a connection share with the task behind it, and who is notified of its
//! state.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicI32, Ordering},
    },
    time::Duration,
};

use kafka_protocol::{messages::ApiKey, protocol::StrBytes};
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use super::{error::WireError, text::text, throttle::Throttle, versions::Versions};

/// What a connection is started with.
#[derive(Debug)]
pub(super) struct Opening {
    /// The broker's `host:port`, for errors.
    pub broker: String,
    pub client_id: String,
    pub throttle: Throttle,
    /// Who is notified of misbehaviour.
    pub watcher: Option<Watcher>,
    /// How long it may be without a question; `None` for ever.
    pub max_idle: Option<Duration>,
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
pub(super) struct ConnectionShared {
    opening: Opening,
    pub(super) client_id: StrBytes,
    pub(super) versions: OnceLock<Versions>,
    pub(super) correlation: AtomicI32,
    pub(super) close: Notify,
    pub(super) closed: OnceLock<String>,
    /// When to replace the connection.
    pub(super) expires: OnceLock<Instant>,
    /// Whether it may be used for more than negotiation and authentication.
    pub(super) ready: AtomicBool,
    /// Whether anything was answered since.
    trusted: AtomicBool,
    /// Whether the broker ended it by a TLS alert.
    pub(super) refused: AtomicBool,
    /// When the oldest request was written that is not answered.
    pub(super) unanswered: Mutex<Option<Instant>>,
    /// When something was last asked or answered.
    used: Mutex<Instant>,
}

impl ConnectionShared {
    /// The state of a connection before negotiation.
    pub(super) fn new(opening: Opening) -> ConnectionShared {
        ConnectionShared {
            client_id: text(&opening.client_id),
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
            used: Mutex::new(Instant::now()),
        }
    }

    /// The broker's `host:port`.
    pub(super) fn broker(&self) -> &str {
        &self.opening.broker
    }

    /// The throttling by the broker's quotas.
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
        self.set_used();
        *self.unanswered.lock() = since;
        if since.is_none() && self.is_ready() {
            self.trusted.store(true, Ordering::Relaxed);
        }
    }

    /// Notes that something is asked or answered.
    pub(super) fn set_used(&self) {
        *self.used.lock() = Instant::now();
    }

    /// How long it may be without a question.
    pub(super) fn max_idle(&self) -> Option<Duration> {
        self.opening.max_idle
    }

    /// Whether nothing has been asked or answered for `limit`, and nothing waits for its answer.
    pub(super) fn is_idle_for(&self, limit: Duration) -> bool {
        self.used.lock().elapsed() >= limit && self.unanswered.lock().is_none()
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

    /// [`ended`](ConnectionShared::ended) by a TLS alert.
    pub(super) fn ended_by_alert(&self, reason: String) {
        self.refused.store(true, Ordering::Relaxed);
        self.ended(reason);
    }

    /// [`ended`](ConnectionShared::ended) by the broker. One that has never answered a question may
    /// expect another protocol: then it closes the connection without a word.
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

    /// The error of who still waits after the end.
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
