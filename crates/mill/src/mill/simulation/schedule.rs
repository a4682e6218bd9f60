//! What happens when, drawn from a seed, and how a failing schedule is reduced.

use std::{fmt, time::Duration};

use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::{MillSettings, PARTITIONS, Plant, Spread, World};
use crate::{
    strategy::{Order, StrategyKind},
    transform::TransformKind,
};

/// A failure that lasts this long must not keep other partitions from their work.
const LONG_MS: u64 = 20_000;

/// Exactly once, nothing is expected of the others in such a time: it is long if a transaction cannot last as long.
const LONG_EXACT_MS: u64 = 5000;

/// Everything that goes wrong in one run, and how it is set up. The delays in between come from
/// the seed as well.
#[derive(Clone)]
pub(in crate::mill) struct Schedule {
    pub seed: u64,
    pub order: Order,
    /// One batch at a time.
    pub is_serial: bool,
    /// Where a partition without a commit starts: at the end, or at the beginning.
    pub latest: bool,
    /// Partitions whose output is not taken may hold little memory.
    pub is_scarce: bool,
    /// Exactly once.
    pub exact: bool,
    /// How many processes share the work.
    pub instances: usize,
    /// The transform passes records over, writes several for one, and chooses topics and partitions.
    pub spreads: bool,
    /// What fails or stalls of the destination is of the topic that it routes to instead.
    pub fails_routed: bool,
    pub decisions: Vec<Decision>,
    /// A deliberate fault, planted to see that it is found.
    pub plant: Option<Plant>,
}

/// Something that goes wrong at some moment.
#[derive(Clone)]
pub(in crate::mill) struct Decision {
    pub at: Duration,
    /// Where, if it is about one instance.
    pub instance: usize,
    pub what: Mishap,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::mill) enum Mishap {
    /// The process is killed, and started again.
    Kill,
    /// The process is asked to stop, and started again.
    Stop,
    /// The process stands still for this many milliseconds, among several.
    Pause(u64),
    /// The membership is lost with all partitions.
    Lose,
    /// Partitions up to this one are revoked; the group waits for this many milliseconds.
    Revoke(i32, u64),
    /// Another process takes over the transactional id; in its time this one is started again.
    TakeOver,
    /// The sink breaks as a whole.
    BreakSink,
    /// The writer of a destination partition fails for this many milliseconds; what it failed with
    /// may have been written.
    FailWriter { partition: i32, for_ms: u64, writes: bool },
    /// A destination partition takes nothing for this many milliseconds.
    Stall { partition: i32, for_ms: u64 },
    /// A partition of the dead letter topic takes nothing for this many milliseconds.
    StallLetters { partition: i32, for_ms: u64 },
    /// This many records from the first one that is not committed are removed from the log.
    Remove { partition: i32, records: i64 },
    /// The log cannot be read from a record on that is this far behind the committed one.
    Spoil { partition: i32, records: i64 },
    /// The coordinator takes no commits for this many milliseconds.
    FailCommits(u64),
}

impl Mishap {
    /// It lasts no longer than this many milliseconds.
    fn shorten(&mut self, most_ms: u64) {
        match self {
            Mishap::FailWriter { for_ms, .. }
            | Mishap::Stall { for_ms, .. }
            | Mishap::StallLetters { for_ms, .. } => *for_ms = most_ms.min(*for_ms),
            _ => {}
        }
    }
}

impl Schedule {
    /// The schedule of a seed: three in four with all kinds of mishaps, the fourth with one
    /// partition that fails for long.
    pub fn new(seed: u64) -> Schedule {
        let mut random = SmallRng::seed_from_u64(seed);
        let alone = seed % 4 == 3;
        let decisions = if alone {
            vec![Decision { at: moment(&mut random, 50), instance: 0, what: trouble_of_one(&mut random) }]
        } else {
            let count = random.random_range(1..12);
            let one = |_| Decision { at: moment(&mut random, 400), instance: 0, what: mishap(&mut random) };
            (0..count).map(one).collect()
        };
        let order = [Order::Partition, Order::Partition, Order::Key, Order::None];
        Schedule {
            seed,
            order: order[random.random_range(0..order.len())],
            is_serial: random.random_bool(0.2),
            latest: random.random_bool(0.3),
            is_scarce: random.random_bool(0.3),
            exact: false,
            instances: 1,
            spreads: seed % 5 > 2,
            fails_routed: seed % 10 > 7,
            decisions,
            plant: None,
        }
        .sorted()
    }

    /// The same exactly once; there every partition waits for the slowest, and order is kept.
    pub fn exactly_once(seed: u64) -> Schedule {
        let mut schedule = Schedule { exact: true, order: Order::Partition, ..Schedule::new(seed) };
        // Whoever waits that long aborts again and again.
        for decision in &mut schedule.decisions {
            decision.what.shorten(LONG_EXACT_MS);
        }
        let mut random = SmallRng::seed_from_u64(!seed);
        if random.random_bool(0.2) {
            let at = moment(&mut random, 300);
            schedule.decisions.push(Decision { at, instance: 0, what: Mishap::TakeOver });
        }
        schedule.sorted()
    }

    /// The same with two or three instances, one of which may stand still at times, for longer than its session.
    pub fn several(seed: u64) -> Schedule {
        let mut schedule = Schedule::exactly_once(seed);
        let mut random = SmallRng::seed_from_u64(seed.rotate_left(17));
        (schedule.instances, schedule.latest) = (random.random_range(2..=3), false);
        for _ in 0..random.random_range(0..3) {
            let what = Mishap::Pause([30, 250, 400, 1000, 4000][random.random_range(0..5)]);
            schedule.decisions.push(Decision { at: moment(&mut random, 300), instance: 0, what });
        }
        // A log that cannot be read stops whoever reads it.
        schedule.decisions.retain(|decision| !matches!(decision.what, Mishap::Spoil { .. }));
        for decision in &mut schedule.decisions {
            decision.instance = random.random_range(0..schedule.instances);
        }
        schedule.sorted()
    }

    /// The cluster at its start.
    pub fn world(&self) -> World {
        let mut world = World::new(self.seed, self.order, self.latest);
        (world.plant, world.exact) = (self.plant, self.exact);
        (world.spreads, world.fails_routed) = (self.spreads, self.fails_routed);
        world
    }

    /// How its mills run.
    pub fn settings(&self) -> MillSettings {
        let mut settings = super::settings(StrategyKind::Pipeline, self.order);
        settings.transactions = self.exact.then_some(Duration::from_secs(2));
        if self.is_scarce {
            settings.stalled_memory = 5000;
        }
        if self.spreads {
            settings.strategy.transform = TransformKind::custom(|| Box::new(Spread));
        }
        if self.plant == Some(Plant::OrderIsLost) {
            settings.strategy.order = Order::None;
        }
        settings
    }

    /// Whether another process takes over a transactional id.
    pub fn has_take_over(&self) -> bool {
        self.decisions.iter().any(|decision| decision.what == Mishap::TakeOver)
    }

    fn sorted(mut self) -> Schedule {
        self.decisions.sort_by_key(|decision| decision.at);
        self
    }

    /// The only partition that fails, and until when.
    pub fn alone(&self) -> Option<(i32, Duration)> {
        // A transaction waits for all of its partitions.
        let [Decision { at, what, .. }] = &self.decisions[..] else { return None };
        if self.exact {
            return None;
        }
        match what {
            Mishap::FailWriter { partition, for_ms, .. }
            | Mishap::Stall { partition, for_ms }
            | Mishap::StallLetters { partition, for_ms }
                if *for_ms >= LONG_MS =>
            {
                Some((*partition, *at + Duration::from_millis(*for_ms)))
            }
            _ => None,
        }
    }

    /// Whether a partition of the source suffers when the `troubled` one of what is written does.
    pub fn concerns(&self, troubled: i32, partition: i32) -> bool {
        let letters = |decision: &Decision| matches!(decision.what, Mishap::StallLetters { .. });
        let is_chosen = self.spreads && !self.fails_routed && !self.decisions.iter().any(letters);
        partition == troubled || is_chosen && (partition + 1) % PARTITIONS == troubled
    }

    /// The smallest schedule found that still fails, and how it fails.
    pub fn shrunk(&self, failure: String, fails: impl Fn(&Schedule) -> Option<String>) -> (Schedule, String) {
        let (mut smallest, mut failure) = (self.clone(), failure);
        let mut attempt = |candidate: Schedule, smallest: &mut Schedule| match fails(&candidate) {
            Some(said) => {
                (*smallest, failure) = (candidate, said);
                true
            }
            None => false,
        };
        // Half of the decisions, a quarter, and so on down to each alone.
        let mut size = smallest.decisions.len().div_ceil(2).max(1);
        loop {
            let mut from = 0;
            while from < smallest.decisions.len() {
                let mut candidate = smallest.clone();
                let end = (from + size).min(candidate.decisions.len());
                candidate.decisions.drain(from..end);
                if !attempt(candidate, &mut smallest) {
                    from += size;
                }
            }
            if size == 1 {
                break;
            }
            size = size.div_ceil(2);
        }
        let simpler: [fn(&mut Schedule); 7] = [
            |schedule| {
                schedule.instances = schedule.instances.min(2);
                let last = schedule.instances - 1;
                schedule.decisions.iter_mut().for_each(|of| of.instance = of.instance.min(last));
            },
            |schedule| schedule.spreads = false,
            |schedule| schedule.fails_routed = false,
            |schedule| schedule.order = Order::Partition,
            |schedule| schedule.is_serial = false,
            |schedule| schedule.latest = false,
            |schedule| schedule.is_scarce = false,
        ];
        for simplify in simpler {
            let mut candidate = smallest.clone();
            simplify(&mut candidate);
            attempt(candidate, &mut smallest);
        }
        (smallest, failure)
    }
}

fn moment(random: &mut SmallRng, within_ms: u64) -> Duration {
    Duration::from_millis(random.random_range(0..within_ms))
}

fn mishap(random: &mut SmallRng) -> Mishap {
    let partition = random.random_range(0..PARTITIONS);
    let for_ms = if random.random_bool(0.2) { 5000 } else { random.random_range(1..200) };
    let records = random.random_range(1..40);
    match random.random_range(0..13) {
        0 => Mishap::Kill,
        1 => Mishap::Stop,
        2 => Mishap::Lose,
        3 | 4 => Mishap::Revoke(partition, [1, 5, 50, 500][random.random_range(0..4)]),
        5 => Mishap::BreakSink,
        6 | 7 => Mishap::FailWriter { partition, for_ms, writes: random.random_bool(0.5) },
        8 => Mishap::Stall { partition, for_ms },
        9 => Mishap::StallLetters { partition, for_ms },
        10 => Mishap::Remove { partition, records },
        11 if random.random_bool(0.3) => Mishap::Spoil { partition, records },
        _ => Mishap::FailCommits(for_ms.min(1000)),
    }
}

fn trouble_of_one(random: &mut SmallRng) -> Mishap {
    let (partition, for_ms) = (random.random_range(0..PARTITIONS), LONG_MS);
    match random.random_range(0..3) {
        0 => Mishap::FailWriter { partition, for_ms, writes: random.random_bool(0.5) },
        1 => Mishap::Stall { partition, for_ms },
        _ => Mishap::StallLetters { partition, for_ms },
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Schedule {
            seed,
            order,
            is_serial,
            latest,
            is_scarce,
            exact,
            instances,
            spreads,
            fails_routed,
            decisions,
            plant,
        } = self;
        writeln!(
            f,
            "seed {seed}, order {order}, serial {is_serial}, latest {latest}, scarce {is_scarce}, exact {exact}, \
             instances {instances}, spreads {spreads}, fails routed {fails_routed}, plant {plant:?}"
        )?;
        for Decision { at, instance, what } in decisions {
            writeln!(f, "  at {at:?}, instance {instance}: {what:?}")?;
        }
        Ok(())
    }
}
