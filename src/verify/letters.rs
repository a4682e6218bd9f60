//! Checks the dead letter topic: one intact letter for each record that could not be written.

use std::collections::BTreeMap;

use super::{
    findings::Kind,
    fingerprint::{Identity, Original},
};
use crate::{
    batch::{PartitionBatch, TopicPartition},
    dead_letter::{self, Stage},
    records::Headers,
    transform::ErrorClass,
};

/// The dead letters of one source topic, by source partition, in the order of their offsets.
#[derive(Debug, Default)]
pub(super) struct Letters {
    by_partition: BTreeMap<i32, Vec<Letter>>,
    /// The groups that they name.
    groups: Vec<String>,
}

/// A dead letter.
#[derive(Clone, Debug)]
pub(super) struct Letter {
    /// What the letter is about: offset and bytes of the source record.
    pub original: Original,
    /// Whether it was not to be written where it should go, rather than not to be transformed: the destination
    /// refused it, or its route had led to as many topics as it may.
    pub refused: bool,
    /// The partition of the dead letter topic, and the offset in it.
    pub place: (i32, i64),
    /// Which of the groups wrote it, if it says so.
    group: Option<usize>,
}

/// What the headers of a letter say.
struct LetterHeaders<'a> {
    origin: TopicPartition,
    offset: i64,
    refused: bool,
    group: Option<&'a str>,
}

/// Something wrong with the letters of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LetterFinding {
    /// What is wrong.
    pub kind: Kind,
    /// The source offset.
    pub offset: i64,
    /// Where the letter is, unless it is missing.
    pub place: Option<(i32, i64)>,
}

impl Letters {
    /// Adds the letters about `source` in a batch of the dead letter topic; those with no origin in
    /// their headers, or another one, are ignored.
    pub(super) fn add(&mut self, batch: &PartitionBatch, source: &str, identity: Identity) {
        for record in &batch.records {
            let headers = batch.bytes(record.headers).unwrap_or_default();
            let Some(told) = told(headers).filter(|told| &*told.origin.topic == source) else { continue };
            let (key, value) = (batch.bytes(record.key), batch.bytes(record.value));
            let timestamp = dead_letter::original_timestamp(headers).unwrap_or(record.timestamp);
            let fingerprint = identity.of_letter(timestamp, key, value, headers);
            let letter = Letter {
                original: Original { offset: told.offset, fingerprint },
                refused: told.refused,
                place: (batch.origin.partition, record.offset),
                group: told.group.map(|group| self.group(group)),
            };
            self.by_partition.entry(told.origin.partition).or_default().push(letter);
        }
    }

    fn group(&mut self, name: &str) -> usize {
        self.groups.iter().position(|group| group == name).unwrap_or_else(|| {
            self.groups.push(name.to_owned());
            self.groups.len() - 1
        })
    }

    /// Sorts the letters by their source offsets, and sets aside those of other pipelines; call it
    /// after the last batch. The pipeline is that of the group `asked` for, else of `usual`, else
    /// of the only group there is. A letter without a group may be anyone's. Returns the groups if
    /// none of this decides which of them it is.
    pub(super) fn finish(&mut self, asked: Option<&str>, usual: &str) -> Option<&[String]> {
        let find = |name: &str| self.groups.iter().position(|group| group == name);
        let (ours, open) = match (asked, find(usual), self.groups.len()) {
            (Some(asked), ..) => (find(asked), false),
            (None, Some(usual), _) => (Some(usual), false),
            (None, None, several) => (Some(0), several > 1),
        };
        for letters in self.by_partition.values_mut() {
            letters.retain(|letter| open || letter.group.is_none() || letter.group == ours);
            letters.sort_by_key(|letter| letter.original.offset);
        }
        open.then_some(&self.groups[..])
    }

    /// The letters of a source partition.
    pub(super) fn of(&self, partition: i32) -> &[Letter] {
        self.by_partition.get(&partition).map_or(&[], Vec::as_slice)
    }
}

/// Whether a letter says that the record at `offset` could not be written where it should go.
pub(super) fn is_refused(letters: &[Letter], offset: i64) -> bool {
    about(letters, offset).iter().any(|letter| letter.refused)
}

/// Compares the letters about a partition, of which the offsets `range` were read, with those that are due.
pub(super) fn check(letters: &[Letter], due: &[Original], range: std::ops::Range<i64>) -> Vec<LetterFinding> {
    let mut findings = Vec::new();
    for original in due {
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

fn about(letters: &[Letter], offset: i64) -> &[Letter] {
    let start = letters.partition_point(|letter| letter.original.offset < offset);
    let end = letters.partition_point(|letter| letter.original.offset <= offset);
    &letters[start..end]
}

/// What a letter says, if it names its origin. Of repeated headers the last one counts: those that
/// other programs wrote may keep the older ones of a letter that failed again.
fn told(headers: &[u8]) -> Option<LetterHeaders<'_>> {
    let (mut topic, mut partition, mut offset, mut group) = (None, None, None, None);
    let (mut refused, mut unrouted) = (false, false);
    for (name, value) in Headers::new(headers).filter(|(name, _)| dead_letter::is_about_error(name)) {
        let text = std::str::from_utf8(value.unwrap_or_default()).ok();
        match std::str::from_utf8(name) {
            Ok(dead_letter::TOPIC) => topic = text,
            Ok(dead_letter::PARTITION) => partition = text.and_then(|text| text.parse().ok()),
            Ok(dead_letter::OFFSET) => offset = text.and_then(|text| text.parse().ok()),
            Ok(dead_letter::STAGE) => refused = text == Some(Stage::Produce.as_str()),
            Ok(dead_letter::CLASS) => unrouted = text == Some(ErrorClass::Route.as_str()),
            Ok(dead_letter::PIPELINE) => group = text,
            _ => {}
        }
    }
    let origin = TopicPartition::new(topic?, partition?);
    Some(LetterHeaders { origin, offset: offset?, refused: refused || unrouted, group })
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{Row, batch, rows_of},
        *,
    };
    use crate::{
        dead_letter::{Form, Letter as Written},
        records::HeadersWriter,
        transform::ValueError,
    };

    /// Of a record with some timestamp and headers: whether its letter, written with its own time or with the time
    /// of writing, is found intact.
    fn is_intact(timestamp: i64, headers: &[u8], stamped: bool) -> bool {
        let row: Row = (Some("k"), Some("v".to_owned()), headers.to_vec(), timestamp);
        let source = batch(&TopicPartition::new("s", 0), 7, &[row]);
        let written = Written {
            index: 0,
            stage: Stage::Produce,
            error: ValueError::new(ErrorClass::Refused, "its time"),
            form: Form { stamped, compressed: false },
        };
        let chunks = dead_letter::encode(&source, &[written], "g", None, 1 << 20);
        let rows = rows_of(&chunks[0], Some("k"));
        assert_eq!(rows[0].3 != timestamp, stamped);
        let mut letters = Letters::default();
        letters.add(&batch(&TopicPartition::new("t", 0), 0, &rows), "s", Identity::default());
        let fingerprint = Identity::default().of_letter(timestamp, Some(b"k"), Some(b"v"), headers);
        check(letters.of(0), &[Original { offset: 7, fingerprint }], 0..8).is_empty()
    }

    #[test]
    fn a_letter_with_the_time_of_writing_stands_for_its_record() {
        let mut once_a_letter = HeadersWriter::default();
        once_a_letter.push(dead_letter::MESSAGE.as_bytes(), Some(b"its time"));
        once_a_letter.push(dead_letter::TIMESTAMP.as_bytes(), Some(b"5"));
        for headers in [vec![0], once_a_letter.finish()] {
            assert!(is_intact(1234, &headers, false) && is_intact(1234, &headers, true), "{headers:?}");
        }
    }

    #[test]
    fn the_time_that_such_a_letter_tells_counts() {
        let (mut told, mut other) = (HeadersWriter::default(), HeadersWriter::default());
        for (headers, time) in [(&mut told, "1234"), (&mut other, "1235")] {
            headers.push(dead_letter::MESSAGE.as_bytes(), Some(b"its time"));
            headers.push(dead_letter::TIMESTAMP.as_bytes(), Some(time.as_bytes()));
        }
        assert_eq!(dead_letter::original_timestamp(&told.finish()), Some(1234));
        assert_eq!(dead_letter::original_timestamp(&other.finish()), Some(1235));
    }
}
