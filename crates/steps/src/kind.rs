//! The steps by name, and the settings that each may have.

use topicmill_mill::transform::registry::{self, TransformSpec};

/// What a step does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Filter,
    Drop,
    Keep,
    Rename,
    Set,
    Copy,
    Mask,
    Redact,
    Truncate,
    Hash,
    Hmac,
    Header,
    Key,
    Route,
    Jq,
    /// One of the transforms that are there by name.
    Transform(&'static TransformSpec),
}

/// Those that are steps only.
const OWN: [Kind; 15] = [
    Kind::Filter,
    Kind::Drop,
    Kind::Keep,
    Kind::Rename,
    Kind::Set,
    Kind::Copy,
    Kind::Mask,
    Kind::Redact,
    Kind::Truncate,
    Kind::Hash,
    Kind::Hmac,
    Kind::Header,
    Kind::Key,
    Kind::Route,
    Kind::Jq,
];

/// The settings that every step may have.
pub(crate) const COMMON: [&str; 2] = ["when", "on_missing"];

impl Kind {
    /// The step of that name.
    pub(crate) fn find(name: &str) -> Option<Kind> {
        let own = OWN.into_iter().find(|kind| kind.name() == name);
        own.or_else(|| registry::find(&name.replace('_', "-")).map(Kind::Transform))
    }

    /// The names of all steps.
    pub(crate) fn names() -> Vec<&'static str> {
        OWN.iter().map(Kind::name).chain(registry::all().iter().map(|spec| spec.name)).collect()
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Kind::Filter => "filter",
            Kind::Drop => "drop",
            Kind::Keep => "keep",
            Kind::Rename => "rename",
            Kind::Set => "set",
            Kind::Copy => "copy",
            Kind::Mask => "mask",
            Kind::Redact => "redact",
            Kind::Truncate => "truncate",
            Kind::Hash => "hash",
            Kind::Hmac => "hmac",
            Kind::Header => "header",
            Kind::Key => "key",
            Kind::Route => "route",
            Kind::Jq => "jq",
            Kind::Transform(spec) => spec.name,
        }
    }

    /// The settings that only some steps have.
    pub(crate) fn settings(&self) -> Vec<&'static str> {
        let settings: &[&str] = match self {
            Kind::Filter | Kind::Drop | Kind::Keep | Kind::Jq => &[],
            Kind::Rename | Kind::Copy => &["to"],
            Kind::Set => &["value", "text"],
            Kind::Mask => &["first", "last", "with"],
            Kind::Redact => &["with"],
            Kind::Truncate => &["length"],
            Kind::Hash => &["digest", "to"],
            Kind::Hmac => &[
                "algorithm",
                "key_file",
                "key_env",
                "key_id",
                "to",
                "previous_key_file",
                "previous_key_env",
                "previous_key_id",
                "previous_to",
            ],
            Kind::Header => &["value", "text", "remove"],
            Kind::Key => &["partition"],
            Kind::Route => &["max_topics"],
            Kind::Transform(spec) => return spec.settings.iter().map(|setting| setting.name).collect(),
        };
        settings.to_vec()
    }

    /// Whether a policy for what is missing means something to it.
    pub(crate) fn has_policy(&self) -> bool {
        !matches!(self, Kind::Filter | Kind::Jq | Kind::Transform(_))
    }
}
