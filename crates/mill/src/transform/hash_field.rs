//! Any JSON object with one field set to a digest of the raw value.

use std::{ops::Range, sync::Arc};

use sha2::{Digest as _, Sha256};
use topicmill_kernels::{
    Kernel,
    hex::write_hex,
    md5::{Md5Digest, md5_many},
};

use super::{
    Output, Transform, TransformKind, TransformSpec, Values,
    json::{Fault, JsonError, Kind, Scanner, Top, chars},
    registry::{Chosen, SettingForm, SettingSpec, not_empty},
};

/// `hash-field`.
pub(super) static SPEC: TransformSpec = TransformSpec {
    name: "hash-field",
    doc: "Any JSON object gets one field set to a digest of its value",
    settings: &[
        SettingSpec {
            name: "field",
            flag: "field",
            value: "NAME",
            takes: SettingForm::Text(not_empty),
            default: "hash",
            doc: "The field that `hash-field` sets",
        },
        SettingSpec {
            name: "digest",
            flag: "digest",
            value: "DIGEST",
            takes: SettingForm::OneOf(&DIGESTS),
            default: Digest::Md5.as_str(),
            doc: "The digest that `hash-field` sets it to",
        },
    ],
    make: |chosen| {
        let field = chosen.get("field").to_owned();
        let digest = Digest::ALL.into_iter().find(|digest| digest.as_str() == chosen.get("digest"));
        let digest = digest.unwrap_or_default();
        Arc::new(move || Box::new(HashField::new(&field, digest)))
    },
};

const DIGESTS: [(&str, &str); 4] = [
    (Digest::Md5.as_str(), "MD5 (RFC 1321), 32 hexadecimal digits"),
    (Digest::Sha256.as_str(), "SHA-256 (FIPS 180-4), 64 hexadecimal digits"),
    (Digest::Xxh3.as_str(), "XXH3 with 64 bits, 16 hexadecimal digits"),
    (Digest::Blake3.as_str(), "BLAKE3, 64 hexadecimal digits"),
];

/// The digests that [`HashField`] offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Digest {
    /// MD5 (RFC 1321), 32 hexadecimal digits.
    #[default]
    Md5,
    /// SHA-256 (FIPS 180-4), 64 hexadecimal digits.
    Sha256,
    /// XXH3 with 64 bits, 16 hexadecimal digits.
    Xxh3,
    /// BLAKE3, 64 hexadecimal digits.
    Blake3,
}

impl Digest {
    /// All of them.
    pub const ALL: [Digest; 4] = [Digest::Md5, Digest::Sha256, Digest::Xxh3, Digest::Blake3];

    /// The name in a configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Digest::Md5 => "md5",
            Digest::Sha256 => "sha256",
            Digest::Xxh3 => "xxh3",
            Digest::Blake3 => "blake3",
        }
    }
}

/// Sets one field of a JSON object to a digest of the raw value and leaves every other byte as it
/// was.
///
/// A field of exactly that name in the outermost object gets the digest as its value, whatever its
/// type was; if there are several, the last one does, which is the one that most readers take.
/// Without such a field, one is inserted before the closing brace.
#[derive(Debug)]
pub struct HashField {
    field: String,
    /// The field's name in quotes, with a colon.
    label: Vec<u8>,
    digest: Digest,
    scanner: Scanner,
    md5: Vec<Md5Digest>,
}

/// Where the digest goes.
#[derive(Debug, PartialEq, Eq)]
enum DigestPlace {
    /// Instead of this value.
    Replace(Range<usize>),
    /// As a new member before the closing brace at this offset.
    Insert { at: usize, after_others: bool },
}

impl HashField {
    /// The transform that sets `field` to `digest` of the raw value.
    pub fn kind(field: &str, digest: Digest) -> TransformKind {
        let settings = vec![("field", field.to_owned()), ("digest", digest.as_str().to_owned())];
        TransformKind::of(&SPEC, Chosen(settings))
    }

    /// Sets `field` to `digest` of the raw value.
    pub fn new(field: &str, digest: Digest) -> HashField {
        HashField {
            field: field.to_owned(),
            label: format!("{}:", serde_json::Value::from(field)).into_bytes(),
            digest,
            scanner: Scanner::default(),
            md5: Vec::new(),
        }
    }

    fn place(&mut self, value: &[u8]) -> Result<DigestPlace, JsonError> {
        let mut existing = None;
        let mut any = false;
        let Top { kind, range } = self.scanner.scan(value, |member| {
            any = true;
            let key = &value[member.key];
            // A key without escapes is what it says; nearly all are, and nearly all are other keys.
            let is_same = key == self.field.as_bytes() && !key.contains(&b'\\');
            if is_same || chars(key).eq(self.field.chars()) {
                existing = Some(member.value);
            }
        })?;
        if kind != Kind::Object {
            let fault = Fault::Type { part: "the value", found: kind, expected: Kind::Object };
            return Err(JsonError { offset: range.start, fault });
        }
        Ok(match existing {
            Some(old) => DigestPlace::Replace(old),
            None => DigestPlace::Insert { at: range.end - 1, after_others: any },
        })
    }
}

impl Transform for HashField {
    fn apply(&mut self, values: &Values<'_>, out: &mut Output<'_>) {
        self.md5.clear();
        if self.digest == Digest::Md5 {
            md5_many(Kernel::best(), values.iter().map(|(_, value)| value), &mut self.md5);
        }
        for (nth, (index, value)) in values.iter().enumerate() {
            let place = match self.place(value) {
                Ok(place) => place,
                Err(error) => {
                    out.fail(index, error.into());
                    continue;
                }
            };
            let quoted = match self.digest {
                Digest::Md5 => Quoted::new(&self.md5[nth]),
                Digest::Sha256 => Quoted::new(&Sha256::digest(value)),
                Digest::Xxh3 => Quoted::new(&xxhash_rust::xxh3::xxh3_64(value).to_be_bytes()),
                Digest::Blake3 => Quoted::new(blake3::hash(value).as_bytes()),
            };
            match place {
                DigestPlace::Replace(old) => {
                    out.write(index, &[&value[..old.start], quoted.bytes(), &value[old.end..]]);
                }
                DigestPlace::Insert { at, after_others } => {
                    let comma: &[u8] = if after_others { b"," } else { b"" };
                    out.write(index, &[&value[..at], comma, &self.label, quoted.bytes(), &value[at..]]);
                }
            }
        }
    }
}

/// A digest of at most 32 bytes as a JSON string.
struct Quoted {
    buffer: [u8; 66],
    len: usize,
}

impl Quoted {
    fn new(digest: &[u8]) -> Quoted {
        let len = 2 * digest.len() + 2;
        let mut buffer = [b'"'; 66];
        write_hex(digest, &mut buffer[1..len - 1]);
        Quoted { buffer, len }
    }

    fn bytes(&self) -> &[u8] {
        &self.buffer[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(value: &str) -> Result<DigestPlace, JsonError> {
        HashField::new("hash", Digest::Md5).place(value.as_bytes())
    }

    #[test]
    fn the_last_of_several_fields_is_replaced() {
        assert_eq!(
            place(r#"{"hash":1,"h\u0061sh" : [2] ,"x":{"hash":3},"Hash":4}"#),
            Ok(DigestPlace::Replace(24..27))
        );
    }

    #[test]
    fn a_backslash_in_the_field_is_no_escape() {
        let place = |value: &str| HashField::new(r"\u0062", Digest::Md5).place(value.as_bytes());
        assert_eq!(
            place(r#"{"\u0062":1}"#),
            Ok(DigestPlace::Insert { at: 11, after_others: true }),
            "that is b"
        );
        assert_eq!(place(r#"{"\\u0062":1}"#), Ok(DigestPlace::Replace(11..12)));
    }

    #[test]
    fn a_missing_field_is_inserted_before_the_brace() {
        assert_eq!(place("{ } "), Ok(DigestPlace::Insert { at: 2, after_others: false }));
        assert_eq!(place(r#"{"a":{"hash":1}}"#), Ok(DigestPlace::Insert { at: 15, after_others: true }));
    }

    #[test]
    fn only_objects_have_fields() {
        use crate::transform::ErrorClass::{Empty, Eof, Type};
        for (value, class) in [("null", Type), ("[]", Type), ("\"hash\"", Type), ("", Empty), ("{", Eof)] {
            assert_eq!(place(value).unwrap_err().class(), class, "{value}");
        }
    }
}
