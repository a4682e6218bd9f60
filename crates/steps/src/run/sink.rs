//! Where records go that have been through all passes.

use std::{ops::Range, sync::Arc};

use topicmill_mill::{
    batch::TopicPartition,
    transform::{Emission, Output},
};
use topicmill_records::partition_of;

use super::item::{Item, Partition};
use crate::Plan;

/// How many results there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// At most one: it is written at once.
    AtMostOne,
    /// Any number, and nothing can fail once there is one.
    Several,
    /// Any number, none of which may be written before all are there.
    SeveralOrNone,
}

/// Writes the results of one record.
pub(super) struct Sink<'s, 'b> {
    out: &'s mut Output<'b>,
    index: usize,
    way: Way,
    origin: &'s TopicPartition,
    plan: &'s Plan,
    destination: Option<&'s Arc<str>>,
    results: usize,
}

/// Results that wait for the others of their record.
#[derive(Debug, Default)]
pub(super) struct Pending {
    bytes: Vec<u8>,
    items: Vec<Held>,
}

/// A result, of which the bytes are in [`Pending`].
#[derive(Debug)]
struct Held {
    timestamp: i64,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    headers: Range<usize>,
    topic: Option<Arc<str>>,
    partition: Partition,
}

impl<'s, 'b> Sink<'s, 'b> {
    pub(super) fn new(
        out: &'s mut Output<'b>,
        index: usize,
        way: Way,
        origin: &'s TopicPartition,
        plan: &'s Plan,
        destination: Option<&'s Arc<str>>,
    ) -> Sink<'s, 'b> {
        Sink { out, index, way, origin, plan, destination, results: 0 }
    }

    /// What the record goes through.
    pub(super) fn plan(&self) -> &'s Plan {
        self.plan
    }

    /// Where the record comes from.
    pub(super) fn origin(&self) -> &'s TopicPartition {
        self.origin
    }

    /// Takes a result.
    pub(super) fn put(&mut self, item: &Item<'_>, pending: &mut Pending) {
        self.results += 1;
        match self.way {
            Way::AtMostOne => self.write(item),
            Way::Several => self.emit(item, item.value.map(|value| [value]).as_ref().map(|value| &value[..])),
            Way::SeveralOrNone => pending.hold(item),
        }
    }

    /// Whether what it takes is written at once.
    pub(super) fn takes_pieces(&self) -> bool {
        self.way != Way::SeveralOrNone
    }

    /// Takes a result with these pieces as its value.
    pub(super) fn put_pieces(&mut self, item: &Item<'_>, pieces: &[&[u8]]) {
        self.results += 1;
        if self.way == Way::AtMostOne && is_plain(item) {
            self.out.write_inline(self.index, pieces);
        } else {
            self.emit(item, Some(pieces));
        }
    }

    /// The record is done.
    pub(super) fn finish(&mut self, pending: &mut Pending) {
        if self.results == 0 {
            self.out.skip(self.index);
        }
        for held in &pending.items {
            let bytes = |range: &Range<usize>| &pending.bytes[range.clone()];
            let value = held.value.as_ref().map(bytes);
            let item = Item {
                offset: 0,
                timestamp: held.timestamp,
                key: held.key.as_ref().map(bytes),
                value,
                headers: bytes(&held.headers),
                topic: held.topic.as_ref(),
                partition: held.partition,
                is_as_read: false,
            };
            self.emit(&item, value.map(|value| [value]).as_ref().map(|value| &value[..]));
        }
        pending.clear();
    }

    /// Writes the only result.
    #[inline]
    fn write(&mut self, item: &Item<'_>) {
        match item.value {
            Some(value) if is_plain(item) => self.out.write_inline(self.index, &[value]),
            Some(value) => self.emit(item, Some(&[value])),
            None => self.emit(item, None),
        }
    }

    /// Writes a result with these pieces as its value.
    fn emit(&mut self, item: &Item<'_>, value: Option<&[&[u8]]>) {
        // The destination and the record's own partition are said by saying nothing: what goes to one place has
        // to go there in one way, as only then it keeps its order.
        let topic = item.topic.filter(|topic| self.destination != Some(*topic));
        let number = match item.partition {
            Partition::Kept => None,
            Partition::Number(number) => Some(number),
            Partition::ByKey => item.key.and_then(|key| {
                let count = self.plan.partitions.count(topic.map(|topic| &**topic))?;
                Some(partition_of(key, count) as i32)
            }),
        };
        self.out.emit(
            self.index,
            &Emission {
                topic,
                partition: number.filter(|number| *number != self.origin.partition),
                timestamp: item.timestamp,
                key: item.key,
                value,
                headers: item.headers,
            },
        );
    }
}

/// Whether nothing but the value may be other than it was read.
fn is_plain(item: &Item<'_>) -> bool {
    item.is_as_read && item.topic.is_none() && item.partition == Partition::Kept
}

impl Pending {
    fn hold(&mut self, item: &Item<'_>) {
        let mut put = |bytes: &[u8]| {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(bytes);
            start..self.bytes.len()
        };
        let held = Held {
            timestamp: item.timestamp,
            key: item.key.map(&mut put),
            value: item.value.map(&mut put),
            headers: put(item.headers),
            topic: item.topic.cloned(),
            partition: item.partition,
        };
        self.items.push(held);
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.items.clear();
    }
}
