//! What happens to connections.

use std::time::{Duration, Instant};

use rand::Rng;

use crate::{
    proxy::{Direction, Which},
    run::{error::RunError, trial::Trial},
};

pub(super) fn cut(trial: &mut Trial<'_>) -> Result<(), RunError> {
    let mut cut = 0;
    let length = Duration::from_secs(trial.scaled(120));
    let start = Instant::now();
    while start.elapsed() < length {
        trial.random_pause(500..1500)?;
        trial.strike();
        cut += trial.stage.rules.cut(&Which::default());
    }
    trial.sometimes.push(("connections cut".into(), cut));
    Ok(())
}

pub(super) fn partitioned(trial: &mut Trial<'_>) -> Result<(), RunError> {
    let ways: [&[Direction]; 3] = [&[Direction::Up], &[Direction::Down], &[Direction::Up, Direction::Down]];
    for round in 0..trial.scaled(6) {
        let running = trial.mills.running();
        let mill = running[trial.random.random_range(0..running.len())];
        // From all brokers, or from one alone.
        let node = trial.random.random_range(trial.stage.nodes.numbers());
        let node = (round % 2 == 1).then_some(node);
        let which = Which { client: Some(trial.mills.client(mill)), node };
        trial.strike();
        for &direction in ways[round as usize % ways.len()] {
            trial.stage.rules.silence(which.clone(), direction);
        }
        let seconds = trial.scaled(60).max(10);
        trial.pause(Duration::from_secs(seconds))?;
        trial.stage.rules.clear();
        trial.pause(Duration::from_secs(5))?;
    }
    Ok(())
}

pub(super) fn throttled(trial: &mut Trial<'_>) -> Result<(), RunError> {
    trial.strike();
    trial.stage.rules.throttle(1_000_000 / 8);
    trial.pause(Duration::from_secs(trial.scaled(60).max(10)))?;
    trial.stage.rules.clear();
    Ok(())
}
