//! What happens to brokers.

use std::time::{Duration, Instant};

use rand::Rng;
use rustix::process::Signal;

use crate::run::{
    Delivery,
    error::RunError,
    trial::{PARTITIONS, Trial},
};

/// How long a node may take to give up after its disk is full.
const GIVES_UP: Duration = Duration::from_secs(60);

/// How the system calls a write beyond the limit (EFBIG); one to a disk that is full fails just so for Kafka.
const FULL: &str = "File too large";

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

pub(super) fn settle(trial: &mut Trial<'_>) -> Result<(), RunError> {
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
        lose_majority(trial)?;
        trial.expect_progress("once the nodes are back")?;
    }
    Ok(())
}

/// Kills all nodes but one, and waits until they have everything again.
pub(super) fn lose_majority(trial: &mut Trial<'_>) -> Result<(), RunError> {
    let spared = any(trial);
    let lost: Vec<_> = trial.stage.nodes.numbers().filter(|&node| node != spared).collect();
    trial.strike();
    lost.iter().try_for_each(|&node| trial.stage.nodes.kill(node))?;
    trial.random_pause(5000..20_000)?;
    trial.stage.nodes.start_all(&lost)?;
    settle(trial)
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

/// Every partition loses a replica, often its leader, and gets it again.
pub(super) fn reassigned(trial: &mut Trial<'_>) -> Result<(), RunError> {
    let mut taken = 0;
    for round in 0..trial.scaled(12) {
        taken += reassign(trial, round as usize)?;
    }
    trial.sometimes.push(("replicas taken away".into(), taken));
    Ok(())
}

pub(super) fn reassign(trial: &mut Trial<'_>, first: usize) -> Result<u64, RunError> {
    let (source, destination) = (trial.source.clone(), trial.outputs.destination.clone());
    let topics = [(&*source, PARTITIONS), (&destination, PARTITIONS)];
    let (nodes, admin) = (&trial.stage.nodes, &trial.stage.admin);
    let replicas = || Ok::<_, RunError>((admin.replicas(&source)? + admin.replicas(&destination)?) as u64);
    trial.strike();
    let (all, before) = (nodes.numbers().count(), replicas()?);
    nodes.reassign(&topics, first, all - 1)?;
    let taken = before.saturating_sub(replicas()?);
    trial.random_pause(1000..4000)?;
    nodes.reassign(&topics, first, all)?;
    settle(trial)?;
    Ok(taken)
}

pub(super) fn disk_full(trial: &mut Trial<'_>) -> Result<(), RunError> {
    let (mut ended, mut failed) = (0, 0);
    for _ in 0..trial.scaled(6) {
        let (has_ended, failed_writes) = fill_disk(trial)?;
        ended += u64::from(has_ended);
        failed += failed_writes;
    }
    trial.sometimes.push(("nodes that ended".into(), ended));
    trial.sometimes.push(("failed writes to disk".into(), failed));
    Ok(())
}

/// A node's disk is full: it ends, and is started again once there is room. Returns whether it did, and how many
/// failed writes it has told of since it was first started.
pub(super) fn fill_disk(trial: &mut Trial<'_>) -> Result<(bool, u64), RunError> {
    let (nodes, node) = (&trial.stage.nodes, any(trial));
    trial.strike();
    nodes.fill_disk(node)?;
    let start = Instant::now();
    while nodes.runs(node)? && start.elapsed() < GIVES_UP {
        trial.pause(Duration::from_millis(50))?;
    }
    let has_ended = !nodes.runs(node)?;
    if !has_ended {
        trial.wrong.push(format!("node {node} went on for {GIVES_UP:?} though its disk was full"));
        nodes.kill(node)?;
    }
    let failed = nodes.said(node)?.matches(FULL).count() as u64;
    trial.random_pause(5000..12_000)?;
    nodes.start(node)?;
    settle(trial)?;
    Ok((has_ended, failed))
}
