//! Without vector instructions: the twin of the others, and what they fall back to for characters
//! beyond ASCII.

use super::{Located, shape};
use crate::PLAIN;

/// As [`locate`](super::locate).
#[inline]
pub fn locate(value: &[u8]) -> Option<Located> {
    shape::follow(value, |start| {
        let rest = value.get(start..)?;
        let len = rest.iter().position(|&byte| byte.is_ascii() && !PLAIN[byte as usize])?;
        (rest[len] == b'"' && stays_as_it_is(&rest[..len])).then_some(start + len)
    })
}

/// Whether the characters beyond ASCII are valid and need no escapes.
#[inline]
fn stays_as_it_is(text: &[u8]) -> bool {
    text.is_ascii() || (str::from_utf8(text).is_ok() && !holds_separator(text))
}

/// Whether U+2028 or U+2029 is in valid UTF-8; both are `E2 80` and one byte more.
fn holds_separator(text: &[u8]) -> bool {
    text.windows(3).any(|bytes| matches!(bytes, [0xe2, 0x80, 0xa8 | 0xa9]))
}
