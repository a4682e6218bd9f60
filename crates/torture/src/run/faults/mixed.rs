//! Everything, at random.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use clap::ValueEnum;
use rand::{
    Rng,
    rngs::StdRng,
    seq::{IndexedRandom, SliceRandom},
};

use super::{brokers, coordinators, late, members, network, topics, transactions};
use crate::{
    proxy::frame::{OFFSET_COMMIT, PRODUCE},
    run::{Delivery, error::RunError, trial::Trial},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Blow {
    KillOne,
    KillAll,
    Terminate,
    Asleep,
    Cut,
    Partition,
    Throttle,
    KillBroker,
    StopBroker,
    MoveLeaders,
    Delay,
    Abort,
    IsolateCoordinator,
    ReplaceCoordinator,
    Reassign,
    LoseMajority,
    FillDisk,
    DeleteEvents,
    ComeOrGo,
    TakeOver,
    SwitchVersion,
}

/// Half an hour in the long form.
const LENGTH: u64 = 1800;

pub(super) fn strike(trial: &mut Trial<'_>) -> Result<(), RunError> {
    let length = Duration::from_secs(trial.scaled(LENGTH));
    let start = Instant::now();
    let mut blows: BTreeMap<String, u64> = BTreeMap::new();
    let mut deck = Deck::default();
    while start.elapsed() < length {
        let blow = deck.deal(&mut trial.random);
        // Of blows before.
        let _ = trial.stage.rules.struck();
        one(trial, blow)?;
        *blows.entry(format!("{blow:?}")).or_default() += 1;
        if matches!(blow, Blow::Delay | Blow::Abort) {
            *blows.entry("requests meddled with".into()).or_default() += trial.stage.rules.struck();
        }
        // What it broke shows before the next one.
        if !trial.expect_progress(&format!("{blow:?}, {:?} after the start", start.elapsed()))? {
            break;
        }
    }
    trial.sometimes.extend(blows);
    // As it was.
    transactions::set_version(trial, 2)
}

/// Blows that are dealt like cards, so that none is left out for long.
#[derive(Debug, Default)]
struct Deck(Vec<Blow>);

impl Deck {
    fn deal(&mut self, random: &mut StdRng) -> Blow {
        if self.0.is_empty() {
            self.0 = Blow::value_variants().to_vec();
            self.0.shuffle(random);
        }
        self.0.pop().expect("it was filled")
    }
}

fn one(trial: &mut Trial<'_>, blow: Blow) -> Result<(), RunError> {
    let exact = trial.delivery == Delivery::ExactlyOnce;
    let (short, long) = (Duration::from_secs(4), Duration::from_secs(15));
    match blow {
        Blow::KillOne => members::kill_once(trial, false),
        Blow::KillAll => members::kill_once(trial, true),
        Blow::Terminate => {
            let at_start = trial.random.random();
            members::terminate_once(trial, at_start)
        }
        Blow::Asleep => members::asleep_once(trial),
        Blow::Cut => network::cut_for(trial, short).map(drop),
        Blow::Partition => network::partition(trial, long),
        Blow::Throttle => network::throttle(trial, long),
        Blow::KillBroker => {
            let node = brokers::any(trial);
            brokers::kill(trial, node)
        }
        Blow::StopBroker => brokers::stop(trial, long),
        Blow::MoveLeaders => {
            let first = trial.random.random_range(0..3);
            brokers::move_leaders(trial, first)
        }
        Blow::Delay => {
            let apis = match trial.delivery {
                Delivery::ExactlyOnce => late::delayable(2),
                Delivery::AtLeastOnce => &[(PRODUCE, "Produce"), (OFFSET_COMMIT, "OffsetCommit")],
            };
            let (api, _) = *apis.choose(&mut trial.random).expect("there are some");
            late::delay(trial, api, short)
        }
        Blow::Abort if exact => (0..3).try_for_each(|way| transactions::abort(trial, way, short / 2)),
        Blow::IsolateCoordinator => coordinators::isolate_any(trial, false).map(drop),
        Blow::ReplaceCoordinator => coordinators::isolate_any(trial, true).map(drop),
        Blow::Reassign => {
            let first = trial.random.random_range(0..3);
            brokers::reassign(trial, first).map(drop)
        }
        Blow::LoseMajority => brokers::lose_majority(trial),
        Blow::FillDisk => brokers::fill_disk(trial).map(drop),
        Blow::DeleteEvents => {
            let at_start = trial.random.random();
            topics::delete_unread(trial, at_start)
        }
        Blow::ComeOrGo => members::come_or_go(trial, trial.working),
        Blow::TakeOver if exact => transactions::take_over(trial),
        Blow::SwitchVersion if exact => {
            let version = trial.random.random_range(1..=2);
            transactions::switch_version(trial, version)
        }
        Blow::Abort | Blow::TakeOver | Blow::SwitchVersion => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn no_blow_comes_again_before_all_have_come() {
        let (mut deck, mut random) = (Deck::default(), StdRng::seed_from_u64(1));
        let mut deal =
            || (0..Blow::value_variants().len()).map(|_| deck.deal(&mut random)).collect::<Vec<_>>();
        let (first, second) = (deal(), deal());
        assert_ne!(first, second, "in another order");
        for mut dealt in [first, second] {
            dealt.sort_unstable();
            assert_eq!(dealt, Blow::value_variants());
        }
    }
}
