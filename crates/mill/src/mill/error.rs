//! Why a mill stopped, and whether a new start may help.

use std::time::Duration;

use super::Stopped;
use crate::{
    batch::TopicPartition,
    engine::{EngineError, ErrorKind},
    sentences::names,
    strategy::TransformError,
};

/// Why a mill ended, other than by a drain or at its goal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MillError {
    /// The source or the sink failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The transform panicked, or broke its contract.
    #[error(transparent)]
    Transform(#[from] TransformError),
    /// A partition is stopped; the others were finished.
    #[error(transparent)]
    Stopped(Stopped),
    /// The drain took too long.
    #[error(
        "not everything was committed within the drain timeout of {timeout:?} ({batches} batches were not \
         acknowledged); what was not will be read again"
    )]
    DrainTimeout {
        /// How long the drain was allowed to take.
        timeout: Duration,
        /// The batches that were still in flight.
        batches: usize,
    },
    /// The drain ended in time, but not with everything.
    #[error(
        "not all that was read is written and committed: what was under way of {} failed, was aborted or was \
         taken away meanwhile, and will be read again", names(.partitions)
    )]
    Unfinished {
        /// The partitions.
        partitions: Vec<TopicPartition>,
    },
}

impl MillError {
    /// Whether to start again from the committed offsets.
    pub fn is_retriable(&self) -> bool {
        match self {
            MillError::Engine(error) => error.kind == ErrorKind::Retriable,
            MillError::Transform(_)
            | MillError::Stopped(_)
            | MillError::DrainTimeout { .. }
            | MillError::Unfinished { .. } => false,
        }
    }
}
