//! The properties of `[kafka]`, which any layer may set.

use std::path::PathBuf;

use crate::{
    config::{
        Origin,
        keys::{self, Section},
        settings::{Settings, Value},
    },
    engine::native::properties,
};

const KAFKA: Section = Section::Kafka;

/// Puts a property, under the name and in the section that it has in the configuration.
pub(in crate::config) fn put(name: &str, value: Value, origin: Origin, settings: &mut Settings) {
    let name = name.to_ascii_lowercase();
    let property = properties::find(&name);
    if let Some((section, key)) = property.and_then(|property| property.key)
        && let Some(section) = Section::find(section)
    {
        return settings.put(section, key, value, origin);
    }
    // A file that is a property of its own is read by the engine, whenever it needs it.
    let secret = name.strip_suffix("_file").filter(|secret| properties::is_secret(secret));
    if let Some(secret) = secret.filter(|_| property.is_none()) {
        return match value {
            Value::Raw(path) | Value::Text(path) => {
                settings.put(KAFKA, secret, Value::ContentOf(PathBuf::from(path)), origin);
            }
            _ => settings.problem(keys::subject(KAFKA, &name), "must be the path of a file", origin),
        };
    }
    let name = property.map_or(name.as_str(), |property| property.name);
    if properties::is_secret(name) && !matches!(origin, Origin::Environment(_) | Origin::Builder(_)) {
        let variable = keys::variable(KAFKA, name);
        let message = format!("a secret comes from the environment ({variable}) or a file (`{name}_file`)");
        return settings.problem(keys::subject(KAFKA, name), message, origin);
    }
    settings.put(KAFKA, name, value, origin);
}
