//! Requests that come late: after the transaction that they are of.

use std::{collections::BTreeMap, time::Duration};

use rand::Rng;

use super::{members, transactions::set_version};
use crate::{
    proxy::{
        Action, Rule, Which,
        frame::{ADD_PARTITIONS, END_TXN, PRODUCE, TXN_OFFSET_COMMIT},
    },
    run::{error::RunError, trial::Trial},
};

/// Events per second of which a transaction has a few.
const FEW: u64 = 30;

/// How long an instance may take to begin, and to give up a transaction whose requests have no answer.
const FIRST: Duration = Duration::from_secs(30);

/// Requests of each kind reach the broker some transactions later than they were sent, in each version
/// of transactions. With few events, a transaction is about few partitions: what comes late is not
/// made good at once.
pub(super) fn delayed(trial: &mut Trial<'_>) -> Result<(), RunError> {
    let rate = trial.stage.settings.rate;
    let mut delayed: BTreeMap<String, u64> = BTreeMap::new();
    for version in [2, 1] {
        set_version(trial, version)?;
        // A producer keeps its version until it is begun anew.
        members::kill_once(trial, true)?;
        let apis = delayable(version);
        for round in 0..trial.scaled(40).max(4) {
            let (api, what) = apis[round as usize % apis.len()];
            trial.writer.set_rate(if trial.random.random() { rate } else { FEW });
            delay(trial, api, Duration::from_secs(4))?;
            *delayed.entry(format!("delayed {what}, version {version}")).or_default() +=
                trial.stage.rules.struck();
            trial.writer.set_rate(rate);
        }
    }
    set_version(trial, 2)?;
    trial.pause(Duration::from_secs(3))?;
    trial.sometimes.extend(delayed);
    let late = trial.stage.rules.late_answers();
    trial.sometimes.extend(late.into_iter().map(|(error, count)| (format!("late ends: {error}"), count)));
    Ok(())
}

/// The requests of a transaction, and what they are called. In version 2, the broker adds partitions itself.
pub(super) fn delayable(version: u8) -> &'static [(i16, &'static str)] {
    const ALL: &[(i16, &str)] = &[
        (END_TXN, "EndTxn"),
        (TXN_OFFSET_COMMIT, "TxnOffsetCommit"),
        (PRODUCE, "Produce"),
        (ADD_PARTITIONS, "AddPartitionsToTxn"),
    ];
    if version == 1 { ALL } else { ALL.split_at(3).0 }
}

/// For a time, some of the requests of a kind are delayed.
pub(super) fn delay(trial: &mut Trial<'_>, api: i16, length: Duration) -> Result<(), RunError> {
    // There are many more of these.
    let factor = if api == PRODUCE { 5 } else { 1 };
    let every = factor * trial.random.random_range(2..8);
    let delay = Duration::from_millis(trial.random.random_range(50..1500));
    trial.strike();
    trial.stage.rules.meddle(Rule { api, which: Which::default(), every, action: Action::Delay(delay) });
    trial.pause(length)?;
    trial.stage.rules.clear();
    trial.pause(Duration::from_secs(1))
}

/// The first transaction of an instance is aborted while its first request is under way, which comes later: to the
/// coordinator in version 1, and to the leader of a partition in version 2.
pub(super) fn first_aborted(trial: &mut Trial<'_>) -> Result<(), RunError> {
    let mut held = BTreeMap::new();
    for (version, api, what) in [(2, PRODUCE, "Produce"), (1, ADD_PARTITIONS, "AddPartitionsToTxn")] {
        set_version(trial, version)?;
        let mut times = 0;
        for _ in 0..trial.scaled(5) {
            let mill = members::any(trial);
            times += abort_first(trial, mill, api)?;
        }
        held.insert(format!("held {what}, version {version}"), times);
    }
    trial.sometimes.extend(held);
    set_version(trial, 2)
}

/// Holds every request of a kind of an instance that begins, until it has aborted; how many came to the nodes then.
fn abort_first(trial: &mut Trial<'_>, mill: usize, api: i16) -> Result<u64, RunError> {
    members::terminate_one(trial, mill)?;
    let rules = &trial.stage.rules;
    let _ = (rules.struck(), rules.released());
    let which = Which { client: Some(trial.mills.client(mill)), node: None };
    rules.meddle(Rule { api, which, every: 1, action: Action::Hold });
    trial.strike();
    trial.mills.start(mill)?;
    let ended = |trial: &Trial<'_>, how: &str| {
        trial.mills.samples_of(mill).get(&format!("topicmill_transactions_total.{how}"))
    };
    if !trial.wait_until(FIRST, |trial| trial.stage.rules.struck() > 0)? {
        trial.wrong.push(format!("instance {mill} has sent no first request for {FIRST:?}"));
    }
    if !trial.wait_until(FIRST, |trial| ended(trial, "aborted") > 0.0)? {
        trial.wrong.push(format!("instance {mill} has aborted nothing for {FIRST:?}"));
    }
    if ended(trial, "committed") > 0.0 {
        trial.wrong.push(format!("instance {mill} has committed what never came"));
    }
    trial.stage.rules.clear();
    trial.random_pause(1000..4000)?;
    trial.expect_progress("after the first transaction was aborted")?;
    Ok(trial.stage.rules.released())
}
