//! What happens when, drawn from a seed, and how a failing schedule is reduced.

use std::{fmt, time::Duration};

use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::{PARTITIONS, Plant};
use crate::strategy::Order;

/// A failure that lasts this long must not keep other partitions from their work.
const LONG_MS: u64 = 20_000;

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
    pub what: Mishap,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::mill) enum Mishap {
    /// The process is killed, and started again.
    Kill,
    /// The process is asked to stop, and started again.
    Stop,
    /// The membership is lost with all partitions.
    Lose,
    /// Partitions up to this one are revoked; the group waits for this many milliseconds.
    Revoke(i32, u64),
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

impl Schedule {
    /// The schedule of a seed: three in four with all kinds of mishaps, the fourth with one
    /// partition that fails for long.
    pub fn new(seed: u64) -> Schedule {
        let mut random = SmallRng::seed_from_u64(seed);
        let alone = seed % 4 == 3;
        let decisions = if alone {
            vec![Decision { at: moment(&mut random, 50), what: trouble_of_one(&mut random) }]
        } else {
            let count = random.random_range(1..12);
            (0..count).map(|_| Decision { at: moment(&mut random, 400), what: mishap(&mut random) }).collect()
        };
        let order = [Order::Partition, Order::Partition, Order::Key, Order::None];
        Schedule {
            seed,
            order: order[random.random_range(0..order.len())],
            is_serial: random.random_bool(0.2),
            latest: random.random_bool(0.3),
            is_scarce: random.random_bool(0.3),
            exact: false,
            spreads: seed % 5 > 2,
            fails_routed: seed % 10 > 7,
            decisions,
            plant: None,
        }
        .sorted()
    }

    /// The same exactly once; there every partition waits for the slowest, and order is kept.
    pub fn exactly_once(seed: u64) -> Schedule {
        Schedule { exact: true, order: Order::Partition, ..Schedule::new(seed) }
    }

    fn sorted(mut self) -> Schedule {
        self.decisions.sort_by_key(|decision| decision.at);
        self
    }

    /// The only partition that fails, and until when.
    pub fn alone(&self) -> Option<(i32, Duration)> {
        // A transaction waits for all of its partitions.
        let [Decision { at, what }] = &self.decisions[..] else { return None };
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
        let simpler: [fn(&mut Schedule); 6] = [
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
            spreads,
            fails_routed,
            decisions,
            plant,
        } = self;
        writeln!(
            f,
            "seed {seed}, order {order}, serial {is_serial}, latest {latest}, scarce {is_scarce}, exact {exact}, \
             spreads {spreads}, fails routed {fails_routed}, plant {plant:?}"
        )?;
        for Decision { at, what } in decisions {
            writeln!(f, "  at {at:?}: {what:?}")?;
        }
        Ok(())
    }
}
