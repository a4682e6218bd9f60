//! The contents of strings: decoding them, and writing them as Go does.

use topicmill_kernels::PLAIN;

/// The characters that the contents of a valid JSON string mean. A bad byte and a surrogate
/// without its other half are one U+FFFD each, as in Go.
pub fn chars(mut raw: &[u8]) -> impl Iterator<Item = char> {
    std::iter::from_fn(move || {
        let (char, len) = match *raw.first()? {
            b'\\' => escaped(raw),
            byte if byte.is_ascii() => (byte as char, 1),
            _ => multibyte(raw),
        };
        raw = &raw[len..];
        Some(char)
    })
}

/// Appends the contents of a valid JSON string as Go's `json.Marshal` writes them: `<`, `>`, `&`,
/// U+2028 and U+2029 escaped, bad UTF-8 replaced, everything else as plain as possible.
pub fn write_escaped(mut raw: &[u8], out: &mut Vec<u8>) {
    loop {
        let plain = raw.iter().position(|&byte| !PLAIN[byte as usize]).unwrap_or(raw.len());
        out.extend_from_slice(&raw[..plain]);
        raw = &raw[plain..];
        let (char, len) = match raw.first() {
            None => return,
            Some(b'\\') => escaped(raw),
            Some(&byte) if byte.is_ascii() => (byte as char, 1),
            Some(_) => multibyte(raw),
        };
        write_char(char, out);
        raw = &raw[len..];
    }
}

fn write_char(char: char, out: &mut Vec<u8>) {
    let letter = match char {
        '"' | '\\' => char as u8,
        '\u{8}' => b'b',
        '\u{c}' => b'f',
        '\n' => b'n',
        '\r' => b'r',
        '\t' => b't',
        '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => b'u',
        _ => {
            out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
            return;
        }
    };
    out.extend_from_slice(&[b'\\', letter]);
    if letter == b'u' {
        let digit = |shift: u32| b"0123456789abcdef"[(char as usize >> shift) & 0xf];
        out.extend_from_slice(&[digit(12), digit(8), digit(4), digit(0)]);
    }
}

/// The character that the escape at the front of `raw` means, and its length in bytes.
fn escaped(raw: &[u8]) -> (char, usize) {
    let char = match raw[1] {
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return unicode_escape(raw),
        letter => letter as char,
    };
    (char, 2)
}

/// As [`escaped`], for `\uXXXX`: one, or two that are a surrogate pair.
fn unicode_escape(raw: &[u8]) -> (char, usize) {
    let Some(unit) = code_unit(raw) else { return (char::REPLACEMENT_CHARACTER, raw.len().min(6)) };
    if let (0xd800..0xdc00, Some(low @ 0xdc00..0xe000)) = (unit, code_unit(&raw[6..])) {
        let scalar = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
        return (char::from_u32(scalar).unwrap_or(char::REPLACEMENT_CHARACTER), 12);
    }
    (char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER), 6)
}

/// The number of the `\uXXXX` at the front of `raw`, if one is there.
fn code_unit(raw: &[u8]) -> Option<u32> {
    let digits = raw.strip_prefix(b"\\u")?.first_chunk::<4>()?;
    digits.iter().try_fold(0, |unit, &digit| Some(unit << 4 | (digit as char).to_digit(16)?))
}

/// The character at the front of `raw`, which does not begin with ASCII, and its length in bytes.
fn multibyte(raw: &[u8]) -> (char, usize) {
    let len = match raw[0] {
        0xc2..0xe0 => 2,
        0xe0..0xf0 => 3,
        _ => 4,
    };
    let char = raw.get(..len).and_then(|bytes| str::from_utf8(bytes).ok()).and_then(|s| s.chars().next());
    char.map_or((char::REPLACEMENT_CHARACTER, 1), |char| (char, len))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(raw: &[u8]) -> String {
        chars(raw).collect()
    }

    fn rewritten(raw: &[u8]) -> String {
        let mut out = Vec::new();
        write_escaped(raw, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn escapes_are_decoded() {
        assert_eq!(decoded(br#"\"\\\/\b\f\n\r\t\u0041\u00e9\u20AC"#), "\"\\/\u{8}\u{c}\n\r\tA\u{e9}\u{20ac}");
        assert_eq!(decoded(br"\ud83d\ude00"), "\u{1f600}");
    }

    #[test]
    fn lone_surrogates_are_replaced_one_by_one() {
        assert_eq!(decoded(br"\ud83d"), "\u{fffd}");
        assert_eq!(decoded(br"\ude00\ud83d"), "\u{fffd}\u{fffd}");
        assert_eq!(decoded(br"\ud83d\ud83d\ude00"), "\u{fffd}\u{1f600}");
        assert_eq!(decoded(br"\ud83dx"), "\u{fffd}x");
    }

    #[test]
    fn every_bad_byte_is_replaced() {
        assert_eq!(decoded(b"\xf0\x9f\x98"), "\u{fffd}".repeat(3));
        assert_eq!(decoded(b"\xed\xa0\x80"), "\u{fffd}".repeat(3));
        assert_eq!(decoded(b"a\xff\xc3\xa9\xffb"), "a\u{fffd}\u{e9}\u{fffd}b");
        assert_eq!(decoded("\u{fffd}".as_bytes()), "\u{fffd}");
    }

    #[test]
    fn go_escapes_what_browsers_misread() {
        assert_eq!(
            rewritten("<>&\u{2028}\u{2029}\u{7f}/".as_bytes()),
            "\\u003c\\u003e\\u0026\\u2028\\u2029\u{7f}/"
        );
        assert_eq!(rewritten(br#"\u0000\u001F\u0008\/\""#), r#"\u0000\u001f\b/\""#);
    }
}
