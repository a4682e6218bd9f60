//! One fetch request to one leader.

use std::{collections::HashMap, sync::atomic::Ordering, time::Duration};

use kafka_protocol::messages::{
    ApiKey, BrokerId, FetchRequest,
    fetch_request::{FetchPartition, FetchTopic},
};
use tokio::sync::mpsc;
use topicmill_mill::{
    budget::{Budget, affordable, expected_cost},
    engine::EngineError,
};
use uuid::Uuid;

use super::{
    FetchShared,
    parts::{FetchOutcome, Fetched, FetchedPart, PartitionAnswer, Wanted},
    response::{FetchReply, read},
};
use crate::{
    Isolation,
    cluster::{Cluster, Lane},
    error::{WireError, check},
    settings::FetchSettings,
    text::topic_name,
};

/// The first version of the request that names topics by id (KIP-516).
const TOPIC_ID_VERSION: i16 = 13;

/// The bytes that a response may always have, however small the budget, unless `fetch.max.bytes` is
/// less.
const RESPONSE_BYTES_MIN: usize = 16 << 10;

/// How requests ask; each field names its property.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FetchShape {
    /// `fetch.min.bytes`.
    pub min_bytes: i32,
    /// `fetch.max.bytes`.
    pub max_bytes: i32,
    /// `max.partition.fetch.bytes`.
    pub max_partition_bytes: i32,
    /// `fetch.max.wait.ms`.
    pub max_wait: Duration,
    /// `isolation.level`.
    pub isolation: Isolation,
}

impl FetchShape {
    /// What the settings ask for.
    pub fn new(settings: &FetchSettings, isolation: Isolation) -> FetchShape {
        FetchShape {
            min_bytes: settings.min_bytes,
            max_bytes: settings.max_bytes,
            max_partition_bytes: settings.max_partition_bytes,
            max_wait: settings.max_wait,
            isolation,
        }
    }

    /// The bytes that a response of one of `leaders` may have, so that two of each fit into half of
    /// the budget: the other half is for what was decoded from earlier ones.
    pub fn share_of(&self, budget: &Budget, leaders: usize) -> usize {
        let share = affordable(budget.capacity() / 4 / leaders.max(2));
        share.clamp(self.least(), self.max_bytes as usize)
    }

    /// The bytes that a response may always have.
    fn least(&self) -> usize {
        RESPONSE_BYTES_MIN.min(self.max_bytes as usize)
    }
}

/// Fetches up to `max` bytes; sends the records to `parts` and returns the outcome.
pub(super) async fn fetch(
    shared: &FetchShared,
    broker: i32,
    wanted: Vec<Wanted>,
    max: usize,
    parts: &mpsc::Sender<Fetched>,
) -> (FetchOutcome, Vec<(Wanted, PartitionAnswer)>) {
    let shape = plan(shared.shape, &wanted, max);
    let expansion = wanted.iter().map(|wanted| wanted.expansion.load(Ordering::Relaxed)).max();
    let expansion = expansion.unwrap_or(100);
    let permit = shared.budget.acquire(expected_cost(shape.max_bytes as usize, expansion)).await;
    let response = match try_ask(shared.client.cluster(), broker, &wanted, shape).await {
        Ok(response) => response,
        Err(Unanswered { outcome, error }) => {
            shared.client.cluster().invalidate();
            let failed = wanted.into_iter().map(|wanted| (wanted, PartitionAnswer::Failed(error.clone())));
            return (outcome, failed.collect());
        }
    };
    let mut found = Vec::new();
    let mut answers = Vec::with_capacity(wanted.len());
    // A full response leaves partitions empty, and so does one of a broker that throttles.
    let is_empty = response.is_empty() && !response.is_throttled();
    let data = response.by_partition();
    for wanted in wanted {
        let answer = match data.get(&response.key(&wanted)).copied() {
            Some(data) => read(shared, &wanted, data, is_empty, &mut found),
            // A response that is full may leave partitions out.
            None => PartitionAnswer::Data { next: wanted.position, epoch: -1 },
        };
        answers.push((wanted, answer));
    }
    if !found.is_empty() {
        // A long wait for few bytes need not hold what many would have cost.
        let size: usize = found.iter().map(FetchedPart::size).sum();
        permit.charge(permit.bytes(), permit.bytes().min(expected_cost(size, expansion)));
        // The deliverer only ends with the fetcher.
        let _ = parts.send(Fetched { permit, parts: found }).await;
    }
    (FetchOutcome::Answered, answers)
}

/// Asks for no more than the permit covers: fewer bytes where records unpack to many.
fn plan(shape: FetchShape, wanted: &[Wanted], max: usize) -> FetchShape {
    let largest = wanted.iter().map(|wanted| wanted.expansion.load(Ordering::Relaxed)).max().unwrap_or(100);
    let max = max * 100 / largest.max(100);
    let all = (shape.max_partition_bytes as usize).saturating_mul(wanted.len());
    let max = all.min(max).max(shape.least()) as i32;
    FetchShape { max_bytes: max, max_partition_bytes: shape.max_partition_bytes.min(max), ..shape }
}

/// Why there is no response.
struct Unanswered {
    outcome: FetchOutcome,
    error: EngineError,
}

impl From<EngineError> for Unanswered {
    fn from(error: EngineError) -> Unanswered {
        Unanswered { outcome: FetchOutcome::Failed, error }
    }
}

impl From<WireError> for Unanswered {
    fn from(error: WireError) -> Unanswered {
        let outcome = match error {
            WireError::Timeout { .. } => FetchOutcome::TimedOut,
            _ => FetchOutcome::Failed,
        };
        Unanswered { outcome, error: error.into() }
    }
}

/// Sends the request and waits for the response, without a fetch session (KIP-227).
pub(crate) async fn ask(
    cluster: &Cluster,
    broker: i32,
    wanted: &[Wanted],
    shape: FetchShape,
) -> Result<FetchReply, EngineError> {
    try_ask(cluster, broker, wanted, shape).await.map_err(|unanswered| unanswered.error)
}

async fn try_ask(
    cluster: &Cluster,
    broker: i32,
    wanted: &[Wanted],
    shape: FetchShape,
) -> Result<FetchReply, Unanswered> {
    let connection = cluster.connection(broker, Lane::Fetch).await?;
    // By its id, a topic cannot be mistaken for a later one of the same name.
    let is_by_id = wanted.iter().all(|wanted| wanted.topic.is_some())
        && connection.offered(ApiKey::Fetch).is_some_and(|versions| versions.max >= TOPIC_ID_VERSION);
    let version = if is_by_id { TOPIC_ID_VERSION } else { connection.version(ApiKey::Fetch)? };
    let isolation_level = match shape.isolation {
        Isolation::ReadUncommitted => 0,
        Isolation::ReadCommitted => 1,
    };
    let request = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(shape.max_wait.as_millis() as i32)
        .with_min_bytes(shape.min_bytes)
        .with_max_bytes(shape.max_bytes)
        .with_isolation_level(isolation_level)
        .with_session_id(0)
        .with_session_epoch(-1)
        .with_topics(topics(wanted, shape, is_by_id));
    let limit = cluster.settings.request_timeout + shape.max_wait;
    let response = connection.send_version(&request, version, limit).await?.response().await?;
    check(response.error_code).map_err(|error| cluster.failed(error, "fetching", None))?;
    Ok(FetchReply { response, is_by_id })
}

/// The partitions to ask for, in this order as far as those of a topic stand together.
fn topics(wanted: &[Wanted], shape: FetchShape, is_by_id: bool) -> Vec<FetchTopic> {
    let mut topics: Vec<FetchTopic> = Vec::new();
    let mut places: HashMap<(&str, Option<Uuid>), usize> = HashMap::new();
    for wanted in wanted {
        let partition = FetchPartition::default()
            .with_partition(wanted.partition.partition)
            .with_current_leader_epoch(wanted.leader_epoch)
            .with_fetch_offset(wanted.position)
            .with_partition_max_bytes(shape.max_partition_bytes);
        let name = &*wanted.partition.topic;
        let place = *places.entry((name, wanted.topic)).or_insert_with(|| {
            topics.push(match wanted.topic.filter(|_| is_by_id) {
                Some(id) => FetchTopic::default().with_topic_id(id),
                None => FetchTopic::default().with_topic(topic_name(name)),
            });
            topics.len() - 1
        });
        topics[place].partitions.push(partition);
    }
    topics
}

#[cfg(test)]
mod tests {
    use topicmill_mill::batch::TopicPartition;

    use super::*;
    use crate::NativeSettings;

    #[test]
    fn a_small_fetch_limit_is_kept() {
        for limit in [1024, 20_000, 50 << 20] {
            let mut settings = NativeSettings::default().fetch;
            (settings.max_bytes, settings.max_partition_bytes) = (limit, limit);
            let shape = FetchShape::new(&settings, Isolation::ReadCommitted);
            for (memory, leaders) in [(1 << 10, 1), (256 << 20, 3)] {
                let share = shape.share_of(&Budget::new(memory), leaders);
                let wanted = Wanted::new(TopicPartition::new("t", 0), 0, 0);
                wanted.expansion.store(10_000, Ordering::Relaxed);
                let plan = plan(shape, &[wanted], share);
                assert!((1024..=limit).contains(&plan.max_bytes), "{limit}: {}", plan.max_bytes);
                assert!(plan.max_partition_bytes <= plan.max_bytes);
            }
        }
    }
}
