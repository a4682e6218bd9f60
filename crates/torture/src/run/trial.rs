//! One fault, from a fresh set of topics to what came of it.

use std::{
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use clap::ValueEnum;
use rand::{Rng, rngs::StdRng};

use super::{
    Delivery, Protocol,
    admin::PATIENCE,
    commits::CommitWatch,
    error::RunError,
    faults::FaultKind,
    load::Writer,
    mills::{MillSettings, Mills},
    reader::{Isolation, Live, Outputs, Reader},
    report::Row,
    stage::{INSTANCES_MAX, Stage},
};
use crate::{
    event::Load,
    judge::{Judge, Order},
};

/// The partitions of each topic.
pub(super) const PARTITIONS: usize = 6;

/// How long a commit may be ahead of what readers see: as long as a transaction takes to end.
const COMMITTED_MAX: Duration = Duration::from_secs(15);

/// How long everything may take to come once nothing strikes any more.
pub(super) const CATCH_UP: Duration = Duration::from_secs(90);

/// How long a program that cheats, so that not all may come, has to begin.
const CHEAT_START: Duration = Duration::from_secs(5);

/// How long SIGTERM may take in good conditions.
pub(super) const TERMINATION: Duration = Duration::from_secs(5);

/// One fault under way.
pub(super) struct Trial<'a> {
    pub stage: &'a Stage,
    pub fault: FaultKind,
    pub delivery: Delivery,
    pub protocol: Protocol,
    pub random: StdRng,
    pub source: String,
    /// All topics, in the order of the chain; the dead letters last.
    pub topics: Vec<String>,
    /// How many instances work, besides those that come and go.
    pub working: usize,
    pub outputs: Outputs,
    pub group: String,
    pub writer: Arc<Writer>,
    pub live: Live,
    pub mills: Mills,
    /// With exactly once.
    pub commits: Option<CommitWatch>,
    /// What is wrong so far.
    pub wrong: Vec<String>,
    /// Rare paths and how often they were taken, as far as no metric tells it.
    pub sometimes: Vec<(String, u64)>,
    /// How many events were acknowledged at each strike.
    pub strikes: Vec<u64>,
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
        let links = fault.links();
        let mut topics = vec![source.clone()];
        topics.extend((1..links).map(|link| format!("{name}-{link}")));
        topics.extend([outputs.destination.clone(), outputs.dead_letter.clone()]);
        let all: Vec<&str> = topics.iter().map(|topic| &**topic).collect();
        for (topic, &name) in topics.iter().zip(&all) {
            let config = fault.topic_config(*topic == outputs.destination);
            stage.admin.create(&[name], PARTITIONS, settings.nodes, config)?;
        }
        for node in stage.nodes.bootstrap().split(',') {
            all.iter().try_for_each(|topic| stage.admin.wait_for(node, topic, PARTITIONS))?;
        }
        let load = Load {
            seed: random.random(),
            begin: now(),
            poison_permille: fault.poison_permille(),
            refused_permille: if fault == FaultKind::Refused { 4 } else { 0 },
        };
        let brokers = stage.nodes.bootstrap();
        let writer = Arc::new(Writer::start(brokers, &source, load, PARTITIONS, settings.rate)?);
        let reader = Reader::new(brokers, outputs.clone(), Isolation::Committed)?;
        let live = Live::start(reader, Judge::new(load, Order::Partition), Arc::clone(&writer));
        // A transaction needs the same id again after a crash to end what it left open; without, readers wait until
        // it has timed out.
        let needs_ids = delivery == Delivery::ExactlyOnce && fault != FaultKind::Poison;
        let fixed_ids = needs_ids || random.random();
        let cheat = fault.cheat().and_then(|cheat| cheat.to_possible_value());
        let link = |link: usize| {
            let mut arguments = match &cheat {
                Some(cheat) => vec!["cheat".to_owned(), cheat.get_name().to_owned()],
                None => vec!["run".to_owned()],
            };
            let mut add = |key: &str, value: &str| arguments.extend([key.to_owned(), value.to_owned()]);
            add("--brokers", &stage.proxied);
            add("--source", &topics[link]);
            add("--destination", &topics[link + 1]);
            add("--dead-letter", &outputs.dead_letter);
            // The last link's name is that of a trial without a chain.
            add("--group", &if link == 0 { group.clone() } else { format!("{group}-{link}") });
            if cheat.is_some() {
                return arguments;
            }
            add("--transform", if link == 0 { "name-event" } else { "identity" });
            add("--delivery", delivery.name());
            add("--log-format", "json");
            add("-X", &format!("group.protocol={}", protocol.name()));
            if protocol == Protocol::Classic {
                add("-X", "session.timeout.ms=6000");
                add("-X", "heartbeat.interval.ms=1000");
            }
            arguments.extend(settings.more.iter().cloned());
            arguments
        };
        let working = settings.instances.max(links);
        let mills = MillSettings {
            program: match cheat {
                Some(_) => std::env::current_exe().map_err(RunError::io("this program"))?,
                None => settings.program.clone(),
            },
            links: (0..links).map(link).collect(),
            fixed_ids: if fixed_ids { working } else { 0 },
            logs: settings.data.join("logs").join(&name),
            port: stage.metrics,
            name,
        };
        // More than run at first: those that come and go.
        let mut mills = Mills::new(mills, (working + links).min(INSTANCES_MAX))?;
        for mill in 0..working {
            mills.start(mill)?;
        }
        // Those of the trial before.
        let _ = (stage.rules.ends(), stage.rules.struck(), stage.rules.late_answers());
        let commits = match delivery {
            Delivery::AtLeastOnce => None,
            Delivery::ExactlyOnce => {
                let committed = stage.admin.committed(&group, &source, PARTITIONS, Isolation::Uncommitted)?;
                Some(CommitWatch::start(committed, fault.moves_coordinators()))
            }
        };
        let mut trial = Trial {
            stage,
            fault,
            delivery,
            protocol,
            random,
            source,
            topics,
            working,
            outputs,
            group,
            writer,
            live,
            mills,
            commits,
            wrong: Vec::new(),
            sometimes: Vec::new(),
            strikes: Vec::new(),
            scraped: Instant::now(),
        };
        if fault.cheat().is_some() {
            trial.pause(CHEAT_START)?;
        } else {
            trial.expect_progress("at the start")?;
        }
        trial.live.view(|view| view.pause = Duration::ZERO);
        Ok(trial)
    }

    /// Strikes, and looks at what came of it.
    pub fn run(mut self) -> Result<Row, RunError> {
        let begun = Instant::now();
        self.fault.strike(&mut self)?;
        self.stage.rules.clear();
        if !self.fault.is_control() {
            self.expect_progress("after the last strike")?;
        }
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

    /// Lets the work go on until this is so; whether it came to that in time.
    pub fn wait_until(
        &mut self,
        limit: Duration,
        is_so: impl Fn(&Trial<'_>) -> bool,
    ) -> Result<bool, RunError> {
        let start = Instant::now();
        while !is_so(self) {
            if start.elapsed() > limit {
                return Ok(false);
            }
            self.pause(Duration::from_millis(20))?;
        }
        Ok(true)
    }

    /// Waits until everything that is in the source now has come.
    pub fn expect_progress(&mut self, when: &str) -> Result<bool, RunError> {
        let acked = self.writer.acked();
        let start = Instant::now();
        loop {
            let missing = self.live.view(|view| {
                acked.iter().enumerate().any(|(partition, &acked)| view.judge.accounted(partition) < acked)
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
        let committed = self.committed()?;
        let start = Instant::now();
        while let Some((partition, end, first)) = self.committed_and_unseen(&committed) {
            // Readers of committed records wait for the end of a transaction at most.
            if start.elapsed() > COMMITTED_MAX {
                self.wrong.push(format!(
                    "partition {partition} is committed up to {end}, and {first} is not in the output"
                ));
                break;
            }
            self.pause(Duration::from_millis(50))?;
        }
        self.check_ends(start)
    }

    /// The offsets that the group has committed.
    pub fn committed(&self) -> Result<Vec<u64>, RunError> {
        let admin = &self.stage.admin;
        admin.committed(&self.group, &self.source, PARTITIONS, Isolation::Committed)?.get(PATIENCE)
    }

    /// A partition, what is committed of it, and the first event below that is not in the output so far.
    pub fn committed_and_unseen(&self, committed: &[u64]) -> Option<(usize, u64, u64)> {
        self.live.view(|view| {
            let unseen = |(partition, &end)| Some((partition, end, view.judge.first_unseen(partition, end)?));
            committed.iter().enumerate().find_map(unseen)
        })
    }

    /// No transaction stays open for longer than its timeout: readers of committed records come to the
    /// end, even when no instance runs.
    pub fn check_ends(&mut self, since: Instant) -> Result<(), RunError> {
        let of = |topic, isolation| self.stage.admin.ends(topic, PARTITIONS, isolation);
        let ends = |isolation| {
            let (outputs, letters) = (&self.outputs.destination, &self.outputs.dead_letter);
            Ok::<_, RunError>((of(outputs, isolation)?, of(letters, isolation)?))
        };
        loop {
            let (committed, all) = (ends(Isolation::Committed)?, ends(Isolation::Uncommitted)?);
            if committed == all {
                return Ok(());
            }
            if since.elapsed() > COMMITTED_MAX {
                self.wrong.push(format!("a transaction stays open: {committed:?} of {all:?}"));
                return Ok(());
            }
            thread::sleep(Duration::from_millis(200));
        }
    }
}

/// The time since 1970, in milliseconds.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
