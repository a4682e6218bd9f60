//! A pipeline from one topic to another, for a program of your own.
//!
//! It does what the command `run` does, and by the same code, but for what concerns a process: it
//! installs no signal handlers, serves no HTTP, shows no progress, and reads neither the environment nor a
//! configuration file. It logs with [`tracing`], to whatever subscriber the program has.

mod builder;

use std::sync::Arc;

pub use builder::PipelineBuilder;
use tokio_util::sync::CancellationToken;

use crate::{config::Config, health::Health, metrics::Metrics, mill::Observers, run};
pub use crate::{
    config::{ConfigError, Origin, Problem},
    engine::{EngineError, EngineKind, ErrorKind, OffsetReset},
    mill::{MillError, OnGap},
    run::RunError,
    strategy::{OnPanic, Order, StrategyKind},
};

/// Reads a topic, transforms every record and writes the result to another topic.
///
/// See [the crate's documentation](crate) for one that runs.
#[derive(Debug)]
pub struct Pipeline {
    config: Config,
    observers: Observers,
}

impl Pipeline {
    /// A pipeline to be configured.
    pub fn builder() -> PipelineBuilder {
        PipelineBuilder::default()
    }

    /// What it counts; may be read at any time, also while it [runs](Pipeline::run).
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.observers.metrics
    }

    /// Whether it is alive and ready; may be asked at any time, also while it [runs](Pipeline::run).
    pub fn health(&self) -> &Arc<Health> {
        &self.observers.health
    }

    /// Runs until `stop` is cancelled, or until it has caught up if it was
    /// [built](PipelineBuilder::until_caught_up) so. To be polled in a tokio runtime with time and I/O.
    ///
    /// When `stop` is cancelled nothing more is read, and what is in flight is written and committed, within
    /// the [drain timeout](PipelineBuilder::drain_timeout). Once this returns, the group has been left, and
    /// all that was committed is written. Dropping the future instead ends everything at once: what is not
    /// committed yet will be read again, and the other members of the group wait for the session to end.
    ///
    /// A cluster that fails or is away is waited for, without end unless
    /// [`give_up_after`](PipelineBuilder::give_up_after) says otherwise.
    ///
    /// # Errors
    /// When no broker can be reached at the start, a topic is not as it must be, what would fail again has
    /// failed, or the stop was not done in time or not with all that had been read. Nothing is lost: a new run goes on at the committed offsets.
    pub async fn run(self, stop: CancellationToken) -> Result<(), RunError> {
        run::transform(&self.config, &self.observers, stop).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It can be spawned.
    #[expect(dead_code, reason = "that it compiles is the test")]
    fn a_run_is_a_task(pipeline: Pipeline) -> impl Future + Send + 'static {
        pipeline.run(CancellationToken::new())
    }
}
