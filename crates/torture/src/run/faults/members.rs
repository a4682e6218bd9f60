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

/// The most often that cheats are killed. A kill finds them at it about every other time.
const CHEATS_KILLED_MAX: usize = 20;

/// How long an instance may take to read its first records.
const FIRST: Duration = Duration::from_secs(20);

pub(super) fn kill(trial: &mut Trial<'_>) -> Result<(), RunError> {
    kill_some(trial, 100)
}

pub(super) fn kill_some(trial: &mut Trial<'_>, times: u64) -> Result<(), RunError> {
    for round in 1..=trial.scaled(times) {
        let all = round % ALL == 0;
        kill_once(trial, all)?;
        if all {
            // Blow after blow, a member may be killed before it has joined: in between, all must go on.
            trial.expect_progress("after some kills")?;
        }
    }
    Ok(())
}

/// Kills one, or all and looks at what they had committed; then starts them again.
pub(super) fn kill_once(trial: &mut Trial<'_>, all: bool) -> Result<(), RunError> {
    let one = any(trial);
    let victims: Vec<_> = trial.mills.running().into_iter().filter(|&mill| all || mill == one).collect();
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
    trial.random_pause(500..2500)
}

/// Kills all that cheat, until they were killed in the midst of it: then what they had committed is not in the output,
/// and nobody will write it.
pub(super) fn kill_cheats(trial: &mut Trial<'_>) -> Result<(), RunError> {
    for _ in 0..CHEATS_KILLED_MAX {
        trial.random_pause(0..500)?;
        let cheats = trial.mills.running();
        trial.strike();
        cheats.iter().try_for_each(|&cheat| trial.mills.kill(cheat))?;
        // What they had written is read meanwhile.
        trial.pause(Duration::from_secs(2))?;
        let committed = trial.committed()?;
        cheats.iter().try_for_each(|&cheat| trial.mills.start(cheat))?;
        // Until the session of what was killed is over, and it works again.
        trial.pause(Duration::from_secs(10))?;
        if trial.committed_and_unseen(&committed).is_some() {
            return Ok(());
        }
    }
    Ok(())
}

/// One that runs.
pub(super) fn any(trial: &mut Trial<'_>) -> usize {
    any_below(trial, usize::MAX)
}

/// One that runs, of the first so many.
pub(super) fn any_below(trial: &mut Trial<'_>, end: usize) -> usize {
    let running: Vec<usize> = trial.mills.running().into_iter().filter(|&mill| mill < end).collect();
    running[trial.random.random_range(0..running.len())]
}

pub(super) fn terminate(trial: &mut Trial<'_>) -> Result<(), RunError> {
    for round in 1..=trial.scaled(50) {
        terminate_once(trial, round % 2 == 0)?;
    }
    Ok(())
}

/// Asks one to end, either while it works or while it reads what has piled up; then starts it again.
pub(super) fn terminate_once(trial: &mut Trial<'_>, at_start: bool) -> Result<(), RunError> {
    let mill = any(trial);
    if at_start {
        let running = trial.mills.running();
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
    trial.random_pause(500..2500)
}

pub(super) fn terminate_one(trial: &mut Trial<'_>, mill: usize) -> Result<(), RunError> {
    let took = trial.mills.terminate(mill)?;
    if took > TERMINATION {
        trial.wrong.push(format!("instance {mill} took {took:?} to end after SIGTERM"));
    }
    Ok(())
}

/// The instances besides those that work come and go, in turn.
pub(super) fn churn(trial: &mut Trial<'_>) -> Result<(), RunError> {
    let guests: Vec<usize> = (trial.working..trial.mills.count()).collect();
    for round in 0..trial.scaled(90) as usize {
        come_or_go(trial, guests[round / 2 % guests.len()])?;
    }
    Ok(())
}

/// An instance besides those that work comes, or goes if it is there.
pub(super) fn come_or_go(trial: &mut Trial<'_>, guest: usize) -> Result<(), RunError> {
    trial.strike();
    if trial.mills.running().contains(&guest) {
        terminate_one(trial, guest)?;
    } else {
        trial.mills.start(guest)?;
    }
    trial.pause(Duration::from_secs(2))
}

pub(super) fn asleep(trial: &mut Trial<'_>) -> Result<(), RunError> {
    (0..trial.scaled(6)).try_for_each(|_| asleep_once(trial))
}

pub(super) fn asleep_once(trial: &mut Trial<'_>) -> Result<(), RunError> {
    let mill = any(trial);
    trial.strike();
    trial.mills.signal(mill, Signal::STOP)?;
    // The session is over after six seconds; a transaction, after ten.
    trial.random_pause(9000..14_000)?;
    trial.mills.signal(mill, Signal::CONT)?;
    trial.random_pause(3000..6000)
}
