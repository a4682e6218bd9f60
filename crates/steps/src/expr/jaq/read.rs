//! From a document's bytes to a value.

use bytes::Bytes;
use jaq_json::{Map, Num, Rc, Val};

use super::budget::Stop;
use crate::json::decode;

/// The most digits of an integer that is one; longer ones are kept as they are written, but count as
/// floating-point numbers.
const MAX_DIGITS: usize = 1000;

/// How many members there is room for in an object from the beginning.
const MEMBERS: usize = 7;

/// The value that a valid document has; with duplicate keys, the last one counts.
///
/// # Errors
/// When arrays and objects are nested more than `depth` deep.
pub(super) fn value(doc: &[u8], depth: usize) -> Result<Val, Stop> {
    let mut reader = Reader { doc, at: 0, shared: None };
    reader.space();
    reader.value(depth)
}

struct Reader<'d> {
    doc: &'d [u8],
    at: usize,
    /// The document once more, which texts are parts of; made when there is one.
    shared: Option<Bytes>,
}

impl Reader<'_> {
    fn space(&mut self) {
        while matches!(self.doc.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn first(&self) -> u8 {
        self.doc.get(self.at).copied().unwrap_or_default()
    }

    /// The value that begins here, with the space after it.
    fn value(&mut self, depth: usize) -> Result<Val, Stop> {
        let value = match self.first() {
            b'"' => Val::utf8_str(self.text()),
            b'{' | b'[' if depth == 0 => return Err(Stop::Depth),
            b'{' => self.object(depth - 1)?,
            b'[' => self.array(depth - 1)?,
            b't' => self.word(4, Val::Bool(true)),
            b'f' => self.word(5, Val::Bool(false)),
            b'n' => self.word(4, Val::Null),
            _ => self.number(),
        };
        self.space();
        Ok(value)
    }

    fn word(&mut self, len: usize, value: Val) -> Val {
        self.at += len;
        value
    }

    fn object(&mut self, depth: usize) -> Result<Val, Stop> {
        let mut members = Map::with_capacity_and_hasher(MEMBERS, Default::default());
        loop {
            // An opening brace or a comma.
            self.at += 1;
            self.space();
            if self.first() != b'"' {
                break;
            }
            let key = Val::utf8_str(self.text());
            self.space();
            self.at += 1;
            self.space();
            let value = self.value(depth)?;
            members.insert(key, value);
            if self.first() != b',' {
                break;
            }
        }
        self.at += 1;
        Ok(Val::obj(members))
    }

    fn array(&mut self, depth: usize) -> Result<Val, Stop> {
        let mut elements = Vec::new();
        loop {
            self.at += 1;
            self.space();
            if matches!(self.first(), b']' | 0) {
                break;
            }
            elements.push(self.value(depth)?);
            if self.first() != b',' {
                break;
            }
        }
        self.at += 1;
        Ok(Val::Arr(Rc::new(elements)))
    }

    /// The text whose quotes open here.
    fn text(&mut self) -> Bytes {
        let start = self.at + 1;
        let rest = self.doc.get(start..).unwrap_or_default();
        let mut has_escapes = false;
        let mut len = 0;
        while let Some(byte) = rest.get(len) {
            match byte {
                b'"' => break,
                b'\\' => {
                    has_escapes = true;
                    len += 2;
                }
                _ => len += 1,
            }
        }
        self.at = start + len + 1;
        let contents = start..(start + len).min(self.doc.len());
        if has_escapes {
            return Bytes::from(decode(&self.doc[contents]).into_owned().into_bytes());
        }
        let doc = self.doc;
        self.shared.get_or_insert_with(|| Bytes::copy_from_slice(doc)).slice(contents)
    }

    fn number(&mut self) -> Val {
        let rest = self.doc.get(self.at..).unwrap_or_default();
        let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let len = rest.iter().take_while(|byte| is_part(byte)).count();
        // At least a byte, so that there is an end to what is not valid.
        self.at += len.max(1);
        Val::Num(number(&rest[..len]))
    }
}

/// The number that is written so.
fn number(text: &[u8]) -> Num {
    integer(text).unwrap_or_else(|| Num::Dec(Rc::new(String::from_utf8_lossy(text).into_owned())))
}

/// The integer that is written so, if it is one.
pub(in super::super) fn integer(text: &[u8]) -> Option<Num> {
    let is_digit = |byte: &u8| byte.is_ascii_digit() || *byte == b'-';
    if text.len() > MAX_DIGITS || !text.iter().all(is_digit) {
        return None;
    }
    Num::from_str_radix(str::from_utf8(text).ok()?, 10)
}

/// The integer as a value.
pub(super) fn of_integer(number: i64) -> Val {
    Val::Num(Num::from_integral(number))
}
