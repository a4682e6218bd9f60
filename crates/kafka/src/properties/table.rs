//! The rows of the property table, and how a row is found.

use topicmill_mill::engine::PropertyError;

use super::{
    draft::Draft,
    rows::{connections, foreign, groups, reading, security, writing},
    value::Value,
};

/// A property of `[kafka]` and `-X`, with everything that is known about it.
///
/// The configuration, both engines and the reference file read the same row, so adding a property
/// means adding a row.
#[derive(Debug)]
pub struct Property {
    /// The name, as in Kafka's own clients where they have it.
    pub name: &'static str,
    /// Other names that librdkafka and older clients use for it.
    pub aliases: &'static [&'static str],
    /// The values that it takes.
    pub takes: Takes,
    /// The native engine's default; empty if it has none.
    pub default: &'static str,
    /// What it is for, in one sentence.
    pub doc: &'static str,
    /// The section and key of the configuration that mean the same, if there are any.
    pub key: Option<(&'static str, &'static str)>,
    /// How the engine over librdkafka treats it.
    pub librdkafka: Counterpart,
    pub(super) native: Native,
    pub(super) native_file: Option<Set>,
}

/// The values that a property takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Any text.
    Text,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// One of these, in any case. An empty one is accepted without being offered.
    OneOf(&'static [&'static str]),
    /// One of these exactly, with the reason. All of them mean the first.
    Only(&'static [&'static str], &'static str),
    /// A text that is never printed or trimmed, and is refused as an argument and in the file.
    Secret,
}

/// Applies the value of a property to a draft.
pub(super) type Set = fn(&mut Draft, &Value<'_>) -> Result<(), PropertyError>;

/// How the native engine treats a property.
#[derive(Clone, Copy, Debug)]
pub(super) enum Native {
    /// It is supported.
    Sets(Set),
    /// It refuses it for this reason.
    Refuses(&'static str),
    /// It is not supported.
    Lacks,
}

/// How the engine over librdkafka treats a property.
#[derive(Clone, Copy, Debug)]
pub enum Counterpart {
    /// It is passed on under the same name; librdkafka refuses what it does not know.
    Same,
    /// It is passed on under another name.
    Named(&'static str),
    /// It is handled without librdkafka.
    Apart,
    /// It refuses it for this reason.
    Refuses(&'static str),
    /// It depends on the value.
    By(fn(&str) -> Translation),
}

/// The name and value to pass to librdkafka, nothing if the property is handled without librdkafka,
/// or the reason why the value is refused.
pub type Translation = Result<Option<(&'static str, String)>, &'static str>;

impl Takes {
    /// The value that `text` stands for, in its canonical spelling.
    ///
    /// # Errors
    /// What the value must be; never contains it, as it may be a secret.
    pub fn read(self, text: &str) -> Result<String, String> {
        let named = |choice: &&&str| choice.eq_ignore_ascii_case(text);
        match self {
            Takes::Integer if text.parse::<i64>().is_err() => Err("must be an integer".into()),
            Takes::Boolean if text.parse::<bool>().is_err() => Err("must be `true` or `false`".into()),
            Takes::OneOf(choices) => match choices.iter().find(named) {
                Some(choice) => Ok((*choice).into()),
                None => Err(format!("must be one of `{}`", offered(choices).join("`, `"))),
            },
            Takes::Only(choices, _) if choices.contains(&text) => Ok(choices[0].into()),
            Takes::Only(choices, why) => Err(format!("must be `{}`: {why}", choices[0])),
            Takes::Text | Takes::Secret | Takes::Integer | Takes::Boolean => Ok(text.into()),
        }
    }
}

/// The choices to show, without the empty one.
pub(super) fn offered(choices: &[&'static str]) -> Vec<&'static str> {
    choices.iter().copied().filter(|choice| !choice.is_empty()).collect()
}

impl Property {
    /// A property that the native engine does not support and librdkafka has under the same name.
    pub(super) const fn new(name: &'static str, takes: Takes, doc: &'static str) -> Property {
        Property {
            name,
            aliases: &[],
            takes,
            default: "",
            doc,
            key: None,
            librdkafka: Counterpart::Same,
            native: Native::Lacks,
            native_file: None,
        }
    }

    pub(super) const fn or(mut self, aliases: &'static [&'static str]) -> Property {
        self.aliases = aliases;
        self
    }

    pub(super) const fn default(mut self, value: &'static str) -> Property {
        self.default = value;
        self
    }

    /// A property with an equivalent key in a section of the configuration.
    pub(super) const fn key(mut self, section: &'static str, key: &'static str) -> Property {
        self.key = Some((section, key));
        self
    }

    pub(super) const fn native(mut self, set: Set) -> Property {
        self.native = Native::Sets(set);
        self
    }

    /// The native engine reads a file with this secret itself, each time it needs it, if it is given
    /// the path under the name with the suffix `_file`.
    pub(super) const fn native_file(mut self, set: Set) -> Property {
        self.native_file = Some(set);
        self
    }

    pub(super) const fn native_refuses(mut self, why: &'static str) -> Property {
        self.native = Native::Refuses(why);
        self
    }

    pub(super) const fn librdkafka(mut self, librdkafka: Counterpart) -> Property {
        self.librdkafka = librdkafka;
        self
    }

    /// Whether the native engine supports it.
    pub fn is_native(&self) -> bool {
        matches!(self.native, Native::Sets(_))
    }

    /// Whether the native engine reads the file of this secret itself; see
    /// [`file_name`](Property::file_name).
    pub fn has_native_file(&self) -> bool {
        self.native_file.is_some()
    }

    /// The name under which the path of a file with this secret is given.
    pub fn file_name(&self) -> String {
        format!("{}_file", self.name)
    }

    /// The name and value to pass to librdkafka for `value`; `None` if it is handled without it.
    ///
    /// # Errors
    /// The reason why the value is refused.
    pub fn for_librdkafka(&self, value: &str) -> Result<Option<(&'static str, String)>, String> {
        let value = self.takes.read(value)?;
        Ok(match self.librdkafka {
            Counterpart::Same => Some((self.name, value)),
            Counterpart::Named(name) => Some((name, value)),
            Counterpart::Apart => None,
            Counterpart::Refuses(why) => return Err(why.into()),
            Counterpart::By(translate) => translate(&value)?,
        })
    }

    /// Its line of documentation: purpose, choices, aliases, and the engine if only one has it.
    pub fn description(&self) -> String {
        let mut text = self.doc.to_owned();
        if let Takes::OneOf(choices) = self.takes {
            text += &format!(" One of {}.", offered(choices).join(", "));
        }
        if !self.aliases.is_empty() {
            text += &format!(" Also called {}.", self.aliases.join(", "));
        }
        let apart = matches!(self.librdkafka, Counterpart::Apart);
        match (self.key, self.librdkafka) {
            (Some((section, key)), _) => text += &format!(" The same as {key} of [{section}]."),
            (None, _) if self.is_native() || apart => {}
            (None, Counterpart::Refuses(_)) => text += " Always refused.",
            (None, _) => text += " Only for the engine librdkafka.",
        }
        text
    }

    /// Its entry in the reference file: with the default, if any; a secret as the path of its file.
    pub fn entry(&self) -> String {
        match self.takes {
            Takes::Secret => format!("{} =", self.file_name()),
            _ if self.default.is_empty() => format!("{} =", self.name),
            Takes::Integer | Takes::Boolean => format!("{} = {}", self.name, self.default),
            _ => format!("{} = \"{}\"", self.name, self.default),
        }
    }

    /// Whether this is its name or an alias.
    pub fn is_called(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(&name)
    }
}

/// Every property, in the order of the reference.
pub fn all() -> impl Iterator<Item = &'static Property> {
    [connections::ROWS, security::ROWS, reading::ROWS, groups::ROWS, writing::ROWS, foreign::ROWS]
        .into_iter()
        .flatten()
}

/// The property of this name, or with this alias.
pub fn find(name: &str) -> Option<&'static Property> {
    all().find(|property| property.is_called(name))
}

/// Every name and alias.
pub fn names() -> impl Iterator<Item = &'static str> {
    all().flat_map(|property| std::iter::once(property.name).chain(property.aliases.iter().copied()))
}

/// Whether the value of a property must never be printed. An unknown property counts as secret if its
/// name sounds like one.
pub fn is_secret(name: &str) -> bool {
    match find(name) {
        Some(property) => property.takes == Takes::Secret,
        None => ["password", "secret", "jaas", "key.pem"].iter().any(|word| name.contains(word)),
    }
}

/// Whether a property is about the protection of connections.
pub fn protects(name: &str) -> bool {
    ["security.", "sasl.", "ssl.", "enable.ssl."].iter().any(|prefix| name.starts_with(prefix))
}
