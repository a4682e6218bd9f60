//! The places that the output of a batch goes to, and which record each output record comes from.

use std::{
    collections::{HashMap, hash_map::Entry},
    ops::Range,
    sync::Arc,
};

use topicmill_records::{EncodedBatch, RecordWriter, RecordsError};

use super::output::OutputRoom;
use crate::batch::{Record, Span, TopicPartition};

/// The output records for one place.
#[derive(Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Where they go.
    pub place: Place,
    /// The encoded records in order.
    pub chunks: Vec<EncodedBatch>,
    /// The record of the batch that each of them comes from.
    pub sources: Sources,
}

/// A topic and partition, as far as they are not those that records go to unless something else is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Place {
    /// The topic; `None` for the destination.
    pub topic: Option<Arc<str>>,
    /// The partition; `None` for the one that the records come from.
    pub partition: Option<i32>,
}

impl Place {
    /// The topic and partition for records from `origin`.
    pub fn of(&self, destination: &Arc<str>, origin: &TopicPartition) -> TopicPartition {
        TopicPartition {
            topic: Arc::clone(self.topic.as_ref().unwrap_or(destination)),
            partition: self.partition.unwrap_or(origin.partition),
        }
    }
}

/// The outputs of a batch from `origin` by the partition that they go to. A transform may reach one in several
/// ways, as by its name and as the destination: those are one output, in the order of the records that they come
/// from.
///
/// # Errors
/// When the encoded records cannot be read.
pub fn resolve(
    outputs: Vec<Outgoing>,
    destination: &Arc<str>,
    origin: &TopicPartition,
) -> Result<Vec<(TopicPartition, Vec<EncodedBatch>, Sources)>, RecordsError> {
    let mut resolved: Vec<(TopicPartition, Vec<EncodedBatch>, Sources)> = Vec::with_capacity(outputs.len());
    // Where nothing is explicit, nothing is reached in two ways.
    let is_plain = outputs.len() < 2;
    let mut by_place = HashMap::new();
    for Outgoing { place, chunks, sources } in outputs {
        let to = place.of(destination, origin);
        if is_plain {
            return Ok(vec![(to, chunks, sources)]);
        }
        match by_place.entry(to.clone()) {
            Entry::Vacant(free) => {
                free.insert(resolved.len());
                resolved.push((to, chunks, sources));
            }
            Entry::Occupied(known) => {
                let (_, before, of_before) = &mut resolved[*known.get()];
                (*before, *of_before) = join((&*before, &*of_before), (&chunks, &sources))?;
            }
        }
    }
    Ok(resolved)
}

/// Two outputs as one, in the order of their sources; of one source's records the first output's come first.
fn join(
    one: (&[EncodedBatch], &Sources),
    other: (&[EncodedBatch], &Sources),
) -> Result<(Vec<EncodedBatch>, Sources), RecordsError> {
    let mut records = Vec::new();
    for (chunks, sources) in [one, other] {
        let mut sources = sources.listed(0..usize::MAX, std::iter::empty());
        for chunk in chunks {
            let read = chunk.records()?;
            records
                .extend(read.into_iter().map(|record| (sources.next().unwrap_or(u32::MAX), chunk, record)));
        }
    }
    records.sort_by_key(|(source, ..)| *source);
    let limit = one.0.iter().chain(other.0).map(|chunk| chunk.bytes.len()).max().unwrap_or(0);
    let mut writer = RecordWriter::new(limit, limit);
    for (_, chunk, Record { timestamp, key, value, headers, .. }) in &records {
        let bytes = |span: &Span| span.get(&chunk.bytes);
        let value = bytes(value).map(|value| [value]);
        let value = value.as_ref().map(<[_; 1]>::as_slice);
        writer.push(*timestamp, bytes(key), value, bytes(headers).unwrap_or_default());
    }
    Ok((writer.finish(), Sources::Listed(records.iter().map(|(source, ..)| *source).collect())))
}

/// Which records of a batch the records of an output come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sources {
    /// Each record of the batch that did not fail, in order.
    Each,
    /// The index of one for each output record, ascending.
    Listed(Vec<u32>),
}

impl Sources {
    /// The index of each output record's source among the records `of` a batch, of which those at the ascending
    /// indexes `failed` did.
    pub fn listed<F: Iterator<Item = usize>>(
        &self,
        of: Range<usize>,
        failed: F,
    ) -> impl Iterator<Item = u32> + use<'_, F> {
        let (each, listed) = match self {
            Sources::Each => (of, [].as_slice()),
            Sources::Listed(list) => (0..0, list.as_slice()),
        };
        let mut failed = failed.peekable();
        let each = each.filter(move |index| failed.next_if_eq(index).is_none());
        each.map(|index| index as u32).chain(listed.iter().copied())
    }

    /// The bytes of memory that this takes.
    pub(crate) fn memory(&self) -> usize {
        match self {
            Sources::Each => 0,
            Sources::Listed(list) => list.capacity() * size_of::<u32>(),
        }
    }

    /// Adds more to a list.
    pub(super) fn extend(&mut self, more: Vec<u32>) {
        match self {
            Sources::Listed(list) => list.extend(more),
            Sources::Each => unreachable!("only what is listed is joined"),
        }
    }
}

/// The places of a batch besides the destination, and where its output comes from.
#[derive(Debug, Default)]
pub(super) struct Outlets {
    /// The index of the source of each record for the destination.
    pub sources: Vec<u32>,
    /// The other places, in the order in which they were first used.
    pub outlets: Vec<Outlet>,
    /// Where each place is in `outlets`.
    by_place: HashMap<Place, usize>,
    /// The record that was emitted for last.
    pub emitted: Option<usize>,
    /// The records that were passed over.
    pub skipped: usize,
    /// Where the last record went: most often the next one goes there as well.
    last: usize,
}

/// The records for a place.
#[derive(Debug)]
pub(super) struct Outlet {
    place: Place,
    pub writer: RecordWriter,
    pub sources: Vec<u32>,
}

/// How many outlets are looked at one by one, which is quicker than to look them up.
const LOOKED_AT: usize = 8;

/// Among several places, each is expected to take this part of a batch.
const EXPECTED_PART: usize = 8;

impl Outlets {
    /// For what was written to the destination so far.
    pub fn of(sources: Vec<u32>) -> Outlets {
        Outlets { sources, ..Outlets::default() }
    }

    pub fn outlet(
        &mut self,
        topic: Option<&Arc<str>>,
        partition: Option<i32>,
        room: OutputRoom,
    ) -> &mut Outlet {
        // Most often it is the very same text.
        let is_same = |outlet: &Outlet| outlet.is_at(topic, partition, Arc::ptr_eq);
        let is_there = |outlet: &Outlet| outlet.is_at(topic, partition, |own, topic| own == topic);
        if self.outlets.get(self.last).is_some_and(is_same) {
            return &mut self.outlets[self.last];
        }
        let mut near = self.outlets.iter().take(LOOKED_AT);
        if let Some(near) = near.clone().position(is_same).or_else(|| near.position(is_there)) {
            self.last = near;
        } else {
            let place = Place { topic: topic.cloned(), partition };
            self.last = *self.by_place.entry(place).or_insert_with_key(|place| {
                let writer = RecordWriter::new(room.chunk_limit, room.expected / EXPECTED_PART);
                self.outlets.push(Outlet { place: place.clone(), writer, sources: Vec::new() });
                self.outlets.len() - 1
            });
        }
        &mut self.outlets[self.last]
    }
}

impl Outlet {
    /// Whether it is that of this topic and partition, by what says that two topics are one.
    fn is_at(
        &self,
        topic: Option<&Arc<str>>,
        partition: Option<i32>,
        is_one: fn(&Arc<str>, &Arc<str>) -> bool,
    ) -> bool {
        let is_topic = match (&self.place.topic, topic) {
            (Some(own), Some(topic)) => is_one(own, topic),
            (own, topic) => own.is_none() && topic.is_none(),
        };
        is_topic && self.place.partition == partition
    }
}

impl From<Outlet> for Outgoing {
    fn from(outlet: Outlet) -> Outgoing {
        let Outlet { place, writer, sources } = outlet;
        Outgoing { place, chunks: writer.finish(), sources: Sources::Listed(sources) }
    }
}
