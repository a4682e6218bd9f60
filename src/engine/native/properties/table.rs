//! What a row of the table of properties holds, and how a row is found.

use super::{
    draft::Draft,
    rows::{connections, foreign, groups, reading, security, writing},
    value::Value,
};
use crate::engine::PropertyError;

/// A property of `[kafka]` and `-X`: all that is known of it anywhere.
///
/// The configuration, both engines and the reference file read the same row, so that a property is
/// added by adding one.
pub struct Property {
    /// The name, as Kafka's own clients have it where they have one.
    pub name: &'static str,
    /// Other names that librdkafka and older clients have for the same.
    pub aliases: &'static [&'static str],
    /// What its value may be.
    pub takes: Takes,
    /// What holds in the native engine while it is not set; empty when nothing does.
    pub default: &'static str,
    /// One line on what it is for.
    pub doc: &'static str,
    /// The section and the key of the configuration that mean the same, if it has one of its own.
    pub key: Option<(&'static str, &'static str)>,
    /// What becomes of it in the engine over librdkafka.
    pub librdkafka: Counterpart,
    pub(super) native: Native,
    pub(super) native_file: Option<Set>,
}

/// What the value of a property may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Any text.
    Text,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// One of these, whatever the case. An empty one is taken without being offered.
    OneOf(&'static [&'static str]),
    /// One of these and nothing else, with what the promise of delivery has to do with it. The
    /// first is what the others mean.
    Only(&'static [&'static str], &'static str),
    /// A text that is never printed, is taken with the blanks at its ends, and never comes from an
    /// argument or stands in the file.
    Secret,
}

/// Sets in a draft what a property asks for.
pub(super) type Set = fn(&mut Draft, &Value<'_>) -> Result<(), PropertyError>;

/// What becomes of a property in the native engine.
#[derive(Clone, Copy)]
pub(super) enum Native {
    /// It is taken.
    Sets(Set),
    /// It is refused for this reason.
    Refuses(&'static str),
    /// It has no counterpart.
    Lacks,
}

/// What becomes of a property in the engine over librdkafka.
#[derive(Clone, Copy)]
pub enum Counterpart {
    /// librdkafka has it by the same name, or says itself that it has not.
    Same,
    /// librdkafka has it by another name.
    Named(&'static str),
    /// It is taken care of without librdkafka.
    Apart,
    /// It is refused for this reason.
    Refuses(&'static str),
    /// It depends on the value.
    By(fn(&str) -> Translation),
}

/// What a value of a property comes to in librdkafka: a name and a value, nothing when it is taken
/// care of without librdkafka, or why it is refused.
pub type Translation = Result<Option<(&'static str, String)>, &'static str>;

impl Takes {
    /// The value that `text` stands for, written as it is written here.
    ///
    /// # Errors
    /// What it must be instead; without the value, which may be a secret.
    pub fn read(self, text: &str) -> Result<String, String> {
        let named = |choice: &&&str| choice.eq_ignore_ascii_case(text);
        match self {
            Takes::Integer if text.parse::<i64>().is_err() => Err("must be an integer".into()),
            Takes::Boolean if text.parse::<bool>().is_err() => Err("must be `true` or `false`".into()),
            Takes::OneOf(choices) => match choices.iter().find(named) {
                Some(choice) => Ok((*choice).into()),
                None => Err(format!("must be one of `{}`", offered(choices).join("`, `"))),
            },
            Takes::Only(choices, why) => match choices.contains(&text) {
                true => Ok(choices[0].into()),
                false => Err(format!("must be `{}`: {why}", choices[0])),
            },
            Takes::Text | Takes::Secret | Takes::Integer | Takes::Boolean => Ok(text.into()),
        }
    }
}

/// The choices that are worth naming.
pub(super) fn offered(choices: &[&'static str]) -> Vec<&'static str> {
    choices.iter().copied().filter(|choice| !choice.is_empty()).collect()
}

impl Property {
    /// A property that the native engine lacks and librdkafka has by the same name.
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

    /// A key of a section of the configuration means the same.
    pub(super) const fn key(mut self, section: &'static str, key: &'static str) -> Property {
        self.key = Some((section, key));
        self
    }

    pub(super) const fn native(mut self, set: Set) -> Property {
        self.native = Native::Sets(set);
        self
    }

    /// The native engine reads the file of this secret itself, each time that it needs it, when it
    /// is given the file's path under this name with `_file` behind.
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

    /// Whether the native engine takes it.
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

    /// The name and the value that librdkafka is given for `value`, `None` for what is taken care
    /// of without it.
    ///
    /// # Errors
    /// Why that value is refused.
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

    /// What it is for, what it takes, what else it is called and which engine has it: a line of
    /// documentation.
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

    /// How it stands in a file with its default, or without a value: a secret by the name of its
    /// file's path.
    pub fn entry(&self) -> String {
        match self.takes {
            Takes::Secret => format!("{} =", self.file_name()),
            _ if self.default.is_empty() => format!("{} =", self.name),
            Takes::Integer | Takes::Boolean => format!("{} = {}", self.name, self.default),
            _ => format!("{} = \"{}\"", self.name, self.default),
        }
    }

    /// Whether this is its name, or one of them.
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

/// Whether the value of a property is never to be printed; of one that is not known, if it sounds
/// like it.
pub fn is_secret(name: &str) -> bool {
    match find(name) {
        Some(property) => property.takes == Takes::Secret,
        None => ["password", "secret", "jaas", "key.pem"].iter().any(|word| name.contains(word)),
    }
}

/// Whether a property says how connections are protected.
pub fn protects(name: &str) -> bool {
    ["security.", "sasl.", "ssl.", "enable.ssl."].iter().any(|prefix| name.starts_with(prefix))
}
