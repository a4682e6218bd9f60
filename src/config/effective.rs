//! The merged configuration, written as a file.

use std::fmt;

use super::{Config, keys::Section};
use crate::engine::native::properties::is_secret;

impl fmt::Display for Config {
    /// Writes TOML; secrets as `***` in a comment, since no file may hold one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.shown();
        for (index, section) in Section::ALL.into_iter().enumerate() {
            let blank = if index > 0 { "\n" } else { "" };
            writeln!(f, "{blank}[{}]", section.name())?;
            for (key, value) in shown.iter().filter(|(key, _)| key.section == section) {
                writeln!(f, "{} = {value}", key.name)?;
            }
            match section {
                Section::Kafka => self.properties(f)?,
                Section::Transform => self.transform_settings(f)?,
                _ => {}
            }
        }
        Ok(())
    }
}

impl Config {
    fn properties(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.client.properties {
            if is_secret(name) {
                writeln!(f, "# {name} = {}", text("***"))?;
            } else {
                writeln!(f, "{name} = {}", text(value))?;
            }
        }
        Ok(())
    }

    fn transform_settings(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.transform.settings().0 {
            writeln!(f, "{name} = {}", text(value))?;
        }
        Ok(())
    }
}

fn text(value: &str) -> toml::Value {
    toml::Value::String(value.to_owned())
}
