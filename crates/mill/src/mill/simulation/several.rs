//! Several instances over one log, exactly once: partitions move between them, processes are killed and stopped,
//! and one that was silent past its session wakes beside its successors.

use std::pin::Pin;

use futures_util::{TryStreamExt, stream::FuturesUnordered};
use tokio::sync::mpsc;

use super::{
    schedule::{Decision, Schedule},
    world::SESSION,
    *,
};

/// How the processes of a schedule went.
#[derive(Debug, Default)]
pub(super) struct Together {
    pub committed: usize,
    pub aborted: usize,
    pub outdated: usize,
    pub evictions: usize,
    /// How often a partition was assigned.
    pub assigned: u64,
}

struct Cluster<'a> {
    schedule: &'a Schedule,
    world: Shared,
    settings: MillSettings,
    /// Everything is committed.
    done: CancellationToken,
}

/// Runs the instances of a schedule until everything is committed.
pub(super) async fn run(schedule: &Schedule) -> Result<Together, String> {
    let mut world = schedule.world();
    world.is_shared = true;
    let settings = MillSettings { until: None, ..schedule.settings() };
    let world = Arc::new(Mutex::new(world));
    let cluster = Cluster { schedule, world, settings, done: CancellationToken::new() };
    let (senders, receivers): (Vec<_>, Vec<_>) =
        (0..schedule.instances).map(|_| mpsc::channel(schedule.decisions.len() + 1)).unzip();
    // What waits is not polled because something else goes on: most of them wait, most of the time.
    let all = FuturesUnordered::<Pin<Box<dyn Future<Output = Result<(), String>>>>>::new();
    for (instance, mishaps) in receivers.into_iter().enumerate() {
        all.push(Box::pin(cluster.processes(instance, mishaps)));
    }
    all.push(Box::pin(async {
        cluster.begin(senders).await;
        Ok(())
    }));
    all.push(Box::pin(async {
        cluster.watch().await;
        Ok(())
    }));
    all.try_collect::<()>().await?;
    let world = cluster.world.lock().unwrap();
    if let Some(violation) = world.violation() {
        return Err(violation);
    }
    (0..PARTITIONS).try_for_each(|partition| world.check_complete(partition))?;
    Ok(Together {
        committed: world.transactions,
        aborted: world.aborts,
        outdated: world.outdated,
        evictions: world.evictions,
        assigned: world.last_assignment,
    })
}

impl Cluster<'_> {
    /// Ends everything once all is committed, or a promise is broken.
    async fn watch(&self) {
        let mut changed = self.world.lock().unwrap().changed.subscribe();
        loop {
            changed.mark_unchanged();
            {
                let world = self.world.lock().unwrap();
                let is_complete = (0..PARTITIONS).all(|of| world.committed.get(&of) == Some(&RECORDS));
                if is_complete || world.violation().is_some() {
                    self.done.cancel();
                    return;
                }
            }
            let _ = changed.changed().await;
        }
    }

    /// Lets the mishaps happen.
    async fn begin(&self, processes: Vec<mpsc::Sender<Mishap>>) {
        let began = Instant::now();
        for Decision { at, instance, what } in &self.schedule.decisions {
            tokio::select! {
                biased;
                () = self.done.cancelled() => return,
                () = tokio::time::sleep_until(began + *at) => {}
            }
            match what {
                Mishap::Kill | Mishap::Stop | Mishap::Pause(_) => {
                    let _ = processes[*instance].send(what.clone()).await;
                }
                _ => self.world.lock().unwrap().begin_at(*instance, what),
            }
        }
        self.done.cancelled().await;
    }

    /// The processes of an instance, one after the other.
    async fn processes(&self, instance: usize, mut mishaps: mpsc::Receiver<Mishap>) -> Result<(), String> {
        let mut seed = self.schedule.seed + 1000 * instance as u64;
        while !self.done.is_cancelled() {
            seed += 1;
            self.world.lock().unwrap().starting = instance;
            let mill = stepped(&self.world, &self.settings, seed, self.schedule.is_serial);
            match self.process(instance, mill, &mut mishaps).await {
                None => self.stay_down(instance).await,
                Some(Ended { result: Ok(()), .. }) => {}
                Some(Ended { result: Err(MillError::Engine(error)), .. })
                    if error.cause::<Replaced>().is_some() && self.schedule.has_take_over() => {}
                Some(Ended { result: Err(MillError::Unfinished { .. }), .. }) => {}
                Some(Ended { result: Err(error), .. }) if error.is_retriable() => {}
                Some(Ended { result: Err(error), .. }) => return Err(format!("it ends: {error}")),
            }
        }
        Ok(())
    }

    /// One process, from its start to its end; `None` when it is killed.
    async fn process(
        &self,
        instance: usize,
        mill: Mill<SimulatedSource, SimulatedSink>,
        mishaps: &mut mpsc::Receiver<Mishap>,
    ) -> Option<Ended> {
        let stop = self.done.child_token();
        let mut running = std::pin::pin!(mill.run(stop.clone()));
        loop {
            tokio::select! {
                biased;
                Some(mishap) = mishaps.recv() => match mishap {
                    Mishap::Kill => return None,
                    Mishap::Pause(for_ms) => self.pause(instance, Duration::from_millis(for_ms)).await,
                    _ => stop.cancel(),
                },
                ended = &mut running => return Some(ended),
            }
        }
    }

    /// Nothing of the process runs for a while; the group does not wait for it longer than for others.
    async fn pause(&self, instance: usize, time: Duration) {
        let now = Instant::now();
        self.world.lock().unwrap().paused.insert(instance, now + time);
        self.be_silent(instance, time).await;
        self.world.lock().unwrap().change();
    }

    /// Until a process that was killed is started again.
    async fn stay_down(&self, instance: usize) {
        let time = self.world.lock().unwrap().delay() * 200;
        self.be_silent(instance, time).await;
    }

    async fn be_silent(&self, instance: usize, time: Duration) {
        let back = Instant::now() + time;
        if time > SESSION {
            tokio::time::sleep(SESSION).await;
            self.world.lock().unwrap().evict(instance);
        }
        tokio::time::sleep_until(back).await;
    }
}
