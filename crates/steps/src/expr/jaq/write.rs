//! From a value to JSON, as jq writes it in a line.

use std::io::Write;

use jaq_json::{Num, Val};

use crate::json::write_string;

/// Why a value cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It has bytes in it that are no text.
    Bytes,
    /// A key in it is no text.
    Key,
    /// There is no room.
    Length,
}

/// Appends a value, unless `out` gets longer than `limit`. The value is no deeper than the stack allows.
///
/// Bytes that are not UTF-8 become U+FFFD, and what is no number `null`, as in jq.
pub(super) fn value(value: &Val, limit: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
    match value {
        Val::Null => out.extend_from_slice(b"null"),
        Val::Bool(true) => out.extend_from_slice(b"true"),
        Val::Bool(false) => out.extend_from_slice(b"false"),
        Val::Num(value) => number(value, out),
        Val::TStr(text) => string(text, out),
        Val::BStr(_) => return Err(Fault::Bytes),
        Val::Arr(elements) => {
            out.push(b'[');
            for (index, element) in elements.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                self::value(element, limit, out)?;
            }
            out.push(b']');
        }
        Val::Obj(members) => {
            out.push(b'{');
            for (index, (key, value)) in members.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                let Val::TStr(key) = key else { return Err(Fault::Key) };
                string(key, out);
                out.push(b':');
                self::value(value, limit, out)?;
            }
            out.push(b'}');
        }
    }
    if out.len() > limit { Err(Fault::Length) } else { Ok(()) }
}

fn string(text: &[u8], out: &mut Vec<u8>) {
    match str::from_utf8(text) {
        Ok(text) => write_string(text, out),
        Err(_) => write_string(&String::from_utf8_lossy(text), out),
    }
}

/// From where on a floating-point number without a fraction is not written like an integer.
const WHOLE: f64 = 1e17;

/// Appends a number.
pub(in super::super) fn number(number: &Num, out: &mut Vec<u8>) {
    let written = match number {
        Num::Float(value) if value.is_nan() => out.write_all(b"null"),
        Num::Float(value) if value.is_infinite() => {
            out.write_all(if *value > 0.0 { b"1.7976931348623157e308" } else { b"-1.7976931348623157e308" })
        }
        Num::Float(value) if value.fract() == 0.0 && value.abs() < WHOLE => write!(out, "{value:.0}"),
        number => write!(out, "{number}"),
    };
    written.expect("a vector takes everything");
}
