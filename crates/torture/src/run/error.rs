//! Why a run could not be made; not what was found.

use std::{io, time::Duration};

use rdkafka::error::KafkaError;
use thiserror::Error;

use crate::nodes::NodesError;

/// Why a run could not be made.
#[derive(Debug, Error)]
pub enum RunError {
    /// The nodes do not do as they are told.
    #[error(transparent)]
    Nodes(#[from] NodesError),
    /// librdkafka does not.
    #[error("{what}: {source}")]
    Kafka {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: KafkaError,
    },
    /// A file or a process could not be used.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// Something took too long, though nothing was struck any more.
    #[error("{what}: not within {limit:?}")]
    Late {
        /// What did not happen.
        what: String,
        /// How long it was waited for.
        limit: Duration,
    },
    /// The source could not be written.
    #[error("the load: {0}")]
    Load(String),
    /// Somebody wants it to end.
    #[error("stopped")]
    Stopped,
}

impl RunError {
    pub(super) fn kafka(what: impl Into<String>) -> impl FnOnce(KafkaError) -> RunError {
        let what = what.into();
        move |source| RunError::Kafka { what, source }
    }

    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> RunError {
        let what = what.into();
        move |source| RunError::Io { what, source }
    }
}
