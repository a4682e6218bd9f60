//! Writes output batches: an idempotent producer (KIP-98) over whole batches.

mod outputs;
mod partition;
mod request;
mod rework;
mod waiting;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use kafka_protocol::{
    ResponseError,
    messages::{InitProducerIdRequest, InitProducerIdResponse},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    task::JoinSet,
    time::Instant,
};

use self::partition::{Job, PartitionWriter};
use super::{
    Client,
    ask::{Whom, accepted},
    cluster::Cluster,
    error::KafkaError,
    settings::{NativeSettings, ProduceSettings},
};
use crate::{
    batch::{AssignmentId, OutputBatch, TopicPartition},
    engine::{ClientSettings, EngineError, ErrorKind, Receipt, Sink},
    records::{Compression, EncodedBatch, ProducerStamp},
};

/// The bytes that may be under way to one broker, in KiB: enough to keep it busy, and little
/// enough that a slow network answers within the request timeout.
const BROKER_WINDOW_KIB: usize = 16 << 10;

/// The native [`Sink`]. Each partition has a writer of its own.
#[derive(Debug)]
pub struct NativeSink {
    shared: Arc<Shared>,
    writers: HashMap<TopicPartition, mpsc::UnboundedSender<Job>>,
    tasks: JoinSet<()>,
}

/// What the partitions' writers have in common.
#[derive(Debug)]
struct Shared {
    cluster: Arc<Cluster>,
    /// The producer's id and epoch.
    producer: (i64, i16),
    produce: ProduceSettings,
    request_timeout: Duration,
    windows: Mutex<HashMap<i32, Arc<Semaphore>>>,
    /// The brokers do not know the producer any more; its id is of no further use.
    unknown: AtomicBool,
}

impl NativeSink {
    /// A producer with an id of its own; compression and limits come from the properties.
    ///
    /// # Errors
    /// When a property is not supported or the cluster gives no producer id in time.
    pub async fn new(client: &Client, settings: &ClientSettings) -> Result<NativeSink, EngineError> {
        let settings = NativeSettings::from_properties(&settings.properties)?;
        let shared = Shared {
            cluster: Arc::clone(client.cluster()),
            producer: producer_id(client).await?,
            produce: settings.produce,
            request_timeout: settings.request_timeout,
            windows: Mutex::new(HashMap::new()),
            unknown: AtomicBool::new(false),
        };
        Ok(NativeSink { shared: Arc::new(shared), writers: HashMap::new(), tasks: JoinSet::new() })
    }

    fn writer(&mut self, to: &TopicPartition) -> &mpsc::UnboundedSender<Job> {
        if !self.writers.contains_key(to) {
            #[expect(
                clippy::disallowed_methods,
                reason = "every batch holds its owner's share of the budget"
            )]
            let (jobs, receiver) = mpsc::unbounded_channel();
            let writer = PartitionWriter::new(Arc::clone(&self.shared), to.clone(), receiver);
            self.tasks.spawn(writer.run());
            self.writers.insert(to.clone(), jobs);
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
        let deadline = Instant::now() + self.shared.produce.delivery_timeout;
        let OutputBatch { destination, chunks, .. } = batch;
        let job = Job { chunks, deadline, done };
        // A writer ends only with its sink, and then the receipt says so.
        let _ = self.writer(&destination).send(job);
        async move {
            receipt.await.unwrap_or_else(|_| {
                Err(EngineError::new(ErrorKind::Retriable, "the sink was closed").at(&destination))
            })
        }
    }

    fn forget(&mut self, _origin: &TopicPartition, _assignment: AssignmentId) {}

    async fn close(mut self) {
        self.tasks.shutdown().await;
        if !self.shared.unknown.load(Ordering::Relaxed) {
            self.shared.cluster.retire_producer(self.shared.producer);
        }
    }
}

impl Shared {
    /// Seals a batch; compression has a thread of its own, as it takes milliseconds.
    async fn seal(&self, records: EncodedBatch, stamp: ProducerStamp) -> Result<Bytes, EngineError> {
        let codec = self.produce.codec(Compression::None);
        if codec.compression == Compression::None {
            return Ok(records.seal(stamp, codec));
        }
        let sealing = tokio::task::spawn_blocking(move || records.seal(stamp, codec));
        sealing.await.map_err(|error| EngineError::new(ErrorKind::Retriable, format!("compressing: {error}")))
    }

    /// A share of what may be under way to a broker. Only who has nothing under way waits for
    /// one: it holds up no answer meanwhile, and everyone who holds a share awaits its answer.
    async fn share(&self, broker: i32, bytes: usize, wait: bool) -> Option<OwnedSemaphorePermit> {
        let window = {
            let mut windows = self.windows.lock().expect("no panic while locked");
            let window = windows.entry(broker).or_insert_with(|| Arc::new(Semaphore::new(BROKER_WINDOW_KIB)));
            Arc::clone(window)
        };
        let share = bytes.div_ceil(1024).clamp(1, BROKER_WINDOW_KIB) as u32;
        if wait {
            window.acquire_many_owned(share).await.ok()
        } else {
            window.try_acquire_many_owned(share).ok()
        }
    }

    fn note_failure(&self, error: KafkaError) {
        use ResponseError::{InvalidProducerEpoch, ProducerFenced, UnknownProducerId};
        if matches!(error.0, UnknownProducerId | InvalidProducerEpoch | ProducerFenced) {
            self.unknown.store(true, Ordering::Relaxed);
        }
    }

    fn request_timeout(&self) -> Duration {
        self.request_timeout
    }
}

/// A producer's id and epoch: those of a closed sink with the next epoch, which fences whatever
/// of it may still be under way (KIP-360), or new ones from the cluster.
async fn producer_id(client: &Client) -> Result<(i64, i16), EngineError> {
    if let Some(producer) = client.cluster().revive_producer() {
        return Ok(producer);
    }
    let what = "asking for a producer id";
    // Without a transaction the timeout means nothing.
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_transaction_timeout_ms(i32::MAX)
        .with_producer_id((-1).into())
        .with_producer_epoch(-1);
    let read = |response: InitProducerIdResponse| {
        accepted(response.error_code, None)?;
        Ok((response.producer_id.0, response.producer_epoch))
    };
    client.ask(what, Whom::Any, &request, read).await
}

#[cfg(test)]
mod tests;
