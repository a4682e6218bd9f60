//! The [`Source`] over `BaseConsumer`, polled by a thread of its own.

use std::{
    collections::VecDeque,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    Offset as At,
    consumer::Consumer,
    error::KafkaError,
    message::{BorrowedMessage, Message},
};
use tokio::sync::oneshot;
use topicmill_mill::{
    batch::{PartitionBatch, TopicPartition},
    budget::{Budget, cost},
    engine::{ClientSettings, EngineError, ErrorKind, Offset, Room, Source, SourceEvent, SourceSettings},
};

use super::{
    arena::Arena,
    commit::Commits,
    error::{self, engine_error},
    inbox::Inbox,
    nap,
    rebalance::{GroupConsumer, GroupContext},
    report::Reporter,
    settings,
};

/// How long a poll waits for a record while none is collected.
const IDLE_POLL: Duration = Duration::from_millis(50);
/// Without another record for this long, what was collected is handed out.
const LINGER: Duration = Duration::from_millis(3);
/// Nor is any record held back for longer than this.
const MAX_AGE: Duration = Duration::from_millis(20);
/// How long a stall may last before partitions are paused. Pausing drops what librdkafka has
/// prefetched, so a short stall is waited out; a longer one must not keep rebalances waiting.
const PATIENCE: Duration = Duration::from_millis(300);
/// How long `close` waits for the group to be left.
const CLOSE: Duration = Duration::from_secs(10);

/// The [`Source`] over librdkafka.
#[derive(Debug)]
pub struct LibrdkafkaSource {
    inbox: Arc<Inbox>,
    commits: Option<Commits>,
    ended: Option<oneshot::Receiver<()>>,
}

impl LibrdkafkaSource {
    /// Joins the group in the background and starts to read; when no broker answers in time, or
    /// the topic is missing, `next` says so.
    ///
    /// # Errors
    /// When a property is not supported.
    pub fn new(client: &ClientSettings, settings: SourceSettings) -> Result<LibrdkafkaSource, EngineError> {
        let config = settings::consumer(client, &settings)?;
        let inbox = Arc::new(Inbox::new(Arc::clone(&settings.topic)));
        let reporter = Arc::new(Reporter::default());
        let context = GroupContext {
            inbox: Arc::clone(&inbox),
            reporter: Arc::clone(&reporter),
            offset_reset: settings.offset_reset,
            revoke_timeout: settings.revoke_timeout,
        };
        let consumer: GroupConsumer = config
            .create_with_context(context)
            .map_err(|error| EngineError::from(settings::property_error("kafka", &error)))?;
        let consumer = Arc::new(consumer);
        let (commits, committer) = Commits::start(Arc::clone(&consumer), Arc::clone(&inbox));
        let (end, ended) = oneshot::channel::<()>();
        let mut poller = Poller {
            consumer,
            inbox: Arc::clone(&inbox),
            reporter,
            budget: settings.budget,
            arenas: Vec::new(),
            current: 0,
            waiting: VecDeque::new(),
            stalled: None,
            paused: false,
            version: 0,
        };
        let connect_timeout = client.connect_timeout;
        let run = move || {
            if let Err(failure) = poller.run(connect_timeout) {
                poller.inbox.fail(failure);
            }
            poller.leave();
            // The last owner of the consumer, so that it is dropped here and not on an async
            // thread.
            let _ = committer.join();
            drop(poller);
            drop(end);
        };
        let thread = thread::Builder::new().name("rdkafka-poll".into()).spawn(run);
        thread.map_err(|error| EngineError::new(ErrorKind::Fatal, format!("no thread to poll: {error}")))?;
        Ok(LibrdkafkaSource { inbox, commits: Some(commits), ended: Some(ended) })
    }
}

impl Source for LibrdkafkaSource {
    async fn next(&mut self, room: &Room) -> Result<SourceEvent, EngineError> {
        self.inbox.next(room.is_open).await
    }

    fn commit(
        &self,
        offsets: Vec<Offset>,
    ) -> impl Future<Output = Result<Vec<Offset>, EngineError>> + Send + 'static {
        self.commits.as_ref().expect("commits are taken by close only").commit(offsets)
    }

    /// librdkafka cannot seek a partition without a race for what it has queued, so all of them
    /// start over: with a new consumer.
    async fn rewind(&mut self, partitions: Vec<TopicPartition>) {
        let text = format!("{} partitions are to be read again", partitions.len());
        self.inbox.fail(EngineError::new(ErrorKind::Retriable, text));
    }

    async fn close(mut self) {
        self.inbox.close();
        self.commits = None;
        if let Some(ended) = self.ended.take()
            && tokio::time::timeout(CLOSE, ended).await.is_err()
        {
            tracing::warn!("the group was not left within {CLOSE:?}; its session will time out");
        }
    }
}

impl Drop for LibrdkafkaSource {
    fn drop(&mut self) {
        self.inbox.close();
    }
}

/// The poll thread.
struct Poller {
    consumer: Arc<GroupConsumer>,
    inbox: Arc<Inbox>,
    reporter: Arc<Reporter>,
    budget: Budget,
    arenas: Vec<Arena>,
    /// The arena of the last record: the next is most likely of the same partition.
    current: usize,
    /// Closed batches without memory or room in the inbox.
    waiting: VecDeque<PartitionBatch>,
    stalled: Option<Instant>,
    paused: bool,
    version: u64,
}

impl Poller {
    fn run(&mut self, connect_timeout: Duration) -> Result<(), EngineError> {
        self.connect(connect_timeout)?;
        let consumer = Arc::clone(&self.consumer);
        let subscribed = consumer.subscribe(&[self.inbox.topic()]);
        subscribed.map_err(|error| engine_error("subscribing", &error))?;
        let mut idle_since = Instant::now();
        let mut records = 0u32;
        while !self.inbox.is_closing() {
            if self.is_stalled()? {
                continue;
            }
            let collecting = self.arenas.iter().any(|arena| !arena.is_empty());
            // Trap: `None` may also mean that an event was handled. All it leads to here is a
            // smaller batch.
            let polled = consumer.poll(if collecting { LINGER } else { IDLE_POLL });
            self.follow_assignment()?;
            match polled {
                Some(Ok(message)) => {
                    self.collect(&message)?;
                    records = records.wrapping_add(1);
                    if records.is_multiple_of(32) {
                        self.close_older_than(MAX_AGE);
                    }
                }
                Some(Err(error)) => self.consume_error(&error)?,
                None => {
                    self.close_older_than(Duration::ZERO);
                    if let Some(failure) = self.reporter.fatal() {
                        return Err(failure);
                    }
                    if idle_since.elapsed() > IDLE_POLL {
                        self.pass_control_records()?;
                        idle_since = Instant::now();
                    }
                }
            }
        }
        Ok(())
    }

    /// Waits for a first broker that knows the topic.
    fn connect(&self, timeout: Duration) -> Result<(), EngineError> {
        let deadline = Instant::now() + timeout;
        let topic = self.inbox.topic();
        loop {
            let metadata = self.consumer.fetch_metadata(Some(topic), Duration::from_millis(500));
            // Serves errors; nothing is subscribed yet, so no record can come.
            let _ = self.consumer.poll(Duration::ZERO);
            if let Some(failure) = self.reporter.fatal() {
                return Err(failure);
            }
            let missing = match &metadata {
                Ok(metadata) => metadata.topics().first().and_then(|topic| topic.error()).map(Into::into),
                Err(_) => None,
            };
            match (metadata, missing) {
                (Ok(_), None) => {
                    self.reporter.connected();
                    return Ok(());
                }
                (Ok(_), Some(code)) if error::kind(code) == ErrorKind::Fatal => {
                    return Err(EngineError::new(ErrorKind::Fatal, format!("topic {topic}: {code}")));
                }
                _ if self.inbox.is_closing() => return Ok(()),
                (answer, _) if Instant::now() >= deadline => {
                    let why =
                        answer.err().map_or_else(|| "no leader".to_owned(), |e| error::code(&e).to_string());
                    let message = format!("no broker answered within {timeout:?}: {why}");
                    return Err(EngineError::new(ErrorKind::Unreachable, message));
                }
                _ => nap(Duration::from_millis(20)),
            }
        }
    }

    /// Hands out what waits. When that is not possible, waits a moment, and after a while pauses
    /// the partitions so that polling, and with it the membership, goes on without records.
    fn is_stalled(&mut self) -> Result<bool, EngineError> {
        while let Some(batch) = self.waiting.pop_front() {
            let bytes = batch.buffer.len();
            let cost = cost(bytes, bytes, batch.records.len());
            let permit = if self.inbox.has_room() { self.budget.try_acquire(cost) } else { None };
            let Some(permit) = permit else {
                self.waiting.push_front(batch);
                break;
            };
            self.inbox.push(batch, permit);
        }
        if self.waiting.is_empty() {
            self.stalled = None;
            if self.paused {
                self.set_paused(false)?;
            }
            return Ok(false);
        }
        let since = *self.stalled.get_or_insert_with(Instant::now);
        if self.paused {
            let consumer = Arc::clone(&self.consumer);
            let polled = consumer.poll(Duration::from_millis(5));
            self.follow_assignment()?;
            match polled {
                // It was on its way before the pause and must not be lost.
                Some(Ok(message)) => self.collect(&message)?,
                Some(Err(error)) => self.consume_error(&error)?,
                None => {}
            }
        } else if since.elapsed() >= PATIENCE {
            self.set_paused(true)?;
        } else {
            nap(Duration::from_millis(1));
        }
        if let Some(failure) = self.reporter.fatal() {
            return Err(failure);
        }
        Ok(true)
    }

    fn set_paused(&mut self, paused: bool) -> Result<(), EngineError> {
        let what = if paused { "pausing" } else { "resuming" };
        let assigned = self.consumer.assignment();
        let done = assigned.and_then(|assigned| {
            if paused { self.consumer.pause(&assigned) } else { self.consumer.resume(&assigned) }
        });
        done.map_err(|error| engine_error(what, &error))?;
        self.paused = paused;
        tracing::debug!("{what} all partitions");
        Ok(())
    }

    /// After a rebalance: forgets what was collected under assignments that have ended, and
    /// pauses what came while paused.
    fn follow_assignment(&mut self) -> Result<(), EngineError> {
        let version = self.inbox.version();
        if version == self.version {
            return Ok(());
        }
        self.version = version;
        let counts = |origin: &TopicPartition, assignment| {
            self.inbox.held(origin.partition).is_some_and(|held| held.assignment == assignment)
        };
        self.arenas.retain(|arena| counts(&arena.origin, arena.assignment));
        self.waiting.retain(|batch| counts(&batch.origin, batch.assignment));
        if self.paused { self.set_paused(true) } else { Ok(()) }
    }

    #[inline]
    fn collect(&mut self, message: &BorrowedMessage<'_>) -> Result<(), EngineError> {
        let partition = message.partition();
        if self.arenas.get(self.current).is_none_or(|arena| arena.origin.partition != partition) {
            let Some(index) = self.arena_of(partition) else { return Ok(()) };
            self.current = index;
        }
        let arena = &mut self.arenas[self.current];
        arena.push(message)?;
        if arena.is_full() {
            self.waiting.push_back(arena.close());
        }
        Ok(())
    }

    /// The arena of `partition`, `None` when it is not assigned.
    fn arena_of(&mut self, partition: i32) -> Option<usize> {
        let known = self.arenas.iter().position(|arena| arena.origin.partition == partition);
        known.or_else(|| {
            let held = self.inbox.held(partition)?;
            let origin = TopicPartition::new(Arc::clone(self.inbox.topic()), partition);
            self.arenas.push(Arena::new(origin, held.assignment, held.start));
            Some(self.arenas.len() - 1)
        })
    }

    fn close_older_than(&mut self, age: Duration) {
        for arena in &mut self.arenas {
            if !arena.is_empty() && arena.opened.elapsed() >= age {
                self.waiting.push_back(arena.close());
            }
        }
    }

    /// Control records (the ends of transactions) are not handed out, but the position moves past
    /// them; an empty batch reports that, or a topic that ends with one would never be caught up
    /// with.
    fn pass_control_records(&mut self) -> Result<(), EngineError> {
        let positions =
            self.consumer.position().map_err(|error| engine_error("asking for positions", &error))?;
        for element in positions.elements() {
            let At::Offset(position) = element.offset() else { continue };
            let held = self.inbox.held(element.partition());
            if held.is_none_or(|held| !held.position_counts) {
                continue;
            }
            let Some(index) = self.arena_of(element.partition()) else { continue };
            let arena = &mut self.arenas[index];
            if arena.next_offset < position {
                arena.next_offset = position;
                self.waiting.push_back(arena.close());
            }
        }
        Ok(())
    }

    fn consume_error(&self, error: &KafkaError) -> Result<(), EngineError> {
        let failure = engine_error("reading", error);
        if matches!(error, KafkaError::MessageConsumptionFatal(_)) || failure.kind == ErrorKind::Fatal {
            return Err(self.reporter.fatal().unwrap_or(EngineError { kind: ErrorKind::Fatal, ..failure }));
        }
        self.reporter.warn("consume", &failure.message);
        Ok(())
    }

    /// Trap: dropping alone may hand out or store more; unsubscribe first, then drop.
    fn leave(&mut self) {
        // Without a reader, no rebalance on the way out may wait for one.
        self.inbox.close();
        self.consumer.unsubscribe();
        self.arenas.clear();
        self.waiting.clear();
    }
}
