//! Digests of values, with a key or without one.
//!
//! What is digested is the text of a string, in UTF-8, and the JSON of any other value as it stands in the
//! record; of `.`, the record's value byte by byte. The token is the digest in lower-case hexadecimal digits,
//! with the key's id and a colon before it if there is one. So the same text has the same token wherever it is
//! computed: in Python, `hmac.new(key, text.encode(), "sha256").hexdigest()`; in Java, `Mac.getInstance("HmacSHA256")`
//! with the key and `text.getBytes(UTF_8)`, and `HexFormat.of().formatHex`.

use std::fmt;

use sha2::Sha256;
use topicmill_kernels::{Kernel, hex::write_hex, md5::md5_many};
use topicmill_mill::transform::Digest;

use super::{Target, hmac::HmacSha256};
use crate::json::{Found, Site, decode};

/// A digest and how it is written.
pub(crate) struct Token {
    method: Method,
    /// With its colon; empty without one.
    prefix: String,
}

enum Method {
    Digest(Digest),
    HmacSha256(Box<HmacSha256>),
    Blake3([u8; blake3::KEY_LEN]),
}

/// The algorithms with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    HmacSha256,
    Blake3,
}

/// The tokens of one value, each with its place.
#[derive(Debug)]
pub(crate) struct Tokens {
    pub(crate) token: (Token, Target),
    /// By the key before this one.
    pub(crate) previous: Option<(Token, Target)>,
}

impl Tokens {
    pub(crate) fn places(&self) -> impl Iterator<Item = &(Token, Target)> {
        [&self.token].into_iter().chain(&self.previous)
    }

    pub(super) fn places_mut(&mut self) -> impl Iterator<Item = &mut (Token, Target)> {
        [&mut self.token].into_iter().chain(&mut self.previous)
    }
}

impl fmt::Debug for Token {
    /// Leaves out the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl Token {
    pub(crate) fn of_digest(digest: Digest) -> Token {
        Token { method: Method::Digest(digest), prefix: String::new() }
    }

    /// A token with a key.
    ///
    /// # Errors
    /// When the key is none for the algorithm.
    pub(crate) fn of_key(algorithm: Algorithm, key: &[u8], id: Option<&str>) -> Result<Token, String> {
        let method = match algorithm {
            // Any length will do (RFC 2104).
            Algorithm::HmacSha256 => Method::HmacSha256(Box::new(HmacSha256::new(key))),
            Algorithm::Blake3 => {
                let bytes = <[u8; blake3::KEY_LEN]>::try_from(key).ok().or_else(|| from_hex(key));
                let message = "keyed BLAKE3 takes a key of 32 bytes, or 64 hexadecimal digits";
                Method::Blake3(bytes.ok_or(message)?)
            }
        };
        Ok(Token { method, prefix: id.map(|id| format!("{id}:")).unwrap_or_default() })
    }

    /// Appends the token of the value at `site` as a JSON string; in `found` it was found.
    pub(crate) fn write(&self, doc: &[u8], found: &Found, site: &Site, out: &mut Vec<u8>) {
        if site.is_root() {
            return self.write_of(doc, out);
        }
        match site.contents(doc) {
            Some(contents) if found.has_escapes() => self.write_of(decode(contents).as_bytes(), out),
            Some(contents) => self.write_of(contents, out),
            _ => self.write_of(site.value(doc), out),
        }
    }

    fn write_of(&self, bytes: &[u8], out: &mut Vec<u8>) {
        out.push(b'"');
        out.extend_from_slice(self.prefix.as_bytes());
        match &self.method {
            Method::Digest(Digest::Md5) => {
                let mut digests = Vec::with_capacity(1);
                md5_many(Kernel::best(), std::iter::once(bytes), &mut digests);
                hex(&digests[0], out);
            }
            Method::Digest(Digest::Sha256) => hex(&<Sha256 as sha2::Digest>::digest(bytes), out),
            Method::Digest(Digest::Xxh3) => hex(&xxhash_rust::xxh3::xxh3_64(bytes).to_be_bytes(), out),
            Method::Digest(Digest::Blake3) => hex(blake3::hash(bytes).as_bytes(), out),
            Method::HmacSha256(keyed) => hex(&keyed.code(bytes), out),
            Method::Blake3(key) => hex(blake3::keyed_hash(key, bytes).as_bytes(), out),
        }
        out.push(b'"');
    }
}

fn hex(digest: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + 2 * digest.len(), 0);
    write_hex(digest, &mut out[start..]);
}

/// The bytes that as many hexadecimal digits mean.
fn from_hex(digits: &[u8]) -> Option<[u8; blake3::KEY_LEN]> {
    let mut bytes = [0; blake3::KEY_LEN];
    if digits.len() != 2 * bytes.len() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |byte: u8| char::from(byte).to_digit(16);
        *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
    }
    Some(bytes)
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
