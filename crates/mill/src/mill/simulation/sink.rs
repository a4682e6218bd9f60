//! A sink over the simulated cluster: a writer for each partition, as the real one has.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::{
    Plant, Shared, World, offsets_of,
    spread::{Place, Topic},
    world::Named,
};
use crate::{
    batch::{AssignmentId, OutputBatch, TopicPartition, TransactionNumber},
    engine::{EngineError, ErrorKind, Receipt, Refusal, Replaced, Sink, Stake, Staked, TransactionEnd},
    transform::{ErrorClass, ValueError},
};

/// The most batches on the wire.
const ON_THE_WIRE: usize = 3;

type Done = oneshot::Sender<Result<Receipt, EngineError>>;

pub(in crate::mill) struct SimulatedSink {
    world: Shared,
    instance: usize,
    number: u64,
    writers: BTreeMap<TopicPartition, mpsc::Sender<Job>>,
    /// They end with the sink, as the threads of a killed process do.
    tasks: JoinSet<()>,
    forgotten: watch::Sender<BTreeMap<TopicPartition, AssignmentId>>,
}

/// A batch that is not sent yet.
struct Job {
    batch: OutputBatch,
    ready: Instant,
    done: Done,
}

/// A batch that is sent, and when it is answered.
struct Sent {
    origin: TopicPartition,
    assignment: AssignmentId,
    due: Instant,
    refused: Vec<usize>,
    done: Done,
}

struct Writer {
    world: Shared,
    instance: usize,
    sink: u64,
    to: TopicPartition,
    place: Place,
    jobs: mpsc::Receiver<Job>,
    waiting: VecDeque<Job>,
    on_the_wire: VecDeque<Sent>,
    forgotten: watch::Receiver<BTreeMap<TopicPartition, AssignmentId>>,
    /// What comes from an origin up to this assignment fails: something before it did.
    failed: BTreeMap<TopicPartition, AssignmentId>,
    changed: watch::Receiver<u64>,
}

impl SimulatedSink {
    pub fn new(world: &Shared) -> SimulatedSink {
        let mut locked = world.lock().unwrap();
        let instance = locked.starting;
        locked.unheard.remove(&instance);
        SimulatedSink {
            instance,
            number: locked.new_sink(),
            world: Arc::clone(world),
            writers: BTreeMap::new(),
            tasks: JoinSet::new(),
            forgotten: watch::Sender::default(),
        }
    }

    fn writer(&mut self, to: &TopicPartition) -> &mpsc::Sender<Job> {
        self.writers.entry(to.clone()).or_insert_with(|| {
            let (sender, jobs) = mpsc::channel(10_000);
            let writer = Writer {
                world: Arc::clone(&self.world),
                instance: self.instance,
                sink: self.number,
                place: Place::of(to),
                to: to.clone(),
                jobs,
                waiting: VecDeque::new(),
                on_the_wire: VecDeque::new(),
                forgotten: self.forgotten.subscribe(),
                failed: BTreeMap::new(),
                changed: self.world.lock().unwrap().changed.subscribe(),
            };
            self.tasks.spawn(writer.run());
            sender
        })
    }
}

impl Sink for SimulatedSink {
    fn send(
        &mut self,
        batch: OutputBatch,
    ) -> impl Future<Output = Result<Receipt, EngineError>> + Send + 'static {
        let (done, receipt) = oneshot::channel();
        let delay = self.world.lock().unwrap().delay();
        let to = batch.destination.clone();
        let job = Job { batch, ready: Instant::now() + delay, done };
        let _ = self.writer(&to).try_send(job);
        async move { receipt.await.unwrap_or_else(|_| Err(failure("the writer is gone").at(&to))) }
    }

    fn forget(&mut self, origin: &TopicPartition, assignment: AssignmentId) {
        let mut world = self.world.lock().unwrap();
        let over = world.over.entry((self.instance, origin.partition)).or_default();
        *over = assignment.0.max(*over);
        if world.plant != Some(Plant::ForgetIsIgnored) {
            self.forgotten.send_modify(|forgotten| {
                let last = forgotten.entry(origin.clone()).or_default();
                *last = assignment.max(*last);
            });
        }
    }

    fn stake(
        &mut self,
        transaction: TransactionNumber,
        stake: Stake,
    ) -> impl Future<Output = Result<Staked, EngineError>> + Send + 'static {
        let (world, sink, instance) = (Arc::clone(&self.world), self.number, self.instance);
        let named = Named { instance, number: transaction };
        async move {
            let delay = world.lock().unwrap().coordinator_delay();
            sleep_until(Instant::now() + delay).await;
            let mut world = world.lock().unwrap();
            if world.broken.contains(&sink) {
                return Err(failure("the sink is broken"));
            }
            if world.replaced.contains(&sink) {
                return Ok(Staked::Refused(failure("fenced")));
            }
            let is_checked = world.plant != Some(Plant::ZombiesCommit);
            if is_checked && !world.is_member(instance) {
                return Ok(Staked::Refused(failure("no member any more")));
            }
            if is_checked && stake.generation != world.generation {
                world.outdated += 1;
                return Ok(Staked::Outdated(failure("a generation that is over")));
            }
            let is_held = world.stake(named, &stake);
            Ok(if is_held { Staked::Held } else { Staked::Refused(failure("an assignment that is over")) })
        }
    }

    fn commit(
        &mut self,
        transaction: TransactionNumber,
    ) -> impl Future<Output = Result<TransactionEnd, EngineError>> + Send + 'static {
        let (world, sink) = (Arc::clone(&self.world), self.number);
        let named = Named { instance: self.instance, number: transaction };
        async move {
            let delay = world.lock().unwrap().coordinator_delay();
            sleep_until(Instant::now() + delay).await;
            let mut world = world.lock().unwrap();
            if world.broken.contains(&sink) {
                return Err(failure("the sink is broken"));
            }
            // While the coordinator fails, some are committed although the answer never comes.
            let (fails, is_lucky) = (world.commits_fail(), world.count(3) == 1);
            let is_committed = (!fails || is_lucky) && world.commit_transaction(named);
            if fails && is_committed {
                world.unheard.insert(named.instance, transaction);
            }
            Ok(if is_committed && !fails {
                TransactionEnd::Committed
            } else {
                TransactionEnd::Aborted(failure("no answer to a commit"))
            })
        }
    }

    fn abort(
        &mut self,
    ) -> impl Future<Output = Result<Option<TransactionNumber>, EngineError>> + Send + 'static {
        // Writers of the old generation are fenced.
        self.writers.clear();
        self.tasks.abort_all();
        let (world, sink) = (Arc::clone(&self.world), self.number);
        let (is_replaced, committed) = {
            let mut world = world.lock().unwrap();
            let is_replaced = world.replaced.contains(&sink);
            if !is_replaced {
                world.aborts += 1;
                world.abort(self.instance);
            }
            (is_replaced, world.unheard.remove(&self.instance))
        };
        async move {
            let delay = world.lock().unwrap().delay();
            sleep_until(Instant::now() + delay).await;
            if is_replaced {
                return Err(EngineError::new(ErrorKind::Fatal, "another has taken over").from_cause(Replaced));
            }
            Ok(committed)
        }
    }

    async fn close(mut self) {
        self.world.lock().unwrap().abort(self.instance);
        self.tasks.shutdown().await;
    }
}

fn failure(message: &str) -> EngineError {
    EngineError::new(ErrorKind::Retriable, message)
}

impl Writer {
    async fn run(mut self) {
        loop {
            self.changed.mark_unchanged();
            while let Ok(job) = self.jobs.try_recv() {
                self.waiting.push_back(job);
            }
            let next = self.step();
            tokio::select! {
                biased;
                job = self.jobs.recv() => match job {
                    Some(job) => self.waiting.push_back(job),
                    None => return,
                },
                () = sleep_until(next) => {}
                Ok(()) = self.forgotten.changed() => {}
                Ok(()) = self.changed.changed() => {}
            }
        }
    }

    /// Does what is due; returns when to come again.
    fn step(&mut self) -> Instant {
        let world = Arc::clone(&self.world);
        let mut world = world.lock().unwrap();
        let now = Instant::now();
        let later = now + Duration::from_secs(3600);
        if world.broken.contains(&self.sink) {
            self.fail_all(&failure("the sink is broken"), false);
            return later;
        }
        if world.replaced.contains(&self.sink) {
            self.fail_all(&failure("fenced").at(&self.to), false);
            return later;
        }
        if let Some(until) = world.paused(self.instance) {
            return until;
        }
        self.drop_unwanted();
        if let Some(until) = world.stalled(self.place) {
            return until;
        }
        if let Some(writes) = world.failing(self.place) {
            if writes
                && self.on_the_wire.len() < ON_THE_WIRE
                && let Some(job) = self.waiting.pop_front()
            {
                self.send(&mut world, job);
            }
            if !self.on_the_wire.is_empty() || !self.waiting.is_empty() {
                let are_skipped = world.plant == Some(Plant::FailuresAreSkipped);
                self.fail_all(&failure("no answer").at(&self.to), are_skipped);
            }
            return later;
        }
        while self.on_the_wire.front().is_some_and(|sent| sent.due <= now)
            && let Some(Sent { refused, done, .. }) = self.on_the_wire.pop_front()
        {
            let error = ValueError::new(ErrorClass::Oversized, "too large");
            let refused = refused.into_iter().map(|index| Refusal { index, error: error.clone() });
            let _ = done.send(Ok(Receipt { refused: refused.collect() }));
        }
        while self.on_the_wire.len() < ON_THE_WIRE
            && self.waiting.front().is_some_and(|job| job.ready <= now)
            && let Some(job) = self.waiting.pop_front()
        {
            self.send(&mut world, job);
        }
        let next = [self.on_the_wire.front().map(|sent| sent.due), self.waiting.front().map(|job| job.ready)];
        next.into_iter().flatten().min().unwrap_or(later).max(now + Duration::from_micros(10))
    }

    fn send(&mut self, world: &mut World, job: Job) {
        let named = job.batch.transaction.map(|number| Named { instance: self.instance, number });
        if named.is_some_and(|named| world.is_expired(named)) {
            self.waiting.push_front(job);
            return self.fail_all(&failure("its transaction took too long").at(&self.to), false);
        }
        let Job { batch, done, .. } = job;
        let offsets = offsets_of(&batch, self.place.topic == Topic::Letters);
        let OutputBatch { ref origin, assignment, transaction, .. } = batch;
        let refused =
            world.append(self.place, (self.instance, origin.partition), assignment.0, transaction, &offsets);
        // One after the other, where they take long.
        let before = self.on_the_wire.back().map(|sent| sent.due).filter(|_| !world.pace.is_zero());
        let due = before.unwrap_or_else(Instant::now) + world.pace + world.delay();
        let (origin, assignment) = (batch.origin, batch.assignment);
        self.on_the_wire.push_back(Sent { origin, assignment, due, refused, done });
    }

    /// Everything that was accepted and is not answered fails, or is passed over by a planted
    /// fault.
    fn fail_all(&mut self, error: &EngineError, are_skipped: bool) {
        let sent = self.on_the_wire.drain(..).map(|sent| (sent.origin, sent.assignment, sent.done));
        let waiting = self.waiting.drain(..).map(|job| (job.batch.origin, job.batch.assignment, job.done));
        for (origin, assignment, done) in sent.chain(waiting) {
            if are_skipped {
                let _ = done.send(Ok(Receipt::default()));
                continue;
            }
            let last = self.failed.entry(origin).or_default();
            *last = assignment.max(*last);
            let _ = done.send(Err(error.clone()));
        }
    }

    /// Fails what is forgotten, and what follows something that failed.
    fn drop_unwanted(&mut self) {
        let Writer { forgotten, failed, waiting, to, .. } = self;
        let forgotten = forgotten.borrow_and_update();
        let is_unwanted = |job: &Job| {
            let batch = &job.batch;
            [&*forgotten, &*failed]
                .iter()
                .any(|last| last.get(&batch.origin).is_some_and(|last| batch.assignment <= *last))
        };
        if !waiting.iter().any(is_unwanted) {
            return;
        }
        let (unwanted, wanted): (Vec<Job>, Vec<Job>) = waiting.drain(..).partition(is_unwanted);
        *waiting = wanted.into();
        for job in unwanted {
            let _ = job.done.send(Err(failure("not wanted any more").at(to)));
        }
    }
}
