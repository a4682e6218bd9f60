//! What identifies a record: 16 bytes that stand for its key, value, headers and timestamp.

use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

use crate::{
    dead_letter,
    records::{Headers, HeadersWriter},
};

/// The seed for null, which sets it apart from all bytes; no timestamp and no other seed is as
/// large.
const NULL: u64 = i64::MAX as u64;

/// A record's identity in two halves, so that a record with wrong bytes can still be recognised by
/// where it belongs. Both are 64 bits of XXH3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Fingerprint {
    /// Of the key and the timestamp.
    pub place: u64,
    /// Of the value and the headers.
    pub content: u64,
}

impl Fingerprint {
    /// The fingerprint of a record; null differs from empty. `timestamp` is `None` where the
    /// destination stamps records itself.
    #[inline]
    pub(super) fn of(
        timestamp: Option<i64>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[u8],
    ) -> Fingerprint {
        let place = hash(key, timestamp.unwrap_or(0) as u64);
        // Most records have no headers, whose encoding is one byte: a shortcut for them.
        let content = match headers {
            [] | [0] => hash(value, 0),
            _ => hash(value, hash(Some(headers), 1)),
        };
        Fingerprint { place, content }
    }
}

/// A source record as it should stand in the dead letter topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Original {
    /// Its offset in the source.
    pub offset: i64,
    /// What it is.
    pub fingerprint: Fingerprint,
}

/// How records are told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Identity {
    /// Timestamps do not count: the brokers stamp the records themselves.
    pub without_timestamps: bool,
    /// Keys are remembered, to follow the records of each.
    pub with_keys: bool,
}

impl Identity {
    /// The fingerprint of a record.
    #[inline]
    pub(super) fn of(
        self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[u8],
    ) -> Fingerprint {
        Fingerprint::of((!self.without_timestamps).then_some(timestamp), key, value, headers)
    }

    /// The fingerprint of a record and of its dead letter alike: headers about errors do not count, nor does the one
    /// for the timestamp that a letter could not keep.
    pub(super) fn of_letter(
        self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[u8],
    ) -> Fingerprint {
        let is_own =
            |name: &[u8]| !dead_letter::is_about_error(name) && name != dead_letter::TIMESTAMP.as_bytes();
        if Headers::new(headers).all(|(name, _)| is_own(name)) {
            return self.of(timestamp, key, value, headers);
        }
        let mut own = HeadersWriter::default();
        Headers::new(headers)
            .filter(|(name, _)| is_own(name))
            .for_each(|(name, value)| own.push(name, value));
        self.of(timestamp, key, value, &own.finish())
    }
}

/// The hash of a key alone, to tell its records apart.
#[inline]
pub(super) fn key_hash(key: Option<&[u8]>) -> u64 {
    hash(key, 0)
}

#[inline]
fn hash(bytes: Option<&[u8]>, seed: u64) -> u64 {
    match bytes {
        // Up to 240 bytes the seed costs nothing; beyond, a derived secret would be made for each.
        Some(bytes) if bytes.len() <= 240 => xxh3_64_with_seed(bytes, seed),
        Some(bytes) => {
            let mut long = Xxh3::new();
            long.update(bytes);
            long.update(&seed.to_le_bytes());
            long.digest()
        }
        None => xxh3_64_with_seed(&seed.to_le_bytes(), NULL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(timestamp: i64, key: Option<&str>, value: Option<&str>, headers: &[u8]) -> Fingerprint {
        Fingerprint::of(Some(timestamp), key.map(str::as_bytes), value.map(str::as_bytes), headers)
    }

    #[test]
    fn each_part_counts() {
        let long = "x".repeat(1000);
        let longer = "x".repeat(1001);
        let all = [
            of(1, None, None, &[0]),
            of(2, None, None, &[0]),
            of(1, Some(""), None, &[0]),
            of(1, None, Some(""), &[0]),
            of(1, Some("a"), Some("b"), &[0]),
            of(1, Some("b"), Some("a"), &[0]),
            of(1, Some("a"), Some("b"), &[2, 0, 1]),
            of(1, Some("a"), Some(&long), &[0]),
            of(1, Some("a"), Some(&long), &[2, 0, 1]),
            of(1, Some("a"), Some(&longer), &[0]),
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|b| a != b), "{i}");
        }
    }

    #[test]
    fn the_place_is_key_and_timestamp() {
        assert_eq!(of(1, Some("a"), Some("b"), &[0]).place, of(1, Some("a"), None, &[2, 0, 1]).place);
        assert_ne!(of(1, Some("a"), None, &[0]).place, of(2, Some("a"), None, &[0]).place);
    }

    #[test]
    fn without_a_timestamp_only_the_rest_counts() {
        let of = |key: &[u8]| Fingerprint::of(None, Some(key), None, &[0]);
        assert_eq!(of(b"k"), of(b"k"));
        assert_ne!(of(b"k"), of(b"l"));
    }
}
