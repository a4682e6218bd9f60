//! What every part of the engine shares of a cluster: its metadata and its connections.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, Once},
};

use kafka_protocol::{
    ResponseError,
    messages::{FindCoordinatorRequest, MetadataRequest, TopicName, metadata_request::MetadataRequestTopic},
    protocol::StrBytes,
};
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::{
    connection::Connection,
    error::{KafkaError, Remedy, WireError, check},
    group::Memory,
    handshake::Dial,
    metadata::{Leader, Metadata, Topic},
    retry::retry,
    settings::NativeSettings,
    transport::Address,
};
use crate::{
    batch::TopicPartition,
    engine::{EngineError, ErrorKind},
};

/// What a connection is for. Each purpose has its own connection to a broker, because answers
/// come in the order of the requests and one that waits would hold up the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Short questions.
    Control,
    /// Fetch requests, which wait for records.
    Fetch,
    /// Produce requests, which carry many bytes.
    Produce,
    /// Group requests, which wait for other members.
    Group,
}

/// A cluster as this program knows it.
#[derive(Debug)]
pub struct Cluster {
    /// The settings that the properties ask for.
    pub settings: NativeSettings,
    dial: Dial,
    bootstrap: Vec<Address>,
    state: Mutex<State>,
    /// Held by the one that asks for metadata; holds when it was last asked for.
    refreshing: tokio::sync::Mutex<Option<Instant>>,
}

#[derive(Debug)]
struct State {
    metadata: Arc<Metadata>,
    /// The topics to ask for.
    wanted: BTreeSet<Arc<str>>,
    /// Counts the snapshots.
    generation: u64,
    stale: bool,
    coordinators: HashMap<String, i32>,
    /// What is known of each group beyond the life of one source.
    groups: HashMap<String, Memory>,
    /// Ids and epochs of producers that are closed.
    retired: Vec<(i64, i16)>,
    lanes: HashMap<(i32, Lane), Arc<tokio::sync::Mutex<Slot>>>,
}

/// The place of one connection.
#[derive(Debug, Default)]
struct Slot {
    connection: Option<Connection>,
    failures: u32,
    not_before: Option<Instant>,
}

impl Cluster {
    /// Connects to the first broker that answers before `deadline`.
    pub async fn connect(
        bootstrap: Vec<Address>,
        settings: NativeSettings,
        dial: Dial,
        deadline: Instant,
    ) -> Result<Cluster, EngineError> {
        let empty = Metadata {
            brokers: HashMap::new(),
            controller: -1,
            topics: HashMap::new(),
            taken: Instant::now(),
        };
        let cluster = Cluster {
            settings,
            dial,
            bootstrap,
            state: Mutex::new(State {
                metadata: Arc::new(empty),
                wanted: BTreeSet::new(),
                generation: 0,
                stale: true,
                coordinators: HashMap::new(),
                groups: HashMap::new(),
                retired: Vec::new(),
                lanes: HashMap::new(),
            }),
            refreshing: tokio::sync::Mutex::new(None),
        };
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

    /// The newest snapshot that knows of `topic`; asks the cluster when there is none, or when
    /// it is too old or out of date.
    pub async fn metadata(&self, topic: &str) -> Result<Arc<Metadata>, EngineError> {
        let (snapshot, generation) = {
            let mut state = self.state();
            let known = state.metadata.topics.contains_key(topic);
            if !state.wanted.contains(topic) {
                state.wanted.insert(topic.into());
            }
            let old = state.metadata.taken.elapsed() > self.settings.metadata_max_age;
            (known && !old && !state.stale)
                .then(|| Arc::clone(&state.metadata))
                .map_or_else(|| (None, state.generation), |metadata| (Some(metadata), state.generation))
        };
        match snapshot {
            Some(metadata) => Ok(metadata),
            None => self.refresh(generation).await,
        }
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

    /// The engine's error for a Kafka error; what it says is out of date is forgotten.
    pub fn failed(&self, error: KafkaError, what: &str, message: Option<&str>) -> EngineError {
        match error.remedy() {
            Remedy::RefreshMetadata => self.invalidate(),
            Remedy::RefreshCoordinator => self.state().coordinators.clear(),
            Remedy::Retry | Remedy::Restart | Remedy::GiveUp => {}
        }
        error.because(what, message)
    }

    /// Lets the next question for a leader go to the cluster.
    pub fn invalidate(&self) {
        self.state().stale = true;
    }

    /// Takes a partition's leader away, as far as is known here.
    #[cfg(test)]
    pub fn unseat(&self, topic: &str, partition: i32) {
        let mut state = self.state();
        let Some(Ok(topic)) = Arc::make_mut(&mut state.metadata).topics.get_mut(topic) else { return };
        topic.partitions.insert(partition, Leader { broker: -1, epoch: -1 });
    }

    /// A broker that cannot be reached may have moved; others may lead its partitions and
    /// coordinate its groups by now.
    fn unreachable(&self, broker: i32) {
        let mut state = self.state();
        state.stale = true;
        state.coordinators.retain(|_, coordinator| *coordinator != broker);
    }

    /// Forgets who coordinates a group.
    pub fn forget_coordinator(&self, group: &str) {
        self.state().coordinators.remove(group);
    }

    /// What this process knows of a group.
    pub(super) fn memory(&self, group: &str) -> Memory {
        self.state().groups.entry(group.to_owned()).or_default().clone()
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

    /// The broker that coordinates a group.
    pub async fn coordinator(&self, group: &str) -> Result<i32, EngineError> {
        if let Some(broker) = self.state().coordinators.get(group) {
            return Ok(*broker);
        }
        let request = FindCoordinatorRequest::default().with_key(StrBytes::from_string(group.to_owned()));
        let response = self.any().await?.call(request).await?;
        check(response.error_code).map_err(|error| {
            let message = response.error_message.as_deref();
            self.failed(error, &format!("the coordinator of group {group}"), message)
        })?;
        let broker = response.node_id.0;
        let mut state = self.state();
        if !state.metadata.brokers.contains_key(&broker) {
            let port = u16::try_from(response.port).unwrap_or_default();
            let address = Address { host: response.host.to_string(), port };
            Arc::make_mut(&mut state.metadata).brokers.insert(broker, address);
        }
        state.coordinators.insert(group.to_owned(), broker);
        Ok(broker)
    }

    /// An open connection to a broker; connects when there is none. After a failure, the next
    /// attempt waits for the reconnect backoff.
    pub async fn connection(&self, broker: i32, lane: Lane) -> Result<Connection, EngineError> {
        let slot = Arc::clone(self.state().lanes.entry((broker, lane)).or_default());
        let mut slot = slot.lock().await;
        if let Some(connection) = slot.connection.as_ref().filter(|connection| !connection.is_closed()) {
            return Ok(connection.clone());
        }
        if let Some(until) = slot.not_before {
            sleep_until(until).await;
        }
        let address = self.state().metadata.brokers.get(&broker).cloned();
        let address = address.ok_or_else(|| {
            self.unreachable(broker);
            EngineError::new(ErrorKind::Retriable, format!("broker {broker} is not in the cluster now"))
        })?;
        match self.dial.open(&address).await {
            Ok(connection) => {
                *slot = Slot { connection: Some(connection.clone()), ..Slot::default() };
                Ok(connection)
            }
            Err(error) => {
                slot.connection = None;
                slot.failures += 1;
                slot.not_before = Some(Instant::now() + self.settings.reconnect.pause(slot.failures));
                self.unreachable(broker);
                Err(error.into())
            }
        }
    }

    /// A connection for short questions to any broker, an open one if possible.
    pub async fn any(&self) -> Result<Connection, EngineError> {
        let mut brokers: Vec<i32> = self.state().metadata.brokers.keys().copied().collect();
        for broker in &brokers {
            let slot = self.state().lanes.get(&(*broker, Lane::Control)).cloned();
            if let Some(slot) = slot.as_ref().and_then(|slot| slot.try_lock().ok())
                && let Some(connection) = slot.connection.as_ref().filter(|c| !c.is_closed())
            {
                return Ok(connection.clone());
            }
        }
        let mut last = EngineError::new(ErrorKind::Retriable, "no broker is known");
        while !brokers.is_empty() {
            let broker = brokers.swap_remove(rand::random_range(0..brokers.len()));
            match self.connection(broker, Lane::Control).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error,
            }
        }
        for address in &self.bootstrap {
            match self.dial.open(address).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }

    /// A connection to the broker that creates and deletes topics.
    pub async fn controller(&self) -> Result<Connection, EngineError> {
        let stale = {
            let state = self.state();
            (state.stale || state.metadata.controller < 0).then_some(state.generation)
        };
        if let Some(generation) = stale {
            self.refresh(generation).await?;
        }
        let controller = self.state().metadata.controller;
        match controller {
            ..0 => self.any().await,
            controller => self.connection(controller, Lane::Control).await,
        }
    }

    /// Asks for metadata, unless someone else did since snapshot number `seen`. One asks at a
    /// time, and not more often than the retry backoff.
    async fn refresh(&self, seen: u64) -> Result<Arc<Metadata>, EngineError> {
        let mut last = self.refreshing.lock().await;
        {
            let state = self.state();
            if state.generation > seen && !state.stale {
                return Ok(Arc::clone(&state.metadata));
            }
        }
        if let Some(last) = *last {
            sleep_until(last + self.settings.retry.first).await;
        }
        let topics: Vec<_> = {
            let mut state = self.state();
            // What is found out of date from here on asks again.
            state.stale = false;
            let topic = |name: &Arc<str>| {
                let name = TopicName(StrBytes::from_string(name.to_string()));
                MetadataRequestTopic::default().with_name(Some(name))
            };
            state.wanted.iter().map(topic).collect()
        };
        *last = Some(Instant::now());
        let asked = self.ask(topics).await;
        let mut state = self.state();
        match asked {
            Ok(metadata) => {
                state.metadata = Arc::new(metadata);
                state.generation += 1;
                Ok(Arc::clone(&state.metadata))
            }
            Err(error) => {
                state.stale = true;
                Err(error)
            }
        }
    }

    async fn ask(&self, topics: Vec<MetadataRequestTopic>) -> Result<Metadata, EngineError> {
        let connection = self.any().await?;
        let request =
            MetadataRequest::default().with_topics(Some(topics)).with_allow_auto_topic_creation(false);
        let response = connection.call(request).await?;
        connection.throttle(response.throttle_time_ms);
        let metadata = Metadata::new(&response);
        if metadata.brokers.is_empty() {
            let broker = connection.broker().to_owned();
            let reason = "it knows of no brokers yet".to_owned();
            return Err(WireError::Closed { broker, reason }.into());
        }
        Ok(metadata)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while locked")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::native::{Client, testing::embedded};

    #[tokio::test]
    async fn a_coordinator_that_is_gone_is_looked_up_anew() {
        let (broker, settings) = embedded().await;
        broker.create_topic("t", 1, &[]).unwrap();
        let client = Client::connect(&settings).await.unwrap();
        let nobody = Address { host: "127.0.0.1".to_owned(), port: 1 };
        for known in [true, false] {
            {
                let mut state = client.cluster().state();
                state.coordinators.insert("g".to_owned(), 99);
                let brokers = &mut Arc::make_mut(&mut state.metadata).brokers;
                match known {
                    true => brokers.insert(99, nobody.clone()),
                    false => brokers.remove(&99),
                };
            }
            let asking = client.committed("g", "t");
            let committed = tokio::time::timeout(Duration::from_secs(10), asking).await;
            assert!(committed.expect("no hang").unwrap().is_empty());
        }
    }
}
