//! The layer of the flags: what was typed, as settings.

use super::kafka;
use crate::{
    cli::{
        BenchArgs, CasesArgs, ConnectionArgs, DemoArgs, DiffArgs, DryRunArgs, GenerateArgs, KeyArgs, LagArgs,
        Property, RunArgs, StepArgs, VerifyArgs,
    },
    config::{
        Origin,
        keys::Group,
        settings::{Settings, Value},
        steps::GivenStep,
    },
};

/// The flags of a command.
pub(in crate::config) trait Flags {
    /// Puts what was typed.
    fn put(&self, settings: &mut Settings);
}

impl Flags for RunArgs {
    fn put(&self, settings: &mut Settings) {
        self.connection.put(settings);
        self.transform.put(settings);
        self.steps.put(settings);
        self.keys.put(settings);
    }
}

impl Flags for GenerateArgs {
    fn put(&self, settings: &mut Settings) {
        self.connection.put(settings);
        self.config_keys.put(settings);
    }
}

impl Flags for VerifyArgs {
    fn put(&self, settings: &mut Settings) {
        self.connection.put(settings);
        self.transform.put(settings);
        self.steps.put(settings);
        self.keys.put(settings);
    }
}

impl Flags for LagArgs {
    fn put(&self, settings: &mut Settings) {
        self.connection.put(settings);
        self.keys.put(settings);
    }
}

impl Flags for DemoArgs {
    fn put(&self, settings: &mut Settings) {
        self.connection.put(settings);
        self.keys.put(settings);
    }
}

impl Flags for BenchArgs {
    fn put(&self, settings: &mut Settings) {
        self.connection.put(settings);
        self.keys.put(settings);
    }
}

impl Flags for DryRunArgs {
    fn put(&self, settings: &mut Settings) {
        self.connection.put(settings);
        self.transform.put(settings);
        self.steps.put(settings);
    }
}

impl Flags for StepArgs {
    fn put(&self, settings: &mut Settings) {
        for (flag, table) in self.given() {
            let origin = Origin::Flag(format!("--{flag}"));
            settings.put_step(GivenStep { table: table.clone(), origin, origins: Vec::new() });
        }
    }
}

impl Flags for CasesArgs {
    fn put(&self, settings: &mut Settings) {
        self.transform.put(settings);
        self.steps.put(settings);
    }
}

impl Flags for DiffArgs {
    fn put(&self, settings: &mut Settings) {
        put_properties(&self.properties, settings);
        self.keys.put(settings);
    }
}

impl Flags for ConnectionArgs {
    /// `--brokers` is more specific than `-X bootstrap.servers`, so it comes last.
    fn put(&self, settings: &mut Settings) {
        put_properties(&self.properties, settings);
        self.keys.put(settings);
    }
}

fn put_properties(properties: &[Property], settings: &mut Settings) {
    for property in properties {
        let origin = Origin::Flag(format!("-X {}", property.key));
        kafka::put(&property.key, Value::Raw(property.value.clone()), origin, settings);
    }
}

impl<const GROUP: Group> Flags for KeyArgs<GROUP> {
    fn put(&self, settings: &mut Settings) {
        for (key, value) in self.given() {
            let origin = Origin::Flag(format!("--{}", key.flag));
            settings.put(key.section, key.name, Value::Raw(value.clone()), origin);
        }
    }
}
