//! Metadata is refreshed by one question at a time, whoever needs it: callers that come meanwhile,
//! or soon after one that failed, get its outcome.

use std::{fmt, sync::Arc};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use kafka_protocol::messages::{MetadataRequest, metadata_request::MetadataRequestTopic};
use tokio::time::{Instant, sleep_until};
use topicmill_mill::engine::{EngineError, ErrorKind};

use super::{cluster::Cluster, metadata::Metadata, text::topic_name};

type RefreshAttempt = Shared<BoxFuture<'static, Result<(), EngineError>>>;

/// The questions for metadata: the one in flight, and how the last one went.
#[derive(Default)]
pub(super) struct Refresh {
    attempt: Option<RefreshAttempt>,
    /// When it was last asked for.
    last: Option<Instant>,
    failures: u32,
    /// Why the last one failed, and until when no other is asked.
    failed: Option<(Instant, EngineError)>,
}

impl fmt::Debug for Refresh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refresh").field("failures", &self.failures).finish_non_exhaustive()
    }
}

impl Cluster {
    /// Asks for metadata, unless someone else has since snapshot number `seen`; not more often than
    /// the retry backoff.
    ///
    /// # Errors
    /// Why the question failed that this call waited for, or that failed just now.
    pub(super) async fn refresh(&self, seen: u64) -> Result<Arc<Metadata>, EngineError> {
        // `seen` is the snapshot that the caller found wanting. Who comes while a question is under
        // way shares it, but its answer may be older than what the caller knows:
        //   1. a question is sent, and the cluster answers with a leader;
        //   2. that leader changes, a request to it fails, and `invalidate` marks the metadata stale;
        //   3. the answer of (1) arrives with the old leader.
        // `learn` takes the mark away before it asks, never after: so the mark of (2) is still there
        // once the answer is, and one more question is asked. Two rounds are enough for the caller;
        // what goes out of date after that is found by the next one.
        for _ in 0..2 {
            let attempt = {
                let mut state = self.state();
                if state.snapshot > seen && !state.stale {
                    break;
                }
                match (&state.refresh.attempt, &state.refresh.failed) {
                    (Some(attempt), _) if attempt.peek().is_none() => attempt.clone(),
                    (_, Some((until, error))) if *until > Instant::now() => return Err(error.clone()),
                    _ => state.refresh.attempt.insert(self.attempt()).clone(),
                }
            };
            attempt.await?;
        }
        Ok(Arc::clone(&self.state().metadata))
    }

    /// Asks for metadata although nobody waits for it.
    pub(super) fn refresh_in_background(&self) {
        if let Some(cluster) = self.this.upgrade() {
            tokio::spawn(async move {
                let seen = cluster.state().snapshot;
                if let Err(error) = cluster.refresh(seen).await {
                    tracing::debug!(%error, "metadata cannot be learned anew");
                }
            });
        }
    }

    /// Asks in a task of its own: the caller may be dropped, and the outcome counts all the same.
    fn attempt(&self) -> RefreshAttempt {
        let ended = || Err(EngineError::new(ErrorKind::Retriable, "this program ends"));
        let Some(cluster) = self.this.upgrade() else { return std::future::ready(ended()).boxed().shared() };
        let asking = tokio::spawn(async move { cluster.learn().await });
        async move { asking.await.unwrap_or_else(|_| ended()) }.boxed().shared()
    }

    async fn learn(&self) -> Result<(), EngineError> {
        let last = self.state().refresh.last;
        if let Some(last) = last {
            sleep_until(last + self.settings.retry.first).await;
        }
        let topics: Vec<_> = {
            let mut state = self.state();
            state.refresh.last = Some(Instant::now());
            // Before the question: what is found out of date from here on asks again.
            state.stale = false;
            let topic = |name: &Arc<str>| MetadataRequestTopic::default().with_name(Some(topic_name(name)));
            state.wanted.iter().map(topic).collect()
        };
        let asked = self.ask_metadata(topics).await;
        let outcome = {
            let mut state = self.state();
            state.refresh.attempt = None;
            match asked {
                Ok(metadata) => {
                    state.metadata = Arc::new(metadata.after(&state.metadata));
                    state.snapshot += 1;
                    (state.refresh.failures, state.refresh.failed) = (0, None);
                    Ok(Arc::clone(&state.metadata))
                }
                Err(error) => {
                    state.stale = true;
                    state.refresh.failures += 1;
                    let until = Instant::now() + self.settings.retry.pause(state.refresh.failures);
                    state.refresh.failed = Some((until, error.clone()));
                    Err(error)
                }
            }
        };
        let metadata = outcome?;
        self.connections.close_departed(|broker| metadata.brokers.contains_key(&broker));
        Ok(())
    }

    async fn ask_metadata(&self, topics: Vec<MetadataRequestTopic>) -> Result<Metadata, EngineError> {
        let request =
            MetadataRequest::default().with_topics(Some(topics)).with_allow_auto_topic_creation(false);
        let response = self.ask_any(&request, self.settings.request_timeout).await?;
        let metadata = Metadata::new(&response);
        if metadata.brokers.is_empty() {
            return Err(EngineError::new(ErrorKind::Retriable, "the broker knows of no brokers yet"));
        }
        Ok(metadata)
    }
}
