//! The embedded broker: enough of Kafka's protocol for demos, development and tests.
//!
//! A request arrives by `connection`, is decoded in `dispatch`, and meets either a partition's
//! `log`, a consumer group in `groups`, the coordinator of `transactions` or the list of `topics`.
//! Record batches stay the bytes they were sent as, in memory of a bounded size. There is one node
//! and one replica. What a test may do to it is in `controls`: `faults` affect requests, the rest is
//! done to a topic, a partition, a transaction or the whole.

#![forbid(unsafe_code)]

mod admin;
mod cluster;
mod connection;
mod controls;
mod core;
mod credentials;
mod dispatch;
mod epochs;
mod faults;
mod fetch;
mod frame;
mod groups;
mod list_offsets;
mod log;
mod open;
mod pace;
mod partition;
mod produce;
mod producers;
mod refusal;
mod rules;
mod seen;
mod session;
#[cfg(test)]
mod tests;
mod throttle;
mod topics;
mod transactions;
mod versions;

use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use self::core::Core;

pub use self::{
    faults::{Fault, FaultAction, FaultId},
    refusal::Refusal,
    seen::Seen,
    transactions::TransactionSeen,
};
pub use kafka_protocol::messages::ApiKey;

/// How long [`Broker::stop`] waits for connections to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// How the embedded broker runs.
#[derive(Clone, Debug)]
pub struct BrokerSettings {
    /// The address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The most bytes of records to hold; beyond that the oldest are dropped, with a warning.
    pub memory: usize,
    /// The number of partitions of a topic that is created on first use; 0 creates none.
    pub partitions: i32,
}

/// A running embedded broker; it stops when this is dropped.
#[derive(Debug)]
pub struct Broker {
    address: SocketAddr,
    core: Arc<Core>,
    connections: watch::Sender<u64>,
    server: JoinHandle<()>,
}

impl Broker {
    /// Listens and serves in the background.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start(settings: BrokerSettings) -> io::Result<Broker> {
        let listener = TcpListener::bind(settings.listen).await?;
        let address = listener.local_addr()?;
        let core = Arc::new(Core::new(&settings));
        let (connections, closed) = watch::channel(0);
        let server = tokio::spawn(connection::serve(listener, Arc::clone(&core), closed));
        tracing::info!(%address, memory_bytes = settings.memory, "the embedded broker listens");
        Ok(Broker { address, core, connections, server })
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends clients to this host and port from now on, rather than to the address that they
    /// came by: for tests with a proxy in between.
    pub fn advertise(&self, host: &str, port: u16) {
        self.core.advertise(host, port);
    }

    /// Creates a topic, with Kafka's configuration keys such as `max.message.bytes`.
    ///
    /// # Errors
    /// When the name, the count or the configuration will not do.
    pub fn create_topic(&self, name: &str, partitions: i32, config: &[(&str, &str)]) -> Result<(), Refusal> {
        self.core.topics.create(name, partitions, owned(config), false).map(|_| ())
    }

    /// The first offset that is still there and the offset that the next record gets, if the
    /// partition exists.
    pub fn offsets(&self, topic: &str, partition: i32) -> Option<(i64, i64)> {
        let topic = self.core.topics.get(topic)?;
        let log = topic.partition(partition)?.log();
        Some((log.start(), log.end()))
    }

    /// The number of members of a group in that state, such as `Stable`; `None` when it is in
    /// another.
    pub fn group_members(&self, group: &str, state: &str) -> Option<usize> {
        self.core.groups.members_in(group, state)
    }

    /// The bytes of memory that records hold.
    pub fn memory_used(&self) -> usize {
        self.core.store.used()
    }

    /// Closes every connection there is; new ones are accepted.
    pub fn close_connections(&self) {
        self.connections.send_modify(|count| *count += 1);
    }

    /// Closes all connections and stops.
    pub async fn stop(self) {
        let Broker { connections, server, address, .. } = self;
        drop(connections);
        if tokio::time::timeout(STOP_TIMEOUT, server).await.is_err() {
            tracing::warn!(%address, "the embedded broker did not stop in time");
        }
    }
}

/// A topic's configuration as it is kept.
fn owned(config: &[(&str, &str)]) -> BTreeMap<String, String> {
    config.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// The README's test is one that compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
