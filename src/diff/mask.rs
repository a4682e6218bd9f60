//! Examples that show what kind of value it is, and not which.

use crate::exact::Json;

/// The most characters of an example.
const LONGEST: usize = 60;

/// How values are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// Every letter as `x` and every digit as `9`.
    Masked,
    /// As they are.
    Plain,
}

impl Shown {
    /// The bytes of a key, header or value.
    pub(super) fn bytes(self, bytes: Option<&[u8]>) -> String {
        match bytes {
            None => "(null)".into(),
            Some(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => self.text(text),
                Err(_) => format!("({} bytes)", bytes.len()),
            },
        }
    }

    /// A JSON value, its keys included in what is masked: they may be data, too.
    pub(super) fn json(self, value: &Json) -> String {
        match value {
            Json::Null | Json::Bool(_) => value.to_string(),
            Json::Number(_) | Json::Text(_) | Json::Array(_) | Json::Object(_) => {
                self.text(&value.to_string())
            }
        }
    }

    fn text(self, text: &str) -> String {
        let mask = |char: char| match char {
            _ if self == Shown::Plain => char,
            _ if char.is_numeric() => '9',
            _ if char.is_alphabetic() => 'x',
            _ => char,
        };
        let mut chars = text.chars().map(mask).flat_map(|char| {
            if char.is_control() { char.escape_default().collect::<Vec<_>>() } else { vec![char] }
        });
        let mut start: String = chars.by_ref().take(LONGEST).collect();
        if chars.next().is_some() {
            start.push('…');
        }
        start
    }
}
