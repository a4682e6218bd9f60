//! The name events of the Go experiment, byte for byte.

use std::{ops::Range, sync::Arc};

use topicmill_kernels::{
    Kernel,
    hex::hex_digits,
    locate::{Located, Loop, locate_in},
    md5::{Md5Digest, md5_many},
};

use super::{
    Output, Transform, TransformKind, TransformSpec, Values,
    json::{Fault, JsonError, Kind, Member, Scanner, chars, write_escaped},
    registry::Chosen,
};
use crate::batch::Span;

/// `name-event`.
pub(super) static SPEC: TransformSpec = TransformSpec {
    name: "name-event",
    doc: "Name events get the MD5 of their value as `hash`, as Go's `encoding/json` writes them: every field \
          but first_name and last_name is dropped, and these are empty where they are missing",
    settings: &[],
    make: |_| Arc::new(|| Box::new(NameEvent::default())),
};

/// Sets `hash` of a name event to the MD5 of the raw value, exactly as a Go program does that
/// unmarshals it with `encoding/json` into a struct of the strings `first_name`, `last_name` and
/// `hash`, sets the last one and marshals it.
#[derive(Debug, Default)]
pub struct NameEvent {
    kernel: Kernel,
    digests: Vec<Md5Digest>,
    rewriter: Rewriter,
    rewritten: Vec<u8>,
}

/// Records per block: few enough that their values stay in the cache between hashing and writing.
const BLOCK: usize = 1024;

/// Scratch memory beyond this many bytes is freed after a batch.
const KEPT_SCRATCH: usize = 64 * 1024;

impl Transform for NameEvent {
    fn apply(&mut self, values: &Values<'_>, out: &mut Output<'_>) {
        let all = 0..values.len();
        for block in all.clone().step_by(BLOCK).map(|start| start..all.end.min(start + BLOCK)) {
            let raw = values.present(block.clone()).map(|(_, _, value)| value);
            md5_many(self.kernel, raw, &mut self.digests);
            let NameEvent { digests, rewriter, rewritten, .. } = self;
            locate_in(self.kernel, Block { values, block, digests, rewriter, rewritten, out });
        }
        self.rewritten.clear();
        self.rewritten.shrink_to(KEPT_SCRATCH);
    }
}

impl NameEvent {
    /// This transform, to be run.
    pub fn kind() -> TransformKind {
        TransformKind::of(&SPEC, Chosen::default())
    }

    /// A transform that uses `kernel`, to compare with the default one.
    pub fn with_kernel(kernel: Kernel) -> NameEvent {
        NameEvent { kernel, ..NameEvent::default() }
    }
}

/// Some values whose digests are there, and where they are written.
struct Block<'a, 'o> {
    values: &'a Values<'a>,
    block: Range<usize>,
    digests: &'a [Md5Digest],
    rewriter: &'a mut Rewriter,
    rewritten: &'a mut Vec<u8>,
    out: &'a mut Output<'o>,
}

impl Loop for Block<'_, '_> {
    #[inline(always)]
    fn run(self, locate: impl Fn(&[u8], Span) -> Option<Located>) {
        let Block { values, block, digests, rewriter, rewritten, out } = self;
        let buffer = values.buffer();
        for ((index, span, value), digest) in values.present(block).zip(digests) {
            // Pieces of known sizes go from registers to the output.
            let (label, digits, end) = (br#","hash":""#, &hex_digits(digest), br#""}"#);
            match locate(buffer, span) {
                Some(Located::Prefix(len)) => {
                    out.write_inline(index, &[&value[..len], label, digits, end]);
                }
                Some(Located::Members { first, last }) => {
                    out.write(index, &[b"{", &value[first], b",", &value[last], label, digits, end]);
                }
                None => match rewriter.rewrite_over(value, rewritten) {
                    Ok(()) => out.write(index, &[rewritten, label, digits, end]),
                    Err(error) => out.fail(index, error.into()),
                },
            }
        }
    }
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
    /// As [`rewrite`](Rewriter::rewrite), with the output in place of what `out` holds.
    #[inline(never)]
    fn rewrite_over(&mut self, value: &[u8], out: &mut Vec<u8>) -> Result<(), JsonError> {
        out.clear();
        self.rewrite(value, out)
    }

    /// Appends to `out` what [`locate`](topicmill_kernels::locate::locate) finds as prefix in the common values.
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
    /// The field that a key, its escapes undecoded, means to Go: letters match in either case.
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

/// The lowercase ASCII letter that Unicode's simple folding makes equal to `char`; any other
/// character is returned as it is.
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
