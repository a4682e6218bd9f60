//! Finds the common name events, whose output begins with the bytes of the input.

use super::json::PLAIN;

/// A name event that needs no rewriting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    /// How many leading bytes of the value stand in the output as they are: everything up to and
    /// with the closing quote of `last_name`.
    pub prefix: usize,
}

/// Recognizes exactly `{"first_name":"…","last_name":"…"}` and the same with `,"hash":"…"` at the
/// end, where the strings hold only characters that Go's JSON output leaves alone: no control
/// characters (DEL is fine), none of `"`, `\`, `<`, `>` and `&`, and in the prefix only valid UTF-8
/// without U+2028 and U+2029. `None` means "look closer", not "wrong".
#[inline]
pub fn locate(value: &[u8]) -> Option<Located> {
    let rest = plain_text(value.strip_prefix(br#"{"first_name":""#)?)?;
    let rest = plain_text(rest.strip_prefix(br#","last_name":""#)?)?;
    let prefix = value.len() - rest.len();
    let end = match rest.strip_prefix(br#","hash":""#) {
        Some(hash) => plain_text(hash)?,
        None => rest,
    };
    (end == b"}" && stays_as_it_is(&value[..prefix])).then_some(Located { prefix })
}

/// What follows the closing quote of a string without special ASCII characters.
#[inline]
fn plain_text(bytes: &[u8]) -> Option<&[u8]> {
    let len = bytes.iter().position(|&byte| byte.is_ascii() && !PLAIN[byte as usize])?;
    bytes[len..].strip_prefix(b"\"")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_common_shapes_are_located() {
        let short = br#"{"first_name":"Ada","last_name":"King \u007f Lovelace"}"#;
        assert_eq!(locate(short), None);
        let short = b"{\"first_name\":\"Ada\",\"last_name\":\"Love\x7f lace\"}";
        assert_eq!(locate(short), Some(Located { prefix: short.len() - 1 }));
        let long = br#"{"first_name":"","last_name":"","hash":"0f"}"#;
        assert_eq!(locate(long), Some(Located { prefix: 31 }));
        let accented = "{\"first_name\":\"Ren\u{e9}\u{fffd}\",\"last_name\":\"\u{1f600}\"}".as_bytes();
        assert_eq!(locate(accented), Some(Located { prefix: accented.len() - 1 }));
        let bad_hash = b"{\"first_name\":\"\",\"last_name\":\"\",\"hash\":\"\xff\"}";
        assert_eq!(locate(bad_hash), Some(Located { prefix: 31 }));
    }

    #[test]
    fn anything_else_is_left_to_a_closer_look() {
        for value in [
            &br#"{"first_name":"A","last_name":"B"} "#[..],
            br#"{"first_name":"A","last_name":"B""#,
            br#"{"first_name":"A","last_name":"B","hash":""#,
            br#"{"first_name":"A","last_name":"B","hash":null}"#,
            br#"{"first_name":"A","last_name":"B","hash":"","x":1}"#,
            br#"{"first_name": "A","last_name":"B"}"#,
            br#"{"last_name":"B","first_name":"A"}"#,
            br#"{"first_name":"<","last_name":"B"}"#,
            br#"{"first_name":"A","last_name":"&"}"#,
            b"{\"first_name\":\"A\x1f\",\"last_name\":\"B\"}",
            "{\"first_name\":\"\u{2028}\",\"last_name\":\"B\"}".as_bytes(),
            "{\"first_name\":\"A\",\"last_name\":\"\u{2029}\"}".as_bytes(),
            b"{\"first_name\":\"A\",\"last_name\":\"\xed\xa0\x80\"}",
            b"{\"first_name\":\"\xff\",\"last_name\":\"B\"}",
            b"",
        ] {
            assert_eq!(locate(value), None, "{}", value.escape_ascii());
        }
    }
}
