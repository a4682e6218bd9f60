//! A member of a consumer group.

use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::{JoinGroupResponse, SyncGroupResponse};
use tokio::sync::oneshot;

/// An assignment strategy that a member supports, with what it says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// The name, such as `range`.
    pub name: String,
    /// What the leader reads to assign partitions; opaque here.
    pub metadata: Bytes,
}

/// A member and what it waits for.
#[derive(Debug)]
pub struct Member {
    /// The id that outlives the process (KIP-345).
    pub instance: Option<String>,
    /// The client's id.
    pub client_id: String,
    /// The client's host.
    pub host: String,
    /// The silence after which it counts as dead.
    pub session_timeout: Duration,
    /// The time it gets to join again when the group rebalances.
    pub rebalance_timeout: Duration,
    /// The strategies it supports, the best first.
    pub protocols: Vec<Protocol>,
    /// Its assignment from the leader; opaque here.
    pub assignment: Bytes,
    /// When it counts as dead unless it is heard from.
    pub session_deadline: Instant,
    /// Where its join is answered once all have joined.
    pub joining: Option<oneshot::Sender<JoinGroupResponse>>,
    /// Where its sync is answered once the leader has.
    pub syncing: Option<oneshot::Sender<SyncGroupResponse>>,
}

impl Member {
    /// It was heard from.
    pub fn refresh(&mut self, now: Instant) {
        self.session_deadline = now + self.session_timeout;
    }

    /// Whether it counts as dead. One that waits for an answer over an open connection does not.
    pub fn is_expired(&self, now: Instant) -> bool {
        let joins = self.joining.as_ref().is_some_and(|answer| !answer.is_closed());
        let syncs = self.syncing.as_ref().is_some_and(|answer| !answer.is_closed());
        !joins && !syncs && now >= self.session_deadline
    }

    /// What it says about itself under a protocol.
    pub fn metadata(&self, protocol: &str) -> Bytes {
        let found = self.protocols.iter().find(|own| own.name == protocol);
        found.map(|own| own.metadata.clone()).unwrap_or_default()
    }
}
