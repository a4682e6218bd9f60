//! What all connections share.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
};

use kafka_protocol::{messages::BrokerId, protocol::StrBytes};
use parking_lot::RwLock;

use super::{
    BrokerSettings, credentials::Credentials, faults::Faults, frame::MAX_FRAME, groups::Groups, pace::Pace,
    partition::Store, seen::Counts, topics::Topics, transactions::Transactions,
};

/// The id of the one node there is.
pub const NODE: BrokerId = BrokerId(1);

/// The id of the cluster.
pub const CLUSTER_ID: &str = "topicmill-embedded-0001";

/// The state of a broker.
#[derive(Debug)]
pub struct Core {
    /// The memory of all partitions.
    pub store: Arc<Store>,
    /// The topics.
    pub topics: Topics,
    /// The consumer groups.
    pub groups: Groups,
    /// The transactions.
    pub transactions: Transactions,
    /// The faults.
    pub faults: Faults,
    /// The rate at which produced bytes are taken.
    pub disk: Pace,
    /// How much may be produced before a client is told to be quiet.
    pub quota: Pace,
    /// What has been requested so far.
    pub seen: Counts,
    /// The address given to clients; without one, the address that they came by.
    advertised: RwLock<Option<(String, u16)>>,
    next_producer_id: AtomicI64,
    max_request_bytes: AtomicUsize,
    credentials: RwLock<Option<Credentials>>,
}

impl Core {
    /// The state of a broker that has just been started.
    pub fn new(settings: &BrokerSettings) -> Core {
        let store = Store::new(settings.memory);
        Core {
            topics: Topics::new(Arc::clone(&store), settings.partitions),
            store,
            groups: Groups::default(),
            transactions: Transactions::default(),
            faults: Faults::default(),
            disk: Pace::default(),
            quota: Pace::default(),
            seen: Counts::default(),
            advertised: RwLock::default(),
            next_producer_id: AtomicI64::new(1),
            max_request_bytes: AtomicUsize::new(MAX_FRAME),
            credentials: RwLock::default(),
        }
    }

    /// A producer id that nobody has.
    pub fn next_producer_id(&self) -> i64 {
        self.next_producer_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Who may log in; `None` where nobody has to.
    pub fn credentials(&self) -> Option<Credentials> {
        self.credentials.read().clone()
    }

    /// From now on, only these may log in; those that have logged in stay.
    pub fn require_login(&self, credentials: Option<Credentials>) {
        *self.credentials.write() = credentials;
    }

    /// The largest request that is read, in bytes.
    pub fn max_request_bytes(&self) -> usize {
        self.max_request_bytes.load(Ordering::Relaxed)
    }

    /// Reads requests of at most this many bytes from now on.
    pub fn limit_requests(&self, bytes: usize) {
        self.max_request_bytes.store(bytes.min(MAX_FRAME), Ordering::Relaxed);
    }

    /// Sends clients to this host and port from now on.
    pub fn advertise(&self, host: &str, port: u16) {
        *self.advertised.write() = Some((host.to_owned(), port));
    }

    /// The host and port that a client which came by `local` is sent to.
    pub fn advertised(&self, local: SocketAddr) -> (StrBytes, i32) {
        let advertised = self.advertised.read();
        let (host, port) = advertised.clone().unwrap_or_else(|| (local.ip().to_string(), local.port()));
        (StrBytes::from_string(host), i32::from(port))
    }
}
