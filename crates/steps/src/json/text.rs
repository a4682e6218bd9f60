//! The contents of strings: decoding them, and writing them as jq does.

use std::borrow::Cow;

use topicmill_mill::transform::json::chars;

/// The text that the contents of a valid JSON string mean: what stands between its quotes.
///
/// A surrogate without its other half is U+FFFD, and so is a byte that is not UTF-8.
pub fn decode(contents: &[u8]) -> Cow<'_, str> {
    decode_in(contents, true)
}

/// The same, where it is known whether there may be escapes.
pub(crate) fn decode_in(contents: &[u8], may_escape: bool) -> Cow<'_, str> {
    if !(may_escape && contents.contains(&b'\\'))
        && let Ok(text) = str::from_utf8(contents)
    {
        return Cow::Borrowed(text);
    }
    Cow::Owned(chars(contents).collect())
}

/// Whether the contents of a valid JSON string mean `text`.
pub fn means(contents: &[u8], text: &str) -> bool {
    if contents.contains(&b'\\') { chars(contents).eq(text.chars()) } else { contents == text.as_bytes() }
}

/// Appends `text` as a JSON string, with its quotes, as jq writes it: escaped are quotes, backslashes
/// and control characters, DEL among them.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    write_contents(text, out);
    out.push(b'"');
}

/// As [`write_string`], without the quotes: pieces of a text can be written one by one.
pub fn write_contents(text: &str, out: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    loop {
        let plain = plain_len(rest);
        if plain == rest.len() {
            break;
        }
        out.extend_from_slice(&rest[..plain]);
        let byte = rest[plain];
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            _ => {
                let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 0xf)]);
            }
        }
        rest = &rest[plain + 1..];
    }
    out.extend_from_slice(rest);
}

/// How many bytes come before the first one that has to be escaped.
fn plain_len(text: &[u8]) -> usize {
    // Compilers compare the bytes of a chunk all at once.
    let has_none = |chunk: &&[u8; 16]| !chunk.iter().fold(false, |any, &byte| any | needs_escape(byte));
    let start = 16 * text.as_chunks().0.iter().take_while(has_none).count();
    let rest = &text[start..];
    start + rest.iter().position(|&byte| needs_escape(byte)).unwrap_or(rest.len())
}

fn needs_escape(byte: u8) -> bool {
    (byte < b' ') | (byte == b'"') | (byte == b'\\') | (byte == 0x7f)
}

/// The document with `\ufffd` for each surrogate without its other half, for parsers that refuse
/// them; itself when there is none. `doc` has to be valid.
pub fn without_lone_surrogates(doc: &[u8]) -> Cow<'_, [u8]> {
    let mut changed: Option<Vec<u8>> = None;
    let mut at = 0;
    // In a valid document, backslashes are in strings only, each with its letter.
    while let Some(found) = doc[at..].iter().position(|&byte| byte == b'\\') {
        at += found;
        let len = match (surrogate(&doc[at..]), surrogate(doc.get(at + 6..).unwrap_or_default())) {
            (None, _) => 2,
            (Some(Half::High), Some(Half::Low)) => 12,
            _ => {
                changed.get_or_insert_with(|| doc.to_vec())[at..at + 6].copy_from_slice(b"\\ufffd");
                6
            }
        };
        at += len;
    }
    changed.map_or(Cow::Borrowed(doc), Cow::Owned)
}

enum Half {
    High,
    Low,
}

/// The surrogate at the front of `escape`, if `\uD800` to `\uDFFF` is there.
fn surrogate(escape: &[u8]) -> Option<Half> {
    match escape {
        [b'\\', b'u', b'd' | b'D', b'8' | b'9' | b'a' | b'b' | b'A' | b'B', ..] => Some(Half::High),
        [b'\\', b'u', b'd' | b'D', b'c'..=b'f' | b'C'..=b'F', ..] => Some(Half::Low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back() {
        let text: String = ('\0'..='\u{80}').chain("\u{e9}\u{2028}\u{fffd}\u{1f600}".chars()).collect();
        let mut out = Vec::new();
        write_string(&text, &mut out);
        assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        assert_eq!(decode(&out[1..out.len() - 1]), text);
        assert!(means(&out[1..out.len() - 1], &text) && !means(b"\\u0061", "\\u0061"));
        assert!(matches!(decode("\u{e9}".as_bytes()), Cow::Borrowed("\u{e9}")));
        assert!(str::from_utf8(&out).unwrap().contains("\\u007f"));
    }

    #[test]
    fn only_lone_surrogates_are_replaced() {
        for (doc, expected) in [
            (r#"["\ud83d\ude00 \u0041 \\ud83d"]"#, None),
            (r#"["\ud83d"]"#, Some(r#"["\ufffd"]"#)),
            (r#"["\uDE00\uD83d\ude00\ud83d"]"#, Some(r#"["\ufffd\uD83d\ude00\ufffd"]"#)),
            (r#"["\ud83d\ud83d\ude00\\\ud83dx"]"#, Some(r#"["\ufffd\ud83d\ude00\\\ufffdx"]"#)),
            (r#""\ud83d"#, Some(r#""\ufffd"#)),
        ] {
            let out = without_lone_surrogates(doc.as_bytes());
            assert_eq!(str::from_utf8(&out).unwrap(), expected.unwrap_or(doc));
            assert_eq!(matches!(out, Cow::Borrowed(_)), expected.is_none());
        }
    }
}
