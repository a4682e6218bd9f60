//! What happens to transactions.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::members;
use crate::{
    proxy::{Action, Rule, Which, frame::END_TXN},
    run::{
        epochs::{self, Producer},
        error::RunError,
        trial::{PARTITIONS, Trial},
    },
};

/// INVALID_TXN_STATE: what a commit is told that comes after the coordinator's own abort.
const INVALID_TXN_STATE: i16 = 48;

/// TRANSACTION_ABORTABLE (KIP-890).
const TRANSACTION_ABORTABLE: i16 = 120;

/// How long an instance may take to notice that another one has its ids.
const NOTICE: Duration = Duration::from_secs(20);

/// Kafka's tool that tells of transactions and producers.
const TRANSACTIONS: &str = "org.apache.kafka.tools.TransactionsCommand";

/// How long an instance may take to use up the last epochs of its producers.
const USED_UP: Duration = Duration::from_secs(120);

/// How long instances may take to make as many commits as one of them is forged of.
const FORGED_MAX: Duration = Duration::from_secs(30);

/// Longer than a transactional id is remembered that nobody uses.
const FORGOTTEN: Duration = Duration::from_secs(75);

/// An instance wakes beside another with its ids: it must stop.
pub(super) fn replaced(trial: &mut Trial<'_>) -> Result<(), RunError> {
    for round in 0..trial.scaled(10).max(2) {
        let (mill, twin) = (members::any(trial), trial.working);
        trial.strike();
        trial.mills.signal(mill, Signal::STOP)?;
        trial.random_pause(0..2000)?;
        trial.mills.start_as(twin, mill)?;
        // By turns while its session lasts, and once it is over.
        trial.random_pause(if round % 2 == 0 { 2000..5000 } else { 9000..14_000 })?;
        trial.mills.signal(mill, Signal::CONT)?;
        if !trial.mills.expect_stop(mill, NOTICE)? {
            trial.wrong.push(format!("instance {mill} went on beside another with its ids"));
        }
        trial.mills.terminate(twin)?;
        trial.mills.start(mill)?;
        trial.random_pause(2000..4000)?;
    }
    Ok(())
}

pub(super) fn taken_over(trial: &mut Trial<'_>) -> Result<(), RunError> {
    (0..trial.scaled(20)).try_for_each(|_| take_over(trial))
}

/// Another client begins with the transactional ids of an instance: that must stop, and not begin again.
pub(super) fn take_over(trial: &mut Trial<'_>) -> Result<(), RunError> {
    // Those that come and go have no ids that are known.
    let mill = members::any_below(trial, trial.working);
    let committed =
        |trial: &Trial<'_>| trial.mills.samples_of(mill).get("topicmill_transactions_total.committed");
    // Just started, it may not have begun with them itself.
    trial.wait_until(NOTICE, |trial| committed(trial) > 0.0)?;
    trial.strike();
    let (ids, nodes, stop) = (ids_of(trial, mill), &trial.stage.nodes, &trial.stage.settings.stop);
    let take = || {
        let taken = ids.iter().map(|id| epochs::take(nodes.bootstrap(), id, stop));
        taken.collect::<Result<Vec<_>, _>>()
    };
    let taken = take()?;
    if !trial.mills.expect_stop(mill, NOTICE)? {
        trial.wrong.push(format!("instance {mill} went on after its ids were taken over"));
    }
    // Kafka takes nothing of older epochs any more. The next one shows that nobody has begun again since.
    for (id, (taken, next)) in ids.iter().zip(taken.into_iter().zip(take()?)) {
        if next != (Producer { epoch: taken.epoch + 1, ..taken }) {
            trial
                .wrong
                .push(format!("{id} was taken over by {taken:?}, and somebody began again before {next:?}"));
        }
    }
    trial.mills.start(mill)?;
    trial.random_pause(2000..4000)
}

/// Sets the cluster's version of transactions.
pub(super) fn set_version(trial: &Trial<'_>, version: u8) -> Result<(), RunError> {
    let nodes = &trial.stage.nodes;
    let class = "org.apache.kafka.tools.FeatureCommand";
    let feature = format!("transaction.version={version}");
    let now = nodes.tool(class, &["describe"])?;
    let now = now.lines().find(|line| line.contains("transaction.version"));
    if now.is_some_and(|line| line.contains(&format!("FinalizedVersionLevel: {version}"))) {
        return Ok(());
    }
    let command = if version == 1 { "downgrade" } else { "upgrade" };
    nodes.tool(class, &[command, "--feature", &feature])?;
    Ok(())
}

/// Ends that were to commit abort, and say so in several ways.
pub(super) fn aborted(trial: &mut Trial<'_>) -> Result<(), RunError> {
    let mut meddled = 0;
    for round in 0..trial.scaled(60).max(3) {
        abort(trial, round, Duration::from_secs(4))?;
        meddled += trial.stage.rules.struck();
    }
    trial.sometimes.push(("ends meddled with".into(), meddled));
    Ok(())
}

/// For a time, every third transaction is aborted.
pub(super) fn abort(trial: &mut Trial<'_>, way: u64, length: Duration) -> Result<(), RunError> {
    let actions =
        [Action::Refuse(TRANSACTION_ABORTABLE), Action::AbortAndTell(INVALID_TXN_STATE), Action::LoseAnswer];
    let action = actions[way as usize % actions.len()];
    trial.strike();
    trial.stage.rules.meddle(Rule { api: END_TXN, which: Which::default(), every: 3, action });
    trial.pause(length)?;
    trial.stage.rules.clear();
    trial.pause(Duration::from_secs(1))
}

pub(super) fn version_switched(trial: &mut Trial<'_>) -> Result<(), RunError> {
    // An even number: it ends as it began.
    for round in 0..2 * trial.scaled(6) {
        switch_version(trial, if round % 2 == 0 { 1 } else { 2 })?;
    }
    Ok(())
}

/// The cluster's version of transactions is changed, and an instance killed.
pub(super) fn switch_version(trial: &mut Trial<'_>, version: u8) -> Result<(), RunError> {
    trial.strike();
    set_version(trial, version)?;
    trial.random_pause(2000..5000)?;
    // A producer keeps its version until it is begun anew: now both are at work.
    members::kill_once(trial, false)?;
    trial.random_pause(2000..5000)
}

pub(super) fn idle(trial: &mut Trial<'_>) -> Result<(), RunError> {
    let forget = format!("producer.id.expiration.ms={}", FORGOTTEN.as_millis() / 2);
    trial.stage.nodes.configure("--add-config", &forget)?;
    let (mut ids, mut states) = (0, 0);
    for _ in 0..trial.scaled(3) {
        let before = (producers(trial)?.len(), producer_states(trial)?);
        trial.writer.set_rate(0);
        trial.pause(FORGOTTEN)?;
        let after = (producers(trial)?.len(), producer_states(trial)?);
        ids += before.0.saturating_sub(after.0);
        states += before.1.saturating_sub(after.1);
        trial.strike();
        trial.writer.set_rate(trial.stage.settings.rate);
        trial.pause(Duration::from_secs(5))?;
    }
    trial.sometimes.push(("ids forgotten".into(), ids as u64));
    trial.sometimes.push(("producers forgotten".into(), states as u64));
    Ok(trial.stage.nodes.configure("--delete-config", "producer.id.expiration.ms")?)
}

/// How many producers the leaders of the destination remember.
fn producer_states(trial: &Trial<'_>) -> Result<usize, RunError> {
    let mut count = 0;
    for partition in 0..PARTITIONS {
        let of = ["--topic", &trial.outputs.destination, "--partition", &partition.to_string()];
        let described = trial.stage.nodes.tool(TRANSACTIONS, &[&["describe-producers"][..], &of].concat())?;
        count += described.lines().skip(1).filter(|line| !line.trim().is_empty()).count();
    }
    Ok(count)
}

/// An instance begins with ids whose epochs are nearly used up, so that its coordinator soon gives each another
/// producer (KIP-890), while records are written.
pub(super) fn epochs_used_up(trial: &mut Trial<'_>) -> Result<(), RunError> {
    let mill = members::any(trial);
    trial.mills.terminate(mill)?;
    let ids = ids_of(trial, mill);
    // It takes minutes: both at once.
    let (brokers, stop) = (trial.stage.nodes.bootstrap(), &trial.stage.settings.stop);
    thread::scope(|scope| {
        let using: Vec<_> =
            ids.iter().map(|id| scope.spawn(move || epochs::use_up(brokers, id, stop))).collect();
        while using.iter().any(|using| !using.is_finished()) {
            trial.pause(Duration::from_millis(100))?;
        }
        using.into_iter().try_for_each(|using| using.join().expect("nothing panics there").map(drop))
    })?;
    let before = producers(trial)?;
    trial.strike();
    trial.mills.start(mill)?;
    let (start, mut rolled) = (Instant::now(), 0);
    while rolled < ids.len() && start.elapsed() < USED_UP {
        trial.pause(Duration::from_secs(5))?;
        let now = producers(trial)?;
        let others = before.iter().filter(|(id, producer)| now.get(*id).is_some_and(|now| now != *producer));
        rolled = others.count();
    }
    trial.sometimes.push(("epochs rolled over".into(), rolled as u64));
    trial.pause(Duration::from_secs(5))
}

/// The transactional ids of an instance.
fn ids_of(trial: &Trial<'_>, mill: usize) -> [String; 2] {
    [0, 1].map(|side| format!("{}/{}/{side}", trial.group, trial.mills.client(mill)))
}

/// The producer id of each transactional id of the instances.
fn producers(trial: &Trial<'_>) -> Result<BTreeMap<String, String>, RunError> {
    let listed = trial.stage.nodes.tool(TRANSACTIONS, &["list"])?;
    let ours = format!("{}/", trial.group);
    // Transactional id, coordinator, producer id, state.
    let columns = listed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let ids = columns.filter(|columns| columns.len() >= 3 && columns[0].starts_with(&ours));
    Ok(ids.map(|columns| (columns[0].to_owned(), columns[2].to_owned())).collect())
}

/// Every tenth commit is answered as if it had been made.
pub(super) fn forged(trial: &mut Trial<'_>) -> Result<(), RunError> {
    trial.strike();
    let action = Action::AbortInstead;
    trial.stage.rules.meddle(Rule { api: END_TXN, which: Which::default(), every: 10, action });
    let (start, mut meddled) = (Instant::now(), 0);
    while meddled == 0 && start.elapsed() < FORGED_MAX {
        trial.pause(Duration::from_secs(5))?;
        meddled += trial.stage.rules.struck();
    }
    trial.sometimes.push(("ends meddled with".into(), meddled));
    Ok(())
}
