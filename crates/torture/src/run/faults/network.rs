//! What happens to connections.

use std::time::{Duration, Instant};

use rand::Rng;

use super::{brokers, members};
use crate::{
    proxy::{Direction, Which},
    run::{
        error::RunError,
        trial::{CATCH_UP, Trial},
    },
};

/// A group at rest has had no rebalance for so long.
const REST: Duration = Duration::from_secs(10);

/// Until then a place may still be lost by what went before.
const SESSION: Duration = Duration::from_secs(7);

pub(super) fn cut(trial: &mut Trial<'_>) -> Result<(), RunError> {
    let length = Duration::from_secs(trial.scaled(120).max(5));
    let cut = keeping_places(trial, |trial| cut_for(trial, length))?;
    trial.sometimes.push(("connections cut".into(), cut));
    Ok(())
}

/// Cuts all connections every half to one and a half seconds; how many.
pub(super) fn cut_for(trial: &mut Trial<'_>, length: Duration) -> Result<u64, RunError> {
    let (start, mut cut) = (Instant::now(), 0);
    while start.elapsed() < length {
        trial.random_pause(500..1500)?;
        trial.strike();
        cut += trial.stage.rules.cut(&Which::default());
    }
    Ok(cut)
}

pub(super) fn partitioned(trial: &mut Trial<'_>) -> Result<(), RunError> {
    let seconds = trial.scaled(60).max(10);
    (0..trial.scaled(6)).try_for_each(|_| partition(trial, Duration::from_secs(seconds)))
}

/// Keeps an instance from all brokers or from one, in one direction or both.
pub(super) fn partition(trial: &mut Trial<'_>, length: Duration) -> Result<(), RunError> {
    let ways: [&[Direction]; 3] = [&[Direction::Up], &[Direction::Down], &[Direction::Up, Direction::Down]];
    let mill = members::any(trial);
    let node = brokers::any(trial);
    let node = trial.random.random::<bool>().then_some(node);
    let which = Which { client: Some(trial.mills.client(mill)), node };
    let way = ways[trial.random.random_range(0..ways.len())];
    trial.strike();
    way.iter().for_each(|&direction| trial.stage.rules.silence(which.clone(), direction));
    trial.pause(length)?;
    trial.stage.rules.clear();
    trial.pause(Duration::from_secs(5))
}

pub(super) fn throttled(trial: &mut Trial<'_>) -> Result<(), RunError> {
    let seconds = trial.scaled(60).max(10);
    keeping_places(trial, |trial| throttle(trial, Duration::from_secs(seconds)))
}

/// Strikes in a way that may cost no instance its place in the group.
fn keeping_places<T>(
    trial: &mut Trial<'_>,
    strike: impl FnOnce(&mut Trial<'_>) -> Result<T, RunError>,
) -> Result<T, RunError> {
    // Those that have just started are given their shares first.
    let (mut before, start) = (rebalances(trial), Instant::now());
    let mut since = start;
    while since.elapsed() < REST && start.elapsed() < CATCH_UP {
        trial.pause(Duration::from_millis(100))?;
        let now = rebalances(trial);
        if now > before {
            (before, since) = (now, Instant::now());
        }
    }
    let struck = strike(trial)?;
    trial.pause(SESSION)?;
    if rebalances(trial) > before {
        trial.wrong.push("an instance lost its place in the group".into());
    }
    Ok(struck)
}

fn rebalances(trial: &mut Trial<'_>) -> f64 {
    trial.mills.scrape();
    trial.mills.samples().get("topicmill_rebalances_total")
}

/// Lets everything go up at 1 Mbit/s, which is less than what is to go.
pub(super) fn throttle(trial: &mut Trial<'_>, length: Duration) -> Result<(), RunError> {
    trial.strike();
    trial.writer.set_rate(3 * trial.stage.settings.rate);
    trial.stage.rules.throttle(1_000_000 / 8);
    trial.pause(length)?;
    trial.stage.rules.clear();
    trial.writer.set_rate(trial.stage.settings.rate);
    Ok(())
}
