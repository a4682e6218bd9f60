//! A configuration as it is after the merge, written as a file would be.

use std::fmt;

use super::{
    Config,
    properties::is_secret,
    units::{format_duration, format_size},
};
use crate::transform::TransformKind;

impl fmt::Display for Config {
    /// Writes TOML; secrets as `***` in a comment, since no file may hold one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "[kafka]")?;
        text(f, "bootstrap.servers", self.client.brokers.join(","))?;
        for (name, value) in &self.client.properties {
            match is_secret(name) {
                true => text(f, &format!("# {name}"), "***")?,
                false => text(f, name, value)?,
            }
        }
        writeln!(f, "\n[source]")?;
        text(f, "topic", &self.source)?;
        text(f, "group", &self.group)?;
        text(f, "auto_offset_reset", format!("{:?}", self.offset_reset).to_lowercase())?;
        text(f, "on_gap", self.on_gap.to_string())?;
        writeln!(f, "\n[destination]")?;
        text(f, "topic", &self.destination)?;
        writeln!(f, "create = {}", self.create_topics)?;
        writeln!(f, "\n[transform]")?;
        match &self.transform {
            TransformKind::NameEvent => text(f, "kind", "name-event")?,
            TransformKind::HashField { field, digest } => {
                text(f, "kind", "hash-field")?;
                text(f, "field", field)?;
                text(f, "digest", format!("{digest:?}").to_lowercase())?;
            }
            TransformKind::Custom(_) => text(f, "kind", "custom")?,
        }
        writeln!(f, "\n[run]")?;
        text(f, "strategy", self.strategy.to_string())?;
        writeln!(f, "workers = {}", self.workers)?;
        text(f, "order", self.order.to_string())?;
        text(f, "delivery", self.delivery.to_string())?;
        text(f, "on_panic", self.on_panic.to_string())?;
        text(f, "engine", format!("{:?}", self.engine).to_lowercase())?;
        text(f, "memory", format_size(self.memory))?;
        writeln!(f, "retries = {}", self.retries)?;
        text(f, "commit_interval", format_duration(self.commit_interval))?;
        text(f, "drain_timeout", format_duration(self.drain_timeout))?;
        text(f, "connect_timeout", format_duration(self.client.connect_timeout))?;
        text(f, "give_up_after", self.give_up_after.map_or_else(|| "never".into(), format_duration))?;
        writeln!(f, "until_caught_up = {}", self.until_caught_up)?;
        writeln!(f, "\n[dead_letter]")?;
        text(f, "topic", &self.dead_letter)?;
        writeln!(f, "\n[admin]")?;
        text(f, "listen", self.admin.map_or_else(|| "off".into(), |address| address.to_string()))
    }
}

fn text(f: &mut fmt::Formatter<'_>, key: &str, value: impl AsRef<str>) -> fmt::Result {
    writeln!(f, "{key} = {}", toml::Value::String(value.as_ref().into()))
}
