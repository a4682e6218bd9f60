//! What the values of each key may be, and what they are when nobody said anything.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::{
    keys::Section::{self, Admin, DeadLetter, Destination, Run, Source, Transform},
    settings::Settings,
};
use crate::{
    cli::TransformName,
    delivery::DeliveryKind,
    engine::{EngineKind, OffsetReset},
    mill::OnGap,
    strategy::{OnPanic, Order, StrategyKind},
    transform::TransformKind,
};

/// Less than this does not hold a few batches and their outputs.
const LEAST_MEMORY: usize = 16 << 20;

/// The most threads that are of any use.
const MOST_WORKERS: i64 = 1024;

/// The longest time that anything may be told to wait.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a run to the end waits for a cluster that is away.
const GIVE_UP_AFTER: Duration = Duration::from_secs(10 * 60);

/// What is said of a key that has a default for the experiment's source alone.
const NO_DEFAULT: &str = "is missing: there is no default for a source of one's own; set";

/// The three topics.
pub(super) struct Topics {
    pub(super) source: Arc<str>,
    pub(super) destination: Arc<str>,
    pub(super) dead_letter: Arc<str>,
}

pub(super) fn topics(settings: &mut Settings, strategy: StrategyKind) -> Topics {
    let source = source(settings);
    let suffix = if strategy == StrategyKind::Serial { "serial" } else { "concurrent" };
    let destination = match source_given(settings) && settings.get(Destination, "topic").is_none() {
        true => {
            settings.reject(Destination, "topic", format!("{NO_DEFAULT} it or --destination"));
            None
        }
        false => Some(topic(settings, Destination, || format!("{source}_{suffix}_transformed"))),
    };
    let dead_letter = match &destination {
        Some(destination) => topic(settings, DeadLetter, || format!("{destination}_dead_letter")),
        None => settings.parsed(DeadLetter, "topic", parse_topic).unwrap_or_default(),
    };
    if destination.as_ref() == Some(&source) {
        settings.reject(Destination, "topic", format!("must differ from the source, `{source}`"));
    }
    if dead_letter == source || destination.as_ref() == Some(&dead_letter) {
        let other = if dead_letter == source { "source" } else { "destination" };
        settings.reject(DeadLetter, "topic", format!("must differ from the {other}, `{dead_letter}`"));
    }
    Topics { source, destination: destination.unwrap_or_default(), dead_letter }
}

/// The source; without one, that of the experiment, for which alone everything has a default.
pub(super) fn source(settings: &mut Settings) -> Arc<str> {
    topic(settings, Source, || "name_stream".into())
}

pub(super) fn source_given(settings: &Settings) -> bool {
    settings.get(Source, "topic").is_some()
}

/// The destination, if there is one beyond the experiment's.
pub(super) fn destination_given(settings: &mut Settings) -> Option<Arc<str>> {
    settings.parsed(Destination, "topic", parse_topic)
}

/// The source, if anyone named it.
pub(super) fn source_named(settings: &mut Settings) -> Option<Arc<str>> {
    settings.parsed(Source, "topic", parse_topic)
}

/// The topic of a section. A default that is made of a long name may itself be too long.
fn topic(settings: &mut Settings, section: Section, default: impl FnOnce() -> String) -> Arc<str> {
    if let Some(topic) = settings.parsed(section, "topic", parse_topic) {
        return topic;
    }
    let default = default();
    if let Err(message) = parse_topic(&default) {
        settings.reject(
            section,
            "topic",
            format!("the default, made of the destination's name, {message}; set another"),
        );
    }
    default.into()
}

pub(super) fn dead_letter_given(settings: &Settings) -> bool {
    settings.get(DeadLetter, "topic").is_some()
}

/// The consumer group. That of the experiment depends on the strategy, as its programs' groups do;
/// any other is named by what it reads and writes, so that no two pipelines share one.
pub(super) fn group(
    settings: &mut Settings,
    strategy: StrategyKind,
    source: &str,
    destination: Option<&str>,
) -> String {
    let group = settings.text(Source, "group");
    if group.as_ref().is_some_and(|group| group.trim().is_empty()) {
        settings.reject(Source, "group", "must not be empty");
    }
    let experiment = !source_given(settings) && settings.get(Destination, "topic").is_none();
    group.unwrap_or_else(|| match (destination, strategy) {
        (_, StrategyKind::Serial) if experiment => "consumer_golang_serial".into(),
        (_, StrategyKind::Pipeline | StrategyKind::Worker) if experiment => {
            "consumer_golang_concurrent".into()
        }
        (Some(destination), _) => format!("topicmill-{source}-{destination}"),
        (None, _) => {
            settings.reject(Source, "group", format!("{NO_DEFAULT} it or --group"));
            String::new()
        }
    })
}

pub(super) fn group_given(settings: &Settings) -> bool {
    settings.get(Source, "group").is_some()
}

pub(super) fn offset_reset(settings: &mut Settings) -> OffsetReset {
    settings.choice(Source, "auto_offset_reset").unwrap_or_default()
}

pub(super) fn on_gap(settings: &mut Settings) -> OnGap {
    settings.choice(Source, "on_gap").unwrap_or_default()
}

pub(super) fn create_topics(settings: &mut Settings) -> bool {
    settings.boolean(Destination, "create").unwrap_or(true)
}

/// The transform for records of a source that may be anyone's: none is guessed, as the wrong one
/// destroys what it writes.
pub(super) fn transform_of_source(settings: &mut Settings) -> TransformKind {
    if source_given(settings) && settings.get(Transform, "kind").is_none() {
        let names = super::settings::names_of::<TransformName>();
        settings.reject(Transform, "kind", format!("{NO_DEFAULT} it or --transform to {names}"));
    }
    transform(settings)
}

/// Refuses every setting of a transform: the program has one of its own.
pub(super) fn no_transform(settings: &mut Settings) {
    for key in Transform.keys() {
        if settings.get(Transform, key).is_some() {
            settings.reject(Transform, key, "has no effect: this program has a transform of its own");
        }
    }
}

pub(super) fn transform(settings: &mut Settings) -> TransformKind {
    let name: TransformName = settings.choice(Transform, "kind").unwrap_or_default();
    let field = settings.text(Transform, "field");
    let digest = settings.choice(Transform, "digest");
    match name {
        TransformName::NameEvent => {
            for key in ["field", "digest"] {
                // What a weightier layer's choice of transform leaves behind is no contradiction.
                if at_least(settings, (Transform, key), (Transform, "kind")) {
                    settings.reject(Transform, key, "is only for the transform `hash-field`");
                }
            }
            TransformKind::NameEvent
        }
        TransformName::HashField => {
            if field.as_ref().is_some_and(String::is_empty) {
                settings.reject(Transform, "field", "must not be empty");
            }
            let field = field.unwrap_or_else(|| "hash".into());
            TransformKind::HashField { field, digest: digest.unwrap_or_default() }
        }
    }
}

pub(super) fn strategy_kind(settings: &mut Settings) -> StrategyKind {
    settings.choice(Run, "strategy").unwrap_or_default()
}

pub(super) fn order(settings: &mut Settings) -> Order {
    settings.choice(Run, "order").unwrap_or_default()
}

/// The strategy with what only the strategy `worker` has: its threads and a looser order.
pub(super) fn strategy(settings: &mut Settings) -> (StrategyKind, usize, Order) {
    let strategy = strategy_kind(settings);
    let order = order(settings);
    let workers = settings.integer(Run, "workers");
    match workers {
        Some(..=0) => settings.reject(Run, "workers", "must be at least 1"),
        Some(workers) if workers > MOST_WORKERS => {
            settings.reject(Run, "workers", format!("must be at most {MOST_WORKERS}"));
        }
        Some(2..) if strategy != StrategyKind::Worker && at_least(settings, (Run, "workers"), STRATEGY) => {
            settings.reject(
                Run,
                "workers",
                format!("only the strategy `worker` has several, not `{strategy}`"),
            );
        }
        _ => {}
    }
    if strategy == StrategyKind::Worker {
        return (strategy, workers.unwrap_or(4).clamp(1, MOST_WORKERS) as usize, order);
    }
    if order != Order::Partition && at_least(settings, (Run, "order"), STRATEGY) {
        let message =
            format!("`{order}` is for the strategy `worker`; `{strategy}` always keeps `partition`");
        settings.reject(Run, "order", message);
    }
    (strategy, 1, Order::Partition)
}

pub(super) fn delivery(settings: &mut Settings) -> DeliveryKind {
    let delivery = settings.choice(Run, "delivery").unwrap_or_default();
    if delivery == DeliveryKind::ExactlyOnce {
        settings.reject(Run, "delivery", "`exactly-once` is not available in this version");
    }
    delivery
}

pub(super) fn on_panic(settings: &mut Settings) -> OnPanic {
    settings.choice(Run, "on_panic").unwrap_or_default()
}

pub(super) fn engine(settings: &mut Settings) -> EngineKind {
    let engine = settings.choice(Run, "engine").unwrap_or_default();
    if engine == EngineKind::Librdkafka && !cfg!(feature = "librdkafka") {
        let message = "`librdkafka` is not in this build: build it with `--features librdkafka`";
        settings.reject(Run, "engine", message);
    }
    engine
}

pub(super) fn memory(settings: &mut Settings) -> usize {
    let memory = settings.size(Run, "memory").unwrap_or(256 << 20);
    if memory < LEAST_MEMORY {
        settings.reject(
            Run,
            "memory",
            format!("must be at least {}", super::units::format_size(LEAST_MEMORY)),
        );
    }
    memory
}

pub(super) fn retries(settings: &mut Settings) -> u32 {
    let retries = settings.integer(Run, "retries").unwrap_or(3);
    u32::try_from(retries).unwrap_or_else(|_| {
        settings.reject(Run, "retries", "must be between 0 and 4294967295");
        0
    })
}

pub(super) fn commit_interval(settings: &mut Settings) -> Duration {
    timeout(settings, "commit_interval", Duration::from_secs(1))
}

pub(super) fn drain_timeout(settings: &mut Settings) -> Duration {
    timeout(settings, "drain_timeout", Duration::from_secs(30))
}

/// A time of `[run]`: more than nothing and bounded.
pub(super) fn timeout(settings: &mut Settings, key: &str, default: Duration) -> Duration {
    let timeout = settings.parsed(Run, key, super::units::parse_duration).unwrap_or(default);
    bounded(settings, key, timeout);
    timeout
}

fn bounded(settings: &mut Settings, key: &str, timeout: Duration) {
    if timeout.is_zero() || timeout > LONGEST {
        settings.reject(Run, key, "must be more than 0 and at most 24h");
    }
}

/// `None` waits for ever: what someone else waits for, a run to the end, is not left to do so
/// unless it is asked for.
pub(super) fn give_up_after(settings: &mut Settings) -> Option<Duration> {
    let default = until_caught_up(settings).then_some(GIVE_UP_AFTER);
    let limit = settings.parsed(Run, "give_up_after", parse_limit).unwrap_or(default);
    if let Some(limit) = limit {
        bounded(settings, "give_up_after", limit);
    }
    limit
}

pub(super) fn until_caught_up(settings: &mut Settings) -> bool {
    settings.boolean(Run, "until_caught_up").unwrap_or(false)
}

pub(super) fn admin(settings: &mut Settings) -> Option<SocketAddr> {
    let default = Some(SocketAddr::from(([127, 0, 0, 1], 9464)));
    settings.parsed(Admin, "listen", parse_listen).unwrap_or(default)
}

/// Whether the address was asked for: then it must be free.
pub(super) fn admin_given(settings: &Settings) -> bool {
    settings.get(Admin, "listen").is_some()
}

const STRATEGY: (Section, &str) = (Run, "strategy");

/// Whether the first key was given, by a layer at least as weighty as that of the second.
pub(super) fn at_least(
    settings: &Settings,
    (section, key): (Section, &str),
    (other_section, other): (Section, &str),
) -> bool {
    let other = settings.origin(other_section, other).layer();
    settings.get(section, key).is_some_and(|setting| setting.origin.layer() >= other)
}

/// A name that brokers take for a topic.
pub(super) fn parse_topic(name: &str) -> Result<Arc<str>, String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match name {
        "" => Err("must not be empty".into()),
        "." | ".." => Err("must not be `.` or `..`".into()),
        _ if name.len() > 249 => Err("must have at most 249 characters".into()),
        _ if !name.chars().all(legal) => Err("must consist of letters, digits, `.`, `_` and `-`".into()),
        _ => Ok(name.into()),
    }
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
        duration => super::units::parse_duration(duration)
            .map(Some)
            .map_err(|message| format!("{message}, or `never`")),
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
