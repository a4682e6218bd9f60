//! The programs that transform: topicmill as users run it, or a peer.

use std::{fmt, process::Command};

use topicmill_mill::{delivery::DeliveryKind, engine::EngineKind, strategy::StrategyKind};

use super::{BenchError, process::Finished};

/// A program that transforms a topic.
#[derive(Clone, Debug)]
pub enum Contender {
    /// This program, as a process of its own.
    Mill {
        /// The strategy.
        strategy: StrategyKind,
        /// The delivery.
        delivery: DeliveryKind,
        /// The engine.
        engine: EngineKind,
    },
    /// Another program with a mode or codec as its first argument.
    Peer {
        /// The program.
        program: std::path::PathBuf,
        /// Its name in the results.
        name: String,
        /// Its first argument.
        mode: String,
    },
}

/// The topics and the group of one turn.
#[derive(Clone, Debug)]
pub struct Turn {
    /// The source topic.
    pub source: String,
    /// The destination topic.
    pub destination: String,
    /// The topic of dead letters.
    pub dead_letter: String,
    /// The consumer group.
    pub group: String,
    /// The events for a peer, which stops after as many.
    pub events: u64,
}

impl Contender {
    /// The delivery of this program; a peer's is its own affair.
    pub fn delivery(&self) -> Option<DeliveryKind> {
        match self {
            Contender::Mill { delivery, .. } => Some(*delivery),
            Contender::Peer { .. } => None,
        }
    }

    /// The command line of a turn; `run` is the one of this program that reaches the cluster.
    pub fn command(&self, turn: &Turn, brokers: &str, mut run: Command) -> Command {
        match self {
            Contender::Mill { .. } => {
                self.add_run_arguments(turn, &mut run);
                run.arg("--until-caught-up");
                run
            }
            Contender::Peer { program, mode, .. } => {
                let mut command = Command::new(program);
                command.args([mode, brokers, &turn.source, &turn.destination, &turn.group]);
                command.arg(turn.events.to_string());
                command
            }
        }
    }

    /// The arguments of `run` besides the cluster; none for a peer.
    pub fn add_run_arguments(&self, turn: &Turn, command: &mut Command) {
        let Contender::Mill { strategy, delivery, engine } = self else { return };
        command.args(["--source", &turn.source, "--destination", &turn.destination]);
        command.args(["--dead-letter", &turn.dead_letter, "--group", &turn.group]);
        command.args(["--transform", "name-event"]);
        command.args(["--strategy", &strategy.to_string(), "--delivery", &delivery.to_string()]);
        command.args(["--engine", &engine.to_string(), "--admin", "off"]);
    }

    /// The events transformed and the seconds that took: of this program from the first batch
    /// read to the last commit, of a peer from the first record to the last acknowledgement.
    ///
    /// # Errors
    /// When the output does not say so.
    pub fn outcome(&self, turn: &Turn, finished: &Finished) -> Result<(u64, f64), BenchError> {
        let told = match self {
            Contender::Mill { .. } => finished.errors.lines().rev().find_map(done_line),
            Contender::Peer { .. } => {
                let seconds = finished.output.lines().rev().find_map(|line| line.trim().parse().ok());
                seconds.map(|seconds| (turn.events, seconds))
            }
        };
        let told = told.filter(|(_, seconds)| *seconds > 0.0);
        told.ok_or_else(|| BenchError::NoResult { contender: self.to_string() })
    }
}

/// The events and the seconds in the last line of a run's log.
fn done_line(line: &str) -> Option<(u64, f64)> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    (line["message"] == "done").then_some(())?;
    Some((line["written"].as_u64()?, line["work_seconds"].as_f64()?))
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Contender::Mill { strategy, delivery, engine } => {
                write!(f, "topicmill {strategy}")?;
                if *delivery == DeliveryKind::ExactlyOnce {
                    f.write_str(", exactly once")?;
                }
                if *engine == EngineKind::Librdkafka {
                    f.write_str(", librdkafka")?;
                }
                Ok(())
            }
            Contender::Peer { name, .. } => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_the_log_is_understood() {
        let line = r#"{"timestamp":"…","level":"INFO","message":"done","read":9,"written":8,"seconds":0.9,"work_seconds":0.5,"target":"topicmill::run"}"#;
        assert_eq!(done_line(line), Some((8, 0.5)));
        assert_eq!(done_line(r#"{"message":"assigned"}"#), None);
        assert_eq!(done_line("text"), None);
    }
}
