//! The configurations of the smaller commands.

use std::{path::PathBuf, sync::Arc, time::Duration};

use topicmill_steps::Protection;

use super::{
    Config, ConfigError, Origin, client,
    keys::{self, Section},
    layers,
    rules::{self, KnownTopics},
    steps::{protect_letters, protection, transforming},
    transactions,
};
use crate::{
    cli::{BenchArgs, CasesArgs, DemoArgs, DiffArgs, DryRunArgs, GenerateArgs, LagArgs, VerifyArgs},
    dead_letter::Protect,
    delivery::DeliveryKind,
    diff::Allowance,
    engine::ClientSettings,
    generate::GenerateSettings,
    sample::{Amount, Begin},
    strategy::Order,
    transform::TransformKind,
};

/// The topic that `generate` writes by default.
const DEFAULT_TOPIC: &str = "name_stream";

/// The transform of what `generate` writes.
const DEMO_TRANSFORM: &str = "name-event";

/// What `generate` is to do.
#[derive(Clone, Debug)]
pub(crate) struct GenerateConfig {
    /// How to reach the cluster.
    pub client: ClientSettings,
    /// What to generate.
    pub settings: GenerateSettings,
    /// Whether the number of partitions was given: then a topic with another number is reported.
    pub partitions_given: bool,
    /// Whether to create the topic if it is missing.
    pub create_topics: bool,
}

impl GenerateConfig {
    /// What `generate` is to do, from flags, the environment and the file.
    ///
    /// # Errors
    /// All problems at once.
    pub(crate) fn new(args: &GenerateArgs) -> Result<GenerateConfig, ConfigError> {
        let mut settings = layers::load(args.connection.config.as_deref(), args);
        // Never that of a run's configuration: it would be flooded with mock events.
        let topic = args.topic.clone().unwrap_or_else(|| DEFAULT_TOPIC.into());
        if let Err(message) = rules::parse_topic(&topic) {
            settings.problem("--topic".into(), message, Origin::Default);
        }
        let config = GenerateConfig {
            client: client::native_client(&mut settings),
            settings: GenerateSettings {
                topic,
                partitions: args.partitions.unwrap_or(1),
                count: args.count,
                rate: args.rate,
                seed: args.seed,
                keys: args.keys,
            },
            partitions_given: args.partitions.is_some(),
            create_topics: settings.boolean(&keys::CREATE),
        };
        settings.finish(config)
    }
}

/// What `verify` is to do.
#[derive(Clone, Debug)]
pub(crate) struct VerifyConfig {
    /// How to reach the cluster.
    pub client: ClientSettings,
    /// The topic that was read.
    pub source: Arc<str>,
    /// The topic that was written.
    pub destination: Arc<str>,
    /// The topic of what could not be transformed.
    pub dead_letter: Arc<str>,
    /// Whether the dead letter topic was asked for: then it must exist.
    pub dead_letter_given: bool,
    /// The consumer group, if it was given: what it has not committed may be missing, and only its
    /// dead letters count.
    pub group: Option<String>,
    /// The default group of `run` for these topics.
    pub usual_group: String,
    /// The transform that the destination was written with.
    pub transform: TransformKind,
    /// What must not be found in plain text, if it is to be looked for.
    pub protection: Option<Protection>,
    /// How the values of dead letters are protected, if they are.
    pub protect_letters: Option<Protect>,
    /// The order that the records must have kept.
    pub order: Order,
    /// The memory in bytes that batches may hold while they are read.
    pub memory: usize,
    /// Whether to print one JSON object.
    pub json: bool,
}

impl VerifyConfig {
    /// What `verify` is to do, from flags, the environment and the file.
    ///
    /// # Errors
    /// All problems at once.
    pub(crate) fn new(args: &VerifyArgs) -> Result<VerifyConfig, ConfigError> {
        let mut settings = layers::load(args.connection.config.as_deref(), args);
        let strategy = settings.choice(&keys::STRATEGY);
        let dead_letter_given = settings.is_given(&keys::DEAD_LETTER);
        let topics = rules::topics(&mut settings, strategy);
        let group = rules::group(&mut settings, strategy, &topics.source, Some(&topics.destination));
        let transforming = rules::transform_of_source(&mut settings);
        rules::routes(&mut settings, transforming.steps.as_deref(), &topics.known());
        if let Some(plan) = &transforming.steps {
            // A record beyond the bound of a run is a dead letter, which says so; one within is in its topic.
            plan.lift_bounds();
        }
        let protection = args.no_plaintext.then(|| protection(&mut settings, transforming.steps.as_deref()));
        let protect_letters = protect_letters(&mut settings, transforming.steps.as_deref());
        let config = VerifyConfig {
            client: client::native_client(&mut settings),
            source: topics.source,
            destination: topics.destination,
            dead_letter: topics.dead_letter,
            dead_letter_given,
            group: settings.is_given(&keys::GROUP).then(|| group.clone()),
            usual_group: group,
            transform: transforming.kind,
            protection: protection.flatten(),
            protect_letters,
            order: settings.choice(&keys::ORDER),
            memory: rules::memory(&mut settings),
            json: args.json,
        };
        settings.finish(config)
    }
}

/// What `lag` is to do.
#[derive(Clone, Debug)]
pub(crate) struct LagConfig {
    /// How to reach the cluster.
    pub client: ClientSettings,
    /// The topic to show; without one, every topic that the group reads.
    pub source: Option<Arc<str>>,
    /// The consumer group.
    pub group: String,
    /// Whether to print one JSON object a line and partition.
    pub json: bool,
    /// How long to wait before it is shown again; `None` shows it once.
    pub watch: Option<Duration>,
}

impl LagConfig {
    /// What `lag` is to do, from flags, the environment and the file.
    ///
    /// # Errors
    /// All problems at once.
    pub(crate) fn new(args: &LagArgs) -> Result<LagConfig, ConfigError> {
        let mut settings = layers::load(args.connection.config.as_deref(), args);
        let strategy = settings.choice(&keys::STRATEGY);
        let source = rules::source(&mut settings);
        let destination = settings.parsed(&keys::DESTINATION, rules::parse_topic);
        let config = LagConfig {
            client: client::native_client(&mut settings),
            group: rules::group(&mut settings, strategy, &source, destination.as_deref()),
            source: settings.parsed(&keys::SOURCE, rules::parse_topic),
            json: args.json,
            watch: args.watch,
        };
        settings.finish(config)
    }
}

/// What `demo` is to do.
#[derive(Clone, Debug)]
pub(crate) struct DemoConfig {
    /// What to run; without brokers and properties when `embedded`.
    pub run: Config,
    /// Whether an embedded broker serves; otherwise the brokers of `run.client`.
    pub embedded: bool,
    /// How many events to generate.
    pub events: u64,
    /// How many partitions the source topic gets.
    pub partitions: i32,
}

impl DemoConfig {
    /// What `demo` is to do. Brokers count only as a flag, so that a demo never writes to a
    /// cluster that happens to be configured.
    ///
    /// # Errors
    /// All problems at once.
    pub(crate) fn new(args: &DemoArgs) -> Result<DemoConfig, ConfigError> {
        let mut settings = layers::load(args.connection.config.as_deref(), args);
        let embedded = args.connection.brokers().is_none();
        if embedded {
            settings.forget(Section::Kafka);
        }
        // Its topics and its events are its own, so it needs none of what a source requires.
        if settings.is_given(&keys::SOURCE) {
            let destination = format!("{}_transformed", rules::source(&mut settings));
            settings.set_default(&keys::DESTINATION, destination);
            settings.set_default(&keys::KIND, DEMO_TRANSFORM.into());
        }
        let transform = transforming(&mut settings);
        let mut run = Config::read(&mut settings, transform);
        if embedded {
            run.client.brokers.clear();
            run.client.properties.clear();
        }
        settings.finish(DemoConfig { run, embedded, events: args.events, partitions: args.partitions })
    }
}

/// What `bench` is to do.
#[derive(Clone, Debug)]
pub(crate) struct BenchConfig {
    /// How to reach the cluster; without brokers and properties when `embedded`.
    pub client: ClientSettings,
    /// Whether an embedded broker serves.
    pub embedded: bool,
    /// What to measure, as typed.
    pub args: BenchArgs,
}

impl BenchConfig {
    /// What `bench` is to do. Brokers count only as a flag, so that a benchmark never burdens a
    /// cluster that happens to be configured.
    ///
    /// # Errors
    /// All problems at once.
    pub(crate) fn new(args: BenchArgs) -> Result<BenchConfig, ConfigError> {
        let mut settings = layers::load(args.connection.config.as_deref(), &args);
        let embedded = args.connection.brokers().is_none();
        if embedded {
            settings.forget(Section::Kafka);
        }
        let mut client = client::native_client(&mut settings);
        if args.keys.get(keys::COMMIT_INTERVAL.flag).is_some() {
            // What a delivery cannot run with is refused before anything is measured.
            let exact = args.delivery.contains(&DeliveryKind::ExactlyOnce);
            let strictest = if exact { DeliveryKind::ExactlyOnce } else { DeliveryKind::AtLeastOnce };
            transactions::commit_interval(&mut settings, strictest, &client);
        }
        if embedded {
            client.brokers.clear();
            client.properties.clear();
        }
        settings.finish(BenchConfig { client, embedded, args })
    }
}

/// What `dry-run` is to do.
#[derive(Clone, Debug)]
pub struct DryRunConfig {
    /// The transform.
    pub transform: TransformKind,
    /// Whether each line is the base64 of a value.
    pub base64: bool,
    /// Whether to print one JSON object a line.
    pub json: bool,
    /// The topic that values of standard input are said to come from.
    pub source: Option<Arc<str>>,
    /// The records of a topic to transform rather than standard input.
    pub from_topic: Option<FromTopicConfig>,
}

/// Which records of a topic to transform.
#[derive(Clone, Debug)]
pub struct FromTopicConfig {
    /// How to reach the cluster.
    pub client: ClientSettings,
    /// The topic.
    pub topic: Arc<str>,
    /// How many records: the first ones.
    pub count: u64,
    /// The destination, if it is known: its partitions are those that a key may choose.
    pub destination: Option<Arc<str>>,
    /// The memory in bytes that batches may hold while they are read.
    pub memory: usize,
}

impl DryRunConfig {
    /// What `dry-run` is to do, from flags, the environment and the file.
    ///
    /// # Errors
    /// All problems at once.
    pub fn new(args: &DryRunArgs) -> Result<DryRunConfig, ConfigError> {
        let mut settings = layers::load(args.connection.config.as_deref(), args);
        let transforming = transforming(&mut settings);
        let topics = rules::known_topics(&mut settings);
        rules::routes(&mut settings, transforming.steps.as_deref(), &topics);
        let transform = transforming.kind;
        let KnownTopics { source, destination, .. } = topics;
        let from_topic = args.from_topic.as_deref().map(|topic| {
            let parsed = rules::parse_topic(topic).unwrap_or_else(|message| {
                settings.problem("--from-topic".into(), message, Origin::Flag("--from-topic".into()));
                Arc::default()
            });
            let client = client::native_client(&mut settings);
            let memory = rules::memory(&mut settings);
            FromTopicConfig { client, topic: parsed, count: args.count, destination, memory }
        });
        let DryRunArgs { base64, json, .. } = *args;
        settings.finish(DryRunConfig { transform, base64, json, source, from_topic })
    }
}

/// What `test` is to do.
#[derive(Clone, Debug)]
pub(crate) struct CasesConfig {
    /// The transform.
    pub transform: TransformKind,
    /// The topic that records come from unless a case says another.
    pub source: Option<Arc<str>>,
    /// The topic that records go to unless something else is said.
    pub destination: Option<Arc<str>>,
    /// The files of cases; without any, the one beside the configuration.
    pub files: Vec<PathBuf>,
    /// The configuration file.
    pub config: Option<PathBuf>,
    /// Where to write JUnit's XML.
    pub junit: Option<PathBuf>,
}

impl CasesConfig {
    /// What `test` is to do, from flags, the environment and the file.
    ///
    /// # Errors
    /// All problems at once.
    pub(crate) fn new(args: &CasesArgs) -> Result<CasesConfig, ConfigError> {
        let mut settings = layers::load(args.config.as_deref(), args);
        let transforming = transforming(&mut settings);
        let topics = rules::known_topics(&mut settings);
        rules::routes(&mut settings, transforming.steps.as_deref(), &topics);
        let (transform, KnownTopics { source, destination, .. }) = (transforming.kind, topics);
        let CasesArgs { files, config, junit, .. } = args.clone();
        settings.finish(CasesConfig { transform, source, destination, files, config, junit })
    }
}

/// What `diff` is to do.
#[derive(Clone, Debug)]
pub(crate) struct DiffConfig {
    /// How to reach the cluster.
    pub client: ClientSettings,
    /// The topic to read.
    pub source: Arc<str>,
    /// The transform of the old configuration.
    pub old: TransformKind,
    /// That of the new one.
    pub new: TransformKind,
    /// The destinations of both, as far as they are said.
    pub destinations: [Option<Arc<str>>; 2],
    /// Where to begin.
    pub begin: Begin,
    /// How many records to compare.
    pub amount: Amount,
    /// The differences that are allowed.
    pub allow: Vec<Allowance>,
    /// Whether examples show values.
    pub show_values: bool,
    /// The memory in bytes that batches may hold while they are read.
    pub memory: usize,
    /// Whether to print one JSON object.
    pub json: bool,
}

impl DiffConfig {
    /// What `diff` is to do, from flags, the environment and the two files. The cluster and the source are
    /// those of the new file.
    ///
    /// # Errors
    /// All problems of a file at once.
    pub(crate) fn new(args: &DiffArgs) -> Result<DiffConfig, ConfigError> {
        let [old, new] = args.configs.as_slice() else {
            let mut settings = layers::load(None, args);
            let origin = Origin::Flag("--config".into());
            settings.problem(
                "--config".into(),
                "must be given twice: the old file, then the new one",
                origin,
            );
            return settings.finish(()).map(|()| unreachable!("there is a problem"));
        };
        let mut old = layers::load(Some(old), args);
        let (old_source, old_transform) = (rules::source(&mut old), rules::transform_of_source(&mut old));
        let old_topics = rules::known_topics(&mut old);
        rules::routes(&mut old, old_transform.steps.as_deref(), &old_topics);
        old.finish(())?;
        let mut settings = layers::load(Some(new), args);
        let mut source = rules::source(&mut settings);
        match &args.source {
            Some(topic) => match rules::parse_topic(topic) {
                Ok(topic) => source = topic,
                Err(message) => {
                    settings.problem("--source".into(), message, Origin::Flag("--source".into()));
                }
            },
            None if old_source != source => {
                let message =
                    format!("is `{old_source}` in the old file and `{source}` in the new one: say which");
                settings.problem("--source".into(), message, Origin::Default);
            }
            None => {}
        }
        let transform = rules::transform_of_source(&mut settings);
        let topics = rules::known_topics(&mut settings);
        rules::routes(&mut settings, transform.steps.as_deref(), &topics);
        let config = DiffConfig {
            client: client::native_client(&mut settings),
            source,
            old: old_transform.kind,
            new: transform.kind,
            destinations: [old_topics.destination, topics.destination],
            begin: args.from,
            amount: args.sample.map_or(Amount::All, Amount::Spread),
            allow: args.allow.clone(),
            show_values: args.show_values,
            memory: rules::memory(&mut settings),
            json: args.json,
        };
        settings.finish(config)
    }
}
