//! Any JSON object with one field set to a digest of the raw value.

use super::{ErrorClass, Output, Transform, ValueError, Values};

/// The digests that [`HashField`] offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
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

/// Sets one field of a JSON object and leaves every other byte as it was.
#[derive(Debug)]
pub struct HashField {}

impl HashField {
    /// Sets `field` to `digest` of the raw value.
    pub fn new(_field: &str, _digest: Digest) -> HashField {
        HashField {}
    }
}

impl Transform for HashField {
    fn apply(&mut self, values: &Values<'_>, out: &mut Output<'_>) {
        for (index, _value) in values.iter() {
            out.fail(index, ValueError::new(ErrorClass::Other, "not written yet"));
        }
    }
}
