//! The dotted properties that Kafka users know: one table, read by the configuration and both engines,
//! and the native engine's settings built from it. Pure, so that a configuration can be checked without
//! a broker.
//!
//! To add a property, add its row to a file in `rows` and, if the native engine uses it, a field to
//! the settings.

mod draft;
mod relations;
mod rows;
mod table;
mod value;

use std::collections::{BTreeMap, BTreeSet};

pub use table::{Counterpart, Property, Takes, all, find, is_secret, names, protects};
use topicmill_mill::engine::PropertyError;

use self::{
    draft::Draft,
    table::{Native, Set},
    value::Value,
};
use super::settings::NativeSettings;

impl NativeSettings {
    /// Reads the properties; opens no file.
    ///
    /// # Errors
    /// The first [problem](NativeSettings::read).
    pub fn from_properties(properties: &BTreeMap<String, String>) -> Result<NativeSettings, PropertyError> {
        let (settings, problems) = NativeSettings::read(properties, &BTreeSet::new());
        problems.into_iter().next().map_or(Ok(settings), Err)
    }

    /// Reads the properties and finds all problems in one pass: properties that are unknown or not
    /// supported, invalid values, then broken rules between properties. An invalid property keeps its
    /// default. `refused` names properties that the caller has left out as invalid; what may merely
    /// follow from that, or from another invalid value, is not reported.
    pub fn read(
        properties: &BTreeMap<String, String>,
        refused: &BTreeSet<String>,
    ) -> (NativeSettings, Vec<PropertyError>) {
        let (draft, mut problems) = draft(properties);
        let unclear: Vec<&str> = problems
            .iter()
            .map(|problem| problem.key.as_str())
            .chain(refused.iter().map(String::as_str))
            .collect();
        let (settings, mut broken) = relations::settle(draft, |name| properties.contains_key(name));
        broken.retain(|broken| !unclear.iter().any(|name| broken.involves(canonical(name))));
        problems.extend(broken.into_iter().map(|broken| PropertyError::new(broken.key, broken.message)));
        (settings, problems)
    }

    /// The properties that this engine accepts out of those written for librdkafka: with that engine,
    /// too, it prepares the topics and reads the offsets. Properties that protect the connection are
    /// never left out.
    pub fn taken(properties: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let (draft, problems) = draft(properties);
        let (_, broken) = relations::settle(draft, |name| properties.contains_key(name));
        let fits = |name: &str| {
            !problems.iter().any(|problem| problem.key == name)
                && !broken.iter().any(|broken| broken.cure.contains(&canonical(name)))
        };
        let taken = properties.iter().filter(|(name, _)| protects(name) || fits(name));
        taken.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// Whether a property protects connections and is not supported by this engine.
    pub fn lacks_protection(name: &str) -> bool {
        protects(name) && setter(name).is_err()
    }
}

/// Applies each property by itself; returns the problems with those that are invalid.
fn draft(properties: &BTreeMap<String, String>) -> (Draft, Vec<PropertyError>) {
    let mut draft = Draft::default();
    let mut problems = Vec::new();
    for (name, text) in properties {
        if let Err(message) = set(&mut draft, name, text) {
            problems.push(message);
        }
    }
    (draft, problems)
}

fn set(draft: &mut Draft, name: &str, text: &str) -> Result<(), PropertyError> {
    let (set, takes) = setter(name)?;
    let text = if takes == Takes::Secret { text } else { text.trim() };
    let text = takes.read(text).map_err(|message| PropertyError::new(name, message))?;
    set(draft, &Value { key: name, text: &text })
}

/// How a property of this name is applied, and what it takes.
fn setter(name: &str) -> Result<(Set, Takes), PropertyError> {
    let refused = |why: &str| Err(PropertyError::new(name, why));
    if let Some(property) = find(name) {
        return match property.native {
            Native::Sets(set) => Ok((set, property.takes)),
            Native::Refuses(why) => refused(why),
            Native::Lacks => refused(&lacks(name)),
        };
    }
    let file = name.strip_suffix("_file").and_then(find).and_then(|secret| secret.native_file);
    file.map_or_else(|| refused(&lacks(name)), |set| Ok((set, Takes::Text)))
}

fn lacks(name: &str) -> String {
    format!(
        "`{name}` is not supported by the native engine; build with `--features librdkafka` and use \
         `--engine librdkafka`"
    )
}

/// The name of a property, given by an alias or not.
fn canonical(name: &str) -> &str {
    find(name).map_or(name, |property| property.name)
}

#[cfg(test)]
mod tests;
