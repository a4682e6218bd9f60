//! What a transform that chooses partitions is told of the topics that are written.

use std::sync::Arc;

use tracing::warn;

use crate::{
    engine::{EngineError, ErrorKind, native::Client},
    transform::TransformKind,
};

/// Notes the destination, and how many partitions it and the topics have that are known to be written beside it.
/// The destination was made like the source if it cannot be seen yet.
///
/// # Errors
/// When the cluster does not answer.
pub(crate) async fn tell(
    client: &Client,
    transform: &TransformKind,
    source: &Arc<str>,
    destination: &Arc<str>,
) -> Result<(), EngineError> {
    let Some(partitions) = transform.partitions() else { return Ok(()) };
    partitions.set_destination(destination);
    for topic in transform.topics() {
        match client.topic(topic).await {
            Ok(Some(info)) => partitions.set(topic, usize::try_from(info.partitions).unwrap_or(0)),
            Ok(None) => {}
            // As where its name is computed, and known only when a record is routed to it.
            Err(error) if topic != destination && error.kind == ErrorKind::Fatal => {
                warn!(%topic, %error, "what is routed to a topic that may not be written becomes dead letters");
            }
            Err(error) => return Err(error),
        }
    }
    let info = match client.topic(destination).await? {
        Some(info) => Some(info),
        None => client.topic(source).await?,
    };
    if let Some(info) = info {
        partitions.set(destination, usize::try_from(info.partitions).unwrap_or(0));
    }
    Ok(())
}
