//! The layer of the environment: `TOPICMILL_SECTION_KEY`, in upper case with underscores.

use std::ffi::OsString;

use super::{
    Origin,
    keys::{self, Section},
    properties,
    settings::{Settings, Value},
};

const PREFIX: &str = "TOPICMILL_";

/// What is read elsewhere: the log level, before there is a configuration.
const LOG: &str = "TOPICMILL_LOG";

/// Puts the values of all variables that begin with `TOPICMILL_`. An unknown one is a problem, as
/// a typo would be lost otherwise.
pub(super) fn load(variables: impl Iterator<Item = (OsString, OsString)>, settings: &mut Settings) {
    let known = known();
    let ours = variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    let mut ours: Vec<_> =
        ours.filter(|(name, _)| name.starts_with(PREFIX) && name != LOG && !is_link(name)).collect();
    ours.sort();
    for (name, value) in ours {
        let origin = Origin::Environment(name.clone());
        let Some((_, section, key)) = known.iter().find(|(variable, ..)| *variable == name) else {
            let mut message =
                keys::unknown("variable", &name, known.iter().map(|(variable, ..)| variable.as_str()));
            if !message.ends_with('?') {
                let example = variable(Section::Kafka, "bootstrap.servers");
                message += &format!("; they are named by section and key, as {example} is");
            }
            settings.problem(name, message, Origin::Default);
            continue;
        };
        let Ok(value) = value.into_string() else {
            settings.problem(keys::subject(*section, key), "must be UTF-8", origin);
            continue;
        };
        match section {
            Section::Kafka => properties::put(key, Value::Raw(value), origin, settings),
            section => settings.put(*section, key, Value::Raw(value), origin),
        }
    }
}

/// Whether Kubernetes or docker sets such a variable in every container beside a service that is
/// named topicmill.
fn is_link(name: &str) -> bool {
    ["SERVICE_HOST", "SERVICE_PORT", "PORT"].iter().any(|link| {
        let rest = name[PREFIX.len()..].strip_prefix(link);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
    })
}

/// Every variable with what it sets.
fn known() -> Vec<(String, Section, String)> {
    let mut known = Vec::new();
    for section in Section::ALL {
        for key in section.keys() {
            known.push((variable(section, key), section, key.to_owned()));
            if section == Section::Kafka && properties::is_secret(key) {
                let key = format!("{key}_file");
                known.push((variable(section, &key), section, key));
            }
        }
    }
    known
}

/// The variable that sets a key.
pub(super) fn variable(section: Section, key: &str) -> String {
    format!("{PREFIX}{}_{}", section.name(), key.replace(['.', '-'], "_")).to_uppercase()
}
