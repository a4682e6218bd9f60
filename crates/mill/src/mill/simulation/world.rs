//! The cluster, whatever happens to its clients, and what must hold of it.

mod group;
mod logs;
mod output;
mod transactions;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Range,
    sync::{Arc, Mutex},
    time::Duration,
};

pub(in crate::mill) use group::{Command, SESSION};
use logs::{Log, Logs};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use tokio::{sync::watch, time::Instant};
pub(in crate::mill) use transactions::Named;
use transactions::{Sent, Standing};

use super::{
    Plant,
    schedule::Mishap,
    source,
    spread::{Place, Topic},
};
use crate::{
    batch::{AssignmentId, TransactionNumber},
    engine::{Assignment, Offset},
    strategy::Order,
};

pub(in crate::mill) const PARTITIONS: i32 = 3;
/// The records of each partition at the end.
pub(in crate::mill) const RECORDS: i64 = 150;
/// How many are there at the start, and how many arrive per millisecond.
const AT_START: i64 = 40;

/// The state of a simulated cluster.
pub(in crate::mill) struct World {
    random: SmallRng,
    began: Option<Instant>,
    order: Order,
    latest: bool,
    pub plant: Option<Plant>,
    /// What is sent becomes visible when its transaction is committed.
    pub exact: bool,
    /// What was sent in transactions, in log order.
    sent: Vec<Sent>,
    /// The offsets that transactions hold and that are not the group's yet: whoever gets their partitions waits.
    pending: BTreeMap<Named, Vec<Offset>>,
    /// When the first record was sent in each transaction that has not ended.
    begun: BTreeMap<Named, Instant>,
    /// Those that the coordinator has aborted because they took too long.
    expired: BTreeSet<Named>,
    /// Several instances share the group; whoever gets a partition first may choose its position.
    pub is_shared: bool,
    /// The instance that starts next.
    pub starting: usize,
    /// Until when the process of an instance stands still.
    pub paused: BTreeMap<usize, Instant>,
    members: BTreeSet<usize>,
    /// Who has each partition.
    owners: BTreeMap<i32, usize>,
    /// Those that are to be given up.
    moving: BTreeSet<i32>,
    /// Changes who is to have what.
    shift: usize,
    /// How often a member was silent for too long.
    pub evictions: usize,
    /// The generation of the group.
    pub generation: i32,
    /// How many transactions were committed, how often they were aborted, and how often a stake was outdated.
    pub transactions: usize,
    pub aborts: usize,
    pub outdated: usize,
    /// The transactions that were committed although the answer never came.
    pub unheard: BTreeMap<usize, TransactionNumber>,
    /// The sinks whose transactional id another process has taken over.
    pub replaced: BTreeSet<u64>,
    /// Changes whenever something changes that somebody waits for.
    pub changed: watch::Sender<u64>,
    /// What stands in what is written.
    pub logs: Logs,
    /// Whether the transform does more than to write each record to the destination.
    pub spreads: bool,
    /// Whether what fails or stalls is the topic that it routes to.
    pub fails_routed: bool,
    pub committed: BTreeMap<i32, i64>,
    /// What was committed before that.
    before: BTreeMap<i32, i64>,
    /// What is told instead, once.
    told: BTreeMap<i32, i64>,
    /// The current assignment of each partition; commits of others are fenced.
    pub generations: BTreeMap<i32, u64>,
    pub last_assignment: u64,
    /// The position first chosen for a partition: what lies before it is not promised.
    pub chosen: BTreeMap<i32, i64>,
    /// Partitions for which nothing could be committed any more when they were given up.
    excused: BTreeSet<i32>,
    /// Assignments up to this one have ended, and the mill of the instance knows.
    pub over: BTreeMap<(usize, i32), u64>,
    /// The first offset whose output may be written under an assignment.
    expected: BTreeMap<(i32, u64), i64>,
    /// The next one in each partition that is written, and how many of its results were.
    progress: BTreeMap<(Place, i32, u64), (i64, usize)>,
    gaps: BTreeMap<(i32, u64), Vec<Range<i64>>>,
    /// The first offset that the log still has.
    pub log_start: BTreeMap<i32, i64>,
    pub unreadable: BTreeMap<i32, i64>,
    pub letters_refused: bool,
    /// What the source of each instance is to do next.
    pub commands: BTreeMap<usize, VecDeque<Command>>,
    stalled: BTreeMap<Place, Instant>,
    failing: BTreeMap<Place, (Instant, bool)>,
    commits_fail: Option<Instant>,
    /// How long each partition takes for each batch that is written to it, at least.
    pub pace: Duration,
    /// How long each question to the coordinator of transactions takes, if that is not drawn.
    pub coordinator_takes: Option<Duration>,
    /// The partition whose commits are not taken, while the others' are.
    pub refused_commits: Option<i32>,
    /// The number of sinks, the last one of each instance, and those that broke.
    sinks: u64,
    last_sinks: BTreeMap<usize, u64>,
    pub broken: BTreeSet<u64>,
    violation: Option<String>,
    /// What a source has handed out, as far as it has the partitions.
    pub handed_out: BTreeMap<i32, i64>,
}

pub(in crate::mill) type Shared = Arc<Mutex<World>>;

impl World {
    pub fn new(seed: u64, order: Order, latest: bool) -> World {
        World {
            random: SmallRng::seed_from_u64(seed),
            began: None,
            order,
            latest,
            plant: None,
            exact: false,
            sent: Vec::new(),
            pending: BTreeMap::new(),
            begun: BTreeMap::new(),
            expired: BTreeSet::new(),
            is_shared: false,
            starting: 0,
            paused: BTreeMap::new(),
            members: BTreeSet::new(),
            owners: BTreeMap::new(),
            moving: BTreeSet::new(),
            shift: 0,
            evictions: 0,
            generation: 0,
            transactions: 0,
            aborts: 0,
            outdated: 0,
            unheard: BTreeMap::new(),
            replaced: BTreeSet::new(),
            changed: watch::Sender::new(0),
            logs: Logs::default(),
            spreads: false,
            fails_routed: false,
            committed: BTreeMap::new(),
            before: BTreeMap::new(),
            told: BTreeMap::new(),
            generations: BTreeMap::new(),
            last_assignment: 0,
            chosen: BTreeMap::new(),
            excused: BTreeSet::new(),
            over: BTreeMap::new(),
            expected: BTreeMap::new(),
            progress: BTreeMap::new(),
            gaps: BTreeMap::new(),
            log_start: BTreeMap::new(),
            unreadable: BTreeMap::new(),
            letters_refused: false,
            commands: BTreeMap::new(),
            stalled: BTreeMap::new(),
            failing: BTreeMap::new(),
            commits_fail: None,
            pace: Duration::ZERO,
            coordinator_takes: None,
            refused_commits: None,
            sinks: 0,
            last_sinks: BTreeMap::new(),
            broken: BTreeSet::new(),
            violation: None,
            handed_out: BTreeMap::new(),
        }
    }

    pub fn delay(&mut self) -> Duration {
        Duration::from_micros(self.random.random_range(1..3000))
    }

    /// How long the coordinator of transactions takes to answer.
    pub fn coordinator_delay(&mut self) -> Duration {
        let drawn = self.delay() * 5;
        self.coordinator_takes.unwrap_or(drawn)
    }

    pub fn count(&mut self, most: i64) -> i64 {
        self.random.random_range(1..most)
    }

    /// A promise was broken.
    pub fn violate(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    pub fn violation(&self) -> Option<String> {
        self.violation.clone()
    }

    pub fn change(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// The end of each partition's log now.
    pub fn end(&mut self) -> i64 {
        let began = *self.began.get_or_insert_with(Instant::now);
        (AT_START + began.elapsed().as_millis() as i64).min(RECORDS)
    }

    /// Assigns partitions to the mill, each from its committed offset.
    pub fn assign(&mut self, partitions: impl IntoIterator<Item = i32>) -> Vec<Assignment> {
        partitions.into_iter().map(|partition| self.assign_one(partition)).collect()
    }

    fn assign_one(&mut self, partition: i32) -> Assignment {
        self.last_assignment += 1;
        let id = self.last_assignment;
        self.generations.insert(partition, id);
        let committed = self.committed.get(&partition).copied();
        let committed = self.told.remove(&partition).or(committed);
        let position = committed.unwrap_or_else(|| self.choose(partition));
        self.expected.insert((partition, id), position);
        let is_committed = committed.is_some() || self.plant == Some(Plant::PositionsCountAsCommitted);
        let partition = source(partition);
        Assignment { partition, id: AssignmentId(id), position, is_committed, is_late: false }
    }

    /// A position by policy.
    fn choose(&mut self, partition: i32) -> i64 {
        let position = if self.latest { self.end() } else { self.start(partition) };
        let was_chosen = self.chosen.insert(partition, position).is_some();
        if was_chosen && !self.excused.remove(&partition) && !self.is_shared {
            self.violate(format!("the position of partition {partition} is chosen a second time"));
        }
        position
    }

    pub fn start(&self, partition: i32) -> i64 {
        self.log_start.get(&partition).copied().unwrap_or(0)
    }

    /// Nothing more could be committed of these when they were given up.
    pub fn excuse(&mut self, partitions: impl IntoIterator<Item = i32>) {
        self.excused.extend(partitions);
    }

    pub fn skip(&mut self, partition: i32, assignment: u64, gap: Range<i64>) {
        self.gaps.entry((partition, assignment)).or_default().push(gap);
    }

    pub fn commits_fail(&self) -> bool {
        self.commits_fail.is_some_and(|until| until > Instant::now())
    }

    /// Whether it is taken: not from who has the partition no more.
    pub fn commit(&mut self, offset: &Offset) -> bool {
        let partition = offset.partition.partition;
        let is_refused = self.refused_commits == Some(partition);
        if is_refused || self.generations.get(&partition) != Some(&offset.assignment.0) {
            return false;
        }
        self.note(offset);
        true
    }

    /// It is committed.
    fn note(&mut self, offset: &Offset) {
        let partition = offset.partition.partition;
        let chosen = self.chosen.get(&partition).copied().unwrap_or(0);
        // What was committed before was looked at then.
        let known = self.committed.get(&partition).copied().unwrap_or(0);
        let from = chosen.max(self.start(partition)).max(known);
        let missing = (from..offset.next).find(|at| !self.is_final(partition, *at));
        if let Some(missing) = missing {
            let next = offset.next;
            self.violate(format!("offset {next} of partition {partition} is committed ahead of {missing}"));
        }
        if self.committed.get(&partition).is_some_and(|committed| *committed > offset.next) {
            self.violate(format!("partition {partition} is committed backwards to {}", offset.next));
        }
        let before = self.committed.insert(partition, offset.next);
        self.before.extend(before.map(|before| (partition, before)));
    }

    /// A coordinator that has just taken over tells, now and then, the offsets before the last ones of a group.
    pub fn tell_older(&mut self, partitions: &BTreeSet<i32>) {
        for partition in partitions {
            if self.random.random_ratio(1, 4) {
                let before = self.before.get(partition).copied();
                self.told.extend(before.map(|before| (*partition, before)));
            }
        }
    }

    /// Whether all that was handed out is committed.
    ///
    /// # Errors
    /// Names what is not.
    pub fn check_finished(&self) -> Result<(), String> {
        let ahead = self.handed_out.iter().find(|(of, read)| self.committed.get(of) < Some(*read));
        let text = |(of, read): (&i32, &i64)| {
            let committed = self.committed.get(of);
            format!("a stop ends well with partition {of} read up to {read}, and {committed:?} committed")
        };
        ahead.map_or(Ok(()), |ahead| Err(text(ahead)))
    }

    /// Until when a partition takes nothing.
    pub fn stalled(&mut self, to: Place) -> Option<Instant> {
        self.stalled.get(&to).copied().filter(|until| *until > Instant::now())
    }

    /// Whether a partition's writer fails now, and whether what it fails with is written.
    pub fn failing(&mut self, to: Place) -> Option<bool> {
        self.failing.get(&to).filter(|(until, _)| *until > Instant::now()).map(|(_, writes)| *writes)
    }

    /// Starts a mishap that does not concern the process itself.
    pub fn begin(&mut self, mishap: &Mishap) {
        self.begin_at(0, mishap);
    }

    /// The same, to the process of an instance if it is about one.
    pub fn begin_at(&mut self, instance: usize, mishap: &Mishap) {
        let sink = self.last_sinks.get(&instance).copied().unwrap_or(0);
        let until = |for_ms: u64| Instant::now() + Duration::from_millis(for_ms);
        let topic = if self.fails_routed { Topic::Routed } else { Topic::Destination };
        let destination = |partition: i32| Place::new(topic, partition);
        match mishap {
            Mishap::Kill | Mishap::Stop | Mishap::Pause(_) => unreachable!("of the process"),
            Mishap::Lose => self.evict(instance),
            Mishap::Revoke(most, patience_ms) => self.revoke(instance, *most, *patience_ms),
            Mishap::TakeOver => {
                self.replaced.insert(sink);
                self.abort(instance);
            }
            Mishap::BreakSink => drop(self.broken.insert(sink)),
            Mishap::FailWriter { partition, for_ms, writes } => {
                self.failing.insert(destination(*partition), (until(*for_ms), *writes));
            }
            Mishap::Stall { partition, for_ms } => {
                self.stalled.insert(destination(*partition), until(*for_ms));
            }
            Mishap::StallLetters { partition, for_ms } => {
                self.stalled.insert(Place::new(Topic::Letters, *partition), until(*for_ms));
            }
            Mishap::Remove { partition, records } => {
                let from = self.start(*partition).max(self.committed.get(partition).copied().unwrap_or(0));
                let start = (from + records).min(self.end());
                self.log_start.insert(*partition, start);
            }
            Mishap::Spoil { partition, records } => {
                let from = self.committed.get(partition).copied().unwrap_or(0);
                let at = (from + records).min(RECORDS - 1);
                // What was read already cannot become unreadable afterwards.
                self.unreadable.entry(*partition).or_insert(at);
            }
            Mishap::FailCommits(for_ms) => self.commits_fail = Some(until(*for_ms)),
        }
        self.change();
    }

    /// Until when the process of an instance stands still.
    pub fn paused(&self, instance: usize) -> Option<Instant> {
        self.paused.get(&instance).copied().filter(|until| *until > Instant::now())
    }

    /// The number of a new sink of the instance that starts. What an earlier one has left open is aborted.
    pub fn new_sink(&mut self) -> u64 {
        self.abort(self.starting);
        self.expired.retain(|named| named.instance != self.starting);
        self.sinks += 1;
        self.last_sinks.insert(self.starting, self.sinks);
        self.sinks
    }
}
