//! The readers: librdkafka's consumer, which reads what is committed.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::{BorrowedMessage, Headers, Message},
    types::RDKafkaErrorCode,
};

use super::{error::RunError, load::Writer};
use crate::{
    event::{self, Place},
    fingerprint::Fingerprint,
    judge::{Judge, Seen},
};

/// How long one poll waits.
const POLL: Duration = Duration::from_millis(50);

/// The topics that are read.
#[derive(Clone, Debug)]
pub(super) struct Outputs {
    pub destination: String,
    pub dead_letter: String,
    pub partitions: usize,
}

/// Which records are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Isolation {
    Committed,
    Uncommitted,
}

impl Isolation {
    pub fn name(self) -> &'static str {
        match self {
            Isolation::Committed => "read_committed",
            Isolation::Uncommitted => "read_uncommitted",
        }
    }
}

/// Reads both topics from their beginning.
pub(super) struct Reader {
    consumer: BaseConsumer,
    outputs: Outputs,
}

impl Reader {
    pub fn new(brokers: &str, outputs: Outputs, isolation: Isolation) -> Result<Reader, RunError> {
        let failed = || RunError::kafka("a reader");
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("client.id", "torture-reader")
            .set("group.id", "torture-reader")
            .set("enable.auto.commit", "false")
            // It must never start anywhere but where it is.
            .set("auto.offset.reset", "error")
            .set("check.crcs", "true")
            .set("fetch.wait.max.ms", "50")
            .set("fetch.error.backoff.ms", "50")
            // A full queue is no reason to read nothing for a second.
            .set("fetch.queue.backoff.ms", "10")
            .set("topic.metadata.refresh.interval.ms", "2000")
            .set("socket.timeout.ms", "10000")
            .set("reconnect.backoff.max.ms", "1000")
            .set("isolation.level", isolation.name())
            .create()
            .map_err(failed())?;
        let mut list = TopicPartitionList::new();
        for topic in [&outputs.destination, &outputs.dead_letter] {
            for partition in 0..i32::try_from(outputs.partitions).unwrap_or(i32::MAX) {
                list.add_partition_offset(topic, partition, Offset::Offset(0)).map_err(failed())?;
            }
        }
        consumer.assign(&list).map_err(failed())?;
        Ok(Reader { consumer, outputs })
    }

    /// The next record; `None` when there is none yet.
    ///
    /// # Errors
    /// What must not happen to a reader, as it is to be reported.
    pub fn next(&self) -> Result<Option<Seen>, String> {
        match self.consumer.poll(POLL) {
            None => Ok(None),
            Some(Ok(message)) => Ok(Some(self.seen(&message))),
            Some(Err(KafkaError::MessageConsumption(
                code @ (RDKafkaErrorCode::AutoOffsetReset
                | RDKafkaErrorCode::OffsetOutOfRange
                | RDKafkaErrorCode::BadMessage),
            ))) => Err(format!("a reader: {code}")),
            // Brokers come and go; that it reads on is seen by what it reads.
            Some(Err(_)) => Ok(None),
        }
    }

    fn seen(&self, message: &BorrowedMessage<'_>) -> Seen {
        let place =
            if message.topic() == self.outputs.destination { Place::Destination } else { Place::DeadLetter };
        let headers = message.headers();
        let mut headers = headers.iter().flat_map(|headers| headers.iter());
        let number = headers.find(|header| header.key == event::NUMBER).and_then(|header| header.value);
        Seen {
            place,
            partition: usize::try_from(message.partition()).unwrap_or_default(),
            offset: message.offset(),
            number: number.map(<[u8]>::to_vec),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            timestamp: message.timestamp().to_millis(),
        }
    }
}

/// What was seen of each partition.
pub(super) type Fingerprints = BTreeMap<(Place, usize), Fingerprint>;

pub(super) fn note(prints: &mut Fingerprints, seen: &Seen) {
    prints.entry((seen.place, seen.partition)).or_default().add(seen.offset, seen.value.as_deref());
}

/// Reads while the faults strike, and judges.
pub(super) struct Live {
    view: Arc<Mutex<View>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What is known of the output now.
pub(super) struct View {
    pub judge: Judge,
    pub prints: Fingerprints,
    pub failure: Option<String>,
    /// When each partition was last complete or went on.
    clocks: Vec<Instant>,
    /// The longest time that a partition with work to do did not go on.
    pub pause: Duration,
    /// When the last record came.
    pub last: Instant,
}

impl Live {
    pub fn start(reader: Reader, judge: Judge, writer: Arc<Writer>) -> Live {
        let now = Instant::now();
        let view = Arc::new(Mutex::new(View {
            judge,
            prints: Fingerprints::new(),
            failure: None,
            clocks: vec![now; reader.outputs.partitions],
            pause: Duration::ZERO,
            last: now,
        }));
        let ended = Arc::new(AtomicBool::new(false));
        let (state, end) = (Arc::clone(&view), Arc::clone(&ended));
        let thread = thread::spawn(move || {
            let mut looked = Instant::now();
            while !end.load(Ordering::SeqCst) {
                match reader.next() {
                    Ok(Some(seen)) => state.lock().see(&seen, &writer),
                    Ok(None) => {}
                    Err(failure) => {
                        state.lock().failure = Some(failure);
                        return;
                    }
                }
                if looked.elapsed() >= POLL {
                    looked = Instant::now();
                    state.lock().look(&writer);
                }
            }
        });
        Live { view, ended, thread: Some(thread) }
    }

    /// Looks at what is known now.
    pub fn view<T>(&self, look: impl FnOnce(&mut View) -> T) -> T {
        look(&mut self.view.lock())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // It panicked; that was printed.
            let _ = thread.join();
        }
    }
}

impl View {
    fn see(&mut self, seen: &Seen, writer: &Writer) {
        note(&mut self.prints, seen);
        let before = self.judge.accounted(seen.partition);
        self.judge.see(seen, writer.sent_of(seen.partition));
        self.last = Instant::now();
        if self.judge.accounted(seen.partition) > before {
            self.clocks[seen.partition] = self.last;
        }
    }

    fn look(&mut self, writer: &Writer) {
        let now = Instant::now();
        for (partition, acked) in writer.acked().into_iter().enumerate() {
            if self.judge.accounted(partition) >= acked {
                self.clocks[partition] = now;
            }
            self.pause = self.pause.max(now - self.clocks[partition]);
        }
    }
}
