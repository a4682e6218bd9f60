//! The topics that are compared, and the offsets in them.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::Arc,
};

use super::{Logs, fingerprint::Identity};
use crate::{
    batch::TopicPartition,
    config::VerifyConfig,
    engine::{EngineError, ErrorKind},
    strategy::Order,
};

/// The offsets to compare.
pub(super) struct ComparedTopics {
    /// What the group has committed of the source, if there is a group.
    committed: Option<BTreeMap<i32, i64>>,
    source: BTreeMap<i32, Range<i64>>,
    /// The destination, and the topics that records are routed to as far as they are known.
    written: BTreeMap<Arc<str>, Written>,
    pub dead_letter: BTreeMap<i32, Range<i64>>,
    pub letters: Identity,
}

/// A topic that output is written to.
struct Written {
    /// None if there is no such topic: then everything that should be there is missing.
    ranges: BTreeMap<i32, Range<i64>>,
    identity: Identity,
}

/// What came of a look for topics that were not known.
#[derive(Debug, Default)]
pub(super) struct Discovered {
    /// The end of the source has moved since it was taken: what is in them may come from records beyond it.
    pub is_late: bool,
    /// The records of one have another identity than those of the destination.
    pub differs: bool,
}

impl Written {
    async fn open(
        logs: &impl Logs,
        config: &VerifyConfig,
        topic: &str,
    ) -> Result<Option<Written>, EngineError> {
        let Some(ranges) = logs.ranges(topic).await? else { return Ok(None) };
        let without_timestamps = logs.stamps_records(topic).await?;
        Ok(Some(Written {
            ranges,
            identity: Identity { without_timestamps, with_keys: config.order == Order::Key },
        }))
    }
}

impl ComparedTopics {
    /// `routed` are the topics besides the destination that are known to be written.
    pub(super) async fn open(
        logs: &impl Logs,
        config: &VerifyConfig,
        routed: &BTreeSet<Arc<str>>,
    ) -> Result<ComparedTopics, EngineError> {
        let missing =
            |topic: &str| EngineError::new(ErrorKind::Fatal, format!("the topic {topic} does not exist"));
        // The commits first: what is committed by now is written by then.
        let committed = match &config.group {
            Some(group) => Some(logs.committed(group, &config.source).await?),
            None => None,
        };
        // The source last: whatever is written by then comes from records below its ends.
        let destination = logs.ranges(&config.destination).await?;
        let ranges = destination.ok_or_else(|| missing(&config.destination))?;
        let mut others = BTreeMap::new();
        let named = config.transform.topics().iter().chain(routed).collect::<BTreeSet<_>>();
        for topic in named.into_iter().filter(|topic| **topic != config.destination) {
            if let Some(written) = Written::open(logs, config, topic).await? {
                others.insert(Arc::clone(topic), written);
            }
        }
        let dead_letter = match logs.ranges(&config.dead_letter).await? {
            None if config.dead_letter_given => return Err(missing(&config.dead_letter)),
            ranges => ranges.unwrap_or_default(),
        };
        let source = logs.ranges(&config.source).await?.ok_or_else(|| missing(&config.source))?;
        if committed.as_ref().is_some_and(BTreeMap::is_empty) {
            let group = config.group.as_deref().unwrap_or_default();
            let text = format!("the group {group} has committed nothing of the topic {}", config.source);
            return Err(EngineError::new(ErrorKind::Fatal, text));
        }
        let identity = Identity {
            without_timestamps: logs.stamps_records(&config.destination).await?,
            with_keys: config.order == Order::Key,
        };
        let mut written = others;
        written.insert(Arc::clone(&config.destination), Written { ranges, identity });
        let stamped = !dead_letter.is_empty() && logs.stamps_records(&config.dead_letter).await?;
        let letters = Identity { without_timestamps: stamped, with_keys: false };
        Ok(ComparedTopics { committed, source, written, dead_letter, letters })
    }

    /// Adds topics that are not known yet.
    pub(super) async fn discover(
        &mut self,
        logs: &impl Logs,
        config: &VerifyConfig,
        topics: BTreeSet<Arc<str>>,
    ) -> Result<Discovered, EngineError> {
        let mut discovered = Discovered::default();
        let usual = self.identity(&config.destination);
        for topic in topics {
            if self.written.contains_key(&topic) {
                continue;
            }
            let written = match Written::open(logs, config, &topic).await? {
                Some(written) => written,
                None => Written { ranges: BTreeMap::new(), identity: usual },
            };
            discovered.differs |= written.identity != usual;
            discovered.is_late |= logs.ranges(&config.source).await?.as_ref() != Some(&self.source);
            self.written.insert(topic, written);
        }
        Ok(discovered)
    }

    /// The partitions that the source or the destination has.
    pub(super) fn partitions(&self, destination: &str) -> Vec<i32> {
        let destination = self.written.get(destination).into_iter().flat_map(|written| written.ranges.keys());
        let mut all: Vec<i32> = self.source.keys().chain(destination).copied().collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The topics that are written.
    pub(super) fn written(&self) -> BTreeSet<Arc<str>> {
        self.written.keys().cloned().collect()
    }

    /// Their partitions.
    pub(super) fn places(&self) -> Vec<TopicPartition> {
        let place = |topic: &Arc<str>, partition| TopicPartition { topic: Arc::clone(topic), partition };
        let all = self.written.iter();
        all.flat_map(|(topic, written)| written.ranges.keys().map(move |of| place(topic, *of))).collect()
    }

    /// The offsets of a partition that is written; none if it does not exist.
    pub(super) fn range(&self, place: &TopicPartition) -> Range<i64> {
        let written = self.written.get(&place.topic);
        written.and_then(|written| written.ranges.get(&place.partition)).cloned().unwrap_or(0..0)
    }

    /// The offsets of a partition of the source; none if it does not exist.
    pub(super) fn source_range(&self, partition: i32) -> Range<i64> {
        self.source.get(&partition).cloned().unwrap_or(0..0)
    }

    /// Whether a partition of the source has lost its beginning.
    pub(super) fn is_any_cut(&self) -> bool {
        self.source.values().any(|range| range.start > 0)
    }

    /// What makes a record of a topic that is written.
    pub(super) fn identity(&self, topic: &str) -> Identity {
        self.written.get(topic).map(|written| written.identity).unwrap_or_default()
    }

    /// The same of all of them.
    pub(super) fn identities(&self) -> BTreeMap<Arc<str>, Identity> {
        self.written.iter().map(|(topic, written)| (Arc::clone(topic), written.identity)).collect()
    }

    /// From this offset on, what is absent is behind.
    pub(super) fn committed(&self, partition: i32) -> Option<i64> {
        self.committed.as_ref().map(|committed| committed.get(&partition).copied().unwrap_or(0))
    }

    /// Where a transaction is open, which may hide what is missing.
    pub(super) async fn hints_at_transactions(&self, logs: &impl Logs) -> Result<Vec<String>, EngineError> {
        let mut hints = Vec::new();
        for (topic, _) in self.written.iter().filter(|(_, written)| !written.ranges.is_empty()) {
            for (partition, offset) in logs.held_up(topic).await? {
                hints.push(format!(
                    "a transaction is open in {topic}[{partition}] from offset {offset} on, and hides what is there \
                     until it ends or times out: verify again then"
                ));
            }
        }
        Ok(hints)
    }

    /// The offsets to read in all.
    pub(super) fn total(&self) -> u64 {
        let written = self.written.values().flat_map(|written| written.ranges.values());
        let all = self.source.values().chain(written).chain(self.dead_letter.values());
        all.map(|range| (range.end - range.start).max(0) as u64).sum()
    }
}
