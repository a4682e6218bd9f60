//! The merged configuration, written as a file.

use std::fmt;

use super::{Config, keys::Section, steps::written};
use crate::engine::native::properties::is_secret;

impl fmt::Display for Config {
    /// Writes TOML; secrets as `***` in a comment, since no file may hold one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.shown();
        let is_shown = |section: &Section| *section != Section::Transform || self.steps.is_none();
        for (index, section) in Section::ALL.into_iter().filter(is_shown).enumerate() {
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
        self.write_steps(f)
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

    /// Each step with how it is done, and each pass with what it costs.
    fn write_steps(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(plan) = &self.steps else { return Ok(()) };
        let mut pass = 0;
        for (table, report) in plan.tables().iter().zip(plan.report()) {
            f.write_str("\n")?;
            if report.pass > pass {
                pass = report.pass;
                writeln!(f, "# pass {pass}: {}", report.cost)?;
            }
            write!(f, "# {report}\n{}", written(table))?;
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
