//! A seeded simulation: a mill between a source and a sink that fail, lose assignments and are
//! killed at random moments of virtual time. Whatever happens, nothing may be lost, no commit
//! may run ahead of the output, and the order may change only by declared replays.
//!
//! The transform threads run in real time while virtual time rushes on, so whatever must not
//! end by timeout gets [`FOREVER`].

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    sync::{Arc, Mutex},
};

use rand::{Rng, SeedableRng, rngs::SmallRng};
use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};

use super::*;
use crate::{
    backoff::Backoff,
    batch::{AssignmentId, OutputBatch, Record, Span},
    dead_letter,
    engine::{Assignment, Receipt, Refusal},
    records::{self, Headers},
    strategy::{Order, StrategyKind},
    transform::{ErrorClass, Output, Transform, TransformKind, ValueError, Values},
};

pub(super) const PARTITIONS: i32 = 3;
const RECORDS: i64 = 400;
const FOREVER: Duration = Duration::from_secs(100_000_000);

/// The cluster as it stands, whatever happens to its clients.
pub(super) struct World {
    random: SmallRng,
    /// The offsets whose output stands in each destination partition, in log order.
    written: BTreeMap<i32, Vec<i64>>,
    /// The offsets whose dead letter stands in each partition of the dead letter topic.
    letters: BTreeMap<i32, Vec<i64>>,
    committed: BTreeMap<i32, i64>,
    /// The current assignment of each partition; commits of others are fenced.
    generations: BTreeMap<i32, u64>,
    last_assignment: u64,
    /// How likely each mishap is at each opportunity, in percent.
    mishaps: u32,
    letters_refused: bool,
}

pub(super) type Shared = Arc<Mutex<World>>;

impl World {
    pub(super) fn new(seed: u64, mishaps: u32) -> World {
        World {
            random: SmallRng::seed_from_u64(seed),
            written: BTreeMap::new(),
            letters: BTreeMap::new(),
            committed: BTreeMap::new(),
            generations: BTreeMap::new(),
            last_assignment: 0,
            mishaps,
            letters_refused: false,
        }
    }

    fn mishap(&mut self) -> bool {
        self.random.random_range(0..100) < self.mishaps
    }

    fn delay(&mut self) -> Duration {
        Duration::from_micros(self.random.random_range(1..3000))
    }

    pub(super) fn assign_all(&mut self) -> Vec<Assignment> {
        self.last_assignment += 1;
        (0..PARTITIONS)
            .map(|partition| {
                self.generations.insert(partition, self.last_assignment);
                Assignment {
                    partition: source(partition),
                    id: AssignmentId(self.last_assignment),
                    position: self.committed.get(&partition).copied().unwrap_or(0),
                    is_committed: true,
                }
            })
            .collect()
    }

    fn commit(&mut self, offset: &Offset) {
        let partition = offset.partition.partition;
        if self.generations.get(&partition) != Some(&offset.assignment.0) {
            return;
        }
        for at in 0..offset.next {
            let is_final = [&self.written, &self.letters]
                .iter()
                .any(|log| log.get(&partition).is_some_and(|offsets| offsets.contains(&at)));
            assert!(is_final, "offset {} of partition {partition} is committed ahead of {at}", offset.next);
        }
        self.committed.insert(partition, offset.next);
    }
}

pub(super) fn source(partition: i32) -> TopicPartition {
    TopicPartition::new("source", partition)
}

/// Every tenth record is poison for the transform; some are too large for the destination.
fn is_poison(offset: i64) -> bool {
    offset % 10 == 3
}

fn is_refused(offset: i64) -> bool {
    offset % 50 == 7
}

struct Numbers;

impl Transform for Numbers {
    fn apply(&mut self, values: &Values<'_>, out: &mut Output<'_>) {
        for (index, value) in values.iter() {
            let offset: i64 = std::str::from_utf8(value).unwrap().parse().unwrap();
            if is_poison(offset) {
                out.fail(index, ValueError::new(ErrorClass::Syntax, "poison"));
            } else {
                out.write(index, &[value]);
            }
        }
    }
}

pub(super) struct SimulatedSource {
    world: Shared,
    events: VecDeque<SourceEvent>,
    positions: BTreeMap<i32, (u64, i64)>,
    /// Resolves when the mill let the revoked partitions go.
    releasing: Option<oneshot::Receiver<()>>,
}

impl SimulatedSource {
    fn new(world: &Shared) -> SimulatedSource {
        let mut source = SimulatedSource {
            world: Arc::clone(world),
            events: VecDeque::new(),
            positions: BTreeMap::new(),
            releasing: None,
        };
        source.assign();
        source
    }

    fn assign(&mut self) {
        let assignments = self.world.lock().unwrap().assign_all();
        self.positions = assignments
            .iter()
            .map(|assignment| (assignment.partition.partition, (assignment.id.0, assignment.position)))
            .collect();
        self.events.push_back(SourceEvent::Assigned(assignments));
    }

    fn rebalance(&mut self) {
        let partitions: Vec<TopicPartition> = self.positions.keys().map(|p| source(*p)).collect();
        self.positions.clear();
        if self.world.lock().unwrap().random.random_bool(0.5) {
            let (release, released) = oneshot::channel();
            self.releasing = Some(released);
            self.events.push_back(SourceEvent::Revoked { partitions, release });
        } else {
            self.world.lock().unwrap().generations.clear();
            self.events.push_back(SourceEvent::Lost(partitions));
            self.assign();
        }
    }

    /// A run of records of a random partition that has some left.
    fn batch(&mut self) -> Option<PartitionBatch> {
        let mut world = self.world.lock().unwrap();
        let open: Vec<i32> = self.positions.iter().filter(|(_, p)| p.1 < RECORDS).map(|(p, _)| *p).collect();
        let partition = *open.get(world.random.random_range(0..open.len().max(1)))?;
        let count = world.random.random_range(1..30);
        let (assignment, position) = self.positions.get_mut(&partition)?;
        let end = (*position + count).min(RECORDS);
        let batch = batch(partition, AssignmentId(*assignment), *position, end);
        *position = end;
        Some(batch)
    }
}

pub(super) fn batch(partition: i32, assignment: AssignmentId, from: i64, end: i64) -> PartitionBatch {
    let mut buffer = records::NO_HEADERS.to_vec();
    let records = (from..end)
        .map(|offset| {
            let text = offset.to_string();
            let value = Span::new(buffer.len() as u32, text.len() as u32);
            buffer.extend_from_slice(text.as_bytes());
            Record { offset, timestamp: offset, key: Span::NULL, value, headers: Span::new(0, 1) }
        })
        .collect();
    PartitionBatch {
        origin: source(partition),
        assignment,
        next_offset: end,
        buffer: buffer.into(),
        records,
        ..PartitionBatch::default()
    }
}

impl Source for SimulatedSource {
    async fn next(&mut self, room: &Room) -> Result<SourceEvent, EngineError> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            let delay = self.world.lock().unwrap().delay();
            if let Some(released) = &mut self.releasing {
                let _ = timeout(Duration::from_millis(50), released).await;
                self.releasing = None;
                self.world.lock().unwrap().generations.clear();
                self.assign();
                continue;
            }
            sleep(delay).await;
            if self.world.lock().unwrap().mishap() {
                self.rebalance();
            } else if room.is_open
                && let Some(batch) = self.batch()
            {
                return Ok(SourceEvent::Batch(batch, Permit::none()));
            }
        }
    }

    fn commit(&self, offsets: Vec<Offset>) -> impl Future<Output = Result<(), EngineError>> + Send + 'static {
        let world = Arc::clone(&self.world);
        async move {
            let delay = world.lock().unwrap().delay();
            sleep(delay).await;
            let mut world = world.lock().unwrap();
            if world.mishap() {
                return Err(EngineError::new(ErrorKind::Retriable, "the coordinator is loading"));
            }
            offsets.iter().for_each(|offset| world.commit(offset));
            Ok(())
        }
    }

    async fn rewind(&mut self, _partitions: Vec<TopicPartition>) {
        unreachable!("nothing is rewound yet")
    }

    async fn close(self) {}
}

pub(super) struct SimulatedSink {
    world: Shared,
    spent: bool,
    /// The partitions that a batch is missing from: an idempotent producer appends none after it.
    gaps: HashSet<TopicPartition>,
}

impl SimulatedSink {
    /// Appends what the destination takes; the indexes of what it refuses.
    fn append(world: &mut World, batch: &OutputBatch) -> Vec<usize> {
        let to_letters = &*batch.destination.topic == "letters";
        let offsets = offsets_of(batch, to_letters);
        let log = if to_letters { &mut world.letters } else { &mut world.written };
        let log = log.entry(batch.destination.partition).or_default();
        let mut refused = Vec::new();
        for (index, offset) in offsets.into_iter().enumerate() {
            if if to_letters { world.letters_refused } else { is_refused(offset) } {
                refused.push(index);
            } else {
                log.push(offset);
            }
        }
        refused
    }
}

impl Sink for SimulatedSink {
    fn send(
        &mut self,
        batch: OutputBatch,
    ) -> impl Future<Output = Result<Receipt, EngineError>> + Send + 'static {
        let mut world = self.world.lock().unwrap();
        let delay = world.delay();
        self.spent |= world.mishap() && world.mishap();
        // A spent sink is uncertain: its last batch may or may not stand in the log.
        if self.spent && world.random.random_bool(0.5) {
            self.gaps.insert(batch.destination.clone());
        }
        let refused = if self.gaps.contains(&batch.destination) {
            Vec::new()
        } else {
            SimulatedSink::append(&mut world, &batch)
        };
        let spent = self.spent;
        async move {
            sleep(delay).await;
            if spent {
                return Err(EngineError::new(ErrorKind::Retriable, "no answer").at(&batch.destination));
            }
            let error = ValueError::new(ErrorClass::Oversized, "too large");
            let refused = refused.into_iter().map(|index| Refusal { index, error: error.clone() }).collect();
            Ok(Receipt { refused })
        }
    }

    fn forget(&mut self, _origin: &TopicPartition, _assignment: AssignmentId) {}

    async fn close(self) {}
}

/// The source offsets that the records of a batch stand for.
fn offsets_of(batch: &OutputBatch, letters: bool) -> Vec<i64> {
    let mut offsets = Vec::new();
    for chunk in &batch.chunks {
        for record in chunk.records().unwrap() {
            let text = |bytes: &[u8]| std::str::from_utf8(bytes).unwrap().parse::<i64>().unwrap();
            let value = text(record.value.get(&chunk.bytes).unwrap());
            if letters {
                let headers = record.headers.get(&chunk.bytes).unwrap();
                let origin = Headers::new(headers).find(|(key, _)| *key == dead_letter::OFFSET.as_bytes());
                assert_eq!(text(origin.unwrap().1.unwrap()), value, "a dead letter names its origin");
            }
            offsets.push(value);
        }
    }
    offsets
}

pub(super) fn settings(kind: StrategyKind, order: Order) -> MillSettings {
    MillSettings {
        strategy: StrategySettings {
            kind,
            workers: 3,
            order,
            transform: TransformKind::Custom(Arc::new(|| Box::new(Numbers))),
            chunk_limit: 300,
        },
        routes: Routes {
            destination: "destination".into(),
            dead_letter: "letters".into(),
            group: "group".into(),
            chunk_limit: 300,
            window: 2000,
            retries: 3,
            backoff: Backoff { first: Duration::from_millis(1), most: Duration::from_millis(5) },
        },
        commit_interval: Duration::from_millis(5),
        drain_timeout: FOREVER,
        retries: 1000,
        until: Some((0..PARTITIONS).map(|partition| (source(partition), RECORDS)).collect()),
    }
}

pub(super) fn mill(world: &Shared, settings: &MillSettings) -> Mill<SimulatedSource, SimulatedSink> {
    let sink = SimulatedSink { world: Arc::clone(world), spent: false, gaps: HashSet::new() };
    Mill::new(SimulatedSource::new(world), sink, settings.clone(), Observers::default())
}

/// Runs mills until one reaches the goal, killing some on the way; the number of starts.
async fn run_until_done(world: &Shared, settings: &MillSettings) -> usize {
    let (_keep, drain) = watch::channel(false);
    for start in 1..500 {
        let patience = {
            let mut world = world.lock().unwrap();
            let kill = world.mishap() || world.mishap();
            if kill { Duration::from_millis(world.random.random_range(1..200)) } else { FOREVER }
        };
        match timeout(patience, mill(world, settings).run(drain.clone())).await {
            Ok(Ended { result: Ok(()), .. }) => return start,
            Ok(Ended { result: Err(error), .. }) => assert!(error.is_retriable(), "{error}"),
            Err(_killed) => {}
        }
    }
    panic!("no mill reached the end");
}

fn check_complete(world: &World, order: Order) {
    for partition in 0..PARTITIONS {
        assert_eq!(world.committed[&partition], RECORDS);
        let written = &world.written[&partition];
        let mut first_times = Vec::new();
        for offset in written {
            if !first_times.contains(offset) {
                first_times.push(*offset);
            }
        }
        if order != Order::Partition {
            first_times.sort_unstable();
        }
        let good = |offset: &i64| !is_poison(*offset) && !is_refused(*offset);
        assert_eq!(first_times, (0..RECORDS).filter(good).collect::<Vec<_>>());
        let mut letters = world.letters[&partition].clone();
        letters.sort_unstable();
        letters.dedup();
        assert_eq!(letters, (0..RECORDS).filter(|offset| !good(offset)).collect::<Vec<_>>());
    }
}

pub(super) fn in_virtual_time<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(future)
}

#[test]
fn without_mishaps_every_record_is_written_once() {
    for (kind, order) in ALL {
        let world = Arc::new(Mutex::new(World::new(1, 0)));
        let starts = in_virtual_time(run_until_done(&world, &settings(kind, order)));
        let world = world.lock().unwrap();
        check_complete(&world, order);
        assert_eq!(starts, 1);
        let written: usize = world.written.values().map(Vec::len).sum();
        let letters: usize = world.letters.values().map(Vec::len).sum();
        assert_eq!(written + letters, (PARTITIONS as i64 * RECORDS) as usize, "{kind} {order}");
    }
}

const ALL: [(StrategyKind, Order); 5] = [
    (StrategyKind::Serial, Order::Partition),
    (StrategyKind::Pipeline, Order::Partition),
    (StrategyKind::Worker, Order::Partition),
    (StrategyKind::Worker, Order::Key),
    (StrategyKind::Worker, Order::None),
];

#[test]
fn whatever_happens_nothing_is_lost_and_no_commit_runs_ahead() {
    let mut starts = 0;
    for seed in 0..60 {
        let (kind, order) = ALL[seed as usize % ALL.len()];
        let world = Arc::new(Mutex::new(World::new(seed, 2 + seed as u32 % 9)));
        starts += in_virtual_time(run_until_done(&world, &settings(kind, order)));
        check_complete(&world.lock().unwrap(), order);
    }
    assert!(starts > 80, "the mishaps made only {starts} starts");
}

#[test]
fn a_refused_dead_letter_stops_its_partition_before_the_record() {
    for (kind, order) in ALL {
        let world = Arc::new(Mutex::new(World::new(5, 0)));
        world.lock().unwrap().letters_refused = true;
        let (_keep, drain) = watch::channel(false);
        let ended = in_virtual_time(mill(&world, &settings(kind, order)).run(drain));
        assert!(matches!(ended.result, Err(MillError::Stopped(_))), "{:?}", ended.result);
        let world = world.lock().unwrap();
        let first_bad = (0..RECORDS).find(|offset| is_poison(*offset)).unwrap();
        for partition in 0..PARTITIONS {
            assert!(world.committed.get(&partition).is_none_or(|committed| *committed <= first_bad));
        }
    }
}

#[test]
fn a_drain_finishes_what_is_under_way_and_repeats_nothing() {
    for (kind, order) in ALL {
        let world = Arc::new(Mutex::new(World::new(9, 0)));
        in_virtual_time(async {
            for wait in [7, 31, 64] {
                let (stop, drain) = watch::channel(false);
                let running = mill(&world, &settings(kind, order)).run(drain);
                let stopping = async {
                    sleep(Duration::from_millis(wait)).await;
                    stop.send(true).unwrap();
                };
                let (ended, ()) = futures_util::future::join(running, stopping).await;
                ended.result.unwrap();
            }
            run_until_done(&world, &settings(kind, order)).await;
        });
        let world = world.lock().unwrap();
        check_complete(&world, order);
        let written: usize = world.written.values().map(Vec::len).sum();
        let letters: usize = world.letters.values().map(Vec::len).sum();
        assert_eq!(written + letters, (PARTITIONS as i64 * RECORDS) as usize, "{kind} {order}: duplicates");
    }
}
