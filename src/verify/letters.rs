//! Checks the dead letter topic: one intact letter for each record that could not be written.

use std::collections::BTreeMap;

use super::{
    expected::{Expected, Identity, Original},
    findings::Kind,
    fingerprint::Fingerprint,
};
use crate::{
    batch::{PartitionBatch, TopicPartition},
    dead_letter::{self, Stage},
    records::{Headers, HeadersWriter},
};

/// The dead letters of one source topic, by source partition, in the order of their offsets.
#[derive(Debug, Default)]
pub struct Letters {
    by_partition: BTreeMap<i32, Vec<Letter>>,
}

/// A dead letter.
#[derive(Clone, Debug)]
pub struct Letter {
    /// What the letter is about: offset and bytes of the source record.
    pub original: Original,
    /// Whether the destination did not take the record, rather than the transform.
    pub refused: bool,
    /// The partition of the dead letter topic, and the offset in it.
    pub place: (i32, i64),
}

/// Something wrong with the letters of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LetterFinding {
    /// What is wrong.
    pub kind: Kind,
    /// The source offset.
    pub offset: i64,
    /// Where the letter is, unless it is missing.
    pub place: Option<(i32, i64)>,
}

impl Letters {
    /// Adds the letters in a batch of the dead letter topic that are about `source`; what has no
    /// origin in its headers, or another one, is none of its business.
    pub fn add(&mut self, batch: &PartitionBatch, source: &str, identity: Identity) {
        for record in &batch.records {
            let headers = batch.bytes(record.headers).unwrap_or_default();
            let Some((origin, refused)) = origin(headers) else { continue };
            if &*origin.0.topic == source {
                let (key, value) = (batch.bytes(record.key), batch.bytes(record.value));
                let fingerprint = fingerprint(identity, record.timestamp, key, value, headers);
                let original = Original { offset: origin.1, fingerprint };
                let place = (batch.origin.partition, record.offset);
                let letters = self.by_partition.entry(origin.0.partition).or_default();
                letters.push(Letter { original, refused, place });
            }
        }
    }

    /// Puts the letters in the order of their source offsets; call it after the last batch.
    pub fn sort(&mut self) {
        self.by_partition
            .values_mut()
            .for_each(|letters| letters.sort_by_key(|letter| letter.original.offset));
    }

    /// The letters of a source partition.
    pub fn of(&self, partition: i32) -> &[Letter] {
        self.by_partition.get(&partition).map_or(&[], Vec::as_slice)
    }
}

/// Whether a letter says that the destination did not take the record at `offset`.
pub fn is_refused(letters: &[Letter], offset: i64) -> bool {
    about(letters, offset).iter().any(|letter| letter.refused)
}

/// Compares the letters about a partition, of which the offsets `range` were read, with what the
/// transform says.
pub fn check(letters: &[Letter], expected: &Expected, range: std::ops::Range<i64>) -> Vec<LetterFinding> {
    let mut findings = Vec::new();
    let mut due: Vec<Original> = expected.failed.clone();
    due.extend(expected.excused.iter().map(|(original, _)| *original));
    due.sort_unstable_by_key(|original| original.offset);
    for original in &due {
        let offset = original.offset;
        let about = about(letters, offset);
        let intact = about.iter().position(|letter| letter.original.fingerprint == original.fingerprint);
        if about.is_empty() {
            findings.push(LetterFinding { kind: Kind::Missing, offset, place: None });
        }
        for (at, letter) in about.iter().enumerate() {
            let kind = match intact {
                Some(first) if at == first => continue,
                None if at == 0 => Kind::Corrupt,
                _ => Kind::Duplicate,
            };
            findings.push(LetterFinding { kind, offset, place: Some(letter.place) });
        }
    }
    for letter in letters {
        let offset = letter.original.offset;
        let is_due = due.binary_search_by_key(&offset, |original| original.offset).is_ok();
        if range.contains(&offset) && !is_due {
            findings.push(LetterFinding { kind: Kind::Phantom, offset, place: Some(letter.place) });
        }
    }
    findings
}

/// The fingerprint of a record and of its dead letter alike: headers about errors do not count.
pub fn fingerprint(
    identity: Identity,
    timestamp: i64,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &[u8],
) -> Fingerprint {
    let is_own = |name: &[u8]| !dead_letter::is_about_error(name);
    if Headers::new(headers).all(|(name, _)| is_own(name)) {
        return identity.of(timestamp, key, value, headers);
    }
    let mut own = HeadersWriter::default();
    Headers::new(headers).filter(|(name, _)| is_own(name)).for_each(|(name, value)| own.push(name, value));
    identity.of(timestamp, key, value, &own.finish())
}

fn about(letters: &[Letter], offset: i64) -> &[Letter] {
    let start = letters.partition_point(|letter| letter.original.offset < offset);
    let end = letters.partition_point(|letter| letter.original.offset <= offset);
    &letters[start..end]
}

/// Where a letter comes from, and whether the destination refused it. Of repeated headers the
/// last one counts: a letter that failed again keeps the older ones.
fn origin(headers: &[u8]) -> Option<((TopicPartition, i64), bool)> {
    let (mut topic, mut partition, mut offset, mut refused) = (None, None, None, false);
    for (name, value) in Headers::new(headers).filter(|(name, _)| dead_letter::is_about_error(name)) {
        let text = std::str::from_utf8(value.unwrap_or_default()).ok();
        match std::str::from_utf8(name) {
            Ok(dead_letter::TOPIC) => topic = text,
            Ok(dead_letter::PARTITION) => partition = text.and_then(|text| text.parse().ok()),
            Ok(dead_letter::OFFSET) => offset = text.and_then(|text| text.parse().ok()),
            Ok(dead_letter::STAGE) => refused = text == Some(Stage::Produce.as_str()),
            _ => {}
        }
    }
    Some(((TopicPartition::new(topic?, partition?), offset?), refused))
}
