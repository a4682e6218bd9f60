//! `torture`: faults on a real Kafka, and a table of what came of them.

#![forbid(unsafe_code)]

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use clap::{Parser, Subcommand, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use topicmill_torture::run::{CheatSettings, Delivery, FaultKind, Protocol, Settings, cheat, run};

/// The scale of the short form.
const SHORT: f64 = 0.05;

/// Strikes at instances of topicmill, at their brokers and at the network between them, and says
/// what was lost, written twice or out of order.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// What everything random depends on; random unless set
    #[arg(long)]
    seed: Option<u64>,
    /// Only these faults
    #[arg(long, value_enum, value_delimiter = ',')]
    faults: Vec<FaultKind>,
    /// Only these deliveries
    #[arg(long, value_enum, value_delimiter = ',')]
    delivery: Vec<Delivery>,
    /// Only these group protocols
    #[arg(long, value_enum, value_delimiter = ',')]
    protocol: Vec<Protocol>,
    /// Minutes instead of hours: some faults, fewer strikes, one group protocol for each by turns
    #[arg(long)]
    short: bool,
    /// How often and how long faults strike; 1 is the long form [default: 0.05 with --short, else 1]
    #[arg(long)]
    scale: Option<f64>,
    /// Events per second
    #[arg(long, default_value_t = 3000)]
    rate: u64,
    /// Kafka nodes
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// Instances of topicmill
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=5))]
    instances: u16,
    /// The program
    #[arg(long, default_value = "target/release/topicmill")]
    program: PathBuf,
    /// Where nodes and logs are kept; what is there of an earlier run is deleted
    #[arg(long, default_value = "target/torture")]
    data: PathBuf,
    /// The folder with Kafka's jars; fetched unless set
    #[arg(long)]
    libs: Option<PathBuf>,
    /// Where to write the table as well
    #[arg(long)]
    report: Option<PathBuf>,
    /// More arguments of `topicmill run`
    #[arg(last = true)]
    more: Vec<String>,
}

/// What it does for itself.
#[derive(Debug, Subcommand)]
enum Command {
    /// Cheats in the place of topicmill
    #[command(hide = true)]
    Cheat(CheatSettings),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Some(Command::Cheat(settings)) = &cli.command {
        let Err(error) = cheat(settings) else { return ExitCode::SUCCESS };
        eprintln!("torture: {error}");
        return ExitCode::FAILURE;
    }
    let seed = cli.seed.unwrap_or_else(|| rand::random_range(0..1_000_000));
    println!("seed {seed}");
    let all =
        |given: Vec<Delivery>| if given.is_empty() { Delivery::value_variants().to_vec() } else { given };
    let settings = Settings {
        seed,
        faults: if cli.faults.is_empty() { FaultKind::value_variants().to_vec() } else { cli.faults },
        deliveries: all(cli.delivery),
        protocols: if cli.protocol.is_empty() { Protocol::value_variants().to_vec() } else { cli.protocol },
        short: cli.short,
        scale: cli.scale.unwrap_or(if cli.short { SHORT } else { 1.0 }),
        rate: cli.rate,
        nodes: cli.nodes,
        instances: usize::from(cli.instances),
        program: cli.program,
        scripts: Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts"),
        libs: cli.libs,
        data: cli.data,
        more: cli.more,
        stop: on_signal(),
    };
    let outcome = match run(settings) {
        Ok(outcome) => outcome,
        Err(error) => {
            eprintln!("torture: {error} (seed {seed})");
            return ExitCode::FAILURE;
        }
    };
    println!("\nseed {seed}\n\n{}", outcome.table);
    if let Some(path) = cli.report
        && let Err(error) = std::fs::write(&path, &outcome.table)
    {
        eprintln!("torture: {}: {error}", path.display());
        return ExitCode::FAILURE;
    }
    if outcome.kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Set by SIGINT and SIGTERM, so that the nodes do not outlive the run.
fn on_signal() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut terminate = signal(SignalKind::terminate()).expect("a signal handler");
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        });
        told.store(true, Ordering::SeqCst);
    });
    stop
}
