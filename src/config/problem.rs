//! What is wrong with a configuration.

use std::{fmt, path::PathBuf};

use crate::exit::{Exit, Failure};

/// Everything that is wrong with a configuration, at least one [`Problem`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigError {
    /// The problems, one line each.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl Failure for ConfigError {
    fn exit(&self) -> Exit {
        Exit::Config
    }
}

/// An invalid setting. Neither it nor its text contains the value of a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("config: {subject}: {message}{}", origin.suffix())]
#[non_exhaustive]
pub struct Problem {
    /// What it is about, such as `[run] workers`.
    pub subject: String,
    /// What is wrong.
    pub message: String,
    /// Where the value came from.
    pub origin: Origin,
}

/// Where a value came from; a later one takes precedence over an earlier one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// It was not set.
    Default,
    /// The configuration file.
    File {
        /// Its path.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
    /// An environment variable, by name.
    Environment(String),
    /// A flag as it is typed, without its value.
    Flag(String),
    /// A method of the [`PipelineBuilder`](crate::pipeline::PipelineBuilder), by name.
    Builder(&'static str),
}

impl Origin {
    /// The layer's precedence: a higher one overrides a lower one.
    pub fn layer(&self) -> u8 {
        match self {
            Origin::Default => 0,
            Origin::File { .. } => 1,
            Origin::Environment(_) => 2,
            Origin::Flag(_) => 3,
            Origin::Builder(_) => 4,
        }
    }

    fn suffix(&self) -> String {
        match self {
            Origin::Default => String::new(),
            origin => format!(" (from {origin})"),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { path, line } => write!(f, "{} line {line}", path.display()),
            Origin::Environment(name) => write!(f, "environment {name}"),
            Origin::Flag(flag) => write!(f, "flag {flag}"),
            Origin::Builder(method) => write!(f, "{method}()"),
        }
    }
}
