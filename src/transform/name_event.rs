//! The name events of the Go experiment, byte for byte.

use std::{ops::Range, sync::Arc};

use super::{
    Output, Transform, TransformKind, TransformSpec, Values,
    hex::hex_digits,
    json::{Fault, JsonError, Kind, Member, Scanner, chars, write_escaped},
    kernel::Kernel,
    locate::{Located, locate_portable},
    md5::{Md5Digest, md5_many},
    registry::Chosen,
};
#[cfg(target_arch = "x86_64")]
use super::{kernel::Isa, locate::locate_avx2};
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
            match self.kernel.isa() {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the kernel proves that this machine has these instructions.
                Isa::Avx2 | Isa::Avx512 => unsafe { self.write_avx2(values, block, out) },
                #[cfg_attr(not(target_arch = "x86_64"), allow(unreachable_patterns))]
                _ => self.write(values, block, out, |buffer, value| locate_portable(value.get(buffer)?)),
            }
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

    /// The whole loop, so that everything inlined into it uses the wide registers.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
    fn write_avx2(&mut self, values: &Values<'_>, block: Range<usize>, out: &mut Output<'_>) {
        self.write(values, block, out, |buffer, value| locate_avx2(buffer, value));
    }

    #[inline(always)]
    fn write(
        &mut self,
        values: &Values<'_>,
        block: Range<usize>,
        out: &mut Output<'_>,
        locate: impl Fn(&[u8], Span) -> Option<Located>,
    ) {
        let buffer = values.buffer();
        for ((index, span, value), digest) in values.present(block).zip(&self.digests) {
            // Pieces of known sizes go from registers to the output.
            let (label, digits, end) = (br#","hash":""#, &hex_digits(digest), br#""}"#);
            match locate(buffer, span) {
                Some(Located::Prefix(len)) => {
                    out.write_inline(index, &[&value[..len], label, digits, end]);
                }
                Some(Located::Members { first, last }) => {
                    out.write(index, &[b"{", &value[first], b",", &value[last], label, digits, end]);
                }
                None => match self.rewriter.rewrite_over(value, &mut self.rewritten) {
                    Ok(()) => out.write(index, &[&self.rewritten, label, digits, end]),
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
