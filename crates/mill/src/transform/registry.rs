//! The transforms by name: the purpose of each, its settings, and how to build it.
//!
//! A transform describes itself in a [`TransformSpec`] beside its code. Users of the library
//! register theirs ([`register`]) before the command line and the configuration are read; then
//! `--transform NAME`, its flags, its keys in `[transform]` and its environment variables work like
//! those of the built-in ones.

use std::{fmt, sync::Arc};

use parking_lot::RwLock;

use super::{BUILT_IN, Partitions, Transform};
use crate::metrics::StepCounts;

/// Those registered by the user of the library.
static REGISTERED: RwLock<Vec<&'static TransformSpec>> = RwLock::new(Vec::new());

/// A transform by name.
#[derive(Debug)]
pub struct TransformSpec {
    /// The name, in lower case with hyphens.
    pub name: &'static str,
    /// What it does to a record, in a sentence without a full stop.
    pub doc: &'static str,
    /// Its settings.
    pub settings: &'static [SettingSpec],
    /// Builds it from its settings, which have been checked.
    pub make: fn(&Chosen) -> Build,
}

/// Builds an instance for each thread.
pub type Build = Arc<dyn Fn() -> Box<dyn Transform> + Send + Sync>;

/// A setting of a transform.
#[derive(Debug)]
pub struct SettingSpec {
    /// The key in `[transform]`, in lower case with underscores; `kind` is taken.
    pub name: &'static str,
    /// The flag without the leading hyphens, in lower case with hyphens. If the program has such a flag
    /// already, the setting is for the file and the environment only.
    pub flag: &'static str,
    /// The name of its value in the help, in upper case.
    pub value: &'static str,
    /// What its value may be.
    pub takes: SettingForm,
    /// The default.
    pub default: &'static str,
    /// What it does, in a sentence without a full stop.
    pub doc: &'static str,
}

/// What the value of a setting may be.
#[derive(Debug)]
pub enum SettingForm {
    /// A text that this accepts.
    Text(fn(&str) -> Result<(), String>),
    /// One of these names, each with its meaning.
    OneOf(&'static [(&'static str, &'static str)]),
}

impl SettingForm {
    /// Whether the setting may have this value.
    ///
    /// # Errors
    /// What it must be instead.
    pub fn check(&self, value: &str) -> Result<(), String> {
        match self {
            SettingForm::Text(check) => check(value),
            SettingForm::OneOf(choices) if choices.iter().any(|(name, _)| *name == value) => Ok(()),
            SettingForm::OneOf(choices) => {
                let names: Vec<_> = choices.iter().map(|(name, _)| format!("`{name}`")).collect();
                Err(format!("must be one of {}", names.join(", ")))
            }
        }
    }
}

/// For [`SettingForm::Text`]: accepts any text that is not empty.
///
/// # Errors
/// For an empty text.
pub fn not_empty(value: &str) -> Result<(), String> {
    if value.is_empty() { Err("must not be empty".into()) } else { Ok(()) }
}

/// The chosen settings of a transform, in the order of its spec.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chosen(pub Vec<(&'static str, String)>);

impl Chosen {
    /// The value of a setting of the spec.
    ///
    /// # Panics
    /// When the spec has none of that name.
    pub fn get(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.as_str()).expect("the spec has the setting")
    }
}

/// Which transform to run; [`build`](TransformKind::build) makes an instance for a thread.
#[derive(Clone)]
pub struct TransformKind {
    name: &'static str,
    settings: Chosen,
    build: Build,
    topics: Arc<[Arc<str>]>,
    partitions: Option<Arc<Partitions>>,
    counts: Option<Arc<StepCounts>>,
}

impl TransformKind {
    /// The transform of a spec with these settings, which must be those of the spec.
    pub fn of(spec: &TransformSpec, settings: Chosen) -> TransformKind {
        let build = (spec.make)(&settings);
        TransformKind { settings, ..TransformKind::named(spec.name, build) }
    }

    /// A transform without a name.
    pub fn custom(build: impl Fn() -> Box<dyn Transform> + Send + Sync + 'static) -> TransformKind {
        TransformKind::named("custom", Arc::new(build))
    }

    /// A transform that has no spec.
    pub fn named(name: &'static str, build: Build) -> TransformKind {
        TransformKind {
            name,
            settings: Chosen::default(),
            build,
            topics: Arc::default(),
            partitions: None,
            counts: None,
        }
    }

    /// Names topics that records may be written to beside the destination, as far as they are known before
    /// there are records.
    #[must_use]
    pub fn with_topics(self, topics: impl IntoIterator<Item = Arc<str>>) -> TransformKind {
        TransformKind { topics: topics.into_iter().collect(), ..self }
    }

    /// Gives it the table that the instances choose partitions by.
    #[must_use]
    pub fn with_partitions(self, partitions: Arc<Partitions>) -> TransformKind {
        TransformKind { partitions: Some(partitions), ..self }
    }

    /// Gives it the counts that the instances keep.
    #[must_use]
    pub fn with_counts(self, counts: Arc<StepCounts>) -> TransformKind {
        TransformKind { counts: Some(counts), ..self }
    }

    /// Puts each instance into another transform, which is to do the same.
    #[must_use]
    pub fn within(
        self,
        wrap: impl Fn(Box<dyn Transform>) -> Box<dyn Transform> + Send + Sync + 'static,
    ) -> TransformKind {
        let build = self.build;
        TransformKind { build: Arc::new(move || wrap(build())), ..self }
    }

    /// An instance for one thread.
    pub fn build(&self) -> Box<dyn Transform> {
        (self.build)()
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its settings.
    pub fn settings(&self) -> &Chosen {
        &self.settings
    }

    /// The topics beside the destination that are known to be written.
    pub fn topics(&self) -> &[Arc<str>] {
        &self.topics
    }

    /// The table that the instances choose partitions by, if they do: to be filled in before they are used.
    pub fn partitions(&self) -> Option<&Arc<Partitions>> {
        self.partitions.as_ref()
    }

    /// What the instances count, by step.
    pub fn counts(&self) -> Option<&Arc<StepCounts>> {
        self.counts.as_ref()
    }
}

impl fmt::Debug for TransformKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", self.name, self.settings.0)
    }
}

/// Two transforms have the same name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is a transform `{0}` already")]
pub struct NameTaken(pub &'static str);

/// Adds a transform to those that can be chosen by name, for the lifetime of the process.
///
/// # Errors
/// When the name is taken.
pub fn register(spec: &'static TransformSpec) -> Result<(), NameTaken> {
    let mut registered = REGISTERED.write();
    if BUILT_IN.iter().chain(registered.iter()).any(|known| known.name == spec.name) {
        return Err(NameTaken(spec.name));
    }
    registered.push(spec);
    Ok(())
}

/// Every transform that can be chosen by name; the first is the default.
pub fn all() -> Vec<&'static TransformSpec> {
    let registered = REGISTERED.read();
    BUILT_IN.iter().chain(registered.iter()).copied().collect()
}

/// The transform of that name.
pub fn find(name: &str) -> Option<&'static TransformSpec> {
    all().into_iter().find(|spec| spec.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_name_is_taken_once() {
        assert_eq!(register(BUILT_IN[0]), Err(NameTaken("name-event")));
    }

    #[test]
    fn every_default_is_one_that_the_setting_takes() {
        for spec in all() {
            let mut names = BTreeSet::from(["kind"]);
            for setting in spec.settings {
                assert_eq!(setting.takes.check(setting.default), Ok(()), "{} {}", spec.name, setting.name);
                assert!(names.insert(setting.name), "{} {}", spec.name, setting.name);
            }
        }
    }
}
