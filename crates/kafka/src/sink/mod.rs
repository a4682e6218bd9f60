//! Writes output batches: an idempotent producer (KIP-98) over whole batches.
//!
//! Each partition has a writer, a task that owns its sequence numbers (`partition`, with `route`,
//! `commands` and `verdicts`); each broker has a carrier, a task that gathers what the writers of
//! its partitions hand over into few requests (`carrier`). What goes wrong with a partition
//! concerns its writer alone. `writers` keeps the writers; `routed` knows the topics that records are
//! routed to.

mod barred;
mod carrier;
mod commands;
mod known;
mod outputs;
mod pace;
mod parcel;
mod partition;
mod producer;
mod protocol;
mod questions;
mod request;
mod rework;
mod route;
mod routed;
mod sealed;
mod side;
mod transaction;
mod verdicts;
mod waiting;
mod writers;

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::timeout;
use topicmill_mill::{
    batch::{AssignmentId, OutputBatch, TopicPartition, TransactionNumber},
    engine::{
        ClientSettings, EngineError, ErrorKind, Receipt, Sink, Stake, Staked, TransactionEnd, Troubles,
    },
};
use topicmill_records::{Codec, Compression, EncodedBatch, ProducerStamp};

pub use self::routed::{Made, MakeTopic, Routing};
use self::{
    carrier::{Carrier, Terms},
    known::Known,
    outputs::Provenance,
    pace::Pace,
    producer::{Producer, Producers},
    protocol::Mode,
    routed::{Routed, Unavailable},
    transaction::Transactions,
    writers::{Given, Writers},
};
use super::{
    Client,
    cluster::{Cluster, Lane},
    metadata::Leader,
    settings::{NativeSettings, ProduceSettings},
};

/// The native [`Sink`]. Each partition has a writer of its own.
#[derive(Debug)]
pub struct NativeSink {
    shared: Arc<SinkShared>,
    writers: Writers,
    /// `None` at least once.
    transactions: Option<Arc<Transactions>>,
}

/// What the writers share.
#[derive(Debug)]
struct SinkShared {
    cluster: Arc<Cluster>,
    producers: Producers,
    produce: ProduceSettings,
    request_timeout: Duration,
    troubles: Troubles,
    routed: Routed,
    known: Known,
    brokers: Mutex<HashMap<i32, ToBroker>>,
    /// Held by the writer that is sending a batch alone.
    alone: Arc<tokio::sync::Mutex<()>>,
}

/// What is kept per broker.
#[derive(Debug)]
struct ToBroker {
    /// One for each mode of writing: without transactions, or in those of an id.
    carriers: Vec<(Option<Mode>, Carrier)>,
    pace: Arc<Mutex<Pace>>,
}

impl NativeSink {
    /// A producer with an id of its own. Compression and limits come from the properties;
    /// partitions that cannot be written are reported to `troubles`.
    ///
    /// # Errors
    /// When a property is not supported or the cluster gives no producer id in time.
    pub async fn new(
        client: &Client,
        settings: &ClientSettings,
        troubles: Troubles,
    ) -> Result<NativeSink, EngineError> {
        NativeSink::open(client, settings, troubles, None).await
    }

    /// As [`new`](NativeSink::new), for records that go to several topics. Of those that are not
    /// [fixed](Routing::fixed), a missing one is made while its records wait, and the records for one that
    /// cannot be made, or that this client may not write to, are refused with
    /// [`ErrorClass::Route`](topicmill_mill::transform::ErrorClass::Route); so are those for a partition that
    /// does not exist, and those for a topic beyond the first thousand that are written in the same minute.
    ///
    /// # Errors
    /// As [`new`](NativeSink::new).
    pub async fn with_routing(
        client: &Client,
        settings: &ClientSettings,
        troubles: Troubles,
        routing: Routing,
    ) -> Result<NativeSink, EngineError> {
        NativeSink::open(client, settings, troubles, Some(routing)).await
    }

    /// As [`with_routing`](NativeSink::with_routing), for batches that belong to transactions, which commit offsets
    /// of `group`. Whatever an earlier sink with the same transactional id left open is aborted. The id is that of
    /// the properties, or the group's, followed by a slash and `group.instance.id`, or something random.
    ///
    /// # Errors
    /// As [`new`](NativeSink::new), when the brokers are too old, and with [`Replaced`](topicmill_mill::engine::Replaced)
    /// as its cause when the client has had the id before and another process has begun with it since.
    pub async fn transactional(
        client: &Client,
        settings: &ClientSettings,
        troubles: Troubles,
        routing: Option<Routing>,
        group: &str,
    ) -> Result<NativeSink, EngineError> {
        let native = NativeSettings::from_properties(&settings.properties)?;
        let prefix = native.produce.transactional_id.as_deref().unwrap_or(group);
        let instance = native.group.instance_id.clone();
        let is_lasting = instance.is_some();
        let instance = instance.unwrap_or_else(|| uuid::Uuid::from_u128(rand::random()).to_string());
        let (prefix, timeout) = (ids_of(prefix, &instance), native.produce.transaction_timeout);
        let begun = Transactions::begin(client.cluster(), &troubles, &prefix, is_lasting, timeout);
        let transactions = begun.await?;
        let nobody = Producer { id: -1, epoch: -1 };
        Ok(NativeSink::with(client, native, troubles, routing, nobody, Some(Arc::new(transactions))))
    }

    /// What the transactional ids of a [`transactional`](NativeSink::transactional) sink begin with: `GROUP/INSTANCE/`,
    /// or `GROUP/` where something random follows.
    ///
    /// # Errors
    /// When a property is not supported.
    pub fn transactional_ids(settings: &ClientSettings, group: &str) -> Result<String, EngineError> {
        let native = NativeSettings::from_properties(&settings.properties)?;
        let prefix = native.produce.transactional_id.as_deref().unwrap_or(group);
        let instance = native.group.instance_id.as_deref();
        Ok(instance.map_or_else(|| prefix.to_owned(), |instance| ids_of(prefix, instance)) + "/")
    }

    async fn open(
        client: &Client,
        settings: &ClientSettings,
        troubles: Troubles,
        routing: Option<Routing>,
    ) -> Result<NativeSink, EngineError> {
        let native = NativeSettings::from_properties(&settings.properties)?;
        let first = first_producer(client).await?;
        Ok(NativeSink::with(client, native, troubles, routing, first, None))
    }

    fn with(
        client: &Client,
        settings: NativeSettings,
        troubles: Troubles,
        routing: Option<Routing>,
        first: Producer,
        transactions: Option<Arc<Transactions>>,
    ) -> NativeSink {
        let shared = SinkShared {
            cluster: Arc::clone(client.cluster()),
            producers: Producers::new(first),
            produce: settings.produce,
            request_timeout: settings.request_timeout,
            troubles,
            routed: Routed::new(routing),
            known: Known::default(),
            brokers: Mutex::default(),
            alone: Arc::default(),
        };
        NativeSink { shared: Arc::new(shared), writers: Writers::default(), transactions }
    }
}

impl Sink for NativeSink {
    fn send(
        &mut self,
        batch: OutputBatch,
    ) -> impl Future<Output = Result<Receipt, EngineError>> + Send + 'static {
        let destination = batch.destination.clone();
        let given = self.writers.give(&self.shared, batch, self.transactions.as_deref());
        async move {
            match given {
                Given::Answered(answer) => answer,
                Given::Taken(receipt) => receipt.await.unwrap_or_else(|_| {
                    Err(EngineError::new(ErrorKind::Retriable, "the sink was closed").at(&destination))
                }),
            }
        }
    }

    fn forget(&mut self, origin: &TopicPartition, assignment: AssignmentId) {
        self.writers.forget(Provenance { origin: origin.clone(), assignment });
    }

    fn stake(
        &mut self,
        transaction: TransactionNumber,
        stake: Stake,
    ) -> impl Future<Output = Result<Staked, EngineError>> + Send + 'static {
        let transactions = self.transactions.clone();
        async move {
            match transactions {
                Some(transactions) => transactions.stake(transaction, &stake).await,
                None => Err(no_transactions()),
            }
        }
    }

    fn commit(
        &mut self,
        transaction: TransactionNumber,
    ) -> impl Future<Output = Result<TransactionEnd, EngineError>> + Send + 'static {
        let (transactions, shared) = (self.transactions.clone(), Arc::clone(&self.shared));
        async move {
            let Some(transactions) = transactions else { return Err(no_transactions()) };
            let ended = transactions.commit(transaction).await?;
            if matches!(ended, TransactionEnd::Committed) {
                shared.known.committed(transaction);
            }
            Ok(ended)
        }
    }

    fn abort(
        &mut self,
    ) -> impl Future<Output = Result<Option<TransactionNumber>, EngineError>> + Send + 'static {
        self.writers.abandon();
        if let Some(last) = self.transactions.as_ref().and_then(|of| of.last_open()) {
            self.shared.known.aborted(last);
        }
        let (transactions, shared) = (self.transactions.clone(), Arc::clone(&self.shared));
        async move {
            let Some(transactions) = transactions else { return Err(no_transactions()) };
            let committed = transactions.abort().await?;
            if let Some(transaction) = committed {
                shared.known.committed(transaction);
            }
            Ok(committed)
        }
    }

    async fn close(self) {
        self.writers.close().await;
        if let Some(transactions) = self.transactions {
            // Otherwise readers of committed records would wait for the transactions' timeout.
            if transactions.is_open() && timeout(CLOSE_TIMEOUT, transactions.abort()).await.is_err() {
                tracing::warn!("a transaction is left open; it ends when transaction.timeout.ms has passed");
            }
            return;
        }
        if let Some(Producer { id, epoch }) = self.shared.producers.retired() {
            self.shared.cluster.retire_producer((id, epoch));
        }
    }
}

/// How long aborting what is open may take when a sink is closed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// What the transactional ids of an instance begin with. A slash within the instance's name is written in another
/// way, so that two groups never have the same ids: where the group ends is told from behind.
fn ids_of(group: &str, instance: &str) -> String {
    format!("{group}/{}", instance.replace('%', "%25").replace('/', "%2F"))
}

fn no_transactions() -> EngineError {
    EngineError::new(ErrorKind::Fatal, "the sink was not made for transactions")
}

impl SinkShared {
    /// Seals a batch. Compression runs on a thread of its own, as it takes milliseconds.
    async fn seal(
        &self,
        records: EncodedBatch,
        stamp: ProducerStamp,
        codec: Codec,
    ) -> Result<Bytes, EngineError> {
        if codec.compression == Compression::None {
            return Ok(records.seal(stamp, codec));
        }
        let sealing = tokio::task::spawn_blocking(move || records.seal(stamp, codec));
        sealing.await.map_err(|error| EngineError::new(ErrorKind::Retriable, format!("compressing: {error}")))
    }

    /// The carrier to the leader of a partition, shared with the writers of other partitions.
    async fn carrier(&self, to: &TopicPartition, mode: Option<&Mode>) -> Result<Carrier, Unavailable> {
        let broker = self.leader(to).await?.broker;
        let open = |brokers: &HashMap<i32, ToBroker>| {
            let mut carriers = brokers.get(&broker)?.carriers.iter();
            let (_, carrier) = carriers.find(|(of, _)| of.as_ref() == mode)?;
            (!carrier.is_closed()).then(|| carrier.clone())
        };
        if let Some(carrier) = open(&self.brokers.lock()) {
            return Ok(carrier);
        }
        let connection = self.cluster.connection(broker, Lane::Produce).await?;
        let mut brokers = self.brokers.lock();
        if let Some(carrier) = open(&brokers) {
            return Ok(carrier);
        }
        let kept =
            brokers.entry(broker).or_insert_with(|| ToBroker { carriers: Vec::new(), pace: self.pace() });
        let terms = self.terms(Arc::clone(&kept.pace), mode);
        let carrier = Carrier::start(broker, connection, terms);
        kept.carriers.retain(|(of, _)| of.as_ref() != mode);
        kept.carriers.push((mode.cloned(), carrier.clone()));
        Ok(carrier)
    }

    /// A carrier for a batch that may be why a broker closes its connection: it carries nothing
    /// else, whatever becomes of that batch.
    async fn carrier_alone(&self, to: &TopicPartition, mode: Option<&Mode>) -> Result<Carrier, Unavailable> {
        let broker = self.leader(to).await?.broker;
        let connection = self.cluster.connection(broker, Lane::Suspect).await?;
        Ok(Carrier::start(broker, connection, self.terms(self.pace(), mode)))
    }

    /// The leader of a partition, which is made if it is missing and may be.
    async fn leader(&self, to: &TopicPartition) -> Result<Leader, Unavailable> {
        if let Some(refusal) = self.routed.refusal(to) {
            return Err(Unavailable::Refused(refusal));
        }
        match self.cluster.leader(to).await {
            Ok(leader) => Ok(leader),
            Err(error) => {
                self.routed.judge(to, error).await?;
                Ok(self.cluster.leader(to).await?)
            }
        }
    }

    fn pace(&self) -> Arc<Mutex<Pace>> {
        Arc::new(Mutex::new(Pace::new(self.request_timeout)))
    }

    fn terms(&self, pace: Arc<Mutex<Pace>>, mode: Option<&Mode>) -> Terms {
        Terms {
            mode: mode.cloned(),
            few: self.produce.in_flight,
            request_size: Terms::request_size(self.produce.max_request_size),
            timeout: self.request_timeout,
            pace,
        }
    }
}

/// The producer of a closed sink with the next epoch, which fences whatever of it may still be in
/// flight (KIP-360), or a new one from the cluster.
async fn first_producer(client: &Client) -> Result<Producer, EngineError> {
    if let Some((id, epoch)) = client.cluster().revive_producer() {
        return Ok(Producer { id, epoch });
    }
    client.retry("asking for a producer id", || producer::ask(client.cluster())).await
}

#[cfg(test)]
mod abort_tests;
#[cfg(test)]
mod isolation_tests;
#[cfg(test)]
mod refusal_tests;
#[cfg(test)]
mod routed_tests;
#[cfg(test)]
mod successor_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod transaction_faults_tests;
#[cfg(test)]
mod transaction_producer_tests;
#[cfg(test)]
mod transaction_tests;
