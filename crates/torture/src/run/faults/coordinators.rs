//! What happens to coordinators in the midst of a commit.

use std::time::{Duration, Instant};

use rand::Rng;
use rustix::process::Signal;

use super::brokers;
use crate::{
    proxy::{
        Action, Rule, Which,
        frame::{END_TXN, OFFSET_COMMIT, TXN_OFFSET_COMMIT},
    },
    run::{Delivery, error::RunError, trial::Trial},
};

/// How long it may take until the next commit.
const NEXT_COMMIT: Duration = Duration::from_secs(20);

/// Longer than the cluster waits for a node that says nothing: another one coordinates.
const REPLACED: Duration = Duration::from_secs(15);

/// Isolates the node that a commit goes to, by turns as the coordinator of the group and of the transaction. Either
/// instances alone cannot reach it, for some seconds, or nobody can, so that another node takes over meanwhile.
pub(super) fn isolated(trial: &mut Trial<'_>) -> Result<(), RunError> {
    let mut isolated = 0;
    for round in 0..trial.scaled(20).max(2) {
        isolated += u64::from(isolate(trial, round % 2 == 1)?);
    }
    trial.sometimes.push(("coordinators isolated".into(), isolated));
    Ok(())
}

/// Isolates one; whether there was a commit to do it in. `replaced` by another node, or not.
pub(super) fn isolate(trial: &mut Trial<'_>, replaced: bool) -> Result<bool, RunError> {
    let apis: &[i16] = match trial.delivery {
        Delivery::ExactlyOnce => &[END_TXN, TXN_OFFSET_COMMIT],
        Delivery::AtLeastOnce => &[OFFSET_COMMIT],
    };
    let api = apis[trial.random.random_range(0..apis.len())];
    let (every, reached) = (trial.random.random_range(1..10), trial.random.random());
    trial.strike();
    let rules = &trial.stage.rules;
    rules.meddle(Rule { api, which: Which::default(), every, action: Action::Isolate { reached } });
    let start = Instant::now();
    let node = loop {
        match rules.isolated() {
            None if start.elapsed() < NEXT_COMMIT => trial.pause(Duration::ZERO)?,
            node => break node,
        }
    };
    match node {
        Some(node) if replaced => {
            trial.stage.nodes.signal(node, Signal::STOP)?;
            let paused = trial.pause(REPLACED);
            trial.stage.nodes.signal(node, Signal::CONT)?;
            paused?;
            rules.clear();
            brokers::settle(trial)?;
        }
        _ => {
            trial.random_pause(3000..8000)?;
            rules.clear();
            trial.random_pause(2000..4000)?;
        }
    }
    Ok(node.is_some())
}
