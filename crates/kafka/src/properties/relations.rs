//! Rules between properties whose values are valid on their own.

use super::{super::settings::GroupProtocol, draft::Draft};
use crate::settings::{NativeSettings, ProduceCompression};

/// A broken rule between properties.
#[derive(Debug)]
pub(super) struct Broken {
    /// The property to report.
    pub key: &'static str,
    /// What is wrong.
    pub message: String,
    /// The rule holds without these properties.
    pub cure: &'static [&'static str],
    /// The other properties involved: while one of these, or of the cure, is itself invalid, the
    /// rule is not reported.
    pub with: With,
}

/// Properties that are involved in a rule.
#[derive(Clone, Copy, Debug)]
pub(super) enum With {
    /// These.
    Names(&'static [&'static str]),
    /// All that protect connections.
    Security,
}

impl Broken {
    /// A security property is missing that another one needs.
    pub(super) fn missing(key: &'static str, message: &str) -> Broken {
        Broken { key, message: message.to_owned(), cure: &[], with: With::Security }
    }

    /// Whether a property is involved.
    pub(super) fn involves(&self, name: &str) -> bool {
        let with = match self.with {
            With::Names(names) => names.contains(&name),
            With::Security => super::protects(name),
        };
        with || self.cure.contains(&name)
    }
}

/// The settings of a draft, with every broken rule. `is_given` tells whether a property was set.
pub(super) fn settle(draft: Draft, is_given: impl Fn(&str) -> bool) -> (NativeSettings, Vec<Broken>) {
    let mut broken = Vec::new();
    let settings = draft.finish(&mut broken);
    broken.extend(deadlines(&settings));
    broken.extend(broker_decides(&settings, is_given));
    broken.extend(level(&settings));
    (settings, broken)
}

fn deadlines(settings: &NativeSettings) -> Vec<Broken> {
    let mut broken = Vec::new();
    let (produce, group) = (&settings.produce, &settings.group);
    if produce.delivery_timeout < settings.request_timeout {
        broken.push(Broken {
            key: "delivery.timeout.ms",
            message: "must not be less than request.timeout.ms".to_owned(),
            cure: &["delivery.timeout.ms", "request.timeout.ms", "socket.timeout.ms"],
            with: With::Names(&[]),
        });
    }
    if group.heartbeat_interval >= group.session_timeout {
        broken.push(Broken {
            key: "heartbeat.interval.ms",
            message: "must be less than session.timeout.ms".to_owned(),
            cure: &["heartbeat.interval.ms", "session.timeout.ms"],
            with: With::Names(&[]),
        });
    }
    broken
}

/// With KIP-848 these are configured at the broker.
fn broker_decides(settings: &NativeSettings, is_given: impl Fn(&str) -> bool) -> Vec<Broken> {
    const CLASSIC: [&[&str]; 3] =
        [&["session.timeout.ms"], &["heartbeat.interval.ms"], &["partition.assignment.strategy"]];
    let consumer = settings.group.protocol == GroupProtocol::Consumer;
    let given = CLASSIC.into_iter().filter(|key| consumer && is_given(key[0]));
    let broken = given.map(|key| Broken {
        key: key[0],
        message: "is the broker's to decide with group.protocol=consumer".to_owned(),
        cure: key,
        with: With::Names(&["group.protocol"]),
    });
    broken.collect()
}

fn level(settings: &NativeSettings) -> Option<Broken> {
    let level = settings.produce.compression_level?;
    let message = match settings.produce.compression {
        ProduceCompression::Source => "needs compression.type: each has levels of its own".to_owned(),
        ProduceCompression::Fixed(codec) => {
            let levels = codec.levels().filter(|levels| !levels.contains(&level))?;
            let (least, most) = (levels.start(), levels.end());
            format!("{level} is not in {least} to {most}, the levels of {codec}")
        }
    };
    Some(Broken {
        key: "compression.level",
        message,
        cure: &["compression.level", "compression.gzip.level", "compression.zstd.level"],
        with: With::Names(&["compression.type"]),
    })
}
