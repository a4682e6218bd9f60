//! The layer of the file: TOML, with the line of each value.

use std::path::Path;

use toml::{
    Spanned,
    de::{DeTable, DeValue, Error},
};

use topicmill_steps::{Given, StepTable};

use super::kafka;
use crate::config::{
    Origin,
    keys::{self, Section},
    settings::{Settings, Value},
    steps::GivenStep,
};

/// The name of the tables that are the steps.
const STEP: &str = "step";

/// Puts the values of the file at `path`; everything wrong with it becomes a problem, and what keeps it from
/// being read the only one.
pub(super) fn load(path: &Path, settings: &mut Settings) {
    match std::fs::read_to_string(path) {
        Ok(text) => File { path, text: &text }.load(settings),
        Err(error) => {
            let origin = Origin::Flag("--config".into());
            settings.unreadable(path.display().to_string(), format!("cannot be read: {error}"), origin);
        }
    }
}

struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

impl File<'_> {
    fn load(&self, settings: &mut Settings) {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        let place = |error: &Error| error.span().map_or(0, |span| span.start);
        // Where the parser has lost its way, what it says of later places means nothing.
        if let Some(error) = errors.into_iter().min_by_key(place) {
            // Only the message: the parser's full text quotes the line, which may hold a secret.
            let message = format!("not TOML at column {}: {}", self.column(place(&error)), error.message());
            let origin = self.origin(place(&error));
            return settings.unreadable(self.path.display().to_string(), message, origin);
        }
        for (name, value) in table.get_ref() {
            let origin = self.origin(name.span().start);
            if name.get_ref() == STEP {
                self.steps(value, origin, settings);
                continue;
            }
            match (Section::find(name.get_ref()), value.get_ref()) {
                (None, _) => {
                    let known = Section::ALL.iter().map(|section| section.name()).chain([STEP]);
                    let message = keys::unknown("section", name.get_ref(), known);
                    settings.problem(format!("[{}]", name.get_ref()), message, origin);
                }
                (Some(Section::Kafka), DeValue::Table(table)) => self.kafka("", table, settings),
                (Some(section), DeValue::Table(table)) => self.section(section, table, settings),
                (Some(section), _) => {
                    settings.problem(format!("[{}]", section.name()), "must be a section", origin);
                }
            }
        }
    }

    fn section(&self, section: Section, table: &DeTable<'_>, settings: &mut Settings) {
        for (name, value) in table {
            let origin = self.origin(value.span().start);
            let key = name.get_ref().replace('-', "_");
            let known = section.names();
            if known.contains(&key.as_str()) {
                settings.put(section, &key, self.value(value), origin);
            } else {
                let subject = keys::subject(section, name.get_ref());
                settings.problem(subject, keys::unknown("key", &key, known), origin);
            }
        }
    }

    fn steps(&self, value: &Spanned<DeValue<'_>>, origin: Origin, settings: &mut Settings) {
        let DeValue::Array(steps) = value.get_ref() else {
            return settings.problem("[step]".into(), "is written [[step]], once for each step", origin);
        };
        for step in steps {
            let origin = self.origin(step.span().start);
            let DeValue::Table(table) = step.get_ref() else {
                settings.problem("[[step]]".into(), "must be a section", origin);
                continue;
            };
            let mut given = GivenStep { table: StepTable::default(), origin, origins: Vec::new() };
            for (name, value) in table {
                let setting = (name.get_ref().replace('-', "_"), self.given(value));
                given.table.settings.push(setting);
                given.origins.push(self.origin(name.span().start));
            }
            settings.put_step(given);
        }
    }

    /// A setting of a step.
    fn given(&self, value: &Spanned<DeValue<'_>>) -> Given {
        if let DeValue::Array(array) = value.get_ref() {
            let text = |value: &Spanned<DeValue<'_>>| match self.value(value) {
                Value::Text(text) => Some(text),
                _ => None,
            };
            let texts: Option<Vec<String>> = array.iter().map(text).collect();
            return texts.map_or(Given::Other("an array of something else"), Given::List);
        }
        match self.value(value) {
            Value::Raw(text) | Value::Text(text) => Given::Text(text),
            Value::Integer(number) => Given::Integer(number),
            Value::Boolean(flag) => Given::Boolean(flag),
            Value::Other(name) => Given::Other(name),
            Value::ContentOf(_) => Given::Other("a file"),
        }
    }

    /// `bootstrap.servers = …` is a table in a table to TOML: the names are put together again.
    fn kafka(&self, prefix: &str, table: &DeTable<'_>, settings: &mut Settings) {
        for (name, value) in table {
            let key = format!("{prefix}{}", name.get_ref());
            match value.get_ref() {
                DeValue::Table(table) => self.kafka(&format!("{key}."), table, settings),
                _ => kafka::put(&key, self.value(value), self.origin(value.span().start), settings),
            }
        }
    }

    fn value(&self, value: &Spanned<DeValue<'_>>) -> Value {
        match value.get_ref() {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Boolean(flag) => Value::Boolean(*flag),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Value::Integer(number),
                Err(_) => Value::Other("an integer beyond 64 bits"),
            },
            DeValue::Float(_) => Value::Other("a float"),
            DeValue::Datetime(_) => Value::Other("a date"),
            DeValue::Array(_) => Value::Other("an array"),
            DeValue::Table(_) => Value::Other("a table"),
        }
    }

    fn origin(&self, at: usize) -> Origin {
        let line =
            self.text.as_bytes()[..at.min(self.text.len())].iter().filter(|b| **b == b'\n').count() + 1;
        Origin::File { path: self.path.to_owned(), line }
    }

    /// Which character of its line a byte is in, from 1.
    fn column(&self, at: usize) -> usize {
        let before = self.text.get(..at).unwrap_or(self.text);
        before.chars().rev().take_while(|c| *c != '\n').count() + 1
    }
}
