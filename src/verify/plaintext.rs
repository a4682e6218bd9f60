//! Looks for what the steps protect: none of it may stand in what was written, nor in the dead letters.
//!
//! Of the source, hashes of all that the steps replace are kept: every text and number in it, but no key of an
//! object, which is the name of something. Then whatever was written is read, and each text in a value, a key or a
//! header is looked up, numbers as the decimals that they are; but not where a dead letter says which record it is,
//! as an offset may be anybody's number. What is found is looked for in the source once more:
//! a text that stands there where no step protects it, in any record, may stand anywhere, and is told apart from
//! the leaks.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    sync::Arc,
};

use indicatif::HumanCount;
use topicmill_steps::{
    Protection, Protector,
    json::{Locator, Path, TextKind, each_text},
};
use xxhash_rust::xxh3::xxh3_64;

use super::{Logs, Verification, report::PLACES_MAX};
use crate::{
    batch::{PartitionBatch, Record, TopicPartition},
    dead_letter,
    engine::{EngineError, ErrorKind},
    exact,
    records::Headers,
    transform::RecordView,
};

/// Shorter texts are found by chance.
const CHARS_MIN: usize = 4;

/// The most different texts that are looked for: some 600 MB.
const TEXTS_MAX: usize = 1 << 25;

/// The most places that are kept.
const SPOTS_MAX: usize = 10_000;

/// What stands in for a key of an object that is itself to be protected.
const HIDDEN: &str = "(protected)";

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plaintext {
    /// How often a protected text stands where it should not.
    pub count: u64,
    /// The first places.
    pub spots: Vec<Spot>,
    /// How often one stands somewhere that the source also has where no step protects it.
    pub open: u64,
    /// Where the first of those stands in the source.
    pub open_at: Option<Spot>,
}

/// Where a text stands; never the text itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    /// The partition.
    pub partition: TopicPartition,
    /// The offset of the record.
    pub offset: i64,
    /// The part of the record, and the path in it.
    pub part: String,
}

/// What was found of one text.
#[derive(Debug, Default)]
struct Hit {
    count: u64,
    spots: Vec<Spot>,
}

/// The texts to look for.
#[derive(Default)]
struct Known {
    hashes: HashSet<u64>,
    hits: HashMap<u64, Hit>,
    spots: usize,
}

impl<L: Logs, P: FnMut(u64, u64) + Send> Verification<'_, L, P> {
    /// Looks for what is protected in all that was written.
    pub(super) async fn plaintext(&mut self, protection: &Protection) -> Result<Plaintext, EngineError> {
        let mut known = Known::default();
        let mut protector = Protector::new(protection.clone());
        let mut value = Vec::new();
        for (partition, range) in self.sources() {
            let take = |batch: &PartitionBatch| {
                for record in &batch.records {
                    protector.protect(&batch.origin, &view(batch, record), &mut value, |plain| {
                        each_text(plain, |_, kind, text| match kind {
                            TextKind::Value => known.add(&text),
                            TextKind::Key => {}
                        });
                    });
                }
            };
            self.read(&partition, range, take).await?;
            if known.hashes.len() > TEXTS_MAX {
                let text =
                    format!("--no-plaintext looks for {TEXTS_MAX} different texts at most: there are more");
                return Err(EngineError::new(ErrorKind::Fatal, text));
            }
        }
        let mut unread = 0;
        for (partition, range) in self.written() {
            let mut texts = Texts::default();
            let is_letters = partition.topic == self.config.dead_letter;
            let take = |batch: &PartitionBatch| {
                for record in &batch.records {
                    let view = view(batch, record);
                    unread += u64::from(is_letters && view.value.is_some_and(|value| !texts.is_json(value)));
                    texts.each(&view, view.value, |place, text| match place.part {
                        Part::Header(name) if is_letters && dead_letter::is_place(name) => {}
                        _ => known.look_up(text, &batch.origin, record.offset, place),
                    });
                }
            };
            self.read(&partition, range, take).await?;
        }
        if unread > 0 {
            let hint = format!(
                "{} dead letters are not JSON and could not be checked, but as a whole: they hold what the source \
                 holds",
                HumanCount(unread)
            );
            self.hints.push(hint);
        }
        let mut found = Plaintext::default();
        if !known.hits.is_empty() {
            self.set_aside(&mut known, &mut protector, &mut found).await?;
        }
        found.count = known.hits.values().map(|hit| hit.count).sum();
        let mut spots: Vec<Spot> = known.hits.into_values().flat_map(|hit| hit.spots).collect();
        let rank = |spot: &Spot| (Arc::clone(&spot.partition.topic), spot.partition.partition, spot.offset);
        spots.sort_by_cached_key(rank);
        spots.truncate(PLACES_MAX);
        found.spots = spots;
        Ok(found)
    }

    /// Takes back what the source also has where no step protects it.
    async fn set_aside(
        &mut self,
        known: &mut Known,
        protector: &mut Protector,
        found: &mut Plaintext,
    ) -> Result<(), EngineError> {
        let mut value = Vec::new();
        for (partition, range) in self.sources() {
            let mut texts = Texts::default();
            let take = |batch: &PartitionBatch| {
                for record in &batch.records {
                    let view = view(batch, record);
                    protector.protect(&batch.origin, &view, &mut value, |_| {});
                    texts.each(&view, Some(&value), |place, text| {
                        let Some(hit) = known.hits.remove(&hash(text)) else { return };
                        found.open += hit.count;
                        found
                            .open_at
                            .get_or_insert_with(|| spot(&batch.origin, record.offset, &place, &known.hashes));
                    });
                }
            };
            self.read(&partition, range, take).await?;
        }
        Ok(())
    }

    /// What there is of the source.
    fn sources(&self) -> Vec<(TopicPartition, Range<i64>)> {
        let place = |number| TopicPartition::new(Arc::clone(&self.config.source), number);
        let numbers = self.topics.partitions(&self.config.destination);
        numbers.into_iter().map(|number| (place(number), self.topics.source_range(number))).collect()
    }

    /// What there is of the topics that are written, and of the dead letters.
    fn written(&self) -> Vec<(TopicPartition, Range<i64>)> {
        let place = |number: &i32| TopicPartition::new(Arc::clone(&self.config.dead_letter), *number);
        let letters = self.topics.dead_letter.iter().map(|(number, range)| (place(number), range.clone()));
        let places = self.topics.places().into_iter();
        places.map(|place| (place.clone(), self.topics.range(&place))).chain(letters).collect()
    }
}

impl Known {
    fn add(&mut self, text: &str) {
        // One more than is allowed is enough to tell.
        if is_long(text) && self.hashes.len() <= TEXTS_MAX {
            self.hashes.insert(hash(text));
        }
    }

    fn look_up(&mut self, text: &str, partition: &TopicPartition, offset: i64, place: Place<'_>) {
        let hash = hash(text);
        if !is_long(text) || !self.hashes.contains(&hash) {
            return;
        }
        let hit = self.hits.entry(hash).or_default();
        hit.count += 1;
        if hit.spots.len() < PLACES_MAX && self.spots < SPOTS_MAX {
            hit.spots.push(spot(partition, offset, &place, &self.hashes));
            self.spots += 1;
        }
    }
}

/// The same for all ways to write a number.
fn hash(text: &str) -> u64 {
    match exact::decimal(text) {
        Some(decimal) => xxh3_64(decimal.as_bytes()),
        None => xxh3_64(text.as_bytes()),
    }
}

fn is_long(text: &str) -> bool {
    text.chars().nth(CHARS_MIN - 1).is_some()
}

fn spot(partition: &TopicPartition, offset: i64, place: &Place<'_>, hashes: &HashSet<u64>) -> Spot {
    let hides = |text: &str| hashes.contains(&hash(text));
    let name = match place.part {
        Part::Value => "value".to_owned(),
        Part::Key => "key".to_owned(),
        Part::Header(name) => match String::from_utf8_lossy(name) {
            name if hides(&name) => format!("header {HIDDEN}"),
            name => format!("header {name}"),
        },
    };
    let path = place.way.map(|way| way.path(hides, HIDDEN)).filter(|path| !path.is_root());
    let part = path.map(|path: Path| format!("{name} {path}")).unwrap_or(name);
    Spot { partition: partition.clone(), offset, part }
}

/// A part of a record.
#[derive(Clone, Copy)]
enum Part<'a> {
    Value,
    Key,
    Header(&'a [u8]),
}

/// Where a text stands in a record.
struct Place<'a> {
    part: Part<'a>,
    /// In a part that is JSON.
    way: Option<&'a topicmill_steps::json::Way<'a>>,
}

/// Reads all texts of records.
#[derive(Default)]
struct Texts {
    locator: Locator,
}

impl Texts {
    fn is_json(&mut self, value: &[u8]) -> bool {
        self.locator.validate(value).is_ok()
    }

    /// Passes the texts of a record, whose value is `value`, to `each`. What is not JSON is one text.
    fn each(&mut self, record: &RecordView<'_>, value: Option<&[u8]>, mut each: impl FnMut(Place<'_>, &str)) {
        let parts = value.map(|value| (Part::Value, value)).into_iter();
        let parts = parts.chain(record.key.map(|key| (Part::Key, key)));
        let headers = Headers::new(record.headers);
        let headers = headers.filter_map(|(name, value)| Some((Part::Header(name), value?)));
        for (part, bytes) in parts.chain(headers) {
            if self.locator.validate(bytes).is_ok() {
                each_text(bytes, |way, _, text| each(Place { part, way: Some(way) }, &text));
            } else {
                each(Place { part, way: None }, &String::from_utf8_lossy(bytes));
            }
        }
    }
}

fn view<'b>(batch: &'b PartitionBatch, record: &Record) -> RecordView<'b> {
    RecordView {
        offset: record.offset,
        timestamp: record.timestamp,
        key: batch.bytes(record.key),
        value: batch.bytes(record.value),
        headers: batch.bytes(record.headers).unwrap_or_default(),
    }
}
