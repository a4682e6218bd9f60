//! The layer of the flags: what was typed, as settings.

use std::fmt::Display;

use clap::ValueEnum;

use super::{
    Origin,
    keys::Section,
    properties,
    settings::{Settings, Value},
    units::{format_duration, format_size},
};
use crate::cli::{
    BenchArgs, ConnectionArgs, DemoArgs, DryRunArgs, GenerateArgs, LagArgs, RunArgs, TransformArgs,
    VerifyArgs,
};

/// The flags of a command.
pub(super) trait Flags {
    /// Puts what was typed.
    fn put(&self, settings: &mut Settings);
}

impl Flags for RunArgs {
    fn put(&self, settings: &mut Settings) {
        self.connection.put(settings);
        self.transform.put(settings);
        flag(settings, "--source", (Section::Source, "topic"), self.source.as_ref());
        flag(settings, "--group", (Section::Source, "group"), self.group.as_ref());
        choice(
            settings,
            "--auto-offset-reset",
            (Section::Source, "auto_offset_reset"),
            self.auto_offset_reset,
        );
        choice(settings, "--on-gap", (Section::Source, "on_gap"), self.on_gap);
        flag(settings, "--destination", (Section::Destination, "topic"), self.destination.as_ref());
        flag(settings, "--dead-letter", (Section::DeadLetter, "topic"), self.dead_letter.as_ref());
        choice(settings, "--strategy", (Section::Run, "strategy"), self.strategy);
        flag(settings, "--workers", (Section::Run, "workers"), self.workers);
        choice(settings, "--order", (Section::Run, "order"), self.order);
        choice(settings, "--delivery", (Section::Run, "delivery"), self.delivery);
        choice(settings, "--on-panic", (Section::Run, "on_panic"), self.on_panic);
        choice(settings, "--engine", (Section::Run, "engine"), self.engine);
        flag(settings, "--memory", (Section::Run, "memory"), self.memory.map(format_size));
        flag(settings, "--retries", (Section::Run, "retries"), self.retries);
        let interval = self.commit_interval.map(format_duration);
        flag(settings, "--commit-interval", (Section::Run, "commit_interval"), interval);
        let timeout = self.drain_timeout.map(format_duration);
        flag(settings, "--drain-timeout", (Section::Run, "drain_timeout"), timeout);
        let give_up = self.give_up_after.as_ref();
        flag(settings, "--give-up-after", (Section::Run, "give_up_after"), give_up);
        let until = self.until_caught_up.then_some(true);
        flag(settings, "--until-caught-up", (Section::Run, "until_caught_up"), until);
        no_create_topics(settings, self.no_create_topics);
        flag(settings, "--admin", (Section::Admin, "listen"), self.admin.as_ref());
    }
}

impl Flags for GenerateArgs {
    fn put(&self, settings: &mut Settings) {
        self.connection.put(settings);
        no_create_topics(settings, self.no_create_topics);
    }
}

impl Flags for VerifyArgs {
    fn put(&self, settings: &mut Settings) {
        self.connection.put(settings);
        self.transform.put(settings);
        flag(settings, "--source", (Section::Source, "topic"), self.source.as_ref());
        flag(settings, "--destination", (Section::Destination, "topic"), self.destination.as_ref());
        flag(settings, "--dead-letter", (Section::DeadLetter, "topic"), self.dead_letter.as_ref());
        flag(settings, "--group", (Section::Source, "group"), self.group.as_ref());
        choice(settings, "--order", (Section::Run, "order"), self.order);
    }
}

impl Flags for LagArgs {
    fn put(&self, settings: &mut Settings) {
        self.connection.put(settings);
        flag(settings, "--source", (Section::Source, "topic"), self.source.as_ref());
        flag(settings, "--group", (Section::Source, "group"), self.group.as_ref());
    }
}

impl Flags for DemoArgs {
    fn put(&self, settings: &mut Settings) {
        self.connection.put(settings);
        choice(settings, "--strategy", (Section::Run, "strategy"), self.strategy);
        choice(settings, "--delivery", (Section::Run, "delivery"), self.delivery);
    }
}

impl Flags for BenchArgs {
    fn put(&self, settings: &mut Settings) {
        self.connection.put(settings);
    }
}

impl Flags for DryRunArgs {
    fn put(&self, settings: &mut Settings) {
        self.transform.put(settings);
    }
}

impl Flags for ConnectionArgs {
    /// `--brokers` is more exact than `-X bootstrap.servers`, so it comes last.
    fn put(&self, settings: &mut Settings) {
        for property in &self.properties {
            let origin = Origin::Flag(format!("-X {}", property.key));
            properties::put(&property.key, Value::Raw(property.value.clone()), origin, settings);
        }
        flag(settings, "--brokers", (Section::Kafka, "bootstrap.servers"), self.brokers.as_ref());
        let timeout = self.connect_timeout.map(format_duration);
        flag(settings, "--connect-timeout", (Section::Run, "connect_timeout"), timeout);
    }
}

impl Flags for TransformArgs {
    fn put(&self, settings: &mut Settings) {
        choice(settings, "--transform", (Section::Transform, "kind"), self.transform);
        flag(settings, "--field", (Section::Transform, "field"), self.field.as_ref());
        choice(settings, "--digest", (Section::Transform, "digest"), self.digest);
    }
}

fn flag(settings: &mut Settings, flag: &str, (section, key): (Section, &str), value: Option<impl Display>) {
    if let Some(value) = value {
        settings.put(section, key, Value::Raw(value.to_string()), Origin::Flag(flag.into()));
    }
}

fn choice(settings: &mut Settings, name: &str, key: (Section, &str), value: Option<impl ValueEnum>) {
    let value = value.and_then(|value| value.to_possible_value());
    flag(settings, name, key, value.map(|value| value.get_name().to_owned()));
}

fn no_create_topics(settings: &mut Settings, given: bool) {
    flag(settings, "--no-create-topics", (Section::Destination, "create"), given.then_some(false));
}
