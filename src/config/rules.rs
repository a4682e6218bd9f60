//! The valid values of each key, and the defaults.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use topicmill_steps::{Plan, check_topic};

use super::{
    Origin,
    keys::{self, Key, Section},
    settings::{Settings, default, names_of, one_of},
    steps::{Transforming, transforming},
    units::{format_size, parse_duration},
};
use crate::{
    delivery::DeliveryKind,
    engine::EngineKind,
    strategy::{Order, StrategyKind},
    transform::{
        TransformKind, TransformSpec,
        registry::{self, Chosen, SettingSpec},
    },
};

/// Less than this cannot hold a few batches and their outputs.
const LEAST_MEMORY: usize = 16 << 20;

/// The most threads that are of any use.
const MOST_WORKERS: i64 = 1024;

/// The longest time that can be set.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a bounded run waits for a cluster that is away.
const GIVE_UP_AFTER: Duration = Duration::from_secs(10 * 60);

/// The message for a key whose default is only for the experiment's source.
const NO_DEFAULT: &str = "is missing: it is required with a source of your own; set";

/// The topics as far as they are said.
#[derive(Default)]
pub(super) struct KnownTopics {
    pub(super) source: Option<Arc<str>>,
    pub(super) destination: Option<Arc<str>>,
    pub(super) dead_letter: Option<Arc<str>>,
}

/// The three topics.
pub(super) struct Topics {
    pub(super) source: Arc<str>,
    pub(super) destination: Arc<str>,
    pub(super) dead_letter: Arc<str>,
}

impl Topics {
    pub(super) fn known(&self) -> KnownTopics {
        let known = |topic: &Arc<str>| Some(Arc::clone(topic)).filter(|topic| !topic.is_empty());
        let Topics { source, destination, dead_letter } = self;
        KnownTopics {
            source: known(source),
            destination: known(destination),
            dead_letter: known(dead_letter),
        }
    }
}

/// The topics where none is needed.
pub(super) fn known_topics(settings: &mut Settings) -> KnownTopics {
    let [source, destination, dead_letter] =
        [&keys::SOURCE, &keys::DESTINATION, &keys::DEAD_LETTER].map(|key| settings.parsed(key, parse_topic));
    let usual = |destination: &Arc<str>| Arc::from(dead_letter_of(destination));
    let dead_letter = dead_letter.or(destination.as_ref().map(usual));
    KnownTopics { source, destination, dead_letter }
}

fn dead_letter_of(destination: &str) -> String {
    format!("{destination}_dead_letter")
}

pub(super) fn topics(settings: &mut Settings, strategy: StrategyKind) -> Topics {
    let source = source(settings);
    let suffix = if strategy == StrategyKind::Serial { "serial" } else { "concurrent" };
    let destination = if settings.is_given(&keys::SOURCE) && !settings.is_given(&keys::DESTINATION) {
        settings.reject(&keys::DESTINATION, format!("{NO_DEFAULT} it or --destination"));
        None
    } else {
        Some(topic(settings, &keys::DESTINATION, || format!("{source}_{suffix}_transformed")))
    };
    let dead_letter = match &destination {
        Some(destination) => topic(settings, &keys::DEAD_LETTER, || dead_letter_of(destination)),
        None => settings.parsed(&keys::DEAD_LETTER, parse_topic).unwrap_or_default(),
    };
    if destination.as_ref() == Some(&source) {
        settings.reject(&keys::DESTINATION, format!("must differ from the source, `{source}`"));
    }
    if dead_letter == source || destination.as_ref() == Some(&dead_letter) {
        let other = if dead_letter == source { "source" } else { "destination" };
        settings.reject(&keys::DEAD_LETTER, format!("must differ from the {other}, `{dead_letter}`"));
    }
    Topics { source, destination: destination.unwrap_or_default(), dead_letter }
}

/// The source; without one, that of the experiment, the only source for which everything has a
/// default.
pub(super) fn source(settings: &mut Settings) -> Arc<str> {
    topic(settings, &keys::SOURCE, || keys::SOURCE.default.into())
}

/// The topic of a key. A default derived from a long name may itself be too long.
fn topic(settings: &mut Settings, key: &Key, default: impl FnOnce() -> String) -> Arc<str> {
    if let Some(topic) = settings.parsed(key, parse_topic) {
        return topic;
    }
    let default = default();
    if let Err(message) = parse_topic(&default) {
        settings.reject(key, format!("the default, made of the destination's name, {message}; set another"));
    }
    default.into()
}

/// The consumer group. That of the experiment depends on the strategy, like the groups of its
/// programs; any other is named after what it reads and writes, so that no two pipelines share one.
pub(super) fn group(
    settings: &mut Settings,
    strategy: StrategyKind,
    source: &str,
    destination: Option<&str>,
) -> String {
    let group = settings.text(&keys::GROUP);
    if group.as_ref().is_some_and(|group| group.trim().is_empty()) {
        settings.reject(&keys::GROUP, "must not be empty");
    }
    let experiment = !settings.is_given(&keys::SOURCE) && !settings.is_given(&keys::DESTINATION);
    group.unwrap_or_else(|| match (destination, strategy) {
        (_, StrategyKind::Serial) if experiment => "consumer_golang_serial".into(),
        (_, StrategyKind::Pipeline | StrategyKind::Worker) if experiment => {
            "consumer_golang_concurrent".into()
        }
        (Some(destination), _) => format!("topicmill-{source}-{destination}"),
        (None, _) => {
            settings.reject(&keys::GROUP, format!("{NO_DEFAULT} it or --group"));
            String::new()
        }
    })
}

/// The transform for records of a given source: there is no default, as the wrong one would destroy
/// what it writes.
pub(super) fn transform_of_source(settings: &mut Settings) -> Transforming {
    let is_said = settings.is_given(&keys::KIND) || !settings.steps().is_empty();
    if settings.is_given(&keys::SOURCE) && !is_said {
        let message = format!("{NO_DEFAULT} it or --transform to {}, or write steps", names_of(&keys::KIND));
        settings.reject(&keys::KIND, message);
    }
    transforming(settings)
}

/// The transform where nothing is said.
pub(super) fn default_transform() -> TransformKind {
    let spec = registry::all()[0];
    let default = |setting: &SettingSpec| (setting.name, setting.default.to_owned());
    TransformKind::of(spec, Chosen(spec.settings.iter().map(default).collect()))
}

/// The topics that steps route to must be neither the source nor that of the dead letters: one that is named is a
/// problem, and a record whose template names one becomes a dead letter, whatever the command.
pub(super) fn routes(settings: &mut Settings, steps: Option<&Plan>, topics: &KnownTopics) {
    let Some(plan) = steps else { return };
    let barred = [
        (&topics.source, "source", "the source"),
        (&topics.dead_letter, "dead letter topic", "that of the dead letters"),
    ];
    for (other, name, what) in barred {
        let Some(other) = other else { continue };
        for (number, topic) in plan.routes().filter(|(_, topic)| *topic == &**other) {
            let message = format!("must differ from the {name}, `{topic}` (step {number})");
            settings.problem("[[step]] route".into(), message, Origin::Default);
        }
        plan.bar(other, what);
    }
    if let Some(destination) = &topics.destination {
        plan.set_destination(destination);
    }
}

/// The transform, with its settings or their defaults.
pub(super) fn transform(settings: &mut Settings) -> TransformKind {
    let named = |name: &str| registry::find(name).ok_or_else(|| one_of(&keys::KIND));
    let spec = settings.parsed(&keys::KIND, named).unwrap_or_else(|| registry::all()[0]);
    let mut chosen = Vec::new();
    for setting in spec.settings {
        let check = |value: &str| setting.takes.check(value).map(|()| value.to_owned());
        let value = settings.parsed(&Key::of_setting(setting), check);
        chosen.push((setting.name, value.unwrap_or_else(|| setting.default.to_owned())));
    }
    refuse_settings_of_others(settings, spec);
    TransformKind::of(spec, Chosen(chosen))
}

/// Settings that remain when a layer of higher precedence chooses another transform are no
/// contradiction.
fn refuse_settings_of_others(settings: &mut Settings, spec: &TransformSpec) {
    let kind = (keys::KIND.section, keys::KIND.name);
    let others = transform_keys().into_iter().filter(|key| {
        key.name != keys::KIND.name && spec.settings.iter().all(|setting| setting.name != key.name)
    });
    for key in others.collect::<Vec<_>>() {
        if settings.outweighs((key.section, key.name), kind) {
            let has = |spec: &&&TransformSpec| spec.settings.iter().any(|setting| setting.name == key.name);
            let specs = registry::all();
            let names: Vec<_> = specs.iter().filter(has).map(|spec| format!("`{}`", spec.name)).collect();
            settings.reject(&key, format!("is only for the transform {}", names.join(", ")));
        }
    }
}

fn transform_keys() -> Vec<Key> {
    keys::all().into_iter().filter(|key| key.section == Section::Transform).collect()
}

/// The strategy with what only `worker` has: its threads and a looser order.
pub(super) fn strategy(settings: &mut Settings) -> (StrategyKind, usize, Order) {
    let strategy = settings.choice(&keys::STRATEGY);
    let order = settings.choice(&keys::ORDER);
    let workers = settings.integer(&keys::WORKERS);
    match workers {
        Some(..=0) => settings.reject(&keys::WORKERS, "must be at least 1"),
        Some(workers) if workers > MOST_WORKERS => {
            settings.reject(&keys::WORKERS, format!("must be at most {MOST_WORKERS}"));
        }
        Some(2..) if strategy != StrategyKind::Worker && outweighs_strategy(settings, &keys::WORKERS) => {
            let message = format!("only the strategy `worker` has several, not `{strategy}`");
            settings.reject(&keys::WORKERS, message);
        }
        _ => {}
    }
    if strategy == StrategyKind::Worker {
        let workers = workers.unwrap_or_else(|| default(&keys::WORKERS, parse_integer));
        return (strategy, workers.clamp(1, MOST_WORKERS) as usize, order);
    }
    if order != Order::Partition && outweighs_strategy(settings, &keys::ORDER) {
        let message =
            format!("`{order}` is for the strategy `worker`; `{strategy}` always keeps `partition`");
        settings.reject(&keys::ORDER, message);
    }
    (strategy, 1, Order::Partition)
}

fn outweighs_strategy(settings: &Settings, key: &Key) -> bool {
    settings.outweighs((key.section, key.name), (keys::STRATEGY.section, keys::STRATEGY.name))
}

fn parse_integer(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| "must be an integer".into())
}

pub(super) fn delivery(settings: &mut Settings, engine: EngineKind) -> DeliveryKind {
    let delivery = settings.choice(&keys::DELIVERY);
    if delivery == DeliveryKind::ExactlyOnce && engine == EngineKind::Librdkafka {
        let message = "`exactly-once` needs the engine `native`: librdkafka may wait for ever when it puts offsets \
                       into a transaction";
        settings.reject(&keys::DELIVERY, message);
    }
    delivery
}

pub(super) fn engine(settings: &mut Settings) -> EngineKind {
    let engine = settings.choice(&keys::ENGINE);
    if engine == EngineKind::Librdkafka && !cfg!(feature = "librdkafka") {
        let message = "`librdkafka` is not in this build: build it with `--features librdkafka`";
        settings.reject(&keys::ENGINE, message);
    }
    engine
}

pub(super) fn memory(settings: &mut Settings) -> usize {
    let memory = settings.size(&keys::MEMORY);
    if memory < LEAST_MEMORY {
        settings.reject(&keys::MEMORY, format!("must be at least {}", format_size(LEAST_MEMORY)));
    }
    memory
}

pub(super) fn retries(settings: &mut Settings) -> u32 {
    let retries = settings.integer(&keys::RETRIES);
    u32::try_from(retries.unwrap_or_else(|| default(&keys::RETRIES, parse_integer))).unwrap_or_else(|_| {
        settings.reject(&keys::RETRIES, "must be between 0 and 4294967295");
        0
    })
}

/// The time of a key: more than zero and bounded.
pub(super) fn bounded(settings: &mut Settings, key: &Key) -> Duration {
    let time = settings.duration(key);
    bound(settings, key, time);
    time
}

fn bound(settings: &mut Settings, key: &Key, time: Duration) {
    if time.is_zero() || time > LONGEST {
        settings.reject(key, "must be more than 0 and at most 24h");
    }
}

/// `None` waits forever. A bounded run does not by default, as someone waits for it to end.
pub(super) fn give_up_after(settings: &mut Settings, until_caught_up: bool) -> Option<Duration> {
    let default = until_caught_up.then_some(GIVE_UP_AFTER);
    let limit = settings.parsed(&keys::GIVE_UP_AFTER, parse_limit).unwrap_or(default);
    if let Some(limit) = limit {
        bound(settings, &keys::GIVE_UP_AFTER, limit);
    }
    limit
}

pub(super) fn admin(settings: &mut Settings) -> Option<SocketAddr> {
    settings.parsed(&keys::ADMIN, parse_listen).unwrap_or_else(|| default(&keys::ADMIN, parse_listen))
}

/// A name that brokers take for a topic.
pub(super) fn parse_topic(name: &str) -> Result<Arc<str>, String> {
    check_topic(name).map(|()| name.into()).map_err(str::to_owned)
}

/// An address, whose host may be `localhost`, or `off`.
fn parse_listen(text: &str) -> Result<Option<SocketAddr>, String> {
    let text = text.trim();
    if text == "off" {
        return Ok(None);
    }
    let address = match text.strip_prefix("localhost:") {
        Some(port) => port.parse().ok().map(|port| SocketAddr::from(([127, 0, 0, 1], port))),
        None => text.parse().ok(),
    };
    let message = "must be an address such as `127.0.0.1:9464` or `0.0.0.0:9464`, or `off`";
    address.map(Some).ok_or_else(|| message.into())
}

/// A duration, or `never`.
fn parse_limit(text: &str) -> Result<Option<Duration>, String> {
    match text.trim() {
        "never" => Ok(None),
        duration => parse_duration(duration).map(Some).map_err(|message| format!("{message}, or `never`")),
    }
}

/// `host:port`, separated by commas.
pub(super) fn parse_brokers(text: &str) -> Result<Vec<String>, String> {
    let brokers: Vec<_> = text.split(',').map(|broker| broker.trim().to_owned()).collect();
    match brokers.iter().find(|broker| !is_host_and_port(broker)) {
        Some(broker) if broker.is_empty() => Err("must be `host:port`, separated by commas".into()),
        Some(broker) => Err(format!("must be `host:port`, separated by commas; `{broker}` is not")),
        None => Ok(brokers),
    }
}

fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => return address.parse::<std::net::Ipv6Addr>().is_ok() && is_port(port),
        None => host,
    };
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    !host.is_empty() && host.chars().all(legal) && is_port(port)
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}
