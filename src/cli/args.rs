//! Flags that several commands share.

use std::{convert::Infallible, fmt, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

use crate::{config::units::parse_duration, transform::Digest};

/// How to reach the cluster, and where the rest of the configuration is.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Connection")]
pub struct ConnectionArgs {
    /// The configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Brokers to start from, HOST:PORT, separated by commas [default: localhost:19092].
    #[arg(long, value_name = "HOST:PORT,…")]
    pub brokers: Option<String>,
    /// Set a Kafka property, as in `[kafka]` of the file; may be repeated. Secrets are refused here.
    #[arg(short = 'X', value_name = "KEY=VALUE", value_parser = parse_property)]
    pub properties: Vec<Property>,
    /// How long to try for a first broker [default: 10s].
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, allow_hyphen_values = true)]
    pub connect_timeout: Option<Duration>,
}

/// Which transform, and its settings.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Transform")]
pub struct TransformArgs {
    /// The transform; with a source of one's own it must be said.
    #[arg(long, value_name = "NAME")]
    pub transform: Option<TransformName>,
    /// The field that `hash-field` sets [default: hash].
    #[arg(long, value_name = "NAME")]
    pub field: Option<String>,
    /// The digest that `hash-field` sets it to [default: md5].
    #[arg(long, value_name = "DIGEST")]
    pub digest: Option<Digest>,
}

/// The transforms by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TransformName {
    /// Name events get the MD5 of their value as `hash`, as Go's `encoding/json` writes them: every
    /// field but first_name and last_name is dropped, and these are empty where they are missing.
    #[default]
    NameEvent,
    /// Any JSON object gets one field set to a digest of its value.
    HashField,
}

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
fn parse_property(text: &str) -> Result<Property, Infallible> {
    let (key, value) = text.split_once('=').unwrap_or_default();
    Ok(Property { key: key.trim().into(), value: value.trim().into() })
}

/// How much to log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// What ended or endangers the work.
    Error,
    /// What someone should look at.
    Warn,
    /// What happens now and then: start, assignment, stop.
    #[default]
    Info,
    /// What helps to find a fault.
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
