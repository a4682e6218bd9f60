//! Exit codes, and how a command reports a failure.

use std::{
    error::Error,
    fmt,
    process::{ExitCode, Termination},
};

use crate::{
    console::logs::{self, Reader},
    engine::{EngineError, ErrorKind},
};

/// The exit codes of every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything that was asked for is done.
    Done = 0,
    /// It could not be done.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// `verify` found violations.
    Violations = 65,
    /// No broker could be reached within the connect timeout.
    Unreachable = 75,
    /// The configuration is invalid.
    Config = 78,
    /// Stopped at once by a second signal, SIGHUP.
    HungUp = 129,
    /// Stopped at once by a second SIGINT.
    Interrupted = 130,
    /// Stopped at once by a second SIGTERM.
    Terminated = 143,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// An error that ends a command, with the exit code that it means.
pub trait Failure: std::error::Error {
    /// The exit code.
    fn exit(&self) -> Exit {
        Exit::Failed
    }
}

/// How a command ended early: the exit code and the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The exit code; with [`Exit::Done`] there is no message.
    pub exit: Exit,
    /// The message for people.
    pub message: String,
}

impl<E: Failure> From<E> for Ended {
    fn from(failure: E) -> Ended {
        Ended { exit: failure.exit(), message: failure.to_string() }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Ended {}

impl From<Ended> for ExitCode {
    fn from(ended: Ended) -> ExitCode {
        ended.exit.into()
    }
}

impl Termination for Ended {
    /// Reports the message as the program `topicmill` does, and returns the exit code.
    fn report(self) -> ExitCode {
        logs::failed(&self, Reader::Log);
        self.into()
    }
}

impl Failure for std::io::Error {
    /// A reader that closes the pipe early is no failure.
    fn exit(&self) -> Exit {
        match self.kind() {
            std::io::ErrorKind::BrokenPipe => Exit::Done,
            _ => Exit::Failed,
        }
    }
}

impl Failure for EngineError {
    fn exit(&self) -> Exit {
        match self.kind {
            ErrorKind::Unreachable => Exit::Unreachable,
            ErrorKind::Retriable | ErrorKind::Fatal => Exit::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, ConfigError};

    /// As the `main` of someone else's program, with an error of many kinds.
    #[test]
    fn how_a_command_ended_is_an_error_that_knows_its_exit_code() {
        fn all_kinds() -> Result<Config, Box<dyn Error>> {
            Err(Ended::from(ConfigError { problems: Vec::new() }))?
        }
        let error = all_kinds().unwrap_err();
        assert_eq!(error.downcast_ref::<Ended>().map(|ended| ended.exit), Some(Exit::Config));
        let ended = Ended { exit: Exit::Unreachable, message: "nobody answers".into() };
        assert_eq!(ended.to_string(), "nobody answers");
        assert_eq!(ExitCode::from(ended.clone()), ExitCode::from(75));
        assert_eq!(ended.report(), ExitCode::from(75));
    }
}
