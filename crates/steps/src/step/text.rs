//! Texts of which only a part is left.

use crate::json::write_contents;

/// What `mask` leaves of a text; lengths are in characters, which are Unicode scalar values.
#[derive(Clone, Debug)]
pub(crate) struct Mask {
    pub(crate) first: usize,
    pub(crate) last: usize,
    /// Stands in for each of the others.
    pub(crate) with: char,
}

impl Mask {
    /// Appends the contents of a JSON string. A text that would be left whole is masked whole.
    pub(crate) fn write(&self, text: &str, out: &mut Vec<u8>) {
        if text.is_ascii() && self.with.is_ascii() {
            return self.write_ascii(text, out);
        }
        let chars = text.chars().count();
        let kept = self.first + self.last;
        let (first, last) = if chars > kept { (self.first, self.last) } else { (0, 0) };
        let masked = chars - first - last;
        write_contents(&text[..start_of(text, first)], out);
        let mut buffer = [0; 4];
        let with = self.with.encode_utf8(&mut buffer);
        for _ in 0..masked {
            write_contents(with, out);
        }
        write_contents(&text[start_of(text, first + masked)..], out);
    }
}

impl Mask {
    /// As [`write`](Mask::write), where all characters are bytes.
    fn write_ascii(&self, text: &str, out: &mut Vec<u8>) {
        let kept = self.first + self.last;
        let (first, last) = if text.len() > kept { (self.first, self.last) } else { (0, 0) };
        let end = text.len() - last;
        write_contents(&text[..first], out);
        let before = out.len();
        write_contents(self.with.encode_utf8(&mut [0; 4]), out);
        match out.len() - before {
            // It is escaped.
            2.. => {
                let escaped = out.split_off(before);
                (first..end).for_each(|_| out.extend_from_slice(&escaped));
            }
            _ => out.resize(before + (end - first), self.with as u8),
        }
        write_contents(&text[end..], out);
    }
}

/// The first `length` characters of a text that has more.
pub(crate) fn truncated(text: &str, length: usize) -> Option<&str> {
    // No text has more characters than bytes.
    let end = if text.len() > length { start_of(text, length) } else { text.len() };
    (end < text.len()).then(|| &text[..end])
}

/// Where the character with that index begins, or the end.
fn start_of(text: &str, index: usize) -> usize {
    text.char_indices().nth(index).map_or(text.len(), |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_counted_not_bytes() {
        let mask = |text: &str, first, last| {
            let mut out = Vec::new();
            Mask { first, last, with: '*' }.write(text, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(mask("ada@example.org", 2, 4), "ad*********.org");
        assert_eq!(mask("\u{e9}\u{1f600}abc\u{df}", 1, 1), "\u{e9}****\u{df}");
        assert_eq!(mask("a\"b\nc", 3, 1), "a\\\"b*c");
        assert_eq!(mask("", 2, 4), "");
    }

    #[test]
    fn what_would_be_left_whole_is_masked_whole() {
        let mask = |text: &str| {
            let mut out = Vec::new();
            Mask { first: 2, last: 1, with: '\u{2022}' }.write(text, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(mask("ab"), "\u{2022}\u{2022}");
        assert_eq!(mask("abc"), "\u{2022}\u{2022}\u{2022}");
        assert_eq!(mask("abcd"), "ab\u{2022}d");
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(truncated("\u{e9}\u{e9}", 1), Some("\u{e9}"));
        assert_eq!((truncated("ab", 2), truncated("\u{e9}\u{e9}", 2), truncated("", 0)), (None, None, None));
        assert_eq!(truncated("a", 0), Some(""));
    }
}
