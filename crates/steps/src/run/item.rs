//! A record on its way through the passes.

use std::sync::Arc;

use topicmill_mill::{batch::TopicPartition, transform::RecordView};

use crate::expr::Meta;

/// A record between two passes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item<'v> {
    pub(super) offset: i64,
    pub(super) timestamp: i64,
    pub(super) key: Option<&'v [u8]>,
    pub(super) value: Option<&'v [u8]>,
    /// In wire encoding.
    pub(super) headers: &'v [u8],
    /// `None` for the destination.
    pub(super) topic: Option<&'v Arc<str>>,
    pub(super) partition: Partition,
    /// Whether key, headers and timestamp are those that were read.
    pub(super) is_as_read: bool,
}

/// Which partition a record goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Partition {
    /// The one that it comes from.
    Kept,
    /// That of its key.
    ByKey,
    /// This one.
    Number(i32),
}

impl<'v> Item<'v> {
    pub(super) fn of(record: &RecordView<'v>) -> Item<'v> {
        Item {
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key,
            value: record.value,
            headers: record.headers,
            topic: None,
            partition: Partition::Kept,
            is_as_read: true,
        }
    }

    /// Its metadata.
    pub(super) fn meta<'m>(&self, origin: &'m TopicPartition) -> Meta<'m>
    where
        'v: 'm,
    {
        Meta {
            topic: &origin.topic,
            partition: origin.partition,
            offset: self.offset,
            timestamp: self.timestamp,
            key: self.key,
            headers: self.headers,
        }
    }
}

/// A record in a pass, with what the steps of the pass have changed of all but the value.
#[derive(Debug)]
pub(super) struct Draft<'v> {
    pub(super) before: Item<'v>,
    pub(super) key: Option<Vec<u8>>,
    pub(super) headers: Option<Vec<u8>>,
    pub(super) topic: Option<Arc<str>>,
    pub(super) partition: Partition,
}

impl<'v> Draft<'v> {
    pub(super) fn new(item: &Item<'v>) -> Draft<'v> {
        Draft { before: *item, key: None, headers: None, topic: None, partition: item.partition }
    }

    /// The metadata of the record so far.
    pub(super) fn meta<'m>(&'m self, origin: &'m TopicPartition) -> Meta<'m> {
        Meta {
            key: self.key.as_deref().or(self.before.key),
            headers: self.headers.as_deref().unwrap_or(self.before.headers),
            ..self.before.meta(origin)
        }
    }

    /// The record after the pass; `value` is the new one, if there is one.
    pub(super) fn item<'d>(&'d self, value: Option<&'d [u8]>) -> Item<'d> {
        Item {
            key: self.key.as_deref().or(self.before.key),
            value: value.or(self.before.value),
            headers: self.headers.as_deref().unwrap_or(self.before.headers),
            topic: self.topic.as_ref().or(self.before.topic),
            partition: self.partition,
            is_as_read: self.before.is_as_read && self.key.is_none() && self.headers.is_none(),
            ..self.before
        }
    }
}
