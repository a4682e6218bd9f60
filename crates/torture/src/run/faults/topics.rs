//! What happens to topics.

use std::time::Duration;

use rand::Rng;
use rustix::process::Signal;

use crate::run::{error::RunError, trial::Trial};

/// How long instances do not read, shorter than a session: what comes meanwhile is deleted in part.
const AWAY: Duration = Duration::from_secs(3);

/// Deletes events that no instance has read, as retention does. In turn, instances find out in the midst of their
/// reading, or when they start.
pub(super) fn retention(trial: &mut Trial<'_>) -> Result<(), RunError> {
    for round in 0..trial.scaled(20).max(2) {
        if !trial.expect_progress("before events are deleted")? {
            break;
        }
        delete_unread(trial, round % 2 == 1)?;
    }
    Ok(())
}

/// Deletes events while no instance reads, either as none runs or as all are stopped.
pub(super) fn delete_unread(trial: &mut Trial<'_>, at_start: bool) -> Result<(), RunError> {
    let running = trial.mills.running();
    for &mill in &running {
        if at_start {
            trial.mills.terminate(mill)?;
        } else {
            trial.mills.signal(mill, Signal::STOP)?;
        }
    }
    trial.pause(AWAY)?;
    trial.strike();
    delete(trial)?;
    for &mill in &running {
        if at_start {
            trial.mills.start(mill)?;
        } else {
            trial.mills.signal(mill, Signal::CONT)?;
        }
    }
    trial.random_pause(2000..4000)
}

/// Deletes some of what has not come yet.
fn delete(trial: &mut Trial<'_>) -> Result<(), RunError> {
    let acked = trial.writer.acked();
    let share = trial.random.random_range(0.3..0.9);
    let starts: Vec<u64> = trial.live.view(|view| {
        let starts = acked.iter().enumerate().map(|(partition, &acked)| {
            let come = view.judge.accounted(partition).min(acked);
            come + ((acked - come) as f64 * share) as u64
        });
        let starts: Vec<u64> = starts.collect();
        starts.iter().enumerate().for_each(|(partition, &start)| view.judge.excuse(partition, start));
        starts
    });
    trial.stage.admin.delete_before(&trial.source, &starts)
}
