//! The command line as it was typed. What it means together with the environment and the file is
//! decided in [`config`](crate::config).

mod args;
mod choice;
mod commands;
mod examples;
mod keys;
mod steps;

use std::io;

pub(crate) use args::{ConnectionArgs, LogFormat, LogLevel, Property, TransformArgs};
pub(crate) use choice::possible_values;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, error::ErrorKind};
pub(crate) use commands::{
    BenchArgs, BrokerArgs, CasesArgs, CheckArgs, CompletionsArgs, DemoArgs, DiffArgs, DryRunArgs,
    GenerateArgs, LagArgs, RunArgs, VerifyArgs,
};
pub(crate) use keys::KeyArgs;
pub(crate) use steps::{StepArgs, is_step_flag, pair_form};

/// Reads a Kafka topic, transforms every record and writes the result to another topic.
#[derive(Debug, Parser)]
#[command(name = "topicmill", version, max_term_width = 100, after_long_help = examples::ALL)]
pub struct Cli {
    /// How much to log on standard error [env: TOPICMILL_LOG] [default: info].
    #[arg(long, value_name = "LEVEL", global = true, help_heading = "Log")]
    pub log_level: Option<LogLevel>,
    /// How to write the log; `auto` is text on a terminal and JSON elsewhere.
    #[arg(long, value_name = "FORMAT", global = true, help_heading = "Log", default_value = "auto")]
    pub log_format: LogFormat,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the whole job on an embedded broker: generate, transform, verify.
    #[command(after_long_help = examples::DEMO)]
    Demo(DemoArgs),
    /// Transform a topic into another until stopped.
    #[command(after_long_help = examples::RUN)]
    Run(RunArgs),
    /// Write mock name events as fast as the broker takes them.
    #[command(after_long_help = examples::GENERATE)]
    Generate(GenerateArgs),
    /// Prove that nothing is lost, doubled, out of order or wrong between two topics.
    #[command(after_long_help = examples::VERIFY)]
    Verify(VerifyArgs),
    /// Apply the transform to standard input, one value a line; needs no broker.
    #[command(after_long_help = examples::DRY_RUN)]
    DryRun(DryRunArgs),
    /// Run the cases beside a configuration: records, and what should become of them; needs no broker.
    #[command(after_long_help = examples::TEST)]
    Test(CasesArgs),
    /// Show what a changed configuration would do to real records; nothing is written.
    #[command(after_long_help = examples::DIFF)]
    Diff(DiffArgs),
    /// Show how far a consumer group is behind, per partition.
    #[command(after_long_help = examples::LAG)]
    Lag(LagArgs),
    /// Measure throughput, CPU time, memory and latency, beside other clients and the broker's limits.
    #[command(after_long_help = examples::BENCH)]
    Bench(Box<BenchArgs>),
    /// Run the embedded broker alone, for development.
    #[command(after_long_help = examples::BROKER)]
    Broker(BrokerArgs),
    /// Check a configuration, and print it with its defaults; needs no broker.
    #[command(after_long_help = examples::CHECK)]
    Check(CheckArgs),
    /// Write a completion script for a shell to standard output.
    #[command(after_long_help = examples::COMPLETIONS)]
    Completions(CompletionsArgs),
}

impl Cli {
    /// Reads the command line of this process; on `--help`, `--version` and errors the process
    /// ends here, with exit code 2 for errors.
    pub fn from_command_line() -> Cli {
        let matches = Cli::command().get_matches();
        let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        if cli.properties().iter().any(|property| property.key.is_empty()) {
            let mut program = Cli::command();
            // The usage of a command begins with the program's name from here on.
            program.build();
            let name = matches.subcommand_name().unwrap_or_default();
            let command = program.find_subcommand_mut(name).expect("only a command has properties");
            // What was typed is not repeated: it may be a secret.
            command.error(ErrorKind::ValueValidation, "-X: write it as KEY=VALUE").exit();
        }
        cli
    }

    /// Writes the completion script for `shell`.
    ///
    /// # Errors
    /// When `out` does not take it.
    pub fn write_completions(shell: clap_complete::Shell, out: &mut impl io::Write) -> io::Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "topicmill", &mut script);
        out.write_all(&script)
    }

    fn properties(&self) -> &[Property] {
        match &self.command {
            Command::Demo(args) => &args.connection.properties,
            Command::Run(args) | Command::Check(CheckArgs { run: args }) => &args.connection.properties,
            Command::Generate(args) => &args.connection.properties,
            Command::Verify(args) => &args.connection.properties,
            Command::Diff(args) => &args.properties,
            Command::DryRun(args) => &args.connection.properties,
            Command::Lag(args) => &args.connection.properties,
            Command::Bench(args) => &args.connection.properties,
            Command::Test(_) | Command::Broker(_) | Command::Completions(_) => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_holds() {
        Cli::command().debug_assert();
    }
}
