//! The name events of the Go experiment, byte for byte.

use std::ops::Range;

use super::{
    Output, Transform, Values,
    hex::write_hex,
    json::{Fault, JsonError, Kind, Member, Scanner, chars, write_escaped},
    locate::locate,
    md5::{MD5_LEN, md5_many},
};

/// Sets `hash` of a name event to the MD5 of the raw value, exactly as a Go program does that
/// unmarshals it with `encoding/json` into a struct of the strings `first_name`, `last_name` and
/// `hash`, sets the last and marshals it.
#[derive(Debug, Default)]
pub struct NameEvent {
    digests: Vec<[u8; MD5_LEN]>,
    rewriter: Rewriter,
    rewritten: Vec<u8>,
}

/// Scratch memory beyond this many bytes is given back after a batch.
const KEPT_SCRATCH: usize = 64 * 1024;

impl Transform for NameEvent {
    fn apply(&mut self, values: &Values<'_>, out: &mut Output<'_>) {
        md5_many(values.iter().map(|(_, value)| value), &mut self.digests);
        for ((index, value), digest) in values.iter().zip(&self.digests) {
            if let Some(located) = locate(value) {
                out.write(index, &[&value[..located.prefix], &ending(digest)]);
                continue;
            }
            self.rewritten.clear();
            match self.rewriter.rewrite(value, &mut self.rewritten) {
                Ok(()) => out.write(index, &[&self.rewritten, &ending(digest)]),
                Err(error) => out.fail(index, error.into()),
            }
        }
        self.rewritten.clear();
        self.rewritten.shrink_to(KEPT_SCRATCH);
    }
}

const ENDING: &[u8; 43] = br#","hash":"00000000000000000000000000000000"}"#;

/// What follows `last_name` in the output.
#[inline]
fn ending(digest: &[u8; MD5_LEN]) -> [u8; ENDING.len()] {
    let mut ending = *ENDING;
    write_hex(digest, &mut ending[9..41]);
    ending
}

/// Reads any value as Go does and writes the output up to the end of `last_name`.
#[derive(Debug, Default)]
pub(super) struct Rewriter {
    scanner: Scanner,
}

/// The fields of a name event.
#[derive(Clone, Copy)]
enum Field {
    FirstName,
    LastName,
    Hash,
}

impl Rewriter {
    /// Appends to `out` what [`locate`] finds as prefix in the common values.
    pub(super) fn rewrite(&mut self, value: &[u8], out: &mut Vec<u8>) -> Result<(), JsonError> {
        let (mut first, mut last) = (0..0, 0..0);
        // The value's syntax counts before its types, so a wrong type waits for the scan's end.
        let mut wrong_type = None;
        let top = self.scanner.scan(value, |Member { key, value: member, kind }| {
            let Some(field) = Field::of(&value[key]) else { return };
            match (kind, field) {
                (Kind::Null, _) | (Kind::String, Field::Hash) => {}
                (Kind::String, Field::FirstName) => first = within_quotes(member),
                (Kind::String, Field::LastName) => last = within_quotes(member),
                _ => {
                    wrong_type.get_or_insert(type_error(field.name(), kind, Kind::String, member.start));
                }
            }
        })?;
        if !matches!(top.kind, Kind::Object | Kind::Null) {
            return Err(type_error("the value", top.kind, Kind::Object, top.range.start));
        }
        if let Some(error) = wrong_type {
            return Err(error);
        }
        out.extend_from_slice(br#"{"first_name":""#);
        write_escaped(&value[first], out);
        out.extend_from_slice(br#"","last_name":""#);
        write_escaped(&value[last], out);
        out.push(b'"');
        Ok(())
    }
}

impl Field {
    /// The field that a key, escapes still in it, means to Go: letters match in either case.
    fn of(key: &[u8]) -> Option<Field> {
        match key {
            b"first_name" => return Some(Field::FirstName),
            b"last_name" => return Some(Field::LastName),
            _ => {}
        }
        let fields = [Field::FirstName, Field::LastName, Field::Hash];
        fields.into_iter().find(|field| chars(key).map(folded).eq(field.name().chars()))
    }

    const fn name(self) -> &'static str {
        match self {
            Field::FirstName => "first_name",
            Field::LastName => "last_name",
            Field::Hash => "hash",
        }
    }
}

/// The lowercase ASCII letter that Unicode's simple folding makes equal to `char`; other
/// characters are as they are.
fn folded(char: char) -> char {
    match char {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        _ => char.to_ascii_lowercase(),
    }
}

fn within_quotes(string: Range<usize>) -> Range<usize> {
    string.start + 1..string.end - 1
}

fn type_error(part: &'static str, found: Kind, expected: Kind, offset: usize) -> JsonError {
    JsonError { offset, fault: Fault::Type { part, found, expected } }
}
