//! The flags of each command. What is absent here may be in the environment or the file.

use std::{net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use clap::Args;

use super::{
    ConnectionArgs, KeyArgs, Property, StepArgs, TransformArgs, args::parse_property, choice::choice,
};
use crate::{
    broker::BrokerSettings,
    config::{
        keys,
        units::{parse_count, parse_duration, parse_size},
    },
    delivery::DeliveryKind,
    diff::Allowance,
    engine::EngineKind,
    generate::Keys,
    records::Compression,
    sample::Begin,
    strategy::StrategyKind,
};

/// The flags of `run`. Without a source, everything else has the defaults of the three programs
/// that this project began with; `examples/*.toml` name them.
#[derive(Clone, Debug, Default, Args)]
pub struct RunArgs {
    /// The keys of the configuration.
    #[command(flatten)]
    pub keys: KeyArgs<{ keys::RUN }>,
    /// How to reach the cluster.
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// The transform.
    #[command(flatten)]
    pub transform: TransformArgs,
    /// The steps.
    #[command(flatten)]
    pub steps: StepArgs,
}

impl RunArgs {
    /// As if `--flag value` had been typed, for a key of the configuration that is about neither the
    /// connection nor the transform.
    ///
    /// # Panics
    /// When there is no such flag.
    #[must_use]
    pub fn with(mut self, flag: &str, value: impl Into<String>) -> RunArgs {
        self.keys = self.keys.with(flag, value);
        self
    }
}

/// The flags of `check`: those of `run`.
#[derive(Clone, Debug, Default, Args)]
pub struct CheckArgs {
    /// What `run` would be given.
    #[command(flatten)]
    pub run: RunArgs,
}

/// The flags of `demo`.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// How many events to generate and transform.
    #[arg(long, visible_alias = "count", value_name = "N", default_value = "1000000", value_parser = parse_events, allow_negative_numbers = true)]
    pub events: u64,
    /// The number of partitions of the source topic.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = partition_count(), allow_negative_numbers = true)]
    pub partitions: i32,
    /// The keys of the configuration.
    #[command(flatten)]
    pub keys: KeyArgs<{ keys::DEMO }>,
    /// How to reach the cluster; without `--brokers` an embedded broker serves.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// The flags of `generate`.
#[derive(Clone, Debug, Args)]
pub struct GenerateArgs {
    /// The topic to write, never taken from a configuration's source [default: name_stream].
    #[arg(long, value_name = "TOPIC")]
    pub topic: Option<String>,
    /// The number of partitions if the topic is created [default: 1].
    #[arg(long, value_name = "N", value_parser = partition_count(), allow_negative_numbers = true)]
    pub partitions: Option<i32>,
    /// How many events to write, such as 1000000 or 1M [default: until ctrl+c].
    #[arg(long, visible_alias = "events", value_name = "N", value_parser = parse_count, allow_negative_numbers = true)]
    pub count: Option<u64>,
    /// The most events to write a second [default: as fast as the broker takes them].
    ///
    /// Without it one request per partition is in flight, so that a transformer on the same broker
    /// keeps up; `-X max.in.flight=5` allows more.
    #[arg(long, value_name = "N", value_parser = parse_rate, allow_negative_numbers = true)]
    pub rate: Option<f64>,
    /// The seed of the names; the same seed gives the same events.
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    pub seed: u64,
    /// The keys of the events.
    #[arg(long, value_name = "KEYS", default_value = "none", value_parser = choice::<Keys>())]
    pub keys: Keys,
    /// The keys of the configuration.
    #[command(flatten)]
    pub config_keys: KeyArgs<{ keys::GENERATE }>,
    /// How to reach the cluster.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// The flags of `verify`.
#[derive(Clone, Debug, Default, Args)]
pub struct VerifyArgs {
    /// The keys of the configuration.
    #[command(flatten)]
    pub keys: KeyArgs<{ keys::VERIFY }>,
    /// Also look for what a step protects: in what was written and in the dead letters.
    #[arg(long)]
    pub no_plaintext: bool,
    /// Print the result as one JSON object.
    #[arg(long)]
    pub json: bool,
    /// How to reach the cluster.
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// The transform that the destination was written with.
    #[command(flatten)]
    pub transform: TransformArgs,
    /// The steps that the destination was written with.
    #[command(flatten)]
    pub steps: StepArgs,
}

/// The flags of `dry-run`.
#[derive(Clone, Debug, Default, Args)]
pub struct DryRunArgs {
    /// Transform records of this topic instead, without a consumer group: nothing is committed or written.
    #[arg(long, value_name = "TOPIC", conflicts_with = "base64")]
    pub from_topic: Option<String>,
    /// How many records of the topic: the first ones.
    #[arg(long, value_name = "N", default_value = "10", value_parser = parse_count, requires = "from_topic")]
    pub count: u64,
    /// Each line is the base64 of a value, so that a value may hold any byte.
    #[arg(long)]
    pub base64: bool,
    /// Print one JSON object a line: the output in base64, or the class of the error and its message.
    #[arg(long)]
    pub json: bool,
    /// How to reach the cluster, for `--from-topic`.
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// The transform.
    #[command(flatten)]
    pub transform: TransformArgs,
    /// The steps.
    #[command(flatten)]
    pub steps: StepArgs,
}

/// The flags of `test`.
#[derive(Clone, Debug, Default, Args)]
pub struct CasesArgs {
    /// The files of cases [default: orders.test.toml for `--config orders.toml`].
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The configuration file (TOML); only its transform or its steps are used.
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Write the results as JUnit's XML, too.
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// The transform.
    #[command(flatten)]
    pub transform: TransformArgs,
    /// The steps.
    #[command(flatten)]
    pub steps: StepArgs,
}

/// The flags of `diff`.
#[derive(Clone, Debug, Default, Args)]
pub struct DiffArgs {
    /// The configuration files (TOML): the old one, then the new one.
    #[arg(short, long = "config", value_name = "FILE", required = true)]
    pub configs: Vec<PathBuf>,
    /// The topic to read [default: the source of the new configuration].
    #[arg(long, value_name = "TOPIC")]
    pub source: Option<String>,
    /// Where to begin: `earliest`, or how long ago, such as `-1h`.
    #[arg(long, value_name = "WHEN", default_value = "earliest", allow_hyphen_values = true, value_parser = Begin::from_str)]
    pub from: Begin,
    /// Compare about so many records, spread evenly [default: all].
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub sample: Option<u64>,
    /// Differences that are allowed: KIND, KIND=RECORDS or KIND=PERCENT%, of the kinds changed,
    /// newly-filtered, no-longer-filtered, newly-dead, other-class, no-longer-dead, rerouted, results; and
    /// no-records, that there is none to compare; may be repeated.
    #[arg(long, value_name = "KIND", value_parser = Allowance::from_str)]
    pub allow: Vec<Allowance>,
    /// Show the values of the examples rather than what they look like.
    #[arg(long)]
    pub show_values: bool,
    /// Print the result as one JSON object.
    #[arg(long)]
    pub json: bool,
    /// The keys that are about the connection.
    #[command(flatten)]
    #[command(next_help_heading = "Connection")]
    pub keys: KeyArgs<{ keys::CONNECTION }>,
    /// Set a Kafka property, as in `[kafka]` of the file; may be repeated. Not for secrets.
    #[arg(short = 'X', long = "property", value_name = "KEY=VALUE", value_parser = parse_property)]
    pub properties: Vec<Property>,
}

/// The flags of `lag`.
#[derive(Clone, Debug, Default, Args)]
pub struct LagArgs {
    /// The keys of the configuration.
    #[command(flatten)]
    pub keys: KeyArgs<{ keys::LAG }>,
    /// Print one JSON object a line and partition.
    #[arg(long)]
    pub json: bool,
    /// Show it again and again, after this time each, until stopped.
    #[arg(long, value_name = "DURATION", value_parser = parse_pause)]
    pub watch: Option<Duration>,
    /// How to reach the cluster.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// The flags of `bench`. What is a list takes values separated by commas.
#[derive(Clone, Debug, Args)]
pub struct BenchArgs {
    /// Measure every combination, which takes hours; without, one thing is changed at a time.
    #[arg(long)]
    pub full: bool,
    /// The strategies [default: all on the first shape, pipeline on the others].
    #[arg(long, value_name = "STRATEGY,…", value_delimiter = ',', value_parser = choice::<StrategyKind>())]
    pub strategy: Vec<StrategyKind>,
    /// The deliveries [default: at-least-once].
    #[arg(long, value_name = "DELIVERY,…", value_delimiter = ',', value_parser = choice::<DeliveryKind>())]
    pub delivery: Vec<DeliveryKind>,
    /// The engines [default: all of this build].
    #[arg(long, value_name = "ENGINE,…", value_delimiter = ',', value_parser = choice::<EngineKind>())]
    pub engine: Vec<EngineKind>,
    /// The compressions of source and destination [default: none,lz4,zstd].
    #[arg(long, value_name = "CODEC,…", value_delimiter = ',')]
    pub codec: Vec<Compression>,
    /// The numbers of partitions [default: 1,8].
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = partition_count())]
    pub partitions: Vec<i32>,
    /// The sizes of a value in bytes; up to 64 means natural events [default: 53,1000].
    #[arg(long, value_name = "BYTES,…", value_delimiter = ',', value_parser = parse_positive)]
    pub value_size: Vec<usize>,
    /// The numbers of records in a source batch, at most what fits into 1 MB
    /// [default: 10000,1000,10].
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = parse_positive)]
    pub batch_size: Vec<usize>,
    /// How many events a source topic gets at most; fewer in small batches or of large values.
    #[arg(long, visible_alias = "count", value_name = "N", default_value = "2000000", value_parser = parse_events)]
    pub events: u64,
    /// How many events a peer transforms at most.
    #[arg(long, value_name = "N", default_value = "500000", value_parser = parse_events)]
    pub peer_events: u64,
    /// How often each is measured; the results are medians.
    #[arg(long, value_name = "N", default_value = "3", value_parser = parse_positive)]
    pub runs: usize,
    /// Measure the peers of this folder as well; `bench/peers/build` builds them.
    #[arg(long, value_name = "DIR")]
    pub peers: Option<PathBuf>,
    /// The broker's process on this machine, whose processor time is measured.
    #[arg(long, value_name = "PID")]
    pub broker_pid: Option<u32>,
    /// How long to warm the broker up before measuring: a Java broker is slow at first.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "10s")]
    pub warm_up: Duration,
    /// The events per second at which latency is measured.
    #[arg(long, value_name = "N", value_parser = parse_rate, default_value = "100000")]
    pub latency_rate: f64,
    /// How long latency is measured, after a warm-up; `0s` leaves it out.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "5s")]
    pub latency_time: Duration,
    /// The keys of the configuration.
    #[command(flatten)]
    pub keys: KeyArgs<{ keys::BENCH }>,
    /// Save JSON, Markdown and plots in this folder.
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Print the results as one JSON object rather than Markdown.
    #[arg(long)]
    pub json: bool,
    /// How to reach the cluster; without `--brokers` an embedded broker serves.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// The flags of `broker`.
#[derive(Clone, Debug, Args)]
pub struct BrokerArgs {
    /// The address to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:19092")]
    pub listen: SocketAddr,
    /// The memory for records; beyond it the oldest are dropped, with a warning.
    #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "1GiB", allow_hyphen_values = true)]
    pub memory: usize,
    /// The number of partitions of a topic that is created on first use.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = partition_count(), allow_negative_numbers = true)]
    pub partitions: i32,
}

impl From<BrokerArgs> for BrokerSettings {
    fn from(args: BrokerArgs) -> BrokerSettings {
        BrokerSettings { listen: args.listen, memory: args.memory, partitions: args.partitions }
    }
}

/// The flags of `completions`.
#[derive(Clone, Debug, Args)]
pub struct CompletionsArgs {
    /// The shell.
    pub shell: clap_complete::Shell,
}

fn partition_count() -> clap::builder::RangedI64ValueParser<i32> {
    clap::value_parser!(i32).range(1..=10_000)
}

fn parse_positive(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "must be a whole number greater than 0".into())
}

fn parse_events(text: &str) -> Result<u64, String> {
    let events = parse_count(text)?;
    if events > 0 { Ok(events) } else { Err("must be greater than 0".into()) }
}

fn parse_pause(text: &str) -> Result<Duration, String> {
    let pause = parse_duration(text)?;
    if pause.is_zero() { Err("must be more than 0".into()) } else { Ok(pause) }
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0);
    rate.ok_or_else(|| "must be a number greater than 0".into())
}
