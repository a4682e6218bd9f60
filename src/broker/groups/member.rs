//! A member of a consumer group.

use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::{JoinGroupResponse, SyncGroupResponse};
use tokio::sync::oneshot;

/// One of the ways to share out partitions that a member understands, with what it says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// The name, such as `range`.
    pub name: String,
    /// What the leader reads to share out partitions; opaque here.
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
    /// The silence after which it is taken for dead.
    pub session_timeout: Duration,
    /// The time it gets to join again when the group rebalances.
    pub rebalance_timeout: Duration,
    /// What it understands, the best first.
    pub protocols: Vec<Protocol>,
    /// What the leader gave it; opaque here.
    pub assignment: Bytes,
    /// When it is taken for dead unless it is heard of.
    pub session_deadline: Instant,
    /// Where its join is answered once all have joined.
    pub joining: Option<oneshot::Sender<JoinGroupResponse>>,
    /// Where its sync is answered once the leader has.
    pub syncing: Option<oneshot::Sender<SyncGroupResponse>>,
}

impl Member {
    /// It was heard of.
    pub fn refresh(&mut self, now: Instant) {
        self.session_deadline = now + self.session_timeout;
    }

    /// Whether it is taken for dead. One that waits for an answer over an open connection is not.
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
