//! Looks a topic up, and notices when it is gone or has been replaced by another of its name
//! (KIP-516).

use std::{sync::Arc, time::Duration};

use kafka_protocol::ResponseError;
use topicmill_mill::engine::{EngineError, ErrorKind, Place, Troubles};

use super::{
    cluster::Cluster,
    error::KafkaError,
    memory::{Memory, Sighting},
    metadata::{Metadata, Topic},
};

/// The newest snapshot of the cluster that has the topic.
#[derive(Debug)]
pub(super) struct FoundTopic {
    metadata: Arc<Metadata>,
    name: Arc<str>,
}

impl FoundTopic {
    /// The topic in it.
    pub fn topic(&self) -> &Topic {
        match self.metadata.topics.get(&self.name) {
            Some(Ok(topic)) => topic,
            _ => unreachable!("it was found"),
        }
    }
}

/// Resolves once the topic no longer exists, which is checked every second.
pub(super) async fn gone(cluster: &Cluster, name: &Arc<str>, troubles: &Troubles) {
    loop {
        // An ordinary rebalance is over before.
        tokio::time::sleep(Duration::from_secs(1)).await;
        cluster.invalidate();
        let Ok(metadata) = cluster.metadata(name).await else { continue };
        if matches!(
            metadata.topics.get(name),
            None | Some(Err(KafkaError(ResponseError::UnknownTopicOrPartition)))
        ) {
            troubles.begin(Place::Source(Arc::clone(name)), &missing(name));
            return;
        }
    }
}

fn missing(name: &str) -> String {
    format!("topic {name} does not exist")
}

/// Looks the topic up. While it is missing, that is reported as a failure.
///
/// # Errors
/// `Retriable` while the topic is missing, or the broker asked is behind.
pub(super) async fn look_up(
    cluster: &Cluster,
    name: &Arc<str>,
    memory: &Memory,
    troubles: &Troubles,
) -> Result<FoundTopic, EngineError> {
    let metadata = cluster.metadata(name).await?;
    let id = match metadata.topics.get(name) {
        Some(Ok(topic)) => topic.id,
        None | Some(Err(KafkaError(ResponseError::UnknownTopicOrPartition))) => {
            cluster.invalidate();
            let text = missing(name);
            troubles.begin(Place::Source(Arc::clone(name)), &text);
            return Err(EngineError::new(ErrorKind::Retriable, text));
        }
        Some(Err(error)) => return Err(cluster.failed(*error, &format!("topic {name}"), None)),
    };
    troubles.end(&Place::Source(Arc::clone(name)));
    match (memory.see(id), id) {
        (Sighting::Anew(old), Some(new)) => tracing::error!(
            topic = &**name, %old, %new,
            "the topic was deleted and made anew; the new one is read from its beginning"
        ),
        (Sighting::Gone, _) => {
            cluster.invalidate();
            let text = format!("the broker speaks of a topic {name} that is gone");
            return Err(EngineError::new(ErrorKind::Retriable, text));
        }
        _ => {}
    }
    Ok(FoundTopic { metadata, name: Arc::clone(name) })
}
