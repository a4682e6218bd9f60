//! Watches a run from outside: whether the group as a whole has caught up, which one member cannot
//! see; where the logs of the owned partitions end; whether the topics are as they must be; whether
//! to keep waiting.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, stream};
use tokio::{
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{RunError, goal::Goal, patience::Patience, topics::Care};
use crate::{
    batch::TopicPartition,
    budget::Budget,
    config::Config,
    engine::{
        EngineError, ErrorKind, Place,
        native::{Client, OffsetAt},
    },
    lag,
    metrics::Unread,
    mill::Observers,
};

/// How often the cluster is asked.
const EVERY: Duration = Duration::from_secs(1);

/// For this many partitions the interval grows by one second: thousands are not asked every second.
const PARTITIONS_PER_SECOND: usize = 500;

/// How often the topics are looked at.
const TOPICS_EVERY: Duration = Duration::from_secs(5);

/// How long to wait for an answer; a later one would be stale.
const QUESTION: Duration = Duration::from_secs(5);

/// How long the source must be missing before it counts as deleted: brokers learn of a topic at
/// different times.
const MISSING_FOR: Duration = Duration::from_secs(10);

/// The most records that are read in one look, to learn how old they are.
const LOOK_UPS: usize = 32;

/// How many of them at a time.
const LOOK_UPS_AT_ONCE: usize = 8;

/// A watcher in the background; it stops when this is dropped.
pub(super) struct Watcher {
    stop: CancellationToken,
    watching: JoinHandle<RunError>,
}

impl Watcher {
    /// Watches the group. Its [`drain`](Watcher::drain) follows `drain`, and is also cancelled
    /// when `goal` is reached.
    pub(super) fn start(
        client: &Client,
        config: &Config,
        observers: &Observers,
        budget: &Budget,
        goal: Option<Goal>,
        drain: &CancellationToken,
    ) -> Watcher {
        let stop = drain.child_token();
        let watch = Watch {
            client: client.clone(),
            care: Care::new(client, config, &observers.troubles),
            patience: config.give_up_after.map(|limit| Patience::new(limit, observers)),
            source: Arc::clone(&config.source),
            group: config.group.clone(),
            observers: observers.clone(),
            budget: budget.clone(),
            goal,
            is_bounded: config.until_caught_up,
            missing_since: None,
            topics_at: None,
            ends_at: None,
            stop: stop.clone(),
        };
        Watcher { stop, watching: tokio::spawn(watch.run()) }
    }

    /// Cancelled when the mill is to drain.
    pub(super) fn drain(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Why the run must not go on; waits for as long as it may.
    pub(super) async fn ended(&mut self) -> RunError {
        match (&mut self.watching).await {
            Ok(error) => error,
            Err(error) => RunError::Panicked { message: error.to_string() },
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

struct Watch {
    client: Client,
    care: Care,
    /// Without it the cluster is waited for as long as it takes.
    patience: Option<Patience>,
    source: Arc<str>,
    group: String,
    observers: Observers,
    budget: Budget,
    goal: Option<Goal>,
    /// Whether the run ends by itself.
    is_bounded: bool,
    missing_since: Option<Instant>,
    /// When the topics and the ends were last looked at.
    topics_at: Option<Instant>,
    ends_at: Option<Instant>,
    stop: CancellationToken,
}

impl Watch {
    async fn run(mut self) -> RunError {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.look().await {
                return error;
            }
        }
    }

    async fn look(&mut self) -> Result<(), RunError> {
        let metrics = &self.observers.metrics;
        metrics.memory_used.set(self.budget.used() as i64);
        metrics.transforming.set(self.observers.health.transforming_for().as_secs() as i64);
        if let Some(patience) = &mut self.patience {
            patience.look()?;
        }
        if is_due(&mut self.topics_at, TOPICS_EVERY) {
            self.look_at_topics().await?;
        }
        let owned = self.observers.metrics.lag.partitions();
        if is_due(&mut self.ends_at, EVERY * owned.len().div_ceil(PARTITIONS_PER_SECOND) as u32) {
            self.look_at_ends(owned).await;
        }
        self.look_at_goal().await?;
        Ok(())
    }

    /// Asks the group, as each member may have a part of the goal.
    async fn look_at_goal(&mut self) -> Result<(), RunError> {
        let Some(goal) = &self.goal else { return Ok(()) };
        match timeout(QUESTION, self.client.committed_all(&self.group)).await {
            Ok(Ok(committed)) if goal.is_reached(&committed) => {
                self.stop.cancel();
            }
            Ok(Ok(_)) | Err(_) => {}
            Ok(Err(error)) if error.kind == ErrorKind::Fatal => return Err(error.into()),
            Ok(Err(error)) => debug!(%error, "the group's offsets are unknown"),
        }
        Ok(())
    }

    /// Asks where the logs of the owned partitions end, and how old the records there are.
    async fn look_at_ends(&self, owned: Vec<TopicPartition>) {
        let lag = &self.observers.metrics.lag;
        let mut ends = BTreeMap::new();
        let topics: BTreeSet<&Arc<str>> = owned.iter().map(|partition| &partition.topic).collect();
        for topic in topics {
            let numbers = owned.iter().filter(|of| of.topic == *topic).map(|of| of.partition).collect();
            ends.extend(self.ends(topic, numbers).await);
        }
        lag.set_ends(&ends);
        let look_up = async |unread: Unread| {
            let Unread { partition, from, end } = &unread;
            // Whether or not its transaction has ended: it is not committed by the group.
            let first = lag::first_timestamp(&self.client, partition, *from, *from, *end);
            if let Ok(Ok(Some(timestamp))) = timeout(QUESTION, first).await {
                lag.looked_up(&unread, timestamp);
            }
        };
        stream::iter(lag.unread(LOOK_UPS)).for_each_concurrent(LOOK_UPS_AT_ONCE, look_up).await;
    }

    /// The ends that are known: without retries, as they are asked for again soon.
    async fn ends(&self, topic: &Arc<str>, numbers: BTreeSet<i32>) -> BTreeMap<TopicPartition, i64> {
        let asked = self.client.offsets_of_each(topic, &numbers, OffsetAt::HighWatermark, Duration::ZERO);
        let answers = match timeout(QUESTION, asked).await {
            Ok(Ok(answers)) => answers,
            Ok(Err(error)) => {
                debug!(%error, "the ends of the logs are unknown");
                BTreeMap::new()
            }
            Err(_) => BTreeMap::new(),
        };
        let known = |(partition, answer): (i32, Result<i64, EngineError>)| {
            Some((TopicPartition { topic: Arc::clone(topic), partition }, answer.ok()?))
        };
        answers.into_iter().filter_map(known).collect()
    }

    /// Whether the source is there, and whether the other topics have its partitions.
    async fn look_at_topics(&mut self) -> Result<(), RunError> {
        let place = Place::Source(Arc::clone(&self.source));
        match timeout(QUESTION, self.client.topic(&self.source)).await {
            Ok(Ok(Some(source))) => {
                self.missing_since = None;
                self.observers.troubles.end(&place);
                // It waits for the leaders of what it creates, and is asked again.
                let _ = timeout(QUESTION * 2, self.care.follow(&source)).await;
            }
            Ok(Ok(None)) => {
                let since = *self.missing_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= MISSING_FOR {
                    self.observers.troubles.begin(place, &"it does not exist any more");
                    if self.is_bounded {
                        return Err(RunError::NoSource { topic: Arc::clone(&self.source) });
                    }
                }
            }
            Ok(Err(error)) => debug!(%error, "the source topic is not described"),
            Err(_) => {}
        }
        Ok(())
    }
}

/// Whether `every` has passed since `last`, which is then reset.
fn is_due(last: &mut Option<Instant>, every: Duration) -> bool {
    let is_due = last.is_none_or(|last| last.elapsed() >= every);
    if is_due {
        *last = Some(Instant::now());
    }
    is_due
}
