//! What a run tells while it goes on and when it ends.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use tokio::time::interval;
use tracing::info;

use super::RunError;
use crate::{console::progress::Progress, cpu, mill::Observers};

/// How often the progress is looked at.
const EVERY: Duration = Duration::from_millis(250);

/// Shows the progress of `run` until it ends, then logs what was done.
pub(super) async fn while_running(
    observers: &Observers,
    run: impl Future<Output = Result<(), RunError>>,
) -> Result<(), RunError> {
    let started = Instant::now();
    let metrics = &observers.metrics;
    let mut progress = Progress::new("run", "records", None);
    let mut ticks = interval(EVERY);
    let mut run = pin!(run);
    let result = loop {
        tokio::select! {
            result = &mut run => break result,
            _ = ticks.tick() => {
                progress.update(metrics.records_written.get(), format_args!("lag {}", metrics.lag_total()));
            }
        }
    };
    progress.finish();
    let (read, written) = (metrics.records_read.get(), metrics.records_written.get());
    let seconds = started.elapsed().as_secs_f64();
    info!(
        read,
        written,
        dead_letters = metrics.dead_letter_total(),
        seconds,
        // From the first batch to the last commit, for `bench`.
        work_seconds = observers.work.elapsed().map(|time| time.as_secs_f64()),
        records_per_second = (read as f64 / seconds).round(),
        cpu_seconds = cpu::time_used().map(|time| time.as_secs_f64()),
        "{}",
        if result.is_ok() { "done" } else { "failed" }
    );
    result
}
