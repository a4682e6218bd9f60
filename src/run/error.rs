//! Why a run ended before its work was done.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use crate::{
    engine::{EngineError, ErrorKind},
    exit::{Exit, Failure},
    mill::MillError,
};

/// Why a run ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The cluster failed or cannot be reached.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The work failed for good, and no engine is the cause.
    #[error(transparent)]
    Mill(MillError),
    /// The source topic is missing.
    #[error("the source topic {topic} does not exist ([source] topic, --source)")]
    NoSource {
        /// The topic.
        topic: Arc<str>,
    },
    /// A topic to write is missing and may not be created.
    #[error("the topic {topic} does not exist, and creating topics is turned off ({key})")]
    Missing {
        /// The topic.
        topic: Arc<str>,
        /// The key that names it.
        key: &'static str,
    },
    /// A topic to write has fewer partitions than the source.
    #[error(
        "the topic {topic} ({key}) has {partitions} partitions{reason}; the source topic {source_topic} \
         has {source_partitions}: a record keeps its partition number, so {source_partitions} are needed"
    )]
    TooFewPartitions {
        /// The topic.
        topic: Arc<str>,
        /// The key that names it.
        key: &'static str,
        /// Its partitions.
        partitions: i32,
        /// The source topic.
        source_topic: Arc<str>,
        /// The source's partitions.
        source_partitions: i32,
        /// Why it does not get more, as a clause.
        reason: String,
    },
    /// The admin server cannot listen on the address that was asked for.
    #[error("[admin] listen, --admin: {address}: {error}")]
    Admin {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// A stop did not finish in time.
    #[error(
        "the stop was not done within the drain timeout of {timeout:?}: {}; what is not committed will \
         be read again",
        unfinished(*.batches)
    )]
    NotStopped {
        /// The drain timeout.
        timeout: Duration,
        /// The batches that were still in flight.
        batches: i64,
    },
    /// There was no progress for longer than the configuration allows.
    #[error("no progress for {limit:?} (--give-up-after): {reason}")]
    GaveUp {
        /// How long was waited.
        limit: Duration,
        /// What did not work.
        reason: String,
    },
    /// A task that watches the run ended unexpectedly.
    #[error("the watcher of the run panicked: {message}")]
    Panicked {
        /// The panic's message.
        message: String,
    },
    /// The engine is not part of this build.
    #[error("config: [run] engine: librdkafka is not part of this build; build with `--features librdkafka`")]
    NotBuilt,
}

impl From<MillError> for RunError {
    fn from(error: MillError) -> RunError {
        match error {
            MillError::Engine(error) => RunError::Engine(error),
            error => RunError::Mill(error),
        }
    }
}

impl Failure for RunError {
    fn exit(&self) -> Exit {
        match self {
            RunError::Engine(error) => match error.kind {
                ErrorKind::Unreachable => Exit::Unreachable,
                ErrorKind::Retriable | ErrorKind::Fatal => Exit::Failed,
            },
            RunError::NotBuilt => Exit::Config,
            RunError::Mill(_) | RunError::NoSource { .. } => Exit::Failed,
            RunError::Missing { .. } | RunError::TooFewPartitions { .. } => Exit::Failed,
            RunError::NotStopped { .. } | RunError::GaveUp { .. } | RunError::Panicked { .. } => Exit::Failed,
            RunError::Admin { .. } => Exit::Failed,
        }
    }
}

fn unfinished(batches: i64) -> String {
    match batches {
        0 => "the connections are not closed".into(),
        1 => "1 batch is not acknowledged".into(),
        _ => format!("{batches} batches are not acknowledged"),
    }
}
