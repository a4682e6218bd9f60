//! What a run logs when it starts, while it runs and when it ends.

use std::{
    fmt::Write,
    pin::pin,
    time::{Duration, Instant},
};

use tokio::time::interval;
use tracing::info;

use super::RunError;
use crate::{
    config::Config,
    console::progress::{Pace, Progress},
    cpu,
    delivery::DeliveryKind,
    engine::native::NativeSink,
    mill::Observers,
};

/// How often the progress is looked at.
const EVERY: Duration = Duration::from_millis(250);

/// Logs what is starting.
pub(super) fn started(config: &Config) {
    let transactional_ids = match config.delivery {
        DeliveryKind::AtLeastOnce => None,
        // What is not valid is refused when it is used.
        DeliveryKind::ExactlyOnce => NativeSink::transactional_ids(&config.client, &config.group).ok(),
    };
    info!(
        version = env!("CARGO_PKG_VERSION"),
        source = &*config.source,
        destination = &*config.destination,
        dead_letter_topic = &*config.dead_letter,
        group = &*config.group,
        transform = config.transform.name(),
        strategy = %config.strategy,
        delivery = %config.delivery,
        transactional_ids,
        brokers = config.client.brokers.join(","),
        "starting"
    );
}

/// Shows the progress of `run` until it ends, then logs what was done.
pub(super) async fn while_running(
    observers: &Observers,
    run: impl Future<Output = Result<(), RunError>>,
) -> Result<(), RunError> {
    let started = Instant::now();
    let metrics = &observers.metrics;
    let progress = Progress::new("run", "records", None);
    let mut pace = Pace::new(started);
    let mut ticks = interval(EVERY);
    let mut run = pin!(run);
    let result = loop {
        tokio::select! {
            result = &mut run => break result,
            _ = ticks.tick() => show(&progress, &mut pace, observers),
        }
    };
    progress.finish();
    let (read, written) = (metrics.records_read.get(), metrics.records_written.get());
    let seconds = rounded(started.elapsed());
    info!(
        read,
        written,
        dead_letters = metrics.dead_letter_total(),
        filtered = metrics.records_filtered.get(),
        skipped_offsets = metrics.skipped_total(),
        seconds,
        // From the first batch to the last commit, for `bench`.
        work_seconds = observers.work.elapsed().map(rounded),
        records_per_second = (read as f64 / seconds).round(),
        cpu_seconds = cpu::time_used().map(rounded),
        "{}",
        if result.is_ok() { "done" } else { "ended by an error" }
    );
    result
}

/// Seconds, to the microsecond: more digits are noise.
fn rounded(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e6
}

/// Draws the bar, or logs an event when one is due.
fn show(progress: &Progress, pace: &mut Pace, observers: &Observers) {
    let metrics = &observers.metrics;
    let (written, dead_letters) = (metrics.records_written.get(), metrics.dead_letter_total());
    let lag = metrics.lag.total();
    let failing = observers.troubles.now().len() as u64;
    if progress.draw(written, note(lag, dead_letters, failing)) {
        return;
    }
    if let Some(records_per_second) = pace.due(written + dead_letters, Instant::now()) {
        let read = metrics.records_read.get();
        info!(read, written, dead_letters, records_per_second, lag, failing, "progress");
    }
}

fn note(lag: Option<i64>, dead_letters: u64, failing: u64) -> String {
    let mut note = match lag {
        Some(lag) => format!("lag {lag}"),
        None => "lag unknown".to_owned(),
    };
    // Writing to a string does not fail.
    if dead_letters > 0 {
        let _ = write!(note, ", {dead_letters} dead letters");
    }
    if failing > 0 {
        let _ = write!(note, ", {failing} waiting");
    }
    note
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_tells_of_dead_letters_and_of_what_waits() {
        assert_eq!(note(Some(7), 0, 0), "lag 7");
        assert_eq!(note(None, 3, 12), "lag unknown, 3 dead letters, 12 waiting");
    }
}
