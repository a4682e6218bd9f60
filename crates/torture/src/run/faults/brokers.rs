//! What happens to brokers.

use std::time::Duration;

use rand::Rng;
use rustix::process::Signal;

use crate::run::{
    error::RunError,
    trial::{PARTITIONS, Trial},
};

pub(super) fn killed(trial: &mut Trial<'_>) -> Result<(), RunError> {
    for _ in 0..trial.scaled(3) {
        for node in trial.stage.nodes.numbers() {
            trial.strike();
            trial.stage.nodes.kill(node)?;
            trial.random_pause(5000..12_000)?;
            trial.stage.nodes.start(node)?;
            trial.stage.nodes.wait_for_replicas()?;
            trial.pause(Duration::from_secs(2))?;
        }
    }
    Ok(())
}

pub(super) fn stopped(trial: &mut Trial<'_>) -> Result<(), RunError> {
    for _ in 0..trial.scaled(3) {
        let node = trial.random.random_range(trial.stage.nodes.numbers());
        trial.strike();
        trial.stage.nodes.signal(node, Signal::STOP)?;
        let paused = trial.pause(Duration::from_secs(45));
        trial.stage.nodes.signal(node, Signal::CONT)?;
        paused?;
        trial.stage.nodes.wait_for_replicas()?;
        trial.pause(Duration::from_secs(2))?;
    }
    Ok(())
}

pub(super) fn leaders_moved(trial: &mut Trial<'_>) -> Result<(), RunError> {
    let (source, destination) = (trial.source.clone(), trial.outputs.destination.clone());
    for round in 0..trial.scaled(12) {
        let mut topics = vec![(&*source, PARTITIONS), (&destination, PARTITIONS), ("__consumer_offsets", 8)];
        if trial.delivery == crate::run::Delivery::ExactlyOnce {
            topics.push(("__transaction_state", 8));
        }
        trial.strike();
        trial.stage.nodes.move_leaders(&topics, round as usize)?;
        trial.random_pause(1000..4000)?;
    }
    Ok(())
}
