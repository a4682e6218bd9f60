//! Where strings, numbers and words end.

use super::{Fault, JsonError};

/// The offset after the value without parts (string, number, `true`, `false`, `null`) at `at`.
///
/// # Errors
/// [`Fault::Unexpected`], [`Fault::Eof`] or [`Fault::Cut`] when there is none.
pub fn scalar_end(value: &[u8], at: usize) -> Result<usize, JsonError> {
    match value.get(at) {
        Some(b'"') => string_end(value, at + 1),
        Some(b'-' | b'0'..=b'9') => number_end(value, at),
        Some(b't') => word_end(value, at, "true", "the rest of true"),
        Some(b'f') => word_end(value, at, "false", "the rest of false"),
        Some(b'n') => word_end(value, at, "null", "the rest of null"),
        found => Err(missing(found, at, "a value")),
    }
}

/// The offset after the closing quote of the string whose contents begin at `at`.
///
/// # Errors
/// As [`scalar_end`].
pub fn string_end(value: &[u8], mut at: usize) -> Result<usize, JsonError> {
    loop {
        at += value[at..].iter().position(|&byte| SPECIAL[byte as usize]).unwrap_or(value.len() - at);
        match value.get(at) {
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') => at = escape_end(value, at + 1)?,
            found => return Err(missing(found, at, "the rest of a string")),
        }
    }
}

/// The offset after the white space at `at`.
pub fn skip_space(value: &[u8], mut at: usize) -> usize {
    while matches!(value.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

/// The error for `found` instead of `expected` between tokens or within a string.
pub(super) fn missing(found: Option<&u8>, offset: usize, expected: &'static str) -> JsonError {
    let fault = match found {
        Some(&found) => Fault::Unexpected { found, expected },
        None => Fault::Eof { expected },
    };
    JsonError { offset, fault }
}

/// The bytes that end a run of plain bytes in a string.
static SPECIAL: [bool; 256] = {
    let mut special = [false; 256];
    let mut control = 0;
    while control < 0x20 {
        special[control] = true;
        control += 1;
    }
    special[b'"' as usize] = true;
    special[b'\\' as usize] = true;
    special
};

/// The offset after the escape whose letter is at `at`.
fn escape_end(value: &[u8], at: usize) -> Result<usize, JsonError> {
    match value.get(at) {
        Some(b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"') => Ok(at + 1),
        Some(b'u') => {
            for digit in at + 1..at + 5 {
                match value.get(digit) {
                    Some(byte) if byte.is_ascii_hexdigit() => {}
                    found => return Err(cut_or_wrong(found, digit, "a hexadecimal digit")),
                }
            }
            Ok(at + 5)
        }
        found => Err(cut_or_wrong(found, at, "the letter of an escape")),
    }
}

/// The offset after the number at `at`.
fn number_end(value: &[u8], mut at: usize) -> Result<usize, JsonError> {
    if value.get(at) == Some(&b'-') {
        at += 1;
    }
    at = match value.get(at) {
        Some(b'0') => at + 1,
        _ => digits_end(value, at)?,
    };
    if value.get(at) == Some(&b'.') {
        at = digits_end(value, at + 1)?;
    }
    if matches!(value.get(at), Some(b'e' | b'E')) {
        at += 1;
        if matches!(value.get(at), Some(b'+' | b'-')) {
            at += 1;
        }
        at = digits_end(value, at)?;
    }
    Ok(at)
}

/// The offset after one digit or more at `at`.
fn digits_end(value: &[u8], at: usize) -> Result<usize, JsonError> {
    let count = value[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    if count == 0 { Err(cut_or_wrong(value.get(at), at, "a digit")) } else { Ok(at + count) }
}

fn word_end(value: &[u8], at: usize, word: &str, expected: &'static str) -> Result<usize, JsonError> {
    for (offset, letter) in (at..).zip(word.bytes()) {
        match value.get(offset) {
            Some(&byte) if byte == letter => {}
            found => return Err(cut_or_wrong(found, offset, expected)),
        }
    }
    Ok(at + word.len())
}

/// The error for `found` instead of `expected` within a token that cannot hold a space.
fn cut_or_wrong(found: Option<&u8>, offset: usize, expected: &'static str) -> JsonError {
    let fault = match found {
        Some(&found) => Fault::Unexpected { found, expected },
        None => Fault::Cut { expected },
    };
    JsonError { offset, fault }
}
