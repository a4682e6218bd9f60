//! Writes output batches: an idempotent producer (KIP-98) over whole batches.
//!
//! Each partition has a writer, a task that owns its sequence numbers (`partition`, with `route`,
//! `commands` and `verdicts`); each broker has a carrier, a task that gathers what the writers of
//! its partitions hand over into few requests (`carrier`). What goes wrong with a partition
//! concerns its writer alone.

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
mod sealed;
mod verdicts;
mod waiting;

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};
use topicmill_mill::{
    batch::{AssignmentId, OutputBatch, TopicPartition},
    engine::{ClientSettings, EngineError, ErrorKind, Receipt, Sink, Troubles},
};
use topicmill_records::{Codec, Compression, EncodedBatch, ProducerStamp};

use self::{
    carrier::{Carrier, Terms},
    commands::{Job, WriteCommand},
    outputs::Provenance,
    pace::Pace,
    partition::PartitionWriter,
    producer::{Producer, Producers},
};
use super::{
    Client,
    cluster::{Cluster, Lane},
    settings::{NativeSettings, ProduceSettings},
};

/// The native [`Sink`]. Each partition has a writer of its own.
#[derive(Debug)]
pub struct NativeSink {
    shared: Arc<SinkShared>,
    writers: HashMap<TopicPartition, mpsc::UnboundedSender<WriteCommand>>,
    tasks: JoinSet<()>,
}

/// What the writers share.
#[derive(Debug)]
struct SinkShared {
    cluster: Arc<Cluster>,
    producers: Producers,
    produce: ProduceSettings,
    request_timeout: Duration,
    troubles: Troubles,
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
        let settings = NativeSettings::from_properties(&settings.properties)?;
        let shared = SinkShared {
            cluster: Arc::clone(client.cluster()),
            producers: Producers::new(first_producer(client).await?),
            produce: settings.produce,
            request_timeout: settings.request_timeout,
            troubles,
            brokers: Mutex::default(),
            alone: Arc::default(),
        };
        Ok(NativeSink { shared: Arc::new(shared), writers: HashMap::new(), tasks: JoinSet::new() })
    }

    fn writer(&mut self, to: &TopicPartition) -> &mpsc::UnboundedSender<WriteCommand> {
        if !self.writers.contains_key(to) {
            #[expect(
                clippy::disallowed_methods,
                reason = "whoever sends bounds what waits for its receipt, and takes every command at once"
            )]
            let (commands, receiver) = mpsc::unbounded_channel();
            let writer = PartitionWriter::new(Arc::clone(&self.shared), to.clone(), receiver);
            self.tasks.spawn(writer.run());
            self.writers.insert(to.clone(), commands);
        }
        &self.writers[to]
    }
}

impl Sink for NativeSink {
    fn send(
        &mut self,
        batch: OutputBatch,
    ) -> impl Future<Output = Result<Receipt, EngineError>> + Send + 'static {
        let (done, receipt) = oneshot::channel();
        let OutputBatch { destination, origin, assignment, compression, must_compress, chunks } = batch;
        let codec =
            if must_compress { Codec::from(compression) } else { self.shared.produce.codec(compression) };
        let job = Job { chunks, codec, from: Provenance { origin, assignment }, done };
        // A writer ends only with its sink, and then the receipt says so.
        let _ = self.writer(&destination).send(WriteCommand::Write(job));
        async move {
            receipt.await.unwrap_or_else(|_| {
                Err(EngineError::new(ErrorKind::Retriable, "the sink was closed").at(&destination))
            })
        }
    }

    fn forget(&mut self, origin: &TopicPartition, assignment: AssignmentId) {
        let from = Provenance { origin: origin.clone(), assignment };
        for writer in self.writers.values() {
            let _ = writer.send(WriteCommand::Forget(from.clone()));
        }
    }

    async fn close(mut self) {
        self.tasks.shutdown().await;
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
    async fn carrier(&self, to: &TopicPartition) -> Result<Carrier, EngineError> {
        let broker = self.cluster.leader(to).await?.broker;
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
    async fn carrier_alone(&self, to: &TopicPartition) -> Result<Carrier, EngineError> {
        let broker = self.cluster.leader(to).await?.broker;
        let connection = self.cluster.connection(broker, Lane::Suspect).await?;
        Ok(Carrier::start(broker, connection, self.terms(self.pace())))
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
mod tests;
