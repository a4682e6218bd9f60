//! The merged layers: for every key the value with the highest precedence, and its origin.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use super::{
    ConfigError, Origin, Problem,
    keys::{self, Form, Key, Section},
    steps::GivenStep,
    units,
};
use crate::choice::Choice;

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

/// Everything that was set, and what is wrong with it.
#[derive(Default)]
pub(super) struct Settings {
    values: BTreeMap<(Section, String), Setting>,
    /// Those of one layer.
    steps: Vec<GivenStep>,
    /// Those of a layer below, whose place they take.
    displaced: Vec<GivenStep>,
    problems: Vec<Problem>,
    /// Why the file could not be read.
    unreadable: Option<Problem>,
}

impl Settings {
    /// Sets a value; layers are put in ascending order of precedence. Of repeated flags, and of calls
    /// of a builder, the last one counts, as everywhere; the file and the environment must not
    /// contradict themselves.
    pub(super) fn put(&mut self, section: Section, key: &str, value: Value, origin: Origin) {
        let setting = Setting { value, origin };
        let layer = setting.origin.layer();
        let earlier = self.values.insert((section, key.to_owned()), setting).map(|setting| setting.origin);
        if let Some(earlier) = earlier.filter(|earlier| earlier.layer() == layer)
            && !matches!(earlier, Origin::Flag(_) | Origin::Builder(_))
        {
            self.reject_named(section, key, format!("is given twice, also by {earlier}"));
        }
    }

    /// Adds a step. Those of a layer take the place of those of a layer below.
    pub(super) fn put_step(&mut self, step: GivenStep) {
        let layer = step.origin.layer();
        let is_below = |earlier: &GivenStep| earlier.origin.layer() < layer;
        if self.steps.iter().any(is_below) {
            self.displaced = std::mem::take(&mut self.steps);
        }
        self.steps.push(step);
    }

    /// The steps whose place others take that weigh more.
    pub(super) fn displaced(&self) -> &[GivenStep] {
        &self.displaced
    }

    /// Whether something is wrong with the steps.
    pub(super) fn has_wrong_steps(&self) -> bool {
        self.problems.iter().any(|problem| problem.subject.starts_with("[[step]]"))
    }

    /// The steps in their order.
    pub(super) fn steps(&self) -> &[GivenStep] {
        &self.steps
    }

    /// Sets a value that no layer has set.
    pub(super) fn set_default(&mut self, key: &Key, value: String) {
        let setting = Setting { value: Value::Raw(value), origin: Origin::Default };
        self.values.entry((key.section, key.name.to_owned())).or_insert(setting);
    }

    /// Forgets what was set in a section, except by flags.
    pub(super) fn forget(&mut self, section: Section) {
        self.values.retain(|(of, _), setting| *of != section || matches!(setting.origin, Origin::Flag(_)));
    }

    /// Notes a problem with a key whose value came from `origin`.
    pub(super) fn problem(&mut self, subject: String, message: impl Into<String>, origin: Origin) {
        self.problems.push(Problem { subject, message: message.into(), origin });
    }

    /// Notes that the file says nothing: what is missing or seems wrong then follows from that, and is not told.
    pub(super) fn unreadable(&mut self, subject: String, message: String, origin: Origin) {
        self.unreadable = Some(Problem { subject, message, origin });
    }

    /// Notes a problem with the value of a key.
    pub(super) fn reject(&mut self, key: &Key, message: impl Into<String>) {
        self.reject_named(key.section, key.name, message);
    }

    /// Notes a problem with the value of a key or a property of that name.
    pub(super) fn reject_named(&mut self, section: Section, name: &str, message: impl Into<String>) {
        let origin = self.origin(section, name);
        self.problem(keys::subject(section, name), message, origin);
    }

    /// Whether a key was set by any layer.
    pub(super) fn is_given(&self, key: &Key) -> bool {
        self.get(key.section, key.name).is_some()
    }

    /// Whether the first key was set, by a layer of at least the precedence of the second's.
    pub(super) fn outweighs(&self, (section, name): (Section, &str), other: (Section, &str)) -> bool {
        let other = self.origin(other.0, other.1).layer();
        self.get(section, name).is_some_and(|setting| setting.origin.layer() >= other)
    }

    /// Where the value of a key came from.
    pub(super) fn origin_of(&self, key: &Key) -> Origin {
        self.origin(key.section, key.name)
    }

    fn origin(&self, section: Section, key: &str) -> Origin {
        self.get(section, key).map_or(Origin::Default, |setting| setting.origin.clone())
    }

    fn get(&self, section: Section, key: &str) -> Option<&Setting> {
        self.values.get(&(section, key.to_owned()))
    }

    /// The keys of a section that were given, with their settings.
    pub(super) fn section(&self, section: Section) -> Vec<(String, Setting)> {
        let all = self.values.iter().filter(|((of, _), _)| *of == section);
        all.map(|((_, key), setting)| (key.clone(), setting.clone())).collect()
    }

    /// The configuration, or everything that is wrong with it.
    pub(super) fn finish<T>(self, config: T) -> Result<T, ConfigError> {
        match (self.unreadable, self.problems) {
            (Some(problem), _) => Err(ConfigError { problems: vec![problem] }),
            (None, problems) if problems.is_empty() => Ok(config),
            (None, problems) => Err(ConfigError { problems }),
        }
    }

    /// The text of a key.
    pub(super) fn text(&mut self, key: &Key) -> Option<String> {
        self.parsed(key, |text| Ok(text.to_owned()))
    }

    /// The text of a key, as `parse` understands it.
    pub(super) fn parsed<T>(&mut self, key: &Key, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        self.read(key, "a string", |value| match value {
            Value::Raw(text) | Value::Text(text) => Some(parse(text)),
            _ => None,
        })
    }

    /// The time of a key, or its default.
    pub(super) fn duration(&mut self, key: &Key) -> Duration {
        let given = self.parsed(key, units::parse_duration);
        given.unwrap_or_else(|| default(key, units::parse_duration))
    }

    /// The size of a key in bytes, or its default; a bare number of the file is one.
    pub(super) fn size(&mut self, key: &Key) -> usize {
        let size = self.read(key, "a size", |value| match value {
            Value::Raw(text) | Value::Text(text) => Some(units::parse_size(text)),
            Value::Integer(bytes) => Some(usize::try_from(*bytes).map_err(|_| "must not be negative".into())),
            _ => None,
        });
        size.unwrap_or_else(|| default(key, units::parse_size))
    }

    /// The integer of a key.
    pub(super) fn integer(&mut self, key: &Key) -> Option<i64> {
        self.read(key, "an integer", |value| match value {
            Value::Raw(text) => Some(text.trim().parse().map_err(|_| "must be an integer".into())),
            Value::Integer(number) => Some(Ok(*number)),
            _ => None,
        })
    }

    /// The boolean of a key, or its default.
    pub(super) fn boolean(&mut self, key: &Key) -> bool {
        let parse = |text: &str| text.trim().parse().map_err(|_| "must be `true` or `false`".to_owned());
        let given = self.read(key, "a boolean", |value| match value {
            Value::Raw(text) => Some(parse(text)),
            Value::Boolean(flag) => Some(Ok(*flag)),
            _ => None,
        });
        given.unwrap_or_else(|| default(key, parse))
    }

    /// The choice of a key from a closed set, or its default.
    pub(super) fn choice<T: Choice>(&mut self, key: &Key) -> T {
        let parse = |text: &str| text.parse().map_err(|_| one_of(key));
        self.parsed(key, parse).unwrap_or_else(|| default(key, parse))
    }

    /// `read` gives `None` for a value of the wrong type; what is wrong becomes a problem.
    fn read<T>(
        &mut self,
        key: &Key,
        wanted: &str,
        read: impl Fn(&Value) -> Option<Result<T, String>>,
    ) -> Option<T> {
        let value = &self.get(key.section, key.name)?.value;
        let message = match read(value) {
            Some(Ok(value)) => return Some(value),
            Some(Err(message)) => message,
            None => format!("must be {wanted}, not {}", value.type_name()),
        };
        self.reject(key, message);
        None
    }
}

/// The default of a key. That its own form takes it is tested.
pub(super) fn default<T>(key: &Key, parse: impl Fn(&str) -> Result<T, String>) -> T {
    parse(key.default).unwrap_or_else(|error| panic!("the default of {}: {error}", key.subject()))
}

/// What is said of a value that is not in the closed set of a key.
pub(super) fn one_of(key: &Key) -> String {
    format!("must be one of {}", names_of(key))
}

/// The names of the closed set of a key, in backquotes.
pub(super) fn names_of(key: &Key) -> String {
    let values = if let Form::Choice(values) = key.form { values() } else { Vec::new() };
    let names: Vec<_> = values.iter().map(|value| format!("`{}`", value.get_name())).collect();
    names.join(", ")
}
