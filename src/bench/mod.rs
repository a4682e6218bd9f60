//! `bench`: how fast the transformer is, beside its peers and the ceilings, on a real or an
//! embedded broker.
//!
//! [`matrix`] defines what is measured, `measure` does it, [`report`] and [`plot`] show it. Each
//! contender is a process of its own, so that its processor time and memory are its own, and all
//! take turns (A B A B), so that whatever disturbs the machine disturbs all alike.

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
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use tokio::sync::watch;

pub use contender::Contender;
pub use peers::Peer;
pub use report::Results;

use crate::{
    config::BenchConfig,
    engine::EngineError,
    exit::{Ended, Exit, Failure},
    generate::GenerateError,
    run,
};

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

impl Failure for BenchError {
    fn exit(&self) -> Exit {
        match self {
            BenchError::Engine(error) => error.exit(),
            BenchError::Generate(error) => error.exit(),
            BenchError::Io(error) => error.exit(),
            BenchError::NoProcess { .. } | BenchError::NoPeers { .. } => Exit::Config,
            BenchError::Stopped => Exit::Interrupted,
            BenchError::Start { .. }
            | BenchError::Failed { .. }
            | BenchError::TimedOut { .. }
            | BenchError::Output { .. }
            | BenchError::NoResult { .. } => Exit::Failed,
        }
    }
}

/// The command: measures, prints the results, and saves them if a folder is given.
///
/// # Errors
/// When anything fails; what was measured until then is lost.
pub async fn command(config: &BenchConfig, out: &mut impl Write) -> Result<(), Ended> {
    let peers = match &config.args.peers {
        None => Vec::new(),
        Some(folder) => match Peer::find(folder) {
            none if none.is_empty() => return Err(BenchError::NoPeers { folder: folder.clone() }.into()),
            peers => peers,
        },
    };
    // Before hours of work rather than after them.
    if let Some(folder) = &config.args.output {
        writable(folder).map_err(|error| BenchError::Output { folder: folder.clone(), error })?;
    }
    let (stop, stopped) = watch::channel(false);
    run::signals::drain_on_signal(stop);
    let stop = run::signals::asked_to_stop(stopped);
    let results = measure::all(config, &matrix::plan(&config.args, &peers), stop).await?;
    if let Some(folder) = &config.args.output {
        results.save(folder)?;
    }
    if config.args.json {
        writeln!(out, "{}", serde_json::to_string(&results).map_err(io::Error::from)?)?;
    } else {
        write!(out, "{}", results.markdown())?;
    }
    Ok(())
}

/// Creates the folder and tries to write there.
fn writable(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let probe = folder.join(".topicmill");
    fs::write(&probe, "")?;
    fs::remove_file(probe)
}

/// This program with a subcommand, its log as JSON.
fn this_program(subcommand: &str) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([subcommand, "--log-level", "info", "--log-format", "json"]);
    Ok(command)
}
