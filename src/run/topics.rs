//! The topics a run needs: the source must be there, the others are created if they may be.

use std::sync::Arc;

use tracing::{info, warn};

use super::RunError;
use crate::{
    config::Config,
    engine::native::{Client, TopicInfo},
};

/// The setting of a topic that bounds its record batches, in bytes.
const MAX_MESSAGE_BYTES: &str = "max.message.bytes";
/// Its default in Kafka, and what a chunk of output holds at most.
const DEFAULT_MAX_MESSAGE_BYTES: usize = 1_048_588;
/// Room for the headers that a dead letter gains.
const LETTER_HEADROOM: usize = 64 << 10;

/// Checks and creates topics; returns the greatest size in bytes of an output chunk.
///
/// # Errors
/// When a topic is missing or has too few partitions, or the cluster does not answer.
pub(super) async fn prepare(client: &Client, config: &Config) -> Result<usize, RunError> {
    let Some(source) = client.topic(&config.source).await? else {
        return Err(RunError::NoSource { topic: Arc::clone(&config.source) });
    };
    let limit = max_message_bytes(client, &config.source).await.max(DEFAULT_MAX_MESSAGE_BYTES);
    ensure(client, config, &source, &config.destination, "[destination] topic", limit).await?;
    let letter_limit = limit + LETTER_HEADROOM;
    ensure(client, config, &source, &config.dead_letter, "[dead_letter] topic", letter_limit).await?;
    let limit = max_message_bytes(client, &config.destination).await.min(client.batch_size());
    Ok(limit.min(DEFAULT_MAX_MESSAGE_BYTES))
}

async fn ensure(
    client: &Client,
    config: &Config,
    source: &TopicInfo,
    topic: &Arc<str>,
    key: &'static str,
    limit: usize,
) -> Result<(), RunError> {
    match client.topic(topic).await? {
        Some(info) if info.partitions < source.partitions => Err(RunError::TooFewPartitions {
            topic: Arc::clone(topic),
            key,
            partitions: info.partitions,
            source_topic: Arc::clone(&config.source),
            source_partitions: source.partitions,
        }),
        Some(_) => Ok(()),
        None if !config.create_topics => Err(RunError::Missing { topic: Arc::clone(topic), key }),
        None => {
            let limit = limit.to_string();
            let settings = [(MAX_MESSAGE_BYTES, limit.as_str())];
            client.create_topic(topic, source.partitions, Some(source.replication), &settings).await?;
            info!(%topic, partitions = source.partitions, "created");
            Ok(())
        }
    }
}

/// A topic's bound, or Kafka's default where this client may not ask.
async fn max_message_bytes(client: &Client, topic: &str) -> usize {
    match client.topic_config(topic).await {
        Ok(config) => config.get(MAX_MESSAGE_BYTES).and_then(|bytes| bytes.parse().ok()),
        Err(error) => {
            warn!(topic, %error, "the topic's {MAX_MESSAGE_BYTES} is unknown; taking Kafka's default");
            None
        }
    }
    .unwrap_or(DEFAULT_MAX_MESSAGE_BYTES)
}
