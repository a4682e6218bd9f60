//! What the process says to whoever started it.

use std::process::ExitCode;

use crate::engine::{EngineError, ErrorKind};

/// The exit codes of every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All that was asked for is done.
    Done = 0,
    /// It could not be done.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// `verify` found a record that is missing, doubled, out of order or wrong.
    Violations = 65,
    /// No broker could be reached within the connect timeout.
    Unreachable = 75,
    /// The configuration cannot hold.
    Config = 78,
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

impl Failure for std::io::Error {}

impl Failure for EngineError {
    fn exit(&self) -> Exit {
        match self.kind {
            ErrorKind::Unreachable => Exit::Unreachable,
            ErrorKind::Retriable | ErrorKind::Fatal => Exit::Failed,
        }
    }
}
