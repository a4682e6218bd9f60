//! Layered configuration, validated before any connection.
//!
//! Flags take precedence over the environment, the environment over the file, and the file over the
//! defaults. `keys` is the table of all keys; `layers` puts what was set into `settings`, with its
//! origin. Each command reads what it needs from there, by the `rules`, and every invalid setting
//! becomes a [`Problem`] that names the key and the origin of its value.
//!
//! Adding a key takes a row in `keys`, a field here with its two lines, and its entry in
//! `examples/reference.toml`.

mod client;
mod commands;
mod effective;
pub(crate) mod given;
pub(crate) mod keys;
mod layers;
mod problem;
#[cfg(test)]
mod reference_tests;
mod rules;
mod settings;
mod steps;
pub(crate) mod transactions;
pub(crate) mod units;

use std::{net::SocketAddr, sync::Arc, time::Duration};

pub use commands::DryRunConfig;
pub(crate) use commands::FromTopicConfig;
pub(crate) use commands::{BenchConfig, DemoConfig, GenerateConfig, LagConfig, VerifyConfig};
pub(crate) use commands::{CasesConfig, DiffConfig};
use keys::Key;
pub use problem::{ConfigError, Origin, Problem};
use settings::Settings;
use steps::Transforming;
use topicmill_steps::Plan;

use crate::{
    choice::Choice,
    cli::RunArgs,
    dead_letter::Protect,
    delivery::DeliveryKind,
    engine::{ClientSettings, EngineKind, OffsetReset},
    mill::OnGap,
    strategy::{OnPanic, Order, StrategyKind},
    transform::TransformKind,
};

/// The configuration of `run`; every value is valid.
#[derive(Clone, Debug)]
pub struct Config {
    /// How to reach the cluster.
    pub client: ClientSettings,
    /// The topic to read.
    pub source: Arc<str>,
    /// The topic to write.
    pub destination: Arc<str>,
    /// The topic for what cannot be transformed.
    pub dead_letter: Arc<str>,
    /// How the values of dead letters are protected, if they are.
    pub protect_letters: Option<Protect>,
    /// The consumer group.
    pub group: String,
    /// Where to start a topic that the group has never read.
    pub offset_reset: OffsetReset,
    /// What to do when records were deleted before they were read.
    pub on_gap: OnGap,
    /// The transform.
    pub transform: TransformKind,
    /// The steps that the transform was made of, if it was.
    pub steps: Option<Arc<Plan>>,
    /// How batches are transformed.
    pub strategy: StrategyKind,
    /// The number of threads that transform, at least 1; 1 unless the strategy is `worker`.
    pub workers: usize,
    /// Which records keep their order.
    pub order: Order,
    /// The delivery guarantee.
    pub delivery: DeliveryKind,
    /// What to do when the transform panics on a record.
    pub on_panic: OnPanic,
    /// The engine.
    pub engine: EngineKind,
    /// The memory in bytes for records and their output.
    pub memory: usize,
    /// How often a refused dead letter is retried before its partition stops.
    pub retries: u32,
    /// How often offsets are committed.
    pub commit_interval: Duration,
    /// How long a stop, or a rebalance, waits for batches in flight.
    pub drain_timeout: Duration,
    /// How long a started run waits without progress before it fails; `None` is forever.
    pub give_up_after: Option<Duration>,
    /// Whether to stop at the end offsets seen at the start.
    pub until_caught_up: bool,
    /// Whether to create, and extend, the destination and the dead letter topic.
    pub create_topics: bool,
    /// Where to serve metrics and health, if anywhere.
    pub admin: Option<SocketAddr>,
    /// Whether that address was asked for: then it has to be free.
    pub admin_given: bool,
}

impl Config {
    /// What `run` is to do, from flags, the environment and the file.
    ///
    /// # Errors
    /// All problems at once.
    pub fn for_run(args: &RunArgs) -> Result<Config, ConfigError> {
        let mut settings = layers::load(args.connection.config.as_deref(), args);
        let transform = rules::transform_of_source(&mut settings);
        let config = Config::read(&mut settings, transform);
        settings.finish(config)
    }

    /// How the native engine reaches the cluster, which prepares topics and reads offsets for every
    /// engine: without the properties that only the engine of this configuration knows.
    pub fn native_client(&self) -> ClientSettings {
        client::native(self.engine, self.client.clone())
    }

    fn read(settings: &mut Settings, transforming: Transforming) -> Config {
        let (strategy, workers, order) = rules::strategy(settings);
        let engine = rules::engine(settings);
        let delivery = rules::delivery(settings, engine);
        let client = client::client(settings, engine);
        transactions::warn_of_uncommitted(delivery, &client);
        let topics = rules::topics(settings, strategy);
        let until_caught_up = settings.boolean(&keys::UNTIL_CAUGHT_UP);
        let Transforming { kind: transform, steps } = transforming;
        rules::routes(settings, steps.as_deref(), &topics.known());
        let protect_letters = steps::protect_letters(settings, steps.as_deref());
        Config {
            group: rules::group(settings, strategy, &topics.source, Some(&topics.destination)),
            source: topics.source,
            destination: topics.destination,
            dead_letter: topics.dead_letter,
            protect_letters,
            offset_reset: settings.choice(&keys::AUTO_OFFSET_RESET),
            on_gap: settings.choice(&keys::ON_GAP),
            transform,
            steps,
            strategy,
            workers,
            order,
            delivery,
            on_panic: settings.choice(&keys::ON_PANIC),
            engine,
            memory: rules::memory(settings),
            retries: transactions::retries(settings, delivery, &client),
            commit_interval: transactions::commit_interval(settings, delivery, &client),
            client,
            drain_timeout: rules::bounded(settings, &keys::DRAIN_TIMEOUT),
            give_up_after: rules::give_up_after(settings, until_caught_up),
            until_caught_up,
            create_topics: settings.boolean(&keys::CREATE),
            admin: rules::admin(settings),
            admin_given: settings.is_given(&keys::ADMIN),
        }
    }

    /// Every key with its value as a file has it, but for those of the properties and of the
    /// transform's settings.
    fn shown(&self) -> Vec<(&'static Key, toml::Value)> {
        let whole = |number: u64| toml::Value::Integer(i64::try_from(number).unwrap_or(i64::MAX));
        let time = |time| units::format_duration(time).into();
        vec![
            (&keys::BROKERS, self.client.brokers.join(",").into()),
            (&keys::SOURCE, self.source.as_ref().into()),
            (&keys::GROUP, self.group.as_str().into()),
            (&keys::AUTO_OFFSET_RESET, self.offset_reset.name().into()),
            (&keys::ON_GAP, self.on_gap.name().into()),
            (&keys::DESTINATION, self.destination.as_ref().into()),
            (&keys::CREATE, self.create_topics.into()),
            (&keys::KIND, self.transform.name().into()),
            (&keys::STRATEGY, self.strategy.name().into()),
            (&keys::WORKERS, whole(self.workers as u64)),
            (&keys::ORDER, self.order.name().into()),
            (&keys::DELIVERY, self.delivery.name().into()),
            (&keys::ON_PANIC, self.on_panic.name().into()),
            (&keys::ENGINE, self.engine.name().into()),
            (&keys::MEMORY, units::format_size(self.memory).into()),
            (&keys::RETRIES, whole(self.retries.into())),
            (&keys::COMMIT_INTERVAL, time(self.commit_interval)),
            (&keys::DRAIN_TIMEOUT, time(self.drain_timeout)),
            (&keys::CONNECT_TIMEOUT, time(self.client.connect_timeout)),
            (&keys::GIVE_UP_AFTER, self.give_up_after.map_or_else(|| "never".into(), time)),
            (&keys::UNTIL_CAUGHT_UP, self.until_caught_up.into()),
            (&keys::DEAD_LETTER, self.dead_letter.as_ref().into()),
            (&keys::PROTECT, self.protect_letters.is_some().into()),
            (&keys::ADMIN, self.admin.map_or_else(|| "off".into(), |address| address.to_string().into())),
        ]
    }
}
