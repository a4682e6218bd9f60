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
    strategy::{Order, StrategyKind},
    transform::TransformKind,
};

/// Less than this does not hold a few batches and their outputs.
const LEAST_MEMORY: usize = 16 << 20;

/// The most threads that are of any use.
const MOST_WORKERS: i64 = 1024;

/// The longest time that anything may be told to wait.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The three topics.
pub(super) struct Topics {
    pub(super) source: Arc<str>,
    pub(super) destination: Arc<str>,
    pub(super) dead_letter: Arc<str>,
}

pub(super) fn topics(settings: &mut Settings, strategy: StrategyKind) -> Topics {
    let source = source(settings);
    let suffix = if strategy == StrategyKind::Serial { "serial" } else { "concurrent" };
    let destination = topic(settings, Destination, || format!("{source}_{suffix}_transformed"));
    let dead_letter = topic(settings, DeadLetter, || format!("{source}_dead_letter"));
    if source == destination {
        settings.reject(Destination, "topic", format!("must differ from the source, `{source}`"));
    }
    if dead_letter == source || dead_letter == destination {
        let other = if dead_letter == source { "source" } else { "destination" };
        settings.reject(DeadLetter, "topic", format!("must differ from the {other}, `{dead_letter}`"));
    }
    Topics { source, destination, dead_letter }
}

pub(super) fn source(settings: &mut Settings) -> Arc<str> {
    topic(settings, Source, || "name_stream".into())
}

/// The source, if anyone named it.
pub(super) fn source_given(settings: &mut Settings) -> Option<Arc<str>> {
    settings.parsed(Source, "topic", parse_topic)
}

/// The topic of a section. A default that is made of a long source may itself be too long.
fn topic(settings: &mut Settings, section: Section, default: impl FnOnce() -> String) -> Arc<str> {
    if let Some(topic) = settings.parsed(section, "topic", parse_topic) {
        return topic;
    }
    let default = default();
    if let Err(message) = parse_topic(&default) {
        settings.reject(
            section,
            "topic",
            format!("the default, made of the source's name, {message}; set another"),
        );
    }
    default.into()
}

pub(super) fn dead_letter_given(settings: &Settings) -> bool {
    settings.get(DeadLetter, "topic").is_some()
}

pub(super) fn group(settings: &mut Settings, strategy: StrategyKind) -> String {
    let group = settings.text(Source, "group");
    if group.as_ref().is_some_and(|group| group.trim().is_empty()) {
        settings.reject(Source, "group", "must not be empty");
    }
    group.unwrap_or_else(|| match strategy {
        StrategyKind::Serial => "consumer_golang_serial".into(),
        StrategyKind::Pipeline | StrategyKind::Worker => "consumer_golang_concurrent".into(),
    })
}

pub(super) fn offset_reset(settings: &mut Settings) -> OffsetReset {
    settings.choice(Source, "auto_offset_reset").unwrap_or_default()
}

pub(super) fn create_topics(settings: &mut Settings) -> bool {
    settings.boolean(Destination, "create").unwrap_or(true)
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
    if timeout.is_zero() || timeout > LONGEST {
        settings.reject(Run, key, "must be more than 0 and at most 24h");
    }
    timeout
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
fn parse_topic(name: &str) -> Result<Arc<str>, String> {
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
