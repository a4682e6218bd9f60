//! The layer of a program that sets the keys itself, by the methods of a builder.

use super::{
    Config, ConfigError, Origin,
    keys::{self, Key},
    layers::kafka,
    rules,
    settings::{Settings, Value},
    units,
};
use crate::{choice::Choice, transform::TransformKind};

/// What such a program has set. Nothing else counts: no file, no environment, no flags.
#[derive(Default)]
pub(crate) struct Given {
    settings: Settings,
    transform: Option<TransformKind>,
}

/// A value of a program.
pub(crate) enum GivenValue {
    /// A text; of a key that is a number, a time or a choice, as it is written.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A boolean.
    Boolean(bool),
}

impl GivenValue {
    /// A whole number; what 64 bits with a sign do not hold is more than any key takes.
    pub(crate) fn whole(number: impl TryInto<i64>) -> GivenValue {
        GivenValue::Integer(number.try_into().unwrap_or(i64::MAX))
    }

    /// A time, to the millisecond.
    pub(crate) fn time(time: std::time::Duration) -> GivenValue {
        GivenValue::Text(units::format_duration(time))
    }

    /// One of a closed set.
    pub(crate) fn choice(choice: impl Choice) -> GivenValue {
        GivenValue::Text(choice.name().into())
    }
}

impl From<GivenValue> for Value {
    fn from(value: GivenValue) -> Value {
        match value {
            GivenValue::Text(text) => Value::Raw(text),
            GivenValue::Integer(number) => Value::Integer(number),
            GivenValue::Boolean(flag) => Value::Boolean(flag),
        }
    }
}

impl Given {
    /// Sets a key, in the place of what `method` or another one has set before.
    pub(crate) fn put(&mut self, key: &Key, value: GivenValue, method: &'static str) {
        self.settings.put(key.section, key.name, value.into(), Origin::Builder(method));
    }

    /// Sets a property of `[kafka]`.
    pub(crate) fn property(&mut self, name: &str, value: String, method: &'static str) {
        kafka::put(name, Value::Raw(value), Origin::Builder(method), &mut self.settings);
    }

    /// Sets the transform.
    pub(crate) fn transform(&mut self, transform: TransformKind) {
        self.transform = Some(transform);
    }

    /// What is to be run.
    ///
    /// # Errors
    /// All problems at once.
    pub(crate) fn finish(self) -> Result<Config, ConfigError> {
        let Given { mut settings, transform } = self;
        // The defaults are those of the three programs that this project began with. One that stands
        // in for what is missing is complained about once.
        for (key, instead) in [
            (&keys::BROKERS, keys::BROKERS.default),
            (&keys::SOURCE, "source"),
            (&keys::DESTINATION, "destination"),
        ] {
            if !settings.is_given(key) {
                settings.reject(key, "is missing");
                settings.set_default(key, instead.into());
            }
        }
        settings.set_default(&keys::ADMIN, "off".into());
        let transform = transform.unwrap_or_else(|| {
            settings.reject(&keys::KIND, "is missing");
            rules::transform(&mut settings)
        });
        let config = Config::read(&mut settings, transform.into());
        settings.finish(config)
    }
}
