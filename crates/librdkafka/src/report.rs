//! librdkafka's log lines and errors, passed on to tracing; each kind of line only once in a while.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rdkafka::{config::RDKafkaLogLevel, error::KafkaError, types::RDKafkaErrorCode};
use topicmill_mill::engine::{EngineError, ErrorKind};

use super::error;

/// How long a kind of line is suppressed after it was logged.
const QUIET: Duration = Duration::from_secs(10);

/// Logs librdkafka's lines and errors, and keeps the first fatal error.
#[derive(Debug, Default)]
pub(super) struct Reporter {
    last: Mutex<HashMap<String, (Instant, u64)>>,
    fatal: Mutex<Option<EngineError>>,
    connected: AtomicBool,
}

impl Reporter {
    /// A log line of facility `facility`. Librdkafka's lines hold no payload unless `debug=msg`.
    pub fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // A property for producers on a consumer, and the other way: `[kafka]` serves both.
        if facility == "CONFWARN" {
            return;
        }
        match level {
            RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", facility, "{message}"),
            RDKafkaLogLevel::Info | RDKafkaLogLevel::Notice => {
                tracing::info!(target: "librdkafka", facility, "{message}");
            }
            _ => self.warn(facility, message),
        }
    }

    /// An error of the client as a whole. Brokers that are down are retried; an error that would
    /// recur is kept.
    pub fn error(&self, error: &KafkaError, reason: &str) {
        let code = error::code(error);
        // A broker that stops in the middle of a TLS handshake looks like a wrong certificate.
        let passing = code == RDKafkaErrorCode::SSL && self.connected.load(Relaxed);
        if error::kind(code) == ErrorKind::Fatal && !passing {
            self.fail(EngineError::new(ErrorKind::Fatal, format!("{code}: {reason}")));
        } else {
            self.warn(&format!("{code:?}"), reason);
        }
    }

    /// A broker has answered: the settings are right.
    pub fn connected(&self) {
        self.connected.store(true, Relaxed);
    }

    /// Keeps `error` unless there is one already.
    pub fn fail(&self, error: EngineError) {
        self.fatal.lock().get_or_insert(error);
    }

    /// The first fatal error.
    pub fn fatal(&self) -> Option<EngineError> {
        self.fatal.lock().clone()
    }

    /// A warning, unless one of the same kind was logged a short while ago.
    pub fn warn(&self, kind: &str, message: &str) {
        if let Some(suppressed) = self.due(kind, Instant::now()) {
            tracing::warn!(target: "librdkafka", kind, suppressed, "{message}");
        }
    }

    /// The number of lines suppressed since the last one of this kind, `None` while it is
    /// suppressed.
    fn due(&self, kind: &str, now: Instant) -> Option<u64> {
        let mut last = self.last.lock();
        match last.get_mut(kind) {
            Some((at, suppressed)) if now.duration_since(*at) < QUIET => {
                *suppressed += 1;
                None
            }
            Some((at, suppressed)) => {
                *at = now;
                Some(std::mem::take(suppressed))
            }
            None => {
                last.insert(kind.to_owned(), (now, 0));
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_logged_once_in_a_while_with_the_number_left_out() {
        let reporter = Reporter::default();
        let start = Instant::now();
        assert_eq!(reporter.due("FAIL", start), Some(0));
        assert_eq!(reporter.due("FAIL", start + QUIET / 2), None);
        assert_eq!(reporter.due("OTHER", start), Some(0));
        assert_eq!(reporter.due("FAIL", start + QUIET), Some(1));
    }

    #[test]
    fn brokers_down_are_no_failure_and_a_wrong_password_is() {
        let reporter = Reporter::default();
        reporter.error(&KafkaError::Global(RDKafkaErrorCode::AllBrokersDown), "1/1 brokers are down");
        assert!(reporter.fatal().is_none());
        reporter.error(&KafkaError::Global(RDKafkaErrorCode::Authentication), "SASL authentication failed");
        assert_eq!(reporter.fatal().unwrap().kind, ErrorKind::Fatal);
    }
}
