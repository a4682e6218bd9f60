//! The topics of a run: the source must exist; the others are created and grow with the source,
//! unless that is turned off. So are those that records are routed to, when the first record for them comes.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::time::Instant;
use tracing::{info, warn};

use super::RunError;
use crate::{
    batch::TopicPartition,
    config::Config,
    engine::{
        EngineError, ErrorKind, Place, Troubles,
        native::{Client, Made, MakeTopic, Routing, TopicInfo},
    },
    partitions,
};

/// The setting of a topic that bounds its record batches, in bytes.
const MAX_MESSAGE_BYTES: &str = "max.message.bytes";
/// Its default in Kafka, and the largest chunk of output.
const DEFAULT_MAX_MESSAGE_BYTES: usize = 1_048_588;
/// Room for the headers that a dead letter gains.
const LETTER_HEADROOM: usize = 64 << 10;
/// The largest batch of a dead letter topic: as much as a broker reads at all
/// (`socket.request.max.bytes`), because a record that arrived compressed may be far larger than
/// any batch of the source.
const LETTER_MAX_MESSAGE_BYTES: usize = 100 << 20;
/// A topic's retention unless it is configured.
const DEFAULT_RETENTION: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// The value of a setting without a bound.
const UNBOUNDED: &str = "9223372036854775807";

/// How often the partitions of the topics that are written are counted: as often as Kafka's clients do
/// (`metadata.max.age.ms`).
const COUNT_EVERY: Duration = Duration::from_secs(300);

/// A broker may learn of a topic a moment after it was created: one that seems to be missing is looked for once
/// more after this.
const SECOND_LOOK: Duration = Duration::from_millis(500);

/// The settings to create a topic with: the first of these that the cluster accepts.
type Choices = Vec<Vec<(&'static str, String)>>;

/// Checks and creates topics; returns the greatest size in bytes of an output chunk.
///
/// # Errors
/// When a topic is missing or has too few partitions, or the cluster does not answer.
pub(super) async fn prepare(client: &Client, config: &Config) -> Result<usize, RunError> {
    let Some(source) = client.topic(&config.source).await? else {
        return Err(RunError::NoSource { topic: Arc::clone(&config.source) });
    };
    ensure_both(client, config, &source).await?;
    let limit = max_message_bytes(&settings(client, &config.destination).await).min(client.batch_size());
    Ok(limit.min(DEFAULT_MAX_MESSAGE_BYTES))
}

/// Where records are written, and the rules for topics that they are routed to: as for the destination.
pub(super) fn routing(client: &Client, config: &Config) -> Routing {
    let fixed = vec![Arc::clone(&config.destination), Arc::clone(&config.dead_letter)];
    let barred = vec![Arc::clone(&config.source)];
    Routing { fixed, barred, maker: Arc::new(Maker { client: client.clone(), config: config.clone() }) }
}

/// Makes the topics that records are routed to.
#[derive(Debug)]
struct Maker {
    client: Client,
    config: Config,
}

impl MakeTopic for Maker {
    fn make(&self, topic: Arc<str>) -> BoxFuture<'static, Result<Made, EngineError>> {
        let (client, config) = (self.client.clone(), self.config.clone());
        Box::pin(async move { ensure_routed(&client, &config, &topic).await })
    }
}

async fn ensure_routed(client: &Client, config: &Config, topic: &Arc<str>) -> Result<Made, EngineError> {
    let Some(source) = client.topic(&config.source).await? else {
        return Err(EngineError::new(
            ErrorKind::Retriable,
            format!("topic {} does not exist", config.source),
        ));
    };
    if *topic == config.destination || *topic == config.dead_letter {
        // Others look after these.
        let partitions = client.topic(topic).await?.map_or(0, |info| info.partitions);
        return Ok(Made::There(partitions.max(source.partitions)));
    }
    // Whoever chooses a partition takes a topic that is not known yet to be like the destination.
    let destination = client.topic(&config.destination).await?.map_or(0, |info| info.partitions);
    let mut found = described(client, topic).await?;
    if matches!(found, Ok(None)) && !config.create_topics {
        tokio::time::sleep(SECOND_LOOK).await;
        found = described(client, topic).await?;
    }
    match found {
        Err(reason) => Ok(Made::Refused(reason)),
        Ok(Some(info)) if info.partitions < source.partitions => {
            match grow(client, config, &source, &info, (topic, "route")).await {
                Ok(()) => Ok(Made::There(source.partitions)),
                Err(RunError::TooFewPartitions { partitions, .. }) => Ok(Made::There(partitions)),
                Err(error) => Err(EngineError::new(ErrorKind::Retriable, error.to_string())),
            }
        }
        Ok(Some(info)) => Ok(Made::There(info.partitions)),
        Ok(None) if !config.create_topics => {
            Ok(Made::Refused(format!("the topic {topic} does not exist, and creating any is turned off")))
        }
        Ok(None) => {
            let choices = choices(&settings(client, &config.source).await, false);
            let partitions = source.partitions.max(destination);
            match create(client, topic, &TopicInfo { partitions, ..source }, choices).await {
                Ok(()) => Ok(Made::There(partitions)),
                Err(error) if error.kind == ErrorKind::Fatal => Ok(Made::Refused(error.message)),
                Err(error) => Err(error),
            }
        }
    }
}

/// The topic, if there is one, or why the cluster does not tell.
async fn described(client: &Client, topic: &str) -> Result<Result<Option<TopicInfo>, String>, EngineError> {
    match client.topic(topic).await {
        Ok(found) => Ok(Ok(found)),
        Err(error) if error.kind == ErrorKind::Fatal => Ok(Err(error.message)),
        Err(error) => Err(error),
    }
}

/// Looks after the topics while a run goes on.
#[derive(Debug)]
pub(super) struct Care {
    client: Client,
    config: Config,
    troubles: Troubles,
    /// The number of source partitions that have counterparts.
    covered: i32,
    /// When the partitions of the topics that are written were last counted.
    counted: Instant,
}

impl Care {
    pub(super) fn new(client: &Client, config: &Config, troubles: &Troubles) -> Care {
        let (client, config, troubles) = (client.clone(), config.clone(), troubles.clone());
        Care { client, config, troubles, covered: 0, counted: Instant::now() }
    }

    /// Makes the destination and the dead letter topic follow a source of so many partitions. While
    /// they do not, the partitions beyond are failing, and only those.
    pub(super) async fn follow(&mut self, source: &TopicInfo) {
        // What is not written may have lost its topic.
        let is_written = !self.troubles.now().iter().any(|(place, _)| matches!(place, Place::Write(_)));
        if source.partitions <= self.covered && is_written {
            if self.counted.elapsed() >= COUNT_EVERY {
                self.count().await;
            }
            return;
        }
        match ensure_both(&self.client, &self.config, source).await {
            Ok(()) => {
                self.count().await;
                self.troubles.end_where(|place| matches!(place, Place::Destination(_)));
                self.covered = source.partitions;
            }
            Err(RunError::TooFewPartitions { topic, partitions, reason, .. }) => {
                for number in partitions..source.partitions {
                    let place = TopicPartition { topic: Arc::clone(&self.config.source), partition: number };
                    let text = format!("the topic {topic} has {partitions} partitions{reason}");
                    self.troubles.begin(Place::Destination(place), &text);
                }
                self.covered = partitions;
            }
            // The next look may find them.
            Err(error) => tracing::debug!(%error, "the topics to write are not looked after"),
        }
    }

    /// Tells the transform how many partitions there are to choose from.
    async fn count(&mut self) {
        self.counted = Instant::now();
        let Config { transform, source, destination, .. } = &self.config;
        if let Err(error) = partitions::tell(&self.client, transform, source, destination).await {
            tracing::debug!(%error, "the partitions of the topics to write are not counted");
        }
    }
}

async fn ensure_both(client: &Client, config: &Config, source: &TopicInfo) -> Result<(), RunError> {
    let mut source_settings = None;
    for (topic, key, is_letters) in [
        (&config.destination, "[destination] topic", false),
        (&config.dead_letter, "[dead_letter] topic", true),
    ] {
        match client.topic(topic).await? {
            Some(info) if info.partitions < source.partitions => {
                grow(client, config, source, &info, (topic, key)).await?;
            }
            Some(_) => {}
            None if !config.create_topics => {
                return Err(RunError::Missing { topic: Arc::clone(topic), key });
            }
            None => {
                if source_settings.is_none() {
                    source_settings = Some(settings(client, &config.source).await);
                }
                let choices = choices(source_settings.as_ref().unwrap_or(&BTreeMap::new()), is_letters);
                create(client, topic, source, choices).await?;
            }
        }
    }
    Ok(())
}

/// Gives a topic as many partitions as the source has, if that is allowed.
async fn grow(
    client: &Client,
    config: &Config,
    source: &TopicInfo,
    info: &TopicInfo,
    (topic, key): (&Arc<str>, &'static str),
) -> Result<(), RunError> {
    let reason = if config.create_topics {
        match client.create_partitions(topic, source.partitions).await {
            Ok(()) => {
                info!(%topic, partitions = source.partitions, was = info.partitions, "grown with the source");
                return Ok(());
            }
            Err(error) if error.kind != ErrorKind::Fatal => return Err(error.into()),
            Err(error) => format!(", and gets no more: {error}"),
        }
    } else {
        ", and creating any is turned off".to_owned()
    };
    Err(RunError::TooFewPartitions {
        topic: Arc::clone(topic),
        key,
        partitions: info.partitions,
        source_topic: Arc::clone(&config.source),
        source_partitions: source.partitions,
        reason,
    })
}

/// Creates a topic with the first of `choices` that the cluster accepts: older clusters do not know
/// every setting, and a policy may forbid some.
async fn create(
    client: &Client,
    topic: &Arc<str>,
    source: &TopicInfo,
    choices: Choices,
) -> Result<(), EngineError> {
    let mut refused = None;
    for choice in choices {
        let settings: Vec<(&str, &str)> = choice.iter().map(|(key, value)| (*key, value.as_str())).collect();
        match client.create_topic(topic, source.partitions, Some(source.replication), &settings).await {
            Ok(()) => {
                info!(%topic, partitions = source.partitions, "created");
                return Ok(());
            }
            Err(error) if error.kind == ErrorKind::Fatal => refused = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(refused.unwrap_or_else(|| EngineError::new(ErrorKind::Fatal, format!("{topic} cannot be created"))))
}

/// The settings to create a topic with, given those of the source: it takes batches as large and
/// keeps records as long. A dead letter topic takes any record, whatever its time and size.
fn choices(source: &BTreeMap<String, String>, is_letters: bool) -> Choices {
    let limit = max_message_bytes(source).max(DEFAULT_MAX_MESSAGE_BYTES);
    let retention = retention(source);
    let with = |bytes: usize, more: &[(&'static str, &str)]| {
        let mut all = vec![(MAX_MESSAGE_BYTES, bytes.to_string())];
        all.extend(retention.clone().map(|retention| ("retention.ms", retention)));
        all.extend(more.iter().map(|(key, value)| (*key, (*value).to_owned())));
        all
    };
    if !is_letters {
        return vec![with(limit, &[]), vec![(MAX_MESSAGE_BYTES, limit.to_string())]];
    }
    let most = LETTER_MAX_MESSAGE_BYTES.max(limit + LETTER_HEADROOM);
    let (delete, own_time) = (("cleanup.policy", "delete"), ("message.timestamp.type", "CreateTime"));
    let bounds =
        [("message.timestamp.before.max.ms", UNBOUNDED), ("message.timestamp.after.max.ms", UNBOUNDED)];
    vec![
        with(most, &[delete, own_time, bounds[0], bounds[1]]),
        // Before KIP-937 (Kafka 3.6) one bound applied to both directions.
        with(most, &[delete, own_time, ("message.timestamp.difference.max.ms", UNBOUNDED)]),
        with(limit + LETTER_HEADROOM, &[delete]),
        vec![(MAX_MESSAGE_BYTES, (limit + LETTER_HEADROOM).to_string())],
    ]
}

/// How long the source keeps records in milliseconds, if that is longer than the default: output
/// keeps the timestamps of the source, so it would otherwise be deleted early.
fn retention(source: &BTreeMap<String, String>) -> Option<String> {
    let policy = source.get("cleanup.policy")?;
    if !policy.contains("delete") {
        return Some("-1".into());
    }
    let retention = source.get("retention.ms")?;
    let ms: i64 = retention.parse().ok()?;
    (ms < 0 || ms as u128 > DEFAULT_RETENTION.as_millis()).then(|| retention.clone())
}

/// A topic's settings; none where this client is not allowed to read them.
async fn settings(client: &Client, topic: &str) -> BTreeMap<String, String> {
    client.topic_config(topic).await.unwrap_or_else(|error| {
        warn!(topic, %error, "the topic's settings are unknown; taking Kafka's defaults");
        BTreeMap::new()
    })
}

/// A topic's bound, or Kafka's default.
fn max_message_bytes(settings: &BTreeMap<String, String>) -> usize {
    let bound = settings.get(MAX_MESSAGE_BYTES).and_then(|bytes| bytes.parse().ok());
    bound.unwrap_or(DEFAULT_MAX_MESSAGE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(settings: &[(&str, &str)]) -> BTreeMap<String, String> {
        settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn first(source: &BTreeMap<String, String>, is_letters: bool) -> BTreeMap<&'static str, String> {
        choices(source, is_letters).remove(0).into_iter().collect()
    }

    #[test]
    fn a_dead_letter_topic_takes_any_time_and_size() {
        let made = first(&source(&[("max.message.bytes", "2000000"), ("cleanup.policy", "compact")]), true);
        assert_eq!(made["message.timestamp.before.max.ms"], i64::MAX.to_string());
        assert_eq!(made["message.timestamp.after.max.ms"], i64::MAX.to_string());
        assert_eq!(made["cleanup.policy"], "delete");
        assert_eq!(made["max.message.bytes"], (100 << 20).to_string());
    }

    #[test]
    fn records_are_kept_as_long_as_by_the_source() {
        let month = "2592000000";
        let keeps = |settings: &[(&str, &str)]| first(&source(settings), false).remove("retention.ms");
        assert_eq!(keeps(&[("cleanup.policy", "delete"), ("retention.ms", month)]).as_deref(), Some(month));
        assert_eq!(keeps(&[("cleanup.policy", "delete"), ("retention.ms", "-1")]).as_deref(), Some("-1"));
        assert_eq!(keeps(&[("cleanup.policy", "compact")]).as_deref(), Some("-1"));
        assert_eq!(keeps(&[("cleanup.policy", "delete"), ("retention.ms", "1000")]), None);
        assert_eq!(keeps(&[]), None, "who knows nothing takes the broker's default");
    }
}
