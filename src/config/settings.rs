//! The merged layers: for every key the value of the weightiest layer, with its origin.

use std::{collections::BTreeMap, path::Path, path::PathBuf};

use clap::ValueEnum;

use super::{
    ConfigError, Origin, Problem, environment, file,
    flags::Flags,
    keys::{self, Section},
};

/// A value as its layer wrote it. No `Debug`: it may be a secret.
#[derive(Clone)]
pub(super) enum Value {
    /// From a flag or the environment, where everything is text.
    Raw(String),
    /// A string of the file.
    Text(String),
    /// An integer of the file.
    Integer(i64),
    /// A boolean of the file.
    Boolean(bool),
    /// Something else of the file, by the name of its type.
    Other(&'static str),
    /// The content of a file, for the `…_file` keys of secrets.
    ContentOf(PathBuf),
}

impl Value {
    fn type_name(&self) -> &'static str {
        match self {
            Value::Raw(_) | Value::Text(_) | Value::ContentOf(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Boolean(_) => "a boolean",
            Value::Other(name) => name,
        }
    }
}

/// A value and where it came from.
#[derive(Clone)]
pub(super) struct Setting {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// All that was said, and what is wrong with it.
#[derive(Default)]
pub(super) struct Settings {
    values: BTreeMap<(Section, String), Setting>,
    problems: Vec<Problem>,
}

impl Settings {
    /// Merges the file (if any), the environment and the flags.
    pub(super) fn load(file: Option<&Path>, flags: &impl Flags) -> Settings {
        let mut settings = Settings::default();
        if let Some(path) = file {
            file::load(path, &mut settings);
        }
        environment::load(std::env::vars_os(), &mut settings);
        flags.put(&mut settings);
        settings
    }

    /// Sets a value; layers are put in ascending order of their weight. Of flags the last one
    /// counts, as everywhere; the file and the environment must not say two things at once.
    pub(super) fn put(&mut self, section: Section, key: &str, value: Value, origin: Origin) {
        let setting = Setting { value, origin };
        let layer = setting.origin.layer();
        let earlier = self.values.insert((section, key.to_owned()), setting).map(|setting| setting.origin);
        if let Some(earlier) = earlier.filter(|earlier| earlier.layer() == layer)
            && !matches!(earlier, Origin::Flag(_))
        {
            self.reject(section, key, format!("is given twice, also by {earlier}"));
        }
    }

    /// Sets what nobody has set.
    pub(super) fn set_default(&mut self, section: Section, key: &str, value: String) {
        let setting = Setting { value: Value::Raw(value), origin: Origin::Default };
        self.values.entry((section, key.to_owned())).or_insert(setting);
    }

    /// Forgets what was said of a section, but for the flags.
    pub(super) fn forget(&mut self, section: Section) {
        self.values.retain(|(of, _), setting| *of != section || matches!(setting.origin, Origin::Flag(_)));
    }

    /// Notes a problem with a key whose value came from `origin`.
    pub(super) fn problem(&mut self, subject: String, message: impl Into<String>, origin: Origin) {
        self.problems.push(Problem { subject, message: message.into(), origin });
    }

    /// Notes a problem with the value of a key.
    pub(super) fn reject(&mut self, section: Section, key: &str, message: impl Into<String>) {
        let origin = self.origin(section, key);
        self.problem(keys::subject(section, key), message, origin);
    }

    /// Where the value of a key came from.
    pub(super) fn origin(&self, section: Section, key: &str) -> Origin {
        self.get(section, key).map_or(Origin::Default, |setting| setting.origin.clone())
    }

    pub(super) fn get(&self, section: Section, key: &str) -> Option<&Setting> {
        self.values.get(&(section, key.to_owned()))
    }

    /// The keys of a section that were given, with their settings.
    pub(super) fn section(&self, section: Section) -> Vec<(String, Setting)> {
        let all = self.values.iter().filter(|((of, _), _)| *of == section);
        all.map(|((_, key), setting)| (key.clone(), setting.clone())).collect()
    }

    /// The configuration, or everything that is wrong with it.
    pub(super) fn finish<T>(self, config: T) -> Result<T, ConfigError> {
        match self.problems {
            problems if problems.is_empty() => Ok(config),
            problems => Err(ConfigError { problems }),
        }
    }

    /// The string of a key.
    pub(super) fn text(&mut self, section: Section, key: &str) -> Option<String> {
        self.read(section, key, "a string", |value| match value {
            Value::Raw(text) | Value::Text(text) => Some(Ok(text.clone())),
            _ => None,
        })
    }

    /// The string of a key, as `parse` understands it.
    pub(super) fn parsed<T>(
        &mut self,
        section: Section,
        key: &str,
        parse: fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.read(section, key, "a string", |value| match value {
            Value::Raw(text) | Value::Text(text) => Some(parse(text)),
            _ => None,
        })
    }

    /// The size in bytes of a key: a string with a unit, or an integer of bytes.
    pub(super) fn size(&mut self, section: Section, key: &str) -> Option<usize> {
        self.read(section, key, "a size", |value| match value {
            Value::Raw(text) | Value::Text(text) => Some(super::units::parse_size(text)),
            Value::Integer(bytes) => Some(usize::try_from(*bytes).map_err(|_| "must not be negative".into())),
            _ => None,
        })
    }

    /// The integer of a key.
    pub(super) fn integer(&mut self, section: Section, key: &str) -> Option<i64> {
        self.read(section, key, "an integer", |value| match value {
            Value::Raw(text) => Some(text.trim().parse().map_err(|_| "must be an integer".into())),
            Value::Integer(number) => Some(Ok(*number)),
            _ => None,
        })
    }

    /// The boolean of a key.
    pub(super) fn boolean(&mut self, section: Section, key: &str) -> Option<bool> {
        self.read(section, key, "a boolean", |value| match value {
            Value::Raw(text) => Some(text.trim().parse().map_err(|_| "must be `true` or `false`".into())),
            Value::Boolean(flag) => Some(Ok(*flag)),
            _ => None,
        })
    }

    /// The choice of a key from a closed set.
    pub(super) fn choice<T: ValueEnum>(&mut self, section: Section, key: &str) -> Option<T> {
        self.parsed(section, key, |text| {
            T::from_str(text, false).map_err(|_| format!("must be one of {}", names_of::<T>()))
        })
    }

    /// `read` gives `None` for a value of the wrong type; what is wrong becomes a problem.
    fn read<T>(
        &mut self,
        section: Section,
        key: &str,
        wanted: &str,
        read: impl Fn(&Value) -> Option<Result<T, String>>,
    ) -> Option<T> {
        let value = &self.get(section, key)?.value;
        let message = match read(value) {
            Some(Ok(value)) => return Some(value),
            Some(Err(message)) => message,
            None => format!("must be {wanted}, not {}", value.type_name()),
        };
        self.reject(section, key, message);
        None
    }
}

/// The names of a closed set, in backquotes.
pub(super) fn names_of<T: ValueEnum>() -> String {
    let names = T::value_variants().iter().filter_map(ValueEnum::to_possible_value);
    let names: Vec<_> = names.map(|value| format!("`{}`", value.get_name())).collect();
    names.join(", ")
}
