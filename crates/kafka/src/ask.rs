//! The one way for questions to brokers: whom to ask, how long an answer may take, whom to ask
//! instead, and what a failure says about what is known of the cluster.
//!
//! Throttling (KIP-219) is handled below, by the connections: that of every answer is noted, and a
//! question's limit counts from when it may be written.

use std::{collections::BTreeSet, time::Duration};

use futures_util::{FutureExt, future::Either};
use kafka_protocol::{messages::ApiKey, protocol::Request};
use tokio::time::{Instant, timeout};
use topicmill_mill::engine::{EngineError, ErrorKind};

use super::{
    Client,
    cluster::{Cluster, Lane},
    connection::Connection,
    error::{KafkaError, WireError, check},
    race,
    reply::Answer,
    retry::retry,
};

/// How long one broker may take to answer a question that another could answer.
const FIRST_ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Whom a question goes to.
#[derive(Clone, Copy, Debug)]
pub enum Whom<'a> {
    /// Whichever broker answers.
    Any,
    /// The broker that creates and deletes topics.
    Controller,
    /// This broker.
    Broker(i32),
    /// The coordinator of a group, by a connection for this purpose.
    Coordinator(&'a str, Lane),
    /// The coordinator of a transactional id.
    Transactions(&'a str),
}

/// A Kafka error in an answer, with what the broker added.
#[derive(Debug)]
pub struct Refused {
    error: KafkaError,
    message: Option<String>,
}

/// `Ok` for the error code 0.
///
/// # Errors
/// The error that `code` stands for, with the broker's message.
pub fn accepted(code: i16, message: Option<&str>) -> Result<(), Refused> {
    check(code).map_err(|error| Refused { error, message: message.map(str::to_owned) })
}

impl Client {
    /// Asks until there is an answer that `read` accepts, a failure is final, or
    /// `default.api.timeout.ms` has passed. `what` describes the question, for errors.
    ///
    /// # Errors
    /// The last failure; `Fatal` when the same would happen again.
    pub(super) async fn ask<R: Request<Response: Answer>, T>(
        &self,
        what: &str,
        whom: Whom<'_>,
        request: &R,
        read: impl Fn(R::Response) -> Result<T, Refused>,
    ) -> Result<T, EngineError> {
        let cluster = self.cluster();
        let settings = &cluster.settings;
        let deadline = Instant::now() + settings.api_timeout;
        let attempt = || async {
            let answer = cluster.ask(whom, request, settings.request_timeout).await?;
            read(answer).map_err(|refused| cluster.refused(whom, what, &refused))
        };
        retry(what, settings.retry, deadline, attempt).await
    }
}

impl Cluster {
    /// Asks once; the answer may take `limit`. A broker that cannot be reached, or does not answer,
    /// is looked up again the next time.
    ///
    /// # Errors
    /// Why there is no answer; the error codes in it are the caller's.
    pub async fn ask<R: Request<Response: Answer>>(
        &self,
        whom: Whom<'_>,
        request: &R,
        limit: Duration,
    ) -> Result<R::Response, EngineError> {
        self.ask_in(whom, request, i16::MAX, limit).await
    }

    /// [`ask`](Cluster::ask) a certain broker in a version that is `cap` at most.
    pub async fn ask_in<R: Request<Response: Answer>>(
        &self,
        whom: Whom<'_>,
        request: &R,
        cap: i16,
        limit: Duration,
    ) -> Result<R::Response, EngineError> {
        let connection = match whom {
            Whom::Any => return self.ask_any(request, limit).await,
            Whom::Controller => match self.controller().await? {
                None => return self.ask_any(request, limit).await,
                Some(controller) => self.connection(controller, Lane::Control).await?,
            },
            Whom::Broker(broker) => self.connection(broker, Lane::Control).await?,
            Whom::Coordinator(group, lane) => {
                return self.ask_coordinator(group, lane, request, cap, limit).await;
            }
            Whom::Transactions(name) => {
                let broker = self.transactions_coordinator(name).await?;
                let answer = match self.connection(broker, Lane::Control).await {
                    Ok(connection) => {
                        connection.call_in(request, cap, limit).await.map_err(EngineError::from)
                    }
                    Err(error) => Err(error),
                };
                return answer.inspect_err(|_| self.forget_transactions_coordinator(name));
            }
        };
        Ok(connection.call_in(request, cap, limit).await?)
    }

    /// The engine's error for one in an answer; what it shows to be out of date is forgotten.
    pub fn refused(&self, whom: Whom<'_>, what: &str, refused: &Refused) -> EngineError {
        let message = refused.message.as_deref();
        match whom {
            Whom::Coordinator(group, _) => self.failed_in(group, refused.error, what, message),
            Whom::Transactions(name) => self.failed_in_transactions(name, refused.error, what),
            Whom::Any | Whom::Controller | Whom::Broker(_) => self.failed(refused.error, what, message),
        }
    }

    async fn ask_coordinator<R: Request<Response: Answer>>(
        &self,
        group: &str,
        lane: Lane,
        request: &R,
        cap: i16,
        limit: Duration,
    ) -> Result<R::Response, EngineError> {
        let broker = self.coordinator(group).await?;
        let answer = match self.connection(broker, lane).await {
            Ok(connection) => connection.call_in(request, cap, limit).await.map_err(EngineError::from),
            Err(error) => Err(error),
        };
        answer.inspect_err(|_| {
            self.forget_coordinator(group);
            if lane == Lane::Member {
                // A request that waits there for the others of the group waits in vain.
                self.connections.close(broker, Lane::Group, "the group's coordinator does not answer");
            }
        })
    }

    /// Asks one broker after another until one answers. The last of them has `limit`, each one
    /// before it less.
    pub(super) async fn ask_any<R: Request<Response: Answer>>(
        &self,
        request: &R,
        limit: Duration,
    ) -> Result<R::Response, EngineError> {
        let mut tried = BTreeSet::new();
        loop {
            let (broker, connection) = self.any_but(&tried).await?;
            let others = self
                .state()
                .metadata
                .brokers
                .keys()
                .any(|other| Some(*other) != broker && !tried.contains(other));
            let patience = if others { FIRST_ANSWER_TIMEOUT.min(limit) } else { limit };
            // The connection keeps the question for its limit: other requests on it may still be
            // answered.
            let asking = connection.call_within(request, limit);
            let asking = if others {
                Either::Left(timeout(patience, asking))
            } else {
                Either::Right(async { Ok(asking.await) })
            };
            let error = match asking.await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => error,
                Err(_) => {
                    let api = ApiKey::try_from(R::KEY).expect("every request type has a known key");
                    WireError::Timeout { broker: connection.broker().to_owned(), api, after: patience }
                }
            };
            match broker.filter(|_| others && error.kind() == ErrorKind::Retriable) {
                Some(broker) => drop(tried.insert(broker)),
                None => return Err(error.into()),
            }
        }
    }

    /// A connection for short questions to any broker except these, and the broker's number where
    /// it is known: one that answers, else one that can be reached, else at least one that is open.
    async fn any_but(&self, tried: &BTreeSet<i32>) -> Result<(Option<i32>, Connection), EngineError> {
        let among = |mut open: Vec<(i32, Connection)>| {
            open.retain(|(broker, _)| !tried.contains(broker));
            match open.len() {
                0 => None,
                // At random: a broker that is cut off from the others must not be asked each time.
                count => Some(open.swap_remove(rand::random_range(0..count))),
            }
        };
        let (answering, silent) = self.connections.open_for_questions();
        if let Some((broker, connection)) = among(answering) {
            return Ok((Some(broker), connection));
        }
        let mut closed: Vec<i32> = {
            let state = self.state();
            let known = state.metadata.brokers.keys().copied();
            known
                .filter(|broker| !tried.contains(broker) && silent.iter().all(|(open, _)| open != broker))
                .collect()
        };
        rand::seq::SliceRandom::shuffle(&mut closed[..], &mut rand::rng());
        let dialling = closed.into_iter().map(|broker| self.control(broker).boxed());
        let mut errors = match race::first(dialling.collect::<Vec<_>>()).await {
            Ok(found) => return Ok(found),
            Err(errors) => errors,
        };
        if let Some((broker, connection)) = among(silent) {
            return Ok((Some(broker), connection));
        }
        match self.connections.dial(&self.bootstrap).await {
            Ok(connection) => Ok((None, connection)),
            Err(error) => Err(errors.pop().unwrap_or_else(|| error.into())),
        }
    }

    async fn control(&self, broker: i32) -> Result<(Option<i32>, Connection), EngineError> {
        Ok((Some(broker), self.connection(broker, Lane::Control).await?))
    }

    /// The broker that creates and deletes topics, if there is one.
    async fn controller(&self) -> Result<Option<i32>, EngineError> {
        let outdated = {
            let state = self.state();
            (state.stale || state.metadata.controller < 0).then_some(state.snapshot)
        };
        if let Some(seen) = outdated {
            self.refresh(seen).await?;
        }
        let controller = self.state().metadata.controller;
        Ok((controller >= 0).then_some(controller))
    }
}

#[cfg(test)]
#[path = "ask_tests.rs"]
mod tests;
