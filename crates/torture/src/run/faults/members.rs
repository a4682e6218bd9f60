//! What happens to instances.

use std::time::{Duration, Instant};

use rand::Rng;
use rustix::process::Signal;

use crate::run::{
    error::RunError,
    trial::{TERMINATION, Trial},
};

/// In one of so many kills, all instances are, and it is checked that no commit is ahead.
const ALL: u64 = 4;

/// How long an instance may take to read its first records.
const FIRST: Duration = Duration::from_secs(20);

pub(super) fn kill(trial: &mut Trial<'_>) -> Result<(), RunError> {
    for round in 1..=trial.scaled(100) {
        let running = trial.mills.running();
        let all = round % ALL == 0;
        let one = running[trial.random.random_range(0..running.len())];
        let victims: Vec<_> = running.into_iter().filter(|&mill| all || mill == one).collect();
        trial.strike();
        for &mill in &victims {
            trial.mills.kill(mill)?;
        }
        if all {
            trial.check_commits()?;
        }
        trial.random_pause(0..1500)?;
        for &mill in &victims {
            trial.mills.start(mill)?;
        }
        trial.random_pause(500..2500)?;
    }
    Ok(())
}

pub(super) fn terminate(trial: &mut Trial<'_>) -> Result<(), RunError> {
    for round in 1..=trial.scaled(50) {
        let running = trial.mills.running();
        let mill = running[trial.random.random_range(0..running.len())];
        if round % 2 == 0 {
            // With nobody at work, events pile up; it is struck while it reads them.
            for &other in &running {
                terminate_one(trial, other)?;
            }
            trial.writer.set_rate(5 * trial.stage.settings.rate);
            trial.pause(Duration::from_secs(2))?;
            trial.writer.set_rate(trial.stage.settings.rate);
            running.iter().try_for_each(|&other| trial.mills.start(other))?;
            let start = Instant::now();
            while trial.mills.samples_of(mill).get("topicmill_records_read_total") == 0.0
                && start.elapsed() < FIRST
            {
                trial.mills.scrape();
                trial.pause(Duration::ZERO)?;
            }
        }
        trial.strike();
        terminate_one(trial, mill)?;
        trial.random_pause(0..500)?;
        trial.mills.start(mill)?;
        trial.random_pause(500..2500)?;
    }
    Ok(())
}

fn terminate_one(trial: &mut Trial<'_>, mill: usize) -> Result<(), RunError> {
    let took = trial.mills.terminate(mill)?;
    if took > TERMINATION {
        trial.wrong.push(format!("instance {mill} took {took:?} to end after SIGTERM"));
    }
    Ok(())
}

pub(super) fn churn(trial: &mut Trial<'_>) -> Result<(), RunError> {
    let extra = trial.stage.settings.instances;
    for _ in 0..trial.scaled(90) {
        trial.strike();
        if trial.mills.running().contains(&extra) {
            terminate_one(trial, extra)?;
        } else {
            trial.mills.start(extra)?;
        }
        trial.pause(Duration::from_secs(2))?;
    }
    Ok(())
}

pub(super) fn asleep(trial: &mut Trial<'_>) -> Result<(), RunError> {
    for _ in 0..trial.scaled(6) {
        let running = trial.mills.running();
        let mill = running[trial.random.random_range(0..running.len())];
        trial.strike();
        trial.mills.signal(mill, Signal::STOP)?;
        // The session is over after six seconds; a transaction, after ten.
        trial.random_pause(9000..14_000)?;
        trial.mills.signal(mill, Signal::CONT)?;
        trial.random_pause(3000..6000)?;
    }
    Ok(())
}
