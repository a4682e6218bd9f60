//! One fault, from a fresh set of topics to what came of it.

use std::{
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use rand::{Rng, rngs::StdRng};

use super::{
    Delivery, Protocol,
    error::RunError,
    faults::{FaultKind, Twice},
    load::Writer,
    mills::{MillSettings, Mills},
    reader::{Fingerprints, Isolation, Live, Outputs, Reader, note},
    report::Row,
    stage::Stage,
};
use crate::{
    event::Load,
    judge::{Judge, Order},
};

/// The partitions of each topic.
pub(super) const PARTITIONS: usize = 6;

/// How long a partition with work to do may not go on.
const PAUSE_MAX: Duration = Duration::from_secs(20);

/// How long everything may take to come once nothing strikes any more.
const CATCH_UP: Duration = Duration::from_secs(90);

/// How long a reader waits for more before it holds that there is no more.
const SILENCE: Duration = Duration::from_secs(3);

/// How long SIGTERM may take in good conditions.
pub(super) const TERMINATION: Duration = Duration::from_secs(5);

/// More than any instance may take: its budget is 256 MiB.
const MEMORY_MAX: u64 = 512 << 20;

/// One fault under way.
pub(super) struct Trial<'a> {
    pub stage: &'a Stage,
    pub fault: FaultKind,
    pub delivery: Delivery,
    pub protocol: Protocol,
    pub random: StdRng,
    pub source: String,
    pub outputs: Outputs,
    pub group: String,
    pub writer: Arc<Writer>,
    pub live: Live,
    pub mills: Mills,
    /// What is wrong so far.
    pub wrong: Vec<String>,
    /// Rare paths and how often they were taken, as far as no metric tells it.
    pub sometimes: Vec<(String, u64)>,
    /// How many events were acknowledged at each strike.
    strikes: Vec<u64>,
    scraped: Instant,
}

impl<'a> Trial<'a> {
    /// Creates topics, starts everything, and waits until it works.
    pub fn start(
        stage: &'a Stage,
        number: usize,
        fault: FaultKind,
        delivery: Delivery,
        protocol: Protocol,
        mut random: StdRng,
    ) -> Result<Trial<'a>, RunError> {
        let settings = &stage.settings;
        let name = format!("torture-{number}");
        let outputs = Outputs {
            destination: format!("{name}-out"),
            dead_letter: format!("{name}-dead"),
            partitions: PARTITIONS,
        };
        let (source, group) = (format!("{name}-in"), format!("{name}-group"));
        let topics = [&*source, &outputs.destination, &outputs.dead_letter];
        stage.admin.create(&topics, PARTITIONS, settings.nodes, &[])?;
        for node in stage.nodes.bootstrap().split(',') {
            topics.iter().try_for_each(|topic| stage.admin.wait_for(node, topic, PARTITIONS))?;
        }
        let load = Load { seed: random.random(), poison_permille: fault.poison_permille() };
        let brokers = stage.nodes.bootstrap();
        let writer = Arc::new(Writer::start(brokers, &source, load, PARTITIONS, settings.rate)?);
        let reader = Reader::new(brokers, outputs.clone(), Isolation::Committed)?;
        let live = Live::start(reader, Judge::new(load, Order::Partition), Arc::clone(&writer));
        // A transaction needs the same id again after a crash to end what it left open.
        let fixed_ids = delivery == Delivery::ExactlyOnce || random.random();
        let arguments = [
            &["run", "--brokers", &stage.proxied, "--source", &source, "--group", &group],
            &["--destination", &outputs.destination, "--dead-letter", &outputs.dead_letter][..],
            &["--transform", "name-event", "--delivery", delivery.name(), "--log-format", "json"],
            &["-X", &format!("group.protocol={}", protocol.name())],
        ];
        let mut arguments: Vec<String> = arguments.concat().into_iter().map(str::to_owned).collect();
        if protocol == Protocol::Classic {
            arguments.extend(["-X".into(), "session.timeout.ms=6000".into()]);
            arguments.extend(["-X".into(), "heartbeat.interval.ms=1000".into()]);
        }
        arguments.extend(settings.more.iter().cloned());
        let mills = MillSettings {
            program: settings.program.clone(),
            arguments,
            fixed_ids,
            logs: settings.data.join("logs").join(&name),
            port: stage.metrics,
            name,
        };
        // One more than run at first, for those that come and go.
        let mut mills = Mills::new(mills, settings.instances + 1)?;
        for mill in 0..settings.instances {
            mills.start(mill)?;
        }
        let mut trial = Trial {
            stage,
            fault,
            delivery,
            protocol,
            random,
            source,
            outputs,
            group,
            writer,
            live,
            mills,
            wrong: Vec::new(),
            sometimes: Vec::new(),
            strikes: Vec::new(),
            scraped: Instant::now(),
        };
        trial.expect_progress("at the start")?;
        trial.live.view(|view| view.pause = Duration::ZERO);
        Ok(trial)
    }

    /// Strikes, and looks at what came of it.
    pub fn run(mut self) -> Result<Row, RunError> {
        let begun = Instant::now();
        self.fault.strike(&mut self)?;
        self.stage.rules.clear();
        self.expect_progress("after the last strike")?;
        let row = self.finish();
        eprintln!("  took {:.0} s", begun.elapsed().as_secs_f64());
        row
    }

    /// A number of times or seconds, by the scale of the run; at least one.
    pub fn scaled(&self, number: u64) -> u64 {
        ((number as f64 * self.stage.settings.scale).round() as u64).max(1)
    }

    /// To be called right before each strike.
    pub fn strike(&mut self) {
        self.strikes.push(self.writer.acked().iter().sum());
    }

    /// Lets the work go on, and looks after it.
    pub fn pause(&mut self, duration: Duration) -> Result<(), RunError> {
        let end = Instant::now() + duration;
        loop {
            if self.stage.settings.stop.load(Ordering::SeqCst) {
                return Err(RunError::Stopped);
            }
            self.writer.check()?;
            self.mills.watch()?;
            if self.scraped.elapsed() > Duration::from_millis(500) {
                self.scraped = Instant::now();
                self.mills.scrape();
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(Duration::from_millis(50)));
        }
    }

    /// A pause of some milliseconds.
    pub fn random_pause(&mut self, millis: std::ops::Range<u64>) -> Result<(), RunError> {
        let millis = self.random.random_range(millis);
        self.pause(Duration::from_millis(millis))
    }

    /// Waits until everything that is in the source now has come.
    pub fn expect_progress(&mut self, when: &str) -> Result<bool, RunError> {
        let acked = self.writer.acked();
        let start = Instant::now();
        loop {
            let missing = self.live.view(|view| {
                acked.iter().enumerate().any(|(partition, &acked)| view.judge.distinct(partition) < acked)
            });
            // A fresh topic may be known late.
            if !missing && acked.iter().sum::<u64>() > 0 {
                return Ok(true);
            }
            if start.elapsed() > CATCH_UP {
                self.wrong.push(format!("{when}, what was in the source has not come after {CATCH_UP:?}"));
                return Ok(false);
            }
            if acked.iter().sum::<u64>() == 0 && self.writer.acked().iter().sum::<u64>() > 0 {
                return self.expect_progress(when);
            }
            self.pause(Duration::from_millis(50))?;
        }
    }

    /// Nothing may be committed whose output is not there. Only when no instance runs: one that did
    /// would write what is missing meanwhile.
    pub fn check_commits(&mut self) -> Result<(), RunError> {
        let committed = self.stage.admin.committed(&self.group, &self.source, PARTITIONS)?;
        let ahead = |trial: &Trial<'_>| {
            let places = committed.iter().enumerate();
            trial.live.view(|view| {
                places.clone().find_map(|(partition, &end)| {
                    Some((partition, end, view.judge.first_unseen(partition, end)?))
                })
            })
        };
        let start = Instant::now();
        while let Some((partition, end, first)) = ahead(self) {
            // Readers of committed records wait for the end of a transaction at most.
            if start.elapsed() > PAUSE_MAX {
                self.wrong.push(format!(
                    "partition {partition} is committed up to {end}, and {first} is not in the output"
                ));
                break;
            }
            self.pause(Duration::from_millis(50))?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Row, RunError> {
        let written = self.writer.quiesce()?;
        let total: u64 = written.iter().sum();
        self.expect_progress("in the end")?;
        self.mills.scrape();
        for mill in self.mills.running() {
            self.mills.terminate(mill)?;
        }
        while self.live.view(|view| view.last.elapsed()) < SILENCE {
            self.pause(Duration::from_millis(50))?;
        }
        let (mut counts, pause, examples, prints, failure) = self.live.view(|view| {
            let counts = view.judge.finish(&written);
            (counts, view.pause, view.judge.examples().to_vec(), view.prints.clone(), view.failure.clone())
        });
        self.wrong.extend(failure);
        self.wrong.append(&mut self.mills.surprises);
        self.compare(&prints)?;
        let in_source = self.stage.admin.ends(&self.source, PARTITIONS)?;
        if in_source != written {
            let wrong = format!("the load wrote {written:?}, and the source ends at {in_source:?}");
            self.wrong.push(wrong);
        }
        let struck = self.strikes.iter().filter(|&&acked| acked < total).count() as u64;
        let planned = self.strikes.len() as u64;
        if struck < planned || planned == 0 {
            self.wrong.push(format!("of {planned} strikes, {struck} struck while work remained"));
        }
        counts.records = counts.records.max(self.live.view(|view| view.judge.counts().records));
        self.judge(&counts, pause);
        let topics = [&*self.source, &self.outputs.destination, &self.outputs.dead_letter];
        self.stage.admin.delete(&topics)?;
        Ok(Row {
            fault: self.fault.about().to_owned(),
            delivery: self.delivery.name(),
            protocol: self.protocol.name(),
            struck: (struck, planned),
            counts,
            pause,
            memory: self.mills.peak_memory,
            sometimes: self.sometimes,
            wrong: self.wrong,
            examples,
        })
    }

    /// Two readers must agree on what is at each offset.
    fn compare(&mut self, live: &Fingerprints) -> Result<(), RunError> {
        let committed = self.read_again(Isolation::Committed)?;
        if &committed != live {
            let places = live.iter().chain(&committed).map(|(&place, _)| place);
            for place in places.collect::<std::collections::BTreeSet<_>>() {
                let (first, second) = (live.get(&place), committed.get(&place));
                let (first, second) =
                    (first.cloned().unwrap_or_default(), second.cloned().unwrap_or_default());
                if let Some(offset) = first.differs(&second) {
                    self.wrong.push(format!(
                        "{place:?}: the readers differ by offset {offset}; live {} records, later {}",
                        first.records(),
                        second.records()
                    ));
                }
            }
        }
        if self.delivery == Delivery::ExactlyOnce {
            let sum = |prints: &Fingerprints| prints.values().map(|print| print.records()).sum::<u64>();
            let aborted = sum(&self.read_again(Isolation::Uncommitted)?) - sum(&committed);
            self.sometimes.push(("aborted records".into(), aborted));
        }
        Ok(())
    }

    fn read_again(&mut self, isolation: Isolation) -> Result<Fingerprints, RunError> {
        let reader = Reader::new(self.stage.nodes.bootstrap(), self.outputs.clone(), isolation)?;
        let (mut prints, mut last) = (Fingerprints::new(), Instant::now());
        while last.elapsed() < SILENCE {
            match reader.next() {
                Ok(Some(seen)) => {
                    note(&mut prints, &seen);
                    last = Instant::now();
                }
                Ok(None) => self.pause(Duration::ZERO)?,
                Err(failure) => {
                    self.wrong.push(failure);
                    break;
                }
            }
        }
        Ok(prints)
    }

    /// Holds what was found against what was promised.
    fn judge(&mut self, counts: &crate::judge::Counts, pause: Duration) {
        let never = [
            ("lost", counts.lost),
            ("out of order", counts.out_of_order),
            ("with a wrong key, value or time", counts.corrupt),
            ("where they do not belong", counts.phantom),
            ("read at an offset below the last", counts.went_back),
        ];
        for (what, count) in never.into_iter().filter(|&(_, count)| count > 0) {
            self.wrong.push(format!("{count} records {what}"));
        }
        let most = match self.fault.twice(self.delivery) {
            Twice::Any => counts.records,
            Twice::Permille(permille) => counts.records * permille / 1000,
            Twice::Never => 0,
        };
        if counts.twice > most {
            self.wrong.push(format!("{} records twice; at most {most} may be", counts.twice));
        }
        if pause > PAUSE_MAX {
            self.wrong.push(format!("a partition with work to do did not go on for {pause:?}"));
        }
        if self.mills.peak_memory > MEMORY_MAX {
            self.wrong.push(format!("an instance took {} MiB", self.mills.peak_memory >> 20));
        }
        let samples = self.mills.samples();
        for (name, metric) in self.fault.sometimes(self.delivery) {
            self.sometimes.push((name.to_owned(), samples.get(metric) as u64));
        }
        for (name, count) in &self.sometimes {
            if *count == 0 && self.fault.requires(name, self.delivery) {
                self.wrong.push(format!("the faults caused none of: {name}"));
            }
        }
    }
}
