//! How fast the transformer is, beside its peers and the ceilings, on a real or an embedded broker.
//!
//! [`matrix`] defines what is measured, [`measure()`] does it, [`report`] and [`plot`] show it. Each
//! contender is a process of its own, so that its processor time and memory are its own, and all
//! take turns (A B A B), so that whatever disturbs the machine disturbs all alike. The program comes as
//! a path and what is typed as [`BenchSettings`] and [`Selection`](matrix::Selection): this crate
//! knows no command line.

#![forbid(unsafe_code)]

mod ceiling;
mod contender;
mod embedded;
mod fill;
mod format;
mod latency;
mod machine;
pub mod matrix;
mod measure;
mod peers;
pub mod plot;
mod process;
pub mod report;

use std::{
    ffi::OsString,
    io,
    path::PathBuf,
    process::{Command, ExitStatus},
    time::Duration,
};

pub use contender::Contender;
pub use measure::measure;
pub use peers::Peer;
pub use report::Results;
use topicmill_generate::GenerateError;
use topicmill_mill::engine::{ClientSettings, EngineError};

/// How long one turn of one contender may take.
const TURN_LIMIT: Duration = Duration::from_secs(600);

/// Why a benchmark ended early.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The cluster failed or cannot be reached.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The generator failed.
    #[error("the generator: {0}")]
    Generate(#[from] GenerateError),
    /// A program cannot be started.
    #[error("cannot start {name}: {error}")]
    Start {
        /// The program.
        name: String,
        /// Why.
        error: io::Error,
    },
    /// A program failed.
    #[error("{name} failed with {status}: {last}")]
    Failed {
        /// The program.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// The last line of its standard error.
        last: String,
    },
    /// A program did not end in time.
    #[error("{name} took longer than {} s", limit.as_secs())]
    TimedOut {
        /// The program.
        name: String,
        /// The limit.
        limit: Duration,
    },
    /// A program's output does not contain its result.
    #[error("{contender} did not say how long it took")]
    NoResult {
        /// The program.
        contender: String,
    },
    /// A process to be measured is not there.
    #[error("config: there is no process {id} (--broker-pid)")]
    NoProcess {
        /// Its id.
        id: u32,
    },
    /// No peer is built.
    #[error("config: there is no peer in {} (--peers); bench/peers/build builds them", folder.display())]
    NoPeers {
        /// The folder.
        folder: PathBuf,
    },
    /// The results could not be saved.
    #[error("cannot write to {}: {error} (--output)", folder.display())]
    Output {
        /// The folder.
        folder: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It was stopped by a signal.
    #[error("stopped before the end")]
    Stopped,
    /// A file or a pipe failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What a benchmark measures, and how.
#[derive(Clone, Debug)]
pub struct BenchSettings {
    /// The program topicmill, which is measured and serves as embedded broker and generator.
    pub program: PathBuf,
    /// How to reach the cluster; without brokers when `embedded`.
    pub client: ClientSettings,
    /// Whether an embedded broker serves.
    pub embedded: bool,
    /// The arguments by which the program reaches the cluster, but for `--brokers`.
    pub connection: Vec<OsString>,
    /// How many events a source topic gets at most.
    pub events: u64,
    /// How many events a peer transforms at most.
    pub peer_events: u64,
    /// How often each is measured.
    pub runs: usize,
    /// How often this program commits, as its flag takes it; without, it is left to the program.
    pub commit_interval: Option<String>,
    /// The broker's process on this machine, if its processor time is to be measured.
    pub broker_pid: Option<u32>,
    /// How long the broker works before anything counts.
    pub warm_up: Duration,
    /// The events per second at which latency is measured.
    pub latency_rate: f64,
    /// How long latency is measured; zero leaves it out.
    pub latency_time: Duration,
}

/// How far a benchmark is.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The measurements that were done.
    pub done: u64,
    /// All of them.
    pub total: u64,
    /// What comes now.
    pub what: &'a str,
}

impl BenchSettings {
    /// The program with a subcommand, its log as JSON.
    fn program(&self, subcommand: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.args([subcommand, "--log-level", "info", "--log-format", "json"]);
        command
    }
}
