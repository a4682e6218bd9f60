//! Flags that several commands share.

use std::{convert::Infallible, fmt, path::PathBuf};

use clap::{Args, ValueEnum};

use super::KeyArgs;
use crate::config::keys;

/// How to reach the cluster, and where the rest of the configuration is.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Connection")]
pub struct ConnectionArgs {
    /// The configuration file (TOML).
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The keys that are about this.
    #[command(flatten)]
    pub keys: KeyArgs<{ keys::CONNECTION }>,
    /// Set a Kafka property, as in `[kafka]` of the file; may be repeated. Not for secrets.
    #[arg(short = 'X', long = "property", value_name = "KEY=VALUE", value_parser = parse_property)]
    pub properties: Vec<Property>,
}

impl ConnectionArgs {
    /// `--brokers`, as it was typed.
    pub fn brokers(&self) -> Option<&str> {
        self.keys.get(keys::BROKERS.flag)
    }
}

/// Which transform, and its settings.
pub(crate) type TransformArgs = KeyArgs<{ keys::TRANSFORM }>;

/// A `KEY=VALUE` of `-X`; without a key when it was not written so.
#[derive(Clone, PartialEq, Eq)]
pub struct Property {
    /// The property's name.
    pub key: String,
    /// Its value.
    pub value: String,
}

impl fmt::Debug for Property {
    /// Leaves out the value: it may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Property").field("key", &self.key).finish_non_exhaustive()
    }
}

/// Never fails, because clap would repeat the value, which may be a secret, in its message.
pub(super) fn parse_property(text: &str) -> Result<Property, Infallible> {
    let (key, value) = text.split_once('=').unwrap_or_default();
    Ok(Property { key: key.trim().into(), value: value.trim().into() })
}

/// How much to log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// Failures.
    Error,
    /// What needs attention.
    Warn,
    /// Start, assignments, stop.
    #[default]
    Info,
    /// Details for finding a fault.
    Debug,
    /// Every request.
    Trace,
}

/// How to write the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// For people.
    Text,
    /// One object a line.
    Json,
}
