//! Every section and key of the configuration, as data: one table, from which the file, the
//! environment, the flags, their help and the reference are read.

use clap::builder::PossibleValue;

use crate::{
    cli::{is_step_flag, possible_values},
    delivery::DeliveryKind,
    engine::{EngineKind, OffsetReset, native::properties},
    mill::OnGap,
    strategy::{OnPanic, Order, StrategyKind},
    transform::{
        self,
        registry::{SettingForm, SettingSpec},
    },
};

/// The sections of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Section {
    Kafka,
    Source,
    Destination,
    Transform,
    Run,
    DeadLetter,
    Admin,
}

use Section::{Admin, DeadLetter, Destination, Kafka, Run, Source, Transform};

/// A key of the configuration: everything that is known about it anywhere, except its use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    /// Its section.
    pub section: Section,
    /// Its name in the section.
    pub name: &'static str,
    /// How its value is written.
    pub form: Form,
    /// The default; empty when there is none, or it depends on other keys.
    pub default: &'static str,
    /// Its flag without the two hyphens.
    pub flag: &'static str,
    /// The letter of its flag's short form, if it has one.
    pub short: Option<char>,
    /// The name of the flag's value in the help.
    pub value: &'static str,
    /// The commands that have the flag, with its help there.
    pub help: &'static [(Group, &'static str)],
    /// The purpose of a transform's setting; empty for other keys.
    pub setting: &'static str,
}

/// How a value is written.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    /// A text, validated with the rest of the configuration.
    Text,
    /// A whole number.
    Integer,
    /// `true` or `false`; the flag, which has no value, means this.
    Boolean(bool),
    /// A size in bytes, as `64MiB`.
    Size,
    /// A time, as `10s`.
    Duration,
    /// A time, or `never`.
    Limit,
    /// One of a closed set.
    Choice(fn() -> Vec<PossibleValue>),
    /// What a setting of a transform takes.
    Setting(&'static SettingForm),
}

/// A group of commands that share flags. A number, as only such can be a parameter of a type.
pub(crate) type Group = u8;

/// `run` and `check`.
pub(crate) const RUN: Group = 0;
/// `generate`.
pub(crate) const GENERATE: Group = 1;
/// `verify`.
pub(crate) const VERIFY: Group = 2;
/// `lag`.
pub(crate) const LAG: Group = 3;
/// `demo`.
pub(crate) const DEMO: Group = 4;
/// Every command that reaches a cluster.
pub(crate) const CONNECTION: Group = 5;
/// Every command that transforms.
pub(crate) const TRANSFORM: Group = 6;
/// `bench`.
pub(crate) const BENCH: Group = 7;

/// The flags of the commands that transform which belong to no key.
const NO_KEYS: [&str; 8] =
    ["base64", "config", "help", "json", "log-format", "log-level", "property", "version"];

/// Declares the keys and the table of them all.
macro_rules! keys {
    ($(pub(crate) static $name:ident = $key:expr;)*) => {
        $(pub(crate) static $name: Key = $key;)*

        /// Every key except those that the [properties] and the [transforms](transform::registry)
        /// add.
        static TABLE: &[&Key] = &[$(&$name),*];
    };
}

// In the order of the reference and of the help.
keys! {
    pub(crate) static BROKERS = Key::new(Kafka, "bootstrap.servers", Form::Text)
        .default("localhost:19092")
        .short('b')
        .flag("brokers", "HOST:PORT,…", &[
            (CONNECTION, "Bootstrap brokers, separated by commas"),
        ]);

    pub(crate) static SOURCE = Key::new(Source, "topic", Form::Text)
        .default("name_stream")
        .flag("source", "TOPIC", &[
            (RUN, "The topic to read"),
            (VERIFY, "The topic that was read"),
            (LAG, "Only this topic [default: every topic that the group has offsets for or reads]"),
        ]);
    pub(crate) static DESTINATION = Key::new(Destination, "topic", Form::Text)
        .flag("destination", "TOPIC", &[
            (RUN, "The topic to write; required with --source"),
            (VERIFY, "The topic that was written; required with --source"),
        ]);
    pub(crate) static DEAD_LETTER = Key::new(DeadLetter, "topic", Form::Text)
        .flag("dead-letter", "TOPIC", &[
            (RUN, "The topic for records that cannot be transformed or written \
                [default: DESTINATION_dead_letter]"),
            (VERIFY, "The topic of records that could not be transformed or written \
                [default: DESTINATION_dead_letter]"),
        ]);
    pub(crate) static PROTECT = Key::new(DeadLetter, "protect", Form::Boolean(true))
        .default("false")
        .flag("protect-dead-letters", "", &[
            (RUN, "Apply the steps that protect (mask, redact, hash, hmac) to the values of dead letters, which \
                hold the original otherwise"),
            (VERIFY, "The values of dead letters were protected"),
        ]);
    pub(crate) static GROUP = Key::new(Source, "group", Form::Text)
        .short('g')
        .flag("group", "GROUP", &[
            (RUN, "The consumer group [default: topicmill-SOURCE-DESTINATION]"),
            (VERIFY, "The consumer group: what it has not committed counts as behind, not missing, and \
                only its dead letters count"),
            (LAG, "The consumer group; required with --source [default: as for `run`]"),
        ]);
    pub(crate) static AUTO_OFFSET_RESET =
        Key::new(Source, "auto_offset_reset", Form::Choice(possible_values::<OffsetReset>))
            .default("earliest")
            .flag("auto-offset-reset", "WHERE", &[
                (RUN, "Where to start a topic that the group has never read; partitions added later are \
                    read from their beginning"),
            ]);
    pub(crate) static ON_GAP = Key::new(Source, "on_gap", Form::Choice(possible_values::<OnGap>))
        .default("continue")
        .flag("on-gap", "WHAT", &[
            (RUN, "What to do when records were deleted before they were read, by retention or by \
                DeleteRecords"),
        ]);

    pub(crate) static STRATEGY = Key::new(Run, "strategy", Form::Choice(possible_values::<StrategyKind>))
        .default("pipeline")
        .flag("strategy", "STRATEGY", &[
            (RUN, "How batches are transformed"),
            (DEMO, "How batches are transformed"),
        ]);
    pub(crate) static WORKERS = Key::new(Run, "workers", Form::Integer)
        .default("4")
        .flag("workers", "N", &[
            (RUN, "The number of threads that transform, with --strategy worker"),
        ]);
    pub(crate) static ORDER = Key::new(Run, "order", Form::Choice(possible_values::<Order>))
        .default("partition")
        .flag("order", "ORDER", &[
            (RUN, "Which records keep their order; `key` and `none` need --strategy worker"),
            (VERIFY, "The order that the records must have kept"),
        ]);
    pub(crate) static DELIVERY = Key::new(Run, "delivery", Form::Choice(possible_values::<DeliveryKind>))
        .default("at-least-once")
        .flag("delivery", "DELIVERY", &[
            (RUN, "The delivery guarantee"),
            (DEMO, "The delivery guarantee"),
        ]);
    pub(crate) static ON_PANIC = Key::new(Run, "on_panic", Form::Choice(possible_values::<OnPanic>))
        .default("stop")
        .flag("on-panic", "WHAT", &[(RUN, "What to do when the transform panics on a record")]);
    pub(crate) static ENGINE = Key::new(Run, "engine", Form::Choice(possible_values::<EngineKind>))
        .default("native")
        .flag("engine", "ENGINE", &[(RUN, "The Kafka client")]);
    pub(crate) static MEMORY = Key::new(Run, "memory", Form::Size)
        .default("256MiB")
        .flag("memory", "SIZE", &[
            (RUN, "The memory for records and their output, such as 512MiB"),
        ]);
    pub(crate) static RETRIES = Key::new(Run, "retries", Form::Integer)
        .default("3")
        .flag("retries", "N", &[
            (RUN, "How often a dead letter that its topic refuses is retried before its partition stops"),
        ]);
    pub(crate) static COMMIT_INTERVAL = Key::new(Run, "commit_interval", Form::Duration)
        .default("1s")
        .flag("commit-interval", "DURATION", &[
            (RUN, "How often offsets are committed; exactly once, every 100ms unless it is set"),
            (BENCH, "How often this program commits, as with `run` [default: 1s; 100ms exactly once]"),
        ]);
    pub(crate) static DRAIN_TIMEOUT = Key::new(Run, "drain_timeout", Form::Duration)
        .default("30s")
        .flag("drain-timeout", "DURATION", &[
            (RUN, "How long a stop, or a rebalance, waits for batches in flight; the rest is read again"),
        ]);
    pub(crate) static CONNECT_TIMEOUT = Key::new(Run, "connect_timeout", Form::Duration)
        .default("10s")
        .flag("connect-timeout", "DURATION", &[
            (CONNECTION, "How long to wait for a first broker; then exit code 75"),
        ]);
    pub(crate) static GIVE_UP_AFTER = Key::new(Run, "give_up_after", Form::Limit)
        .flag("give-up-after", "DURATION|never", &[
            (RUN, "How long a run that has started waits without progress before it fails, or `never` \
                [default: never; 10m with --until-caught-up]"),
        ]);
    pub(crate) static UNTIL_CAUGHT_UP = Key::new(Run, "until_caught_up", Form::Boolean(true))
        .default("false")
        .flag("until-caught-up", "", &[
            (RUN, "Stop when everything up to the end offsets seen at the start is transformed and \
                committed"),
        ]);
    pub(crate) static CREATE = Key::new(Destination, "create", Form::Boolean(false))
        .default("true")
        .flag("no-create-topics", "", &[
            (RUN, "Do not create or extend the destination and the dead letter topic: fail if one is \
                missing or has too few partitions"),
            (GENERATE, "Fail rather than create a missing topic"),
        ]);
    pub(crate) static ADMIN = Key::new(Admin, "listen", Form::Text)
        .default("127.0.0.1:9464")
        .flag("admin", "ADDR|off", &[(RUN, "Where to serve /metrics, /livez and /readyz, or `off`")]);

    pub(crate) static KIND = Key::new(Transform, "kind", Form::Choice(transforms))
        .flag("transform", "NAME", &[
            (TRANSFORM, "The transform; required with --source, unless there are steps"),
        ]);
}

impl Key {
    const fn new(section: Section, name: &'static str, form: Form) -> Key {
        Key { section, name, form, default: "", flag: "", short: None, value: "", help: &[], setting: "" }
    }

    const fn default(mut self, default: &'static str) -> Key {
        self.default = default;
        self
    }

    const fn short(mut self, short: char) -> Key {
        self.short = Some(short);
        self
    }

    const fn flag(
        mut self,
        flag: &'static str,
        value: &'static str,
        help: &'static [(Group, &'static str)],
    ) -> Key {
        (self.flag, self.value, self.help) = (flag, value, help);
        self
    }

    /// The key of a transform's setting; without a flag when the program has one of that name.
    pub(super) fn of_setting(setting: &'static SettingSpec) -> Key {
        let is_taken = NO_KEYS.contains(&setting.flag)
            || is_step_flag(setting.flag)
            || TABLE.iter().any(|key| key.flag == setting.flag);
        Key {
            default: setting.default,
            flag: if is_taken { "" } else { setting.flag },
            value: setting.value,
            setting: setting.doc,
            ..Key::new(Transform, setting.name, Form::Setting(&setting.takes))
        }
    }

    /// The help of the flag in these commands, if they have it, with the default.
    pub(crate) fn help(&self, group: Group) -> Option<String> {
        let help = match self.setting {
            _ if self.flag.is_empty() => return None,
            "" => self.help.iter().find(|(of, _)| *of == group)?.1,
            _ if group != TRANSFORM => return None,
            setting => setting,
        };
        let untold = !self.default.is_empty() && !help.contains("[default: ") && !self.value.is_empty();
        Some(if untold { format!("{help} [default: {}]", self.default) } else { help.to_owned() })
    }

    /// As it is named in messages: `[run] workers`.
    pub(super) fn subject(&self) -> String {
        subject(self.section, self.name)
    }
}

/// Every key, including those of the transforms' settings, but not the [properties].
pub(crate) fn all() -> Vec<Key> {
    let mut keys: Vec<Key> = TABLE.iter().map(|key| **key).collect();
    for setting in transform::registry::all().into_iter().flat_map(|spec| spec.settings) {
        // Transforms may share a setting.
        if !keys.iter().any(|key| key.section == Transform && key.name == setting.name) {
            keys.push(Key::of_setting(setting));
        }
    }
    keys
}

/// The transforms by name.
fn transforms() -> Vec<PossibleValue> {
    let specs = transform::registry::all();
    specs.iter().map(|spec| PossibleValue::new(spec.name).help(spec.doc)).collect()
}

impl Section {
    pub(super) const ALL: [Section; 7] = [Kafka, Source, Destination, Transform, Run, DeadLetter, Admin];

    /// The name as it stands in the file.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kafka => "kafka",
            Source => "source",
            Destination => "destination",
            Transform => "transform",
            Run => "run",
            DeadLetter => "dead_letter",
            Admin => "admin",
        }
    }

    /// The names of its keys; those of `[kafka]` are the [properties].
    pub(super) fn names(self) -> Vec<&'static str> {
        match self {
            Kafka => properties::names().collect(),
            _ => all().into_iter().filter(|key| key.section == self).map(|key| key.name).collect(),
        }
    }

    pub(super) fn find(name: &str) -> Option<Section> {
        Section::ALL.into_iter().find(|section| section.name() == name)
    }
}

/// A key of a section, as `[run] workers`.
pub(super) fn subject(section: Section, key: &str) -> String {
    format!("[{}] {key}", section.name())
}

/// What the names of all variables begin with.
pub(super) const PREFIX: &str = "TOPICMILL_";

/// The variable that sets a key.
pub(super) fn variable(section: Section, key: &str) -> String {
    format!("{PREFIX}{}_{}", section.name(), key.replace(['.', '-'], "_")).to_uppercase()
}

/// `unknown …`, with the nearest known name when one is near.
pub(super) fn unknown<'a>(what: &str, name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let nearest = known.into_iter().map(|known| (strsim::levenshtein(name, known), known)).min();
    match nearest {
        Some((distance, known)) if distance <= 2.max(name.len() / 4) => {
            format!("unknown {what}; did you mean `{known}`?")
        }
        _ => format!("unknown {what}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_keys_share_a_name_or_a_flag() {
        let mut seen = BTreeSet::new();
        for key in all() {
            assert!(seen.insert(key.subject()), "{}", key.subject());
            assert!(seen.insert(format!("--{}", key.flag)), "--{}", key.flag);
            assert!(!NO_KEYS.contains(&key.flag), "--{}", key.flag);
        }
        let variables: BTreeSet<String> = Section::ALL
            .into_iter()
            .flat_map(|section| section.names().into_iter().map(move |name| variable(section, name)))
            .collect();
        assert_eq!(
            variables.len(),
            Section::ALL.into_iter().map(|section| section.names().len()).sum::<usize>()
        );
    }

    #[test]
    fn the_brokers_have_one_default() {
        assert_eq!(properties::find(BROKERS.name).unwrap().default, BROKERS.default);
    }

    #[test]
    fn a_property_that_is_a_key_names_that_key() {
        for (section, name) in properties::all().filter_map(|property| property.key) {
            assert!(Section::find(section).unwrap().names().contains(&name), "[{section}] {name}");
        }
    }

    #[test]
    fn a_typo_finds_its_key() {
        assert_eq!(unknown("key", "worker", Run.names()), "unknown key; did you mean `workers`?");
        assert_eq!(unknown("key", "colour", Run.names()), "unknown key");
    }
}
