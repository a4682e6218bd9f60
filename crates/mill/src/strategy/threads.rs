//! Threads that transform batches, each with its own transform and a short queue.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc as queue,
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use super::{Job, Product, StrategySettings, TransformError, transformer::Transformer};

/// The most jobs of a thread: one that it works on, one that is ready.
const DEPTH: usize = 2;

/// The most jobs that are ready, whatever the number of threads: each holds memory.
const READY: usize = 2;

/// The result of the job with this number.
pub(super) type Made = (u64, Result<Product, TransformError>);

/// A set of threads; they end when it is dropped.
#[derive(Debug)]
pub(super) struct Threads {
    queues: Vec<queue::SyncSender<(u64, Job)>>,
    /// The number of jobs that each thread has now.
    load: Vec<usize>,
    made: mpsc::Receiver<(usize, Made)>,
    began: Vec<Began>,
}

/// When a thread began its current batch.
#[derive(Clone, Debug)]
struct Began {
    epoch: Instant,
    /// In microseconds since `epoch`, plus 1; 0 while there is no batch.
    at: Arc<AtomicU64>,
}

impl Began {
    fn now(&self) {
        self.at.store(self.epoch.elapsed().as_micros() as u64 + 1, Ordering::Relaxed);
    }

    fn done(&self) {
        self.at.store(0, Ordering::Relaxed);
    }

    fn age(&self) -> Option<Duration> {
        let at = self.at.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.epoch.elapsed().saturating_sub(Duration::from_micros(at)))
    }
}

impl Threads {
    pub(super) fn start(count: usize, settings: &StrategySettings) -> Threads {
        let (results, made) = mpsc::channel(count * DEPTH);
        let epoch = Instant::now();
        let began: Vec<_> = (0..count).map(|_| Began { epoch, at: Arc::default() }).collect();
        let start =
            |(index, began): (usize, &Began)| start_thread(index, began.clone(), settings, results.clone());
        let queues = began.iter().enumerate().map(start).collect();
        Threads { queues, load: vec![0; count], made, began }
    }

    /// How long ago the oldest batch in progress was begun.
    pub(super) fn oldest_age(&self) -> Option<Duration> {
        self.began.iter().filter_map(Began::age).max()
    }

    pub(super) fn count(&self) -> usize {
        self.queues.len()
    }

    pub(super) fn has_room(&self, thread: usize) -> bool {
        self.load[thread] < DEPTH && self.load.iter().sum::<usize>() < self.load.len() + READY
    }

    /// The thread with the fewest jobs.
    pub(super) fn idlest(&self) -> usize {
        (0..self.count()).min_by_key(|thread| self.load[*thread]).unwrap_or(0)
    }

    /// Gives a thread a job. Call only when it has room, so that this never waits.
    pub(super) fn submit(&mut self, thread: usize, number: u64, job: Job) {
        self.load[thread] += 1;
        self.queues[thread].send((number, job)).expect("the thread ends after its queue");
    }

    /// The next result; those of one thread come in the order of its jobs. Cancel-safe.
    pub(super) async fn next(&mut self) -> Made {
        let (thread, made) = self.made.recv().await.expect("a thread ends after its queue");
        self.load[thread] -= 1;
        made
    }
}

fn start_thread(
    index: usize,
    began: Began,
    settings: &StrategySettings,
    results: mpsc::Sender<(usize, Made)>,
) -> queue::SyncSender<(u64, Job)> {
    let (sender, jobs) = queue::sync_channel::<(u64, Job)>(DEPTH);
    // Built here, so that a failure shows at once rather than as a missing thread.
    let mut transformer = Transformer::new(settings);
    let work = move || {
        for (number, job) in jobs {
            began.now();
            let made = transformer.produce(job);
            began.done();
            if results.blocking_send((index, (number, made))).is_err() {
                return;
            }
        }
    };
    thread::Builder::new()
        .name(format!("transform-{index}"))
        .spawn(work)
        .expect("the system starts a thread");
    sender
}
