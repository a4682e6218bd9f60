//! What happens to coordinators in the midst of a commit.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

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

/// How often it looks whether a commit was met.
const LOOK: Duration = Duration::from_millis(1);

/// Longer than the cluster waits for a node that says nothing: another one coordinates.
const REPLACED: Duration = Duration::from_secs(15);

/// Isolates the node that a commit goes to, by turns as the coordinator of the transaction and of the group. Either
/// instances alone cannot reach it, for some seconds, or nobody can, so that another node takes over meanwhile.
pub(super) fn isolated(trial: &mut Trial<'_>) -> Result<(), RunError> {
    let mut isolated = BTreeMap::new();
    let apis = commits(trial.delivery);
    for round in 0..trial.scaled(20).max(4) {
        let (api, what) = apis[round as usize / 2 % apis.len()];
        if isolate(trial, api, round % 2 == 1)? {
            *isolated.entry(what).or_default() += 1;
        } else {
            trial.wrong.push(format!("no {what} was sent for {NEXT_COMMIT:?}"));
        }
    }
    let counts = isolated.into_iter().map(|(what, count)| (format!("isolated by {what}"), count));
    trial.sometimes.extend(counts);
    Ok(())
}

/// The requests that commit, and what they are called.
fn commits(delivery: Delivery) -> &'static [(i16, &'static str)] {
    match delivery {
        Delivery::ExactlyOnce => &[(END_TXN, "EndTxn"), (TXN_OFFSET_COMMIT, "TxnOffsetCommit")],
        Delivery::AtLeastOnce => &[(OFFSET_COMMIT, "OffsetCommit")],
    }
}

/// Isolates the coordinator of one or the other; whether there was a commit to do it in.
pub(super) fn isolate_any(trial: &mut Trial<'_>, replaced: bool) -> Result<bool, RunError> {
    let apis = commits(trial.delivery);
    let (api, _) = apis[trial.random.random_range(0..apis.len())];
    isolate(trial, api, replaced)
}

/// Isolates the node that a request of this kind goes to; whether there was one. `replaced` by another node, or not.
fn isolate(trial: &mut Trial<'_>, api: i16, replaced: bool) -> Result<bool, RunError> {
    let (every, reached) = (trial.random.random_range(1..10), trial.random.random());
    let rules = &trial.stage.rules;
    rules.meddle(Rule { api, which: Which::default(), every, action: Action::Isolate { reached } });
    let start = Instant::now();
    let node = loop {
        match rules.isolated() {
            None if start.elapsed() < NEXT_COMMIT => trial.pause(LOOK)?,
            node => break node,
        }
    };
    let Some(node) = node else {
        rules.clear();
        return Ok(false);
    };
    trial.strike();
    if replaced {
        trial.stage.nodes.signal(node, Signal::STOP)?;
        let paused = trial.pause(REPLACED);
        trial.stage.nodes.signal(node, Signal::CONT)?;
        paused?;
        rules.clear();
        brokers::settle(trial)?;
    } else {
        trial.random_pause(3000..8000)?;
        rules.clear();
        trial.random_pause(2000..4000)?;
    }
    Ok(true)
}
