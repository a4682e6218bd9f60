//! A run of the torture: nodes, instances, a load, readers, and faults one after the other.

mod acls;
mod admin;
mod cheat;
mod commits;
mod epochs;
mod error;
mod faults;
mod load;
mod logs;
mod memory;
mod mills;
mod reader;
mod report;
mod stage;
mod trial;
mod verdict;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

pub use cheat::{CheatSettings, cheat};
use clap::ValueEnum;
pub use error::RunError;
pub use faults::FaultKind;
use rand::{SeedableRng, rngs::StdRng};
use stage::Stage;
use trial::Trial;

/// What instances promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Delivery {
    /// Nothing is lost.
    AtLeastOnce,
    /// And nothing is read twice.
    ExactlyOnce,
}

impl Delivery {
    /// As topicmill calls it.
    pub fn name(self) -> &'static str {
        match self {
            Delivery::AtLeastOnce => "at-least-once",
            Delivery::ExactlyOnce => "exactly-once",
        }
    }
}

/// How instances share the partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// A member assigns them.
    Classic,
    /// The broker does (KIP-848).
    Consumer,
}

impl Protocol {
    /// As Kafka calls it.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Classic => "classic",
            Protocol::Consumer => "consumer",
        }
    }
}

/// What to do, and where.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What everything random depends on, but for when things happen.
    pub seed: u64,
    /// Which faults.
    pub faults: Vec<FaultKind>,
    /// Each with these.
    pub deliveries: Vec<Delivery>,
    /// And each of these; one of them by turns in the short form.
    pub protocols: Vec<Protocol>,
    /// The short form: fewer faults, and one protocol for each.
    pub short: bool,
    /// How often and how long faults strike: 1 is the long form.
    pub scale: f64,
    /// Events per second.
    pub rate: u64,
    /// Kafka nodes.
    pub nodes: usize,
    /// Instances of topicmill.
    pub instances: usize,
    /// The program.
    pub program: PathBuf,
    /// The folder with `kafka`.
    pub scripts: PathBuf,
    /// The folder with Kafka's jars; without one, they are fetched.
    pub libs: Option<PathBuf>,
    /// Where everything is kept.
    pub data: PathBuf,
    /// More arguments of the instances.
    pub more: Vec<String>,
    /// Set when the run is to end.
    pub stop: Arc<AtomicBool>,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The table, as Markdown.
    pub table: String,
    /// Whether every promise was kept.
    pub kept: bool,
}

/// Strikes with each fault, and says what came of it.
///
/// # Errors
/// The run could not be made; what is found is no error.
pub fn run(settings: Settings) -> Result<Outcome, RunError> {
    let mut random = StdRng::seed_from_u64(settings.seed);
    let (stop, seed) = (Arc::clone(&settings.stop), settings.seed);
    let stage = Stage::build(settings, &mut random)?;
    let mut rows = Vec::new();
    let mut ended = Ok(());
    for (number, (fault, delivery, protocol)) in plan(&stage.settings).into_iter().enumerate() {
        // A trial depends on the seed and on what it is, and not on those before it.
        let mix = (fault as u64) << 8 | (delivery as u64) << 4 | protocol as u64;
        let random = StdRng::seed_from_u64(seed.wrapping_mul(31).wrapping_add(mix));
        eprintln!("{}, {}, {}", fault.about(), delivery.name(), protocol.name());
        let trial = Trial::start(&stage, number, fault, delivery, protocol, random);
        match trial.and_then(Trial::run) {
            Ok(row) => {
                let verdict = if row.is_well() { "kept".to_owned() } else { format!("{:#?}", row.wrong) };
                eprintln!("  struck {}, {:?}, {verdict}", row.struck.0, row.counts);
                rows.push(row);
            }
            Err(error) => {
                ended = Err(error);
                break;
            }
        }
    }
    let kept = rows.iter().all(report::Row::is_well) && ended.is_ok();
    let mut table = report::table(&rows);
    match ended {
        Err(RunError::Stopped) => table.push_str("\nThe run was stopped before its end.\n"),
        Err(error) if rows.is_empty() => return Err(error),
        Err(error) => table.push_str(&format!("\nThe run ended before its time: {error}\n")),
        Ok(()) => {}
    }
    let stopped = stop.load(Ordering::SeqCst);
    Ok(Outcome { table, kept: kept && !stopped })
}

/// The trials, in their order.
fn plan(settings: &Settings) -> Vec<(FaultKind, Delivery, Protocol)> {
    let mut plan = Vec::new();
    for &delivery in &settings.deliveries {
        for (number, &fault) in settings.faults.iter().enumerate() {
            let turn = number + settings.seed as usize;
            for (place, &protocol) in settings.protocols.iter().enumerate() {
                let taken = !settings.short || turn % settings.protocols.len() == place;
                if taken && fault.is_for(delivery, settings.short) {
                    plan.push((fault, delivery, protocol));
                }
            }
        }
    }
    plan
}
