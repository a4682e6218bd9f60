//! The text of a property, and how it is parsed.

use std::{path::PathBuf, str::FromStr, time::Duration};

use topicmill_mill::engine::PropertyError;

use super::super::settings::{Assignor, Pem};

/// The text of a property with its name. Each method parses it into a field.
pub struct Value<'a> {
    /// The name, as it was given.
    pub(super) key: &'a str,
    /// The text, as [`Takes::read`](super::Takes::read) gives it.
    pub(super) text: &'a str,
}

/// The most bytes of a part of a name: two parts, each byte escaped by three, fit a string on the wire (32,767 bytes).
const NAME_MAX: usize = 5000;

type Read = Result<(), PropertyError>;

impl Value<'_> {
    fn error(&self, message: String) -> PropertyError {
        PropertyError::new(self.key, message)
    }

    pub(super) fn some(&self) -> Result<String, PropertyError> {
        if self.text.is_empty() { Err(self.error("is empty".to_owned())) } else { Ok(self.text.to_owned()) }
    }

    /// A part of a name on the wire.
    pub(super) fn name(&self) -> Result<String, PropertyError> {
        match self.some()? {
            name if name.len() <= NAME_MAX => Ok(name),
            name => {
                Err(self.error(format!("is {} bytes long, and {NAME_MAX} at most are possible", name.len())))
            }
        }
    }

    pub(super) fn path(&self) -> Result<PathBuf, PropertyError> {
        self.some().map(PathBuf::from)
    }

    pub(super) fn text(&self, place: &mut String) -> Read {
        *place = self.some()?;
        Ok(())
    }

    pub(super) fn pem_file(&self, place: &mut Option<Pem>) -> Read {
        *place = Some(Pem::File(self.path()?));
        Ok(())
    }

    pub(super) fn pem_text(&self, place: &mut Option<Pem>) -> Read {
        *place = Some(Pem::Text(self.some()?));
        Ok(())
    }

    pub(super) fn parse<T: FromStr<Err: std::fmt::Display>>(&self) -> Result<T, PropertyError> {
        self.text.parse().map_err(|e| self.error(format!("{:?}: {e}", self.text)))
    }

    pub(super) fn within<T>(&self, least: T, most: T, place: &mut T) -> Read
    where
        T: FromStr + PartialOrd + std::fmt::Display,
    {
        let number = self.text.parse().ok().filter(|number| (&least..=&most).contains(&number));
        *place = number.ok_or_else(|| self.error(format!("{} is not in {least} to {most}", self.text)))?;
        Ok(())
    }

    pub(super) fn millis(&self, least: u64, place: &mut Duration) -> Read {
        let mut millis = 0;
        self.within(least, i32::MAX as u64, &mut millis)?;
        *place = Duration::from_millis(millis);
        Ok(())
    }

    pub(super) fn one_of<T: Copy>(&self, choices: &[(&str, T)], place: &mut T) -> Read {
        let found = choices.iter().find(|(name, _)| name.eq_ignore_ascii_case(self.text));
        let (_, choice) = found.ok_or_else(|| self.error("is not one of its values".to_owned()))?;
        *place = *choice;
        Ok(())
    }

    /// For settings that delivery without loss depends on.
    pub(super) fn must(&self, only: &str) -> Read {
        if self.text.eq_ignore_ascii_case(only) {
            Ok(())
        } else {
            Err(self.error(format!("{:?} cannot be; it is always {only}", self.text)))
        }
    }

    pub(super) fn assignors(&self, place: &mut Vec<Assignor>) -> Read {
        let read = |name| {
            let name = assignor_name(name);
            Assignor::named(name).ok_or_else(|| {
                self.error(format!("{name:?} is not one of range, roundrobin, cooperative-sticky"))
            })
        };
        *place = self.text.split(',').map(read).collect::<Result<_, _>>()?;
        Ok(())
    }
}

/// The protocol name of an assignor, which may be given as its Java class.
pub fn assignor_name(name: &str) -> &str {
    let name = name.trim();
    match name.strip_prefix("org.apache.kafka.clients.consumer.").unwrap_or(name) {
        "RangeAssignor" => "range",
        "RoundRobinAssignor" => "roundrobin",
        "CooperativeStickyAssignor" => "cooperative-sticky",
        name => name,
    }
}

/// The names of a closed set, for [`Takes::OneOf`](super::Takes::OneOf).
pub(super) const fn names<T, const N: usize>(choices: &[(&'static str, T); N]) -> [&'static str; N] {
    let mut names = [""; N];
    let mut index = 0;
    while index < N {
        names[index] = choices[index].0;
        index += 1;
    }
    names
}
