//! What all parts of the engine share about a cluster: its metadata, its coordinators and its
//! connections. `refresh` keeps the metadata up to date, `ask` asks questions.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Once, Weak},
    time::Duration,
};

use kafka_protocol::{ResponseError, messages::FindCoordinatorRequest};
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;
use topicmill_mill::{
    batch::TopicPartition,
    engine::{EngineError, ErrorKind},
};
use tracing::warn;

pub use super::connections::Lane;
use super::{
    connection::Connection,
    connection_state::Omen,
    connections::{Connections, Tell},
    error::{KafkaError, Remedy, check},
    handshake::Dial,
    memory::Memory,
    metadata::{Leader, Metadata, Topic},
    refresh::Refresh,
    retry::retry,
    settings::NativeSettings,
    text::text,
    transport::Address,
};

/// A coordinator that has been unavailable for this long is looked up again.
const DOUBT_TIMEOUT: Duration = Duration::from_secs(10);

/// A cluster as this program knows it.
#[derive(Debug)]
pub struct Cluster {
    /// The settings that the properties ask for.
    pub settings: NativeSettings,
    pub(super) bootstrap: Vec<Address>,
    pub(super) connections: Arc<Connections>,
    /// For background tasks.
    pub(super) this: Weak<Cluster>,
    state: Mutex<ClusterState>,
}

#[derive(Debug)]
pub(super) struct ClusterState {
    pub metadata: Arc<Metadata>,
    /// The topics to ask for.
    pub wanted: BTreeSet<Arc<str>>,
    /// The number of the newest snapshot.
    pub snapshot: u64,
    pub stale: bool,
    pub refresh: Refresh,
    /// By group.
    coordinators: HashMap<String, KnownCoordinator>,
    /// By transactional id: another broker may coordinate the transactions of a group.
    transactions: HashMap<String, KnownCoordinator>,
    /// What is known of each group and topic beyond the life of one source.
    groups: HashMap<(String, Arc<str>), Memory>,
    /// Ids and epochs of producers that are closed.
    retired: Vec<(i64, i16)>,
    /// By transactional id: the id and epoch that its producer had last.
    transactional: HashMap<String, (i64, i16)>,
}

/// The broker that coordinates a group, as far as is known.
#[derive(Clone, Copy, Debug)]
struct KnownCoordinator {
    broker: i32,
    /// Since when it has been answering that it is not available.
    doubted: Option<Instant>,
}

impl Cluster {
    /// Connects to the first broker that answers before `deadline`.
    pub(super) async fn connect(
        bootstrap: Vec<Address>,
        settings: NativeSettings,
        dial: Dial,
        deadline: Instant,
    ) -> Result<Arc<Cluster>, EngineError> {
        let cluster = Cluster::unconnected(bootstrap, settings, dial);
        let what = "connecting to the first broker";
        let backoff = cluster.settings.reconnect;
        let told = Once::new();
        let attempt = || async {
            cluster.refresh(0).await.inspect_err(|error| {
                if error.kind == ErrorKind::Retriable {
                    told.call_once(|| warn!(%error, "no broker answers yet, trying again"));
                }
            })
        };
        let connected = retry(what, backoff, deadline, attempt).await;
        connected.map_err(|error| match error.kind {
            ErrorKind::Retriable => EngineError { kind: ErrorKind::Unreachable, ..error },
            _ => error,
        })?;
        Ok(cluster)
    }

    /// A cluster of which nothing is known yet.
    pub(super) fn unconnected(bootstrap: Vec<Address>, settings: NativeSettings, dial: Dial) -> Arc<Cluster> {
        Arc::new_cyclic(|this: &Weak<Cluster>| {
            let watching = Weak::clone(this);
            let tell: Tell = Box::new(move |broker, omen| {
                if let Some(cluster) = watching.upgrade() {
                    cluster.warned(broker, omen);
                }
            });
            let connections = Connections::new(dial, settings.reconnect, settings.fetch.max_wait, tell);
            let state = ClusterState {
                metadata: Arc::new(Metadata::empty()),
                wanted: BTreeSet::new(),
                snapshot: 0,
                stale: true,
                refresh: Refresh::default(),
                coordinators: HashMap::new(),
                transactions: HashMap::new(),
                groups: HashMap::new(),
                retired: Vec::new(),
                transactional: HashMap::new(),
            };
            Cluster { settings, bootstrap, connections, this: Weak::clone(this), state: Mutex::new(state) }
        })
    }

    /// The newest snapshot that knows of `topic`; asks the cluster when there is none, or when
    /// it is too old or out of date.
    pub async fn metadata(&self, topic: &str) -> Result<Arc<Metadata>, EngineError> {
        // An answer to a question that was asked before the topic was wanted does not have it, and
        // who comes while that question is under way gets it: once more is enough, as `wanted` has
        // the topic before `refresh` is called.
        for _ in 0..2 {
            let seen = {
                let mut state = self.state();
                let known = state.metadata.topics.contains_key(topic);
                if !state.wanted.contains(topic) {
                    state.wanted.insert(topic.into());
                }
                let old = state.metadata.taken.elapsed() > self.settings.metadata_max_age;
                if known && !old && !state.stale {
                    return Ok(Arc::clone(&state.metadata));
                }
                state.snapshot
            };
            let metadata = self.refresh(seen).await?;
            if metadata.topics.contains_key(topic) {
                return Ok(metadata);
            }
        }
        Ok(Arc::clone(&self.state().metadata))
    }

    /// A topic's partitions and their leaders.
    pub async fn topic(&self, topic: &str) -> Result<Topic, EngineError> {
        let metadata = self.metadata(topic).await?;
        match metadata.topics.get(topic) {
            Some(Ok(found)) => Ok(found.clone()),
            Some(Err(error)) => Err(self.failed(*error, &format!("topic {topic}"), None)),
            None => Err(self.failed(
                KafkaError(ResponseError::UnknownTopicOrPartition),
                &format!("topic {topic}"),
                None,
            )),
        }
    }

    /// The leader of a partition; a retriable error while there is none.
    pub async fn leader(&self, partition: &TopicPartition) -> Result<Leader, EngineError> {
        let metadata = self.metadata(&partition.topic).await?;
        let error = match metadata.topics.get(&partition.topic) {
            Some(Ok(topic)) => match topic.partitions.get(&partition.partition) {
                Some(leader) if leader.broker >= 0 => return Ok(*leader),
                Some(_) => KafkaError(ResponseError::LeaderNotAvailable),
                None => KafkaError(ResponseError::UnknownTopicOrPartition),
            },
            Some(Err(error)) => *error,
            None => KafkaError(ResponseError::UnknownTopicOrPartition),
        };
        Err(self.failed(error, "no leader", None).at(partition))
    }

    /// The engine's error for a Kafka error; what it shows to be out of date is forgotten.
    pub fn failed(&self, error: KafkaError, what: &str, message: Option<&str>) -> EngineError {
        match error.remedy() {
            Remedy::RefreshMetadata => self.invalidate(),
            Remedy::RefreshCoordinator => {
                let mut state = self.state();
                state.coordinators.clear();
                state.transactions.clear();
            }
            Remedy::Retry | Remedy::Restart | Remedy::GiveUp => {}
        }
        error.because(what, message)
    }

    /// [`failed`](Cluster::failed) for an error that the coordinator of `group` answers with.
    pub fn failed_in(
        &self,
        group: &str,
        error: KafkaError,
        what: &str,
        message: Option<&str>,
    ) -> EngineError {
        match (error.0, error.remedy()) {
            (ResponseError::CoordinatorNotAvailable, _) => self.doubt_coordinator(group),
            (_, Remedy::RefreshCoordinator) => self.forget_coordinator(group),
            (_, Remedy::RefreshMetadata) => self.invalidate(),
            (_, Remedy::Retry | Remedy::Restart | Remedy::GiveUp) => {}
        }
        error.because(what, message)
    }

    /// [`failed`](Cluster::failed) for an error that the coordinator of a transactional id answers with.
    pub fn failed_in_transactions(&self, name: &str, error: KafkaError, what: &str) -> EngineError {
        match (error.0, error.remedy()) {
            (ResponseError::CoordinatorNotAvailable, _) | (_, Remedy::RefreshCoordinator) => {
                self.forget_transactions_coordinator(name);
            }
            (_, Remedy::RefreshMetadata) => self.invalidate(),
            (_, Remedy::Retry | Remedy::Restart | Remedy::GiveUp) => {}
        }
        error.because(what, None)
    }

    /// Nobody asks for this topic any more.
    pub fn unwanted(&self, topic: &str) {
        let mut state = self.state();
        state.wanted.remove(topic);
        Arc::make_mut(&mut state.metadata).topics.remove(topic);
    }

    /// Makes the next question for a leader ask the cluster.
    pub fn invalidate(&self) {
        self.state().stale = true;
    }

    /// Removes a partition's leader from the snapshot.
    #[cfg(test)]
    pub fn unseat(&self, topic: &str, partition: i32) {
        let mut state = self.state();
        let Some(Ok(topic)) = Arc::make_mut(&mut state.metadata).topics.get_mut(topic) else { return };
        topic.partitions.insert(partition, Leader { broker: -1, epoch: -1 });
    }

    /// Acts on a broker's misbehaviour.
    fn warned(&self, broker: i32, omen: Omen) {
        match omen {
            // It may have moved; others may lead its partitions and coordinate its groups by now.
            Omen::Ended => {
                let mut state = self.state();
                state.stale = true;
                state.coordinators.retain(|_, coordinator| coordinator.broker != broker);
                state.transactions.retain(|_, coordinator| coordinator.broker != broker);
            }
            // Whatever waits for it asks nobody else: the cluster may know that it is gone.
            Omen::Silent => {
                self.invalidate();
                self.refresh_in_background();
            }
        }
    }

    /// Forgets who coordinates a group.
    pub fn forget_coordinator(&self, group: &str) {
        self.state().coordinators.remove(group);
    }

    /// A coordinator that cannot write its log, as when a replica hangs, answers that it is not
    /// available; so does one that has just ceased to be the coordinator. The connection to it is
    /// good, and looking it up again helps only in the second case.
    fn doubt_coordinator(&self, group: &str) {
        let mut state = self.state();
        let Some(coordinator) = state.coordinators.get_mut(group) else { return };
        let since = *coordinator.doubted.get_or_insert_with(Instant::now);
        if since.elapsed() >= DOUBT_TIMEOUT {
            state.coordinators.remove(group);
        }
    }

    /// What this process knows of a group and a topic that it reads.
    pub(super) fn memory(&self, group: &str, topic: &Arc<str>) -> Memory {
        self.state().groups.entry((group.to_owned(), Arc::clone(topic))).or_default().clone()
    }

    /// Keeps the id of a producer that is closed for the next one.
    pub fn retire_producer(&self, producer: (i64, i16)) {
        self.state().retired.push(producer);
    }

    /// The id of a closed producer with the next epoch, if one has such (KIP-360).
    pub fn revive_producer(&self) -> Option<(i64, i16)> {
        let (id, epoch) = self.state().retired.pop()?;
        Some((id, epoch.checked_add(1)?))
    }

    /// Keeps the id and epoch of the producer of a transactional id.
    pub fn keep_producer(&self, name: &str, producer: (i64, i16)) {
        let mut state = self.state();
        match state.transactional.get_mut(name) {
            Some(kept) => *kept = producer,
            None => drop(state.transactional.insert(name.to_owned(), producer)),
        }
    }

    /// The id and epoch that the producer of a transactional id had last in this process.
    pub fn last_producer(&self, name: &str) -> Option<(i64, i16)> {
        self.state().transactional.get(name).copied()
    }

    /// The broker that coordinates a group.
    pub async fn coordinator(&self, group: &str) -> Result<i32, EngineError> {
        if let Some(coordinator) = self.state().coordinators.get(group) {
            return Ok(coordinator.broker);
        }
        let broker = self.find_coordinator(0, group, &format!("the coordinator of group {group}")).await?;
        let known = KnownCoordinator { broker, doubted: None };
        self.state().coordinators.insert(group.to_owned(), known);
        Ok(broker)
    }

    /// The broker that coordinates the transactions of a transactional id.
    pub async fn transactions_coordinator(&self, name: &str) -> Result<i32, EngineError> {
        if let Some(coordinator) = self.state().transactions.get(name) {
            return Ok(coordinator.broker);
        }
        let what = format!("the coordinator of transactional id {name}");
        let broker = self.find_coordinator(1, name, &what).await?;
        let known = KnownCoordinator { broker, doubted: None };
        self.state().transactions.insert(name.to_owned(), known);
        Ok(broker)
    }

    /// Forgets who coordinates a transactional id.
    pub fn forget_transactions_coordinator(&self, name: &str) {
        self.state().transactions.remove(name);
    }

    /// Asks for a coordinator; `key_type` is 0 for a group and 1 for a transactional id.
    async fn find_coordinator(&self, key_type: i8, key: &str, what: &str) -> Result<i32, EngineError> {
        let request = FindCoordinatorRequest::default().with_key(text(key)).with_key_type(key_type);
        let response = self.ask_any(&request, self.settings.request_timeout).await?;
        check(response.error_code)
            .map_err(|error| self.failed(error, what, response.error_message.as_deref()))?;
        let broker = response.node_id.0;
        let mut state = self.state();
        if !state.metadata.brokers.contains_key(&broker) {
            let port = u16::try_from(response.port).unwrap_or_default();
            let address = Address { host: response.host.to_string(), port };
            Arc::make_mut(&mut state.metadata).brokers.insert(broker, address);
        }
        Ok(broker)
    }

    /// An open connection to a broker; connects when there is none. After a failure, nobody tries
    /// again until the reconnect backoff has passed; until then it is an error.
    pub async fn connection(&self, broker: i32, lane: Lane) -> Result<Connection, EngineError> {
        let address = self.state().metadata.brokers.get(&broker).cloned();
        let address = address.ok_or_else(|| {
            self.warned(broker, Omen::Ended);
            EngineError::new(ErrorKind::Retriable, format!("broker {broker} is not in the cluster now"))
        })?;
        Ok(self.connections.get(broker, lane, &address).await?)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, ClusterState> {
        self.state.lock()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Client, testing::embedded};

    #[tokio::test]
    async fn a_coordinator_that_is_gone_is_looked_up_anew() {
        let (broker, settings) = embedded().await;
        broker.create_topic("t", 1, &[]).unwrap();
        let client = Client::connect(&settings).await.unwrap();
        let nobody = Address { host: "127.0.0.1".to_owned(), port: 1 };
        for known in [true, false] {
            {
                let mut state = client.cluster().state();
                state.coordinators.insert("g".to_owned(), KnownCoordinator { broker: 99, doubted: None });
                let brokers = &mut Arc::make_mut(&mut state.metadata).brokers;
                if known {
                    brokers.insert(99, nobody.clone());
                } else {
                    brokers.remove(&99);
                }
            }
            let asking = client.committed("g", "t");
            let committed = tokio::time::timeout(Duration::from_secs(10), asking).await;
            assert!(committed.expect("no hang").unwrap().is_empty());
        }
    }
}
