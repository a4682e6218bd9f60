//! The layer of the environment: `TOPICMILL_SECTION_KEY`, in upper case with underscores.

use std::ffi::OsString;

use super::kafka;
use crate::{
    config::{
        Origin,
        keys::{self, PREFIX, Section, variable},
        settings::{Settings, Value},
    },
    engine::native::properties,
};

/// Read elsewhere: the log level, before there is a configuration.
const LOG: &str = "TOPICMILL_LOG";

/// Puts the values of all variables that begin with `TOPICMILL_`. An unknown one is a problem, as a
/// typo would be lost otherwise. An empty one counts as unset, as `${GROUP:-}` in a compose file
/// makes one.
pub(super) fn load(variables: impl Iterator<Item = (OsString, OsString)>, settings: &mut Settings) {
    let ours = variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    let mut ours: Vec<_> =
        ours.filter(|(name, value)| name.starts_with(PREFIX) && name != LOG && !value.is_empty()).collect();
    if ours.is_empty() {
        return;
    }
    ours.sort();
    let known = known();
    for (name, value) in ours {
        let origin = Origin::Environment(name.clone());
        let Some((_, section, key)) = known.iter().find(|(variable, ..)| *variable == name) else {
            if is_link(&name) {
                continue;
            }
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
            Section::Kafka => kafka::put(key, Value::Raw(value), origin, settings),
            section => settings.put(*section, key, Value::Raw(value), origin),
        }
    }
}

/// Whether Kubernetes or docker sets such a variable in every container beside a service whose name
/// begins with topicmill: `TOPICMILL_METRICS_SERVICE_HOST`, `TOPICMILL_PORT_9464_TCP_ADDR` and the like.
fn is_link(name: &str) -> bool {
    let words: Vec<&str> = name[PREFIX.len()..].split('_').collect();
    // What precedes it is the rest of the service's name, if it has more.
    (0..words.len()).any(|from| match &words[from..] {
        ["SERVICE", "HOST"] | ["SERVICE", "PORT", ..] | ["PORT"] => true,
        ["PORT", number, "TCP" | "UDP" | "SCTP", rest @ ..] => {
            number.parse::<u16>().is_ok() && matches!(rest, [] | ["ADDR" | "PORT" | "PROTO"])
        }
        _ => false,
    })
}

/// Every variable with what it sets.
fn known() -> Vec<(String, Section, String)> {
    let mut known = Vec::new();
    for section in Section::ALL {
        for key in section.names() {
            known.push((variable(section, key), section, key.to_owned()));
            if section == Section::Kafka && properties::is_secret(key) {
                let key = format!("{key}_file");
                known.push((variable(section, &key), section, key));
            }
        }
    }
    known
}
