//! The cluster, whatever happens to its clients, and what must hold of it.

mod transactions;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Range,
    sync::{Arc, Mutex},
    time::Duration,
};

use rand::{Rng, SeedableRng, rngs::SmallRng};
use tokio::{sync::watch, time::Instant};
use transactions::{Sent, Standing};

use super::{
    Plant, is_poison,
    schedule::Mishap,
    source,
    spread::{belongs, is_refused},
};
use crate::{
    batch::{AssignmentId, TopicPartition, TransactionNumber},
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
    pending: BTreeMap<TransactionNumber, Vec<Offset>>,
    /// The generation of the group.
    pub generation: i32,
    /// How many transactions were committed, how often they were aborted, and how often a stake was outdated.
    pub transactions: usize,
    pub aborts: usize,
    pub outdated: usize,
    /// The last sink whose transactional id another process has taken over.
    pub replaced: u64,
    /// Changes whenever something changes that somebody waits for.
    pub changed: watch::Sender<u64>,
    /// What of each partition of the source stands in each partition that is written, in log order, as the
    /// offsets that it comes from.
    pub logs: BTreeMap<(TopicPartition, i32), Vec<i64>>,
    /// Whether the transform does more than to write each record to the destination.
    pub spreads: bool,
    /// Whether what fails or stalls is the topic that it routes to.
    pub fails_routed: bool,
    pub committed: BTreeMap<i32, i64>,
    /// The current assignment of each partition; commits of others are fenced.
    pub generations: BTreeMap<i32, u64>,
    last_assignment: u64,
    /// The position first chosen for a partition: what lies before it is not promised.
    pub chosen: BTreeMap<i32, i64>,
    /// Partitions for which nothing could be committed any more when they were given up.
    excused: BTreeSet<i32>,
    /// Assignments up to this one have ended, and the mill knows.
    pub over: BTreeMap<i32, u64>,
    /// The first offset whose output may be written under an assignment.
    expected: BTreeMap<(i32, u64), i64>,
    /// The next one in each partition that is written, and how many of its results were.
    progress: BTreeMap<(TopicPartition, i32, u64), (i64, usize)>,
    gaps: BTreeMap<(i32, u64), Vec<Range<i64>>>,
    /// The first offset that the log still has.
    pub log_start: BTreeMap<i32, i64>,
    pub unreadable: BTreeMap<i32, i64>,
    pub letters_refused: bool,
    /// What the source is to do next.
    pub commands: VecDeque<Mishap>,
    stalled: BTreeMap<TopicPartition, Instant>,
    failing: BTreeMap<TopicPartition, (Instant, bool)>,
    commits_fail: Option<Instant>,
    /// How long each partition takes for each batch that is written to it, at least.
    pub pace: Duration,
    /// The partition whose commits are not taken, while the others' are.
    pub refused_commits: Option<i32>,
    /// The number of the sink, and of the last one that broke.
    pub sinks: u64,
    pub broken: u64,
    violation: Option<String>,
    /// What a source has handed out, for a planted fault.
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
            generation: 0,
            transactions: 0,
            aborts: 0,
            outdated: 0,
            replaced: 0,
            changed: watch::Sender::new(0),
            logs: BTreeMap::new(),
            spreads: false,
            fails_routed: false,
            committed: BTreeMap::new(),
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
            commands: VecDeque::new(),
            stalled: BTreeMap::new(),
            failing: BTreeMap::new(),
            commits_fail: None,
            pace: Duration::ZERO,
            refused_commits: None,
            sinks: 0,
            broken: 0,
            violation: None,
            handed_out: BTreeMap::new(),
        }
    }

    pub fn delay(&mut self) -> Duration {
        Duration::from_micros(self.random.random_range(1..3000))
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
        if was_chosen && !self.excused.remove(&partition) {
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
        self.committed.insert(partition, offset.next);
    }

    /// How often output of a record stands in a partition.
    fn count_in(&self, to: &TopicPartition, partition: i32, offset: i64) -> usize {
        let log = self.logs.get(&(to.clone(), partition));
        log.map_or(0, |offsets| offsets.iter().filter(|at| **at == offset).count())
    }

    fn has_letter(&self, partition: i32, offset: i64) -> bool {
        self.count_in(&TopicPartition::new("letters", partition), partition, offset) > 0
    }

    /// Whether a record must have a dead letter.
    fn is_bad(&self, partition: i32, offset: i64) -> bool {
        let belongs = belongs(self.spreads, partition, offset);
        is_poison(offset) || belongs.iter().any(|to| is_refused(self.spreads, to, offset))
    }

    /// How often output of a record belongs in a partition and is not refused there.
    fn due_in(&self, to: &TopicPartition, partition: i32, offset: i64) -> usize {
        let belongs = belongs(self.spreads, partition, offset);
        let is_due = |of: &&TopicPartition| *of == to && !is_refused(self.spreads, to, offset);
        belongs.iter().filter(is_due).count()
    }

    /// Whether nothing of a record is left to be written.
    fn is_final(&self, partition: i32, offset: i64) -> bool {
        let is_written =
            |to: &TopicPartition| self.count_in(to, partition, offset) >= self.due_in(to, partition, offset);
        let all_written = || belongs(self.spreads, partition, offset).iter().all(is_written);
        all_written() && (!self.is_bad(partition, offset) || self.has_letter(partition, offset))
    }

    /// Appends what a producer sends of a partition of the source to a log; returns the indexes of refused
    /// records.
    pub fn append(
        &mut self,
        to: &TopicPartition,
        origin: i32,
        assignment: u64,
        transaction: Option<TransactionNumber>,
        offsets: &[i64],
    ) -> Vec<usize> {
        if self.over.get(&origin).is_some_and(|over| assignment <= *over) {
            self.violate(format!("{to}: {offsets:?} of assignment {assignment} is sent, which is over"));
        }
        let to_letters = &*to.topic == "letters";
        if !to_letters && self.order == Order::Partition {
            self.check_order(to, origin, assignment, offsets);
        }
        let mut refused = Vec::new();
        for (index, offset) in offsets.iter().enumerate() {
            if if to_letters { self.letters_refused } else { is_refused(self.spreads, to, *offset) } {
                refused.push(index);
            } else if let Some(transaction) = transaction {
                let standing = Standing::Open(transaction);
                self.sent.push(Sent { standing, to: to.clone(), origin, offset: *offset });
            } else {
                self.logs.entry((to.clone(), origin)).or_default().push(*offset);
            }
        }
        refused
    }

    /// Under one assignment every record follows the one before it; none is left out.
    fn check_order(&mut self, to: &TopicPartition, origin: i32, assignment: u64, offsets: &[i64]) {
        let first = self.expected.get(&(origin, assignment)).copied().unwrap_or(0);
        let key = (to.clone(), origin, assignment);
        let (mut expected, mut written) = self.progress.get(&key).copied().unwrap_or((first, 0));
        let gaps = self.gaps.get(&(origin, assignment)).cloned().unwrap_or_default();
        let results = |of: i64| belongs(self.spreads, origin, of).iter().filter(|at| *at == to).count();
        let mut violation = None;
        for offset in offsets {
            while let Some(next) = gaps
                .iter()
                .find(|gap| gap.contains(&expected))
                .map(|gap| gap.end)
                .or_else(|| (written >= results(expected)).then_some(expected + 1))
            {
                // No record belongs there any more.
                if expected > RECORDS {
                    break;
                }
                (expected, written) = (next, 0);
            }
            if *offset != expected {
                let text = format!("{to}: {offset} is written where {expected} is due, of {assignment}");
                violation.get_or_insert(text);
            }
            (expected, written) = (*offset, if *offset == expected { written + 1 } else { 1 });
        }
        if let Some(violation) = violation {
            self.violate(violation);
        }
        self.progress.insert(key, (expected, written));
    }

    /// Until when a partition takes nothing.
    pub fn stalled(&mut self, to: &TopicPartition) -> Option<Instant> {
        self.stalled.get(to).copied().filter(|until| *until > Instant::now())
    }

    /// Whether a partition's writer fails now, and whether what it fails with is written.
    pub fn failing(&mut self, to: &TopicPartition) -> Option<bool> {
        self.failing.get(to).filter(|(until, _)| *until > Instant::now()).map(|(_, writes)| *writes)
    }

    /// Starts a mishap that does not concern the process itself.
    pub fn begin(&mut self, mishap: &Mishap) {
        let until = |for_ms: u64| Instant::now() + Duration::from_millis(for_ms);
        let topic = if self.fails_routed { "routed" } else { "destination" };
        let destination = |partition: i32| TopicPartition::new(topic, partition);
        match mishap {
            Mishap::Kill | Mishap::Stop => unreachable!("of the process"),
            Mishap::Lose | Mishap::Revoke(..) => {
                self.generation += 1;
                self.commands.push_back(mishap.clone());
            }
            Mishap::TakeOver => {
                self.replaced = self.sinks;
                self.abort();
            }
            Mishap::BreakSink => self.broken = self.sinks,
            Mishap::FailWriter { partition, for_ms, writes } => {
                self.failing.insert(destination(*partition), (until(*for_ms), *writes));
            }
            Mishap::Stall { partition, for_ms } => {
                self.stalled.insert(destination(*partition), until(*for_ms));
            }
            Mishap::StallLetters { partition, for_ms } => {
                self.stalled.insert(TopicPartition::new("letters", *partition), until(*for_ms));
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

    /// Whether everything promised of a partition has been done.
    pub fn check_complete(&self, partition: i32) -> Result<(), String> {
        if self.committed.get(&partition) != Some(&RECORDS) {
            return Err(format!(
                "partition {partition} is committed to {:?}",
                self.committed.get(&partition)
            ));
        }
        for ((to, _), offsets) in self.logs.iter().filter(|((_, origin), _)| *origin == partition) {
            let mut first_times: Vec<i64> = Vec::new();
            for offset in offsets {
                if !first_times.contains(offset) {
                    first_times.push(*offset);
                }
            }
            let is_ordered = self.order == Order::Partition && &*to.topic != "letters";
            if is_ordered && !first_times.is_sorted() {
                return Err(format!("{to} is out of order, of partition {partition}: {first_times:?}"));
            }
        }
        let from = self.chosen.get(&partition).copied().unwrap_or(0).max(self.start(partition));
        match (from..RECORDS).find(|offset| !self.stands(partition, *offset)) {
            Some(missing) => Err(format!("partition {partition} lacks {missing}")),
            None => Ok(()),
        }
    }

    /// Whether a record stands where it belongs, and only there.
    pub fn stands(&self, partition: i32, offset: i64) -> bool {
        let mut places =
            self.logs.keys().filter(|(to, origin)| *origin == partition && &*to.topic != "letters");
        let is_expected = |(to, _): &(TopicPartition, i32)| {
            self.due_in(to, partition, offset) > 0 || self.count_in(to, partition, offset) == 0
        };
        self.is_final(partition, offset)
            && self.has_letter(partition, offset) == self.is_bad(partition, offset)
            && places.all(is_expected)
    }

    /// The records in all logs if each is written once.
    pub fn records_due(&self) -> usize {
        let due = |partition: i32, offset: i64| {
            let belongs = belongs(self.spreads, partition, offset);
            let written = belongs.iter().filter(|to| !is_refused(self.spreads, to, offset)).count();
            written + usize::from(self.is_bad(partition, offset))
        };
        (0..PARTITIONS)
            .map(|partition| (0..RECORDS).map(|offset| due(partition, offset)).sum::<usize>())
            .sum()
    }
}
