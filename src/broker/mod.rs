//! The embedded broker: enough of Kafka's protocol for demos, development and tests.

pub mod command;

use std::{io, net::SocketAddr};

/// How the embedded broker runs.
#[derive(Clone, Debug)]
pub struct BrokerSettings {
    /// The address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The bytes of records to hold at most; past that the oldest are dropped, with a warning.
    pub memory: usize,
    /// The number of partitions of a topic that is created by being asked for.
    pub partitions: i32,
}

/// A running embedded broker.
#[derive(Debug)]
pub struct Broker {}

impl Broker {
    /// Listens and serves in the background.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start(settings: BrokerSettings) -> io::Result<Broker> {
        let _ = settings;
        todo!()
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        todo!()
    }

    /// Closes all connections and stops.
    pub async fn stop(self) {}
}
