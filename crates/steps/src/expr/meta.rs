//! What is known of a record beside its value.

use topicmill_records::Headers;

/// A record's metadata, as expressions see it; nothing of it is converted unless it is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Meta<'a> {
    /// `$topic`: where the record was read.
    pub topic: &'a str,
    /// `$partition`: its partition there.
    pub partition: i32,
    /// `$offset`: its offset there.
    pub offset: i64,
    /// `$timestamp`: in milliseconds since the epoch; -1 if it has none.
    pub timestamp: i64,
    /// `$key`: a string; `null` without a key, or if it is not UTF-8.
    pub key: Option<&'a [u8]>,
    /// `$headers`: an object; the last of several with one name counts. A value is a string, or
    /// `null` if it is null or not UTF-8; a name that is not UTF-8 is left out. In their wire encoding.
    pub headers: &'a [u8],
}

/// A metadata variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variable {
    Topic,
    Partition,
    Offset,
    Timestamp,
    Key,
    Headers,
}

impl Variable {
    pub(super) const ALL: [Variable; 6] = [
        Variable::Topic,
        Variable::Partition,
        Variable::Offset,
        Variable::Timestamp,
        Variable::Key,
        Variable::Headers,
    ];

    /// Its name in an expression.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Variable::Topic => "$topic",
            Variable::Partition => "$partition",
            Variable::Offset => "$offset",
            Variable::Timestamp => "$timestamp",
            Variable::Key => "$key",
            Variable::Headers => "$headers",
        }
    }

    pub(super) fn named(name: &str) -> Option<Variable> {
        Variable::ALL.into_iter().find(|variable| variable.name() == name)
    }
}

impl<'a> Meta<'a> {
    /// The key as a text, if it is one.
    pub(super) fn key_text(&self) -> Option<&'a str> {
        str::from_utf8(self.key?).ok()
    }

    /// The headers whose names are texts, in their order, each value if it is a text.
    pub(super) fn header_texts(&self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> + use<'a> {
        Headers::new(self.headers).filter_map(|(name, value)| {
            let value = value.and_then(|value| str::from_utf8(value).ok());
            Some((str::from_utf8(name).ok()?, value))
        })
    }

    /// The value of the last header with this name, if it is a text.
    pub(super) fn header(&self, name: &str) -> Option<&'a str> {
        self.header_texts().filter(|(own, _)| *own == name).last()?.1
    }
}
