//! The dotted properties that Kafka users know: one table, which the configuration and both engines
//! read, and the native engine's settings made of it; pure, so that a configuration is checked
//! without a broker.
//!
//! Adding a property is a row in a file of `rows`, with the use of what it sets.

mod draft;
mod relations;
mod rows;
mod table;
mod value;

use std::collections::{BTreeMap, BTreeSet};

pub use table::{Counterpart, Property, Takes, all, find, is_secret, names, protects};

use self::{
    draft::Draft,
    table::{Native, Set},
    value::Value,
};
use super::settings::NativeSettings;
use crate::engine::PropertyError;

impl NativeSettings {
    /// Reads the properties; pure, no file is opened.
    ///
    /// # Errors
    /// The first [problem](NativeSettings::read).
    pub fn from_properties(properties: &BTreeMap<String, String>) -> Result<NativeSettings, PropertyError> {
        let (settings, problems) = NativeSettings::read(properties, &BTreeSet::new());
        problems.into_iter().next().map_or(Ok(settings), Err)
    }

    /// Reads the properties, with all that is wrong with them: what is unknown or not supported,
    /// values that cannot hold, then what does not hold between them. What is wrong keeps its
    /// default. Of `refused` properties it is only known that they were set to something: nothing is
    /// reported that may be due to that.
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

    /// What this engine takes of properties that are written for librdkafka: with that engine, too, it
    /// prepares the topics and reads the offsets. How a connection is protected is never left out.
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

    /// Whether a property is one of those that protect a connection and this engine has none of that name.
    pub fn lacks_protection(name: &str) -> bool {
        protects(name) && setter(name).is_err()
    }
}

/// What each property sets for itself, and what is wrong with some.
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

/// How a property of this name is set, and what it takes.
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

/// The name that relations know a property by.
fn canonical(name: &str) -> &str {
    find(name).map_or(name, |property| property.name)
}

#[cfg(test)]
mod tests;
