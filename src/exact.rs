//! JSON values whose numbers are what is written: equal if they are the same decimal number, however many digits
//! that takes, and shown as they stand. `serde_json`'s numbers are those of the machine, to which two that differ
//! in the 20th digit are one.

use std::{collections::BTreeMap, fmt};

use serde::de::Error;
use serde_json::value::RawValue;

/// The most arrays and objects within each other: each is read once more for its members, and on the stack.
const DEPTH_MAX: usize = 128;

/// A JSON value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    Array(Vec<Json>),
    /// Of duplicate keys the last one counts, as in jq.
    Object(BTreeMap<String, Json>),
}

/// A number as it is written.
#[derive(Clone, Debug)]
pub(crate) struct Number(String);

impl PartialEq for Number {
    fn eq(&self, other: &Number) -> bool {
        self.0 == other.0 || self.decimal() == other.decimal()
    }
}

impl Eq for Number {}

impl Number {
    /// Whether it is negative, its digits without zeros around them, and the power of ten of the last one.
    fn decimal(&self) -> (bool, String, i64) {
        let (is_negative, text) = match self.0.strip_prefix('-') {
            Some(text) => (true, text),
            None => (false, self.0.as_str()),
        };
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        // One of more digits than fit makes a number that nobody writes.
        let beyond = if exponent.starts_with('-') { i64::MIN / 2 } else { i64::MAX / 2 };
        let exponent = exponent.parse().unwrap_or(beyond).clamp(i64::MIN / 2, i64::MAX / 2);
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{fraction}");
        let digits = digits.trim_start_matches('0');
        let kept = digits.trim_end_matches('0');
        if kept.is_empty() {
            return (false, String::new(), 0);
        }
        let power = exponent - fraction.len() as i64 + (digits.len() - kept.len()) as i64;
        (is_negative, kept.to_owned(), power)
    }
}

/// The one text for all ways to write a number in JSON; `None` for what is no such number.
pub(crate) fn decimal(text: &str) -> Option<String> {
    // Most texts are none, which their first byte tells.
    if !text.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
        return None;
    }
    let number: &RawValue = serde_json::from_str(text).ok()?;
    // Blanks around it make it another text.
    let number = Number(Some(number.get()).filter(|number| *number == text)?.to_owned());
    let (is_negative, digits, power) = number.decimal();
    let sign = if is_negative { "-" } else { "" };
    Some(format!("{sign}{digits}e{power}"))
}

impl Json {
    /// Reads a document.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Json, String> {
        serde_json::from_slice(bytes).and_then(|raw| Json::of(raw, 0)).map_err(|error| error.to_string())
    }

    fn of(raw: &RawValue, depth: usize) -> serde_json::Result<Json> {
        if depth > DEPTH_MAX {
            let message = format!("more than {DEPTH_MAX} arrays and objects within each other");
            return Err(serde_json::Error::custom(message));
        }
        let text = raw.get();
        Ok(match text.as_bytes()[0] {
            b'n' => Json::Null,
            b't' | b'f' => Json::Bool(text == "true"),
            b'"' => Json::Text(serde_json::from_str(text)?),
            b'[' => {
                let items: Vec<&RawValue> = serde_json::from_str(text)?;
                let items = items.into_iter().map(|item| Json::of(item, depth + 1));
                Json::Array(items.collect::<serde_json::Result<_>>()?)
            }
            b'{' => {
                let members: BTreeMap<String, &RawValue> = serde_json::from_str(text)?;
                let members = members.into_iter().map(|(key, value)| Ok((key, Json::of(value, depth + 1)?)));
                Json::Object(members.collect::<serde_json::Result<_>>()?)
            }
            _ => Json::Number(Number(text.to_owned())),
        })
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        match self {
            Json::Null => f.write_str("null"),
            Json::Bool(value) => write!(f, "{value}"),
            Json::Number(Number(text)) => f.write_str(text),
            Json::Text(text) => f.write_str(&quoted(text)),
            Json::Array(items) => {
                let items = items.iter().map(|item| (None, item));
                write_all(f, depth, ["[", "]"], items)
            }
            Json::Object(members) => {
                let members = members.iter().map(|(key, value)| (Some(key), value));
                write_all(f, depth, ["{", "}"], members)
            }
        }
    }
}

/// On one line, or with `{:#}` on a line each.
impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn write_all<'j>(
    f: &mut fmt::Formatter<'_>,
    depth: usize,
    [open, close]: [&str; 2],
    members: impl ExactSizeIterator<Item = (Option<&'j String>, &'j Json)>,
) -> fmt::Result {
    f.write_str(open)?;
    let (is_pretty, is_empty) = (f.alternate(), members.len() == 0);
    for (index, (key, value)) in members.enumerate() {
        if index > 0 {
            f.write_str(",")?;
        }
        if is_pretty {
            write!(f, "\n{:1$}", "", 2 * (depth + 1))?;
        }
        if let Some(key) = key {
            write!(f, "{}:{}", quoted(key), if is_pretty { " " } else { "" })?;
        }
        value.write(f, depth + 1)?;
    }
    if is_pretty && !is_empty {
        write!(f, "\n{:1$}", "", 2 * depth)?;
    }
    f.write_str(close)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json {
        Json::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn numbers_are_equal_as_decimals() {
        for (one, other) in
            [("1.0", "1"), ("-0", "0.00"), ("15e1", "1.50E+2"), ("1e400", "10e399"), ("0.1", "1e-1")]
        {
            assert_eq!(json(one), json(other));
        }
        for (one, other) in [
            ("12345678901234567890123", "12345678901234567890124"),
            ("0.1", "0.10000000000000000001"),
            ("1", "-1"),
            ("1e400", "1e401"),
            ("1", "\"1\""),
        ] {
            assert_ne!(json(one), json(other));
        }
    }

    #[test]
    fn a_number_has_one_text_however_it_is_written() {
        for text in ["1500", "1500.0", "1.50e3", "15E+2", "150000e-2"] {
            assert_eq!(decimal(text).as_deref(), Some("15e2"), "{text}");
        }
        assert_eq!((decimal("-0.10").as_deref(), decimal("-0").as_deref()), (Some("-1e-1"), Some("e0")));
        for text in ["", "-", "01", "1500 ", "+1", "1-2", "2026-11-27", "x1", "\u{663}"] {
            assert_eq!(decimal(text), None, "{text}");
        }
    }

    #[test]
    fn everything_is_read_and_shown_as_it_is_written() {
        let text = r#" {"b":[1.50, {} , "x\"\u00e9",[]],"a" : {"n":null,"t":true,"f":false},"b2":1e400} "#;
        let shown = r#"{"a":{"f":false,"n":null,"t":true},"b":[1.50,{},"x\"é",[]],"b2":1e400}"#;
        assert_eq!(json(text).to_string(), shown);
        assert_eq!(json(shown), json(text));
        assert_eq!(
            format!("{:#}", json(r#"{"a":[1,{}],"b":[]}"#)),
            "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": []\n}"
        );
        assert_eq!(json(r#"{"a":1,"a":2}"#), json(r#"{"a":2}"#));
        for wrong in ["", "{", "[1] 2", "nul", r#""\ud800""#, &"[".repeat(200_000)] {
            assert!(Json::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(
            Json::parse(deep(DEPTH_MAX).as_bytes()).is_ok() && Json::parse(deep(200).as_bytes()).is_err()
        );
    }
}
