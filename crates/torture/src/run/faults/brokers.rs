//! What happens to brokers.

use std::time::Duration;

use rand::Rng;
use rustix::process::Signal;

use crate::run::{
    Delivery,
    error::RunError,
    trial::{PARTITIONS, Trial},
};

pub(super) fn killed(trial: &mut Trial<'_>) -> Result<(), RunError> {
    for _ in 0..trial.scaled(3) {
        trial.stage.nodes.numbers().try_for_each(|node| kill(trial, node))?;
    }
    Ok(())
}

/// Kills a node, and waits until it has everything again.
pub(super) fn kill(trial: &mut Trial<'_>, node: usize) -> Result<(), RunError> {
    trial.strike();
    trial.stage.nodes.kill(node)?;
    trial.random_pause(5000..12_000)?;
    trial.stage.nodes.start(node)?;
    settle(trial)
}

fn settle(trial: &mut Trial<'_>) -> Result<(), RunError> {
    trial.stage.nodes.wait_for_replicas()?;
    trial.pause(Duration::from_secs(2))
}

/// One of the nodes.
pub(super) fn any(trial: &mut Trial<'_>) -> usize {
    trial.random.random_range(trial.stage.nodes.numbers())
}

pub(super) fn stopped(trial: &mut Trial<'_>) -> Result<(), RunError> {
    (0..trial.scaled(3)).try_for_each(|_| stop(trial, Duration::from_secs(45)))
}

/// Stops a node for a time, and waits until it has everything again.
pub(super) fn stop(trial: &mut Trial<'_>, length: Duration) -> Result<(), RunError> {
    let node = any(trial);
    trial.strike();
    trial.stage.nodes.signal(node, Signal::STOP)?;
    let paused = trial.pause(length);
    trial.stage.nodes.signal(node, Signal::CONT)?;
    paused?;
    settle(trial)
}

pub(super) fn majority_lost(trial: &mut Trial<'_>) -> Result<(), RunError> {
    for _ in 0..trial.scaled(3) {
        let spared = any(trial);
        let lost: Vec<_> = trial.stage.nodes.numbers().filter(|&node| node != spared).collect();
        trial.strike();
        lost.iter().try_for_each(|&node| trial.stage.nodes.kill(node))?;
        trial.random_pause(5000..20_000)?;
        trial.stage.nodes.start_all(&lost)?;
        settle(trial)?;
    }
    Ok(())
}

pub(super) fn leaders_moved(trial: &mut Trial<'_>) -> Result<(), RunError> {
    (0..trial.scaled(12)).try_for_each(|round| move_leaders(trial, round as usize))
}

/// Gives every partition another leader, those of the coordinators too.
pub(super) fn move_leaders(trial: &mut Trial<'_>, first: usize) -> Result<(), RunError> {
    let (source, destination) = (trial.source.clone(), trial.outputs.destination.clone());
    let mut topics = vec![(&*source, PARTITIONS), (&destination, PARTITIONS), ("__consumer_offsets", 8)];
    if trial.delivery == Delivery::ExactlyOnce {
        topics.push(("__transaction_state", 8));
    }
    trial.strike();
    trial.stage.nodes.move_leaders(&topics, first)?;
    trial.random_pause(1000..4000)
}
