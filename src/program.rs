//! The command line program, from its arguments to its exit code.

use std::{io, num::NonZero, process::ExitCode, thread};

use tokio::runtime::{self, Runtime};

use crate::{
    bench, broker, cases, check,
    cli::{Cli, Command},
    config::{
        BenchConfig, CasesConfig, Config, DemoConfig, DiffConfig, DryRunConfig, GenerateConfig, LagConfig,
        VerifyConfig,
    },
    console::logs::{self, Reader},
    demo, diff, dry_run,
    exit::{Ended, Exit},
    generate, lag, run, verify,
};

/// The program `topicmill`: reads the command line of this process, does what it says, and returns the exit
/// code.
///
/// For programs of your own that are topicmill with more transforms: [register](crate::transform::registry)
/// them first, and `--transform NAME` and `[transform]` know them.
///
/// It builds a tokio runtime of its own, installs signal handlers and a subscriber for the log, and may end
/// the process.
pub fn program() -> ExitCode {
    command(Cli::from_command_line()).into()
}

/// Does what a command line says, and reports why that failed.
pub(crate) fn command(cli: Cli) -> Exit {
    let reader = reader(&cli.command);
    run(cli).unwrap_or_else(|ended| {
        logs::failed(&ended, reader);
        ended.exit
    })
}

/// Who reads a command's standard error.
fn reader(command: &Command) -> Reader {
    match command {
        Command::Run(_)
        | Command::Demo(_)
        | Command::Generate(_)
        | Command::Verify(_)
        | Command::Bench(_) => Reader::Log,
        Command::DryRun(_)
        | Command::Test(_)
        | Command::Diff(_)
        | Command::Lag(_)
        | Command::Broker(_)
        | Command::Check(_)
        | Command::Completions(_) => Reader::Person,
    }
}

fn run(cli: Cli) -> Result<Exit, Ended> {
    logs::set_up(cli.log_level, cli.log_format)?;
    match cli.command {
        Command::Demo(args) => {
            let config = DemoConfig::new(&args)?;
            return runtime()?.block_on(demo::command(config, &mut io::stdout()));
        }
        Command::Run(args) => {
            let config = Config::for_run(&args)?;
            let runtime = network_runtime()?;
            let ended = runtime.block_on(run::run(config));
            // A thread that is blocked in a system call must not hold up a stop.
            runtime.shutdown_background();
            ended?;
        }
        Command::Generate(args) => {
            let config = GenerateConfig::new(&args)?;
            runtime()?.block_on(generate::command(&config, &mut io::stdout()))?;
        }
        Command::Verify(args) => {
            let config = VerifyConfig::new(&args)?;
            return runtime()?.block_on(verify::command(&config, &mut io::stdout()));
        }
        Command::DryRun(args) => {
            let config = DryRunConfig::new(&args)?;
            if let Some(from) = &config.from_topic {
                let mut out = io::stdout();
                let shown = dry_run::topic::command(&config.transform, from, config.json, &mut out);
                return runtime()?.block_on(shown);
            }
            dry_run::command(&config, io::stdin().lock(), io::stdout().lock())?;
        }
        Command::Test(args) => {
            let config = CasesConfig::new(&args)?;
            return Ok(cases::command(&config, &mut io::stdout().lock())?);
        }
        Command::Diff(args) => {
            let config = DiffConfig::new(&args)?;
            return runtime()?.block_on(diff::command(&config, &mut io::stdout()));
        }
        Command::Lag(args) => {
            let config = LagConfig::new(&args)?;
            runtime()?.block_on(lag::command(&config, &mut io::stdout()))?;
        }
        Command::Bench(args) => {
            let config = BenchConfig::new(*args)?;
            runtime()?.block_on(bench::command(&config, &mut io::stdout()))?;
        }
        Command::Broker(args) => runtime()?.block_on(broker::run(args.into()))?,
        Command::Check(args) => check::run(&Config::for_run(&args.run)?, &mut io::stdout().lock())?,
        Command::Completions(args) => Cli::write_completions(args.shell, &mut io::stdout().lock())?,
    }
    Ok(Exit::Done)
}

fn runtime() -> io::Result<Runtime> {
    runtime::Builder::new_multi_thread().enable_all().build()
}

/// Half of the cores: transforms and compression have threads of their own, and fewer threads wake
/// one another less often.
fn network_runtime() -> io::Result<Runtime> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    runtime::Builder::new_multi_thread().worker_threads(cores.div_ceil(2)).enable_all().build()
}
