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
mod outputs;
mod pace;
mod parcel;
mod partition;
mod producer;
mod request;
mod rework;
mod route;
mod routed;
mod sealed;
mod verdicts;
mod waiting;
mod writers;

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use topicmill_mill::{
    batch::{AssignmentId, OutputBatch, TopicPartition},
    engine::{ClientSettings, EngineError, ErrorKind, Receipt, Sink, Troubles},
};
use topicmill_records::{Codec, Compression, EncodedBatch, ProducerStamp};

pub use self::routed::{Made, MakeTopic, Routing};
use self::{
    carrier::{Carrier, Terms},
    outputs::Provenance,
    pace::Pace,
    producer::{Producer, Producers},
    routed::{Routed, Unavailable},
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
    brokers: Mutex<HashMap<i32, ToBroker>>,
    /// Held by the writer that is sending a batch alone.
    alone: Arc<tokio::sync::Mutex<()>>,
}

/// What is kept per broker.
#[derive(Debug)]
struct ToBroker {
    carrier: Option<Carrier>,
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

    async fn open(
        client: &Client,
        settings: &ClientSettings,
        troubles: Troubles,
        routing: Option<Routing>,
    ) -> Result<NativeSink, EngineError> {
        let settings = NativeSettings::from_properties(&settings.properties)?;
        let shared = SinkShared {
            cluster: Arc::clone(client.cluster()),
            producers: Producers::new(first_producer(client).await?),
            produce: settings.produce,
            request_timeout: settings.request_timeout,
            troubles,
            routed: Routed::new(routing),
            brokers: Mutex::default(),
            alone: Arc::default(),
        };
        Ok(NativeSink { shared: Arc::new(shared), writers: Writers::default() })
    }
}

impl Sink for NativeSink {
    fn send(
        &mut self,
        batch: OutputBatch,
    ) -> impl Future<Output = Result<Receipt, EngineError>> + Send + 'static {
        let destination = batch.destination.clone();
        let given = self.writers.give(&self.shared, batch);
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

    async fn close(self) {
        self.writers.close().await;
        if let Some(Producer { id, epoch }) = self.shared.producers.retired() {
            self.shared.cluster.retire_producer((id, epoch));
        }
    }
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
    async fn carrier(&self, to: &TopicPartition) -> Result<Carrier, Unavailable> {
        let broker = self.leader(to).await?.broker;
        let open = |brokers: &HashMap<i32, ToBroker>| {
            let carrier = brokers.get(&broker)?.carrier.as_ref()?;
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
        let kept = brokers.entry(broker).or_insert_with(|| ToBroker { carrier: None, pace: self.pace() });
        let carrier = Carrier::start(broker, connection, self.terms(Arc::clone(&kept.pace)));
        kept.carrier = Some(carrier.clone());
        Ok(carrier)
    }

    /// A carrier for a batch that may be why a broker closes its connection: it carries nothing
    /// else, whatever becomes of that batch.
    async fn carrier_alone(&self, to: &TopicPartition) -> Result<Carrier, Unavailable> {
        let broker = self.leader(to).await?.broker;
        let connection = self.cluster.connection(broker, Lane::Suspect).await?;
        Ok(Carrier::start(broker, connection, self.terms(self.pace())))
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

    fn terms(&self, pace: Arc<Mutex<Pace>>) -> Terms {
        Terms {
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
mod isolation_tests;
#[cfg(test)]
mod routed_tests;
#[cfg(test)]
mod tests;
