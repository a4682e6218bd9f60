//! The lag of the partitions that are assigned to this process. Each has one owner: a sum over all
//! processes of a group is the group's lag.
//!
//! Most of it is known without a request: where a partition is committed, and how old the first
//! record in flight is. Only the ends of the logs are requested, by `run`. What is not known is
//! left out rather than shown as it once was.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::Arc,
};

use parking_lot::Mutex;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
};

use crate::{batch::TopicPartition, clock};

/// The lag by assigned partition; clones share it.
#[derive(Clone, Debug, Default)]
pub struct OwnLag {
    shared: Arc<Mutex<LagState>>,
}

#[derive(Debug, Default)]
struct LagState {
    group: String,
    partitions: BTreeMap<TopicPartition, Own>,
}

/// What is known of a partition.
#[derive(Debug)]
struct Own {
    /// The group's committed offset, or where reading starts without one.
    committed: i64,
    /// The value of `committed` when the ends were last noted.
    committed_then: Option<i64>,
    /// The end of the log, if it is known: behind the last record, whether or not its transaction
    /// has ended.
    end: Option<i64>,
    /// The offset after each batch that has been read and is not committed, with its first
    /// timestamp.
    under_way: VecDeque<(i64, i64)>,
    /// The timestamp of the last record read.
    last_read: Option<i64>,
    /// The timestamp looked up for the record at an offset.
    looked_up: Option<(i64, i64)>,
}

/// How far one partition is behind.
#[derive(Clone, Debug, PartialEq)]
pub struct PartitionLag {
    /// The partition.
    pub partition: TopicPartition,
    /// The records that are not committed; `None` while the end of the log is not known.
    pub records: Option<i64>,
    /// The age in seconds of the first of them, 0 without any; `None` while it is not known.
    pub seconds: Option<f64>,
}

/// A record whose age can be learned only by reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// Its partition.
    pub partition: TopicPartition,
    /// Its offset, or the one that it follows.
    pub from: i64,
    /// The end of the log.
    pub end: i64,
}

impl OwnLag {
    /// Names the group that the partitions are read for.
    pub fn set_group(&self, group: &str) {
        self.shared.lock().group = group.to_owned();
    }

    /// A partition was assigned, to be read from `position` on.
    pub fn assigned(&self, partition: &TopicPartition, position: i64) {
        let own = Own {
            committed: position,
            committed_then: None,
            end: None,
            under_way: VecDeque::new(),
            last_read: None,
            looked_up: None,
        };
        self.shared.lock().partitions.insert(partition.clone(), own);
    }

    /// A batch was read: the offset after it, and the timestamps in milliseconds of its first and
    /// last record, if it has any.
    pub fn read(&self, partition: &TopicPartition, next: i64, timestamps: Option<(i64, i64)>) {
        if let (Some(own), Some((first, last))) =
            (self.shared.lock().partitions.get_mut(partition), timestamps)
        {
            own.under_way.push_back((next, first));
            own.last_read = Some(last);
        }
    }

    /// The group has committed an offset, which is that of the next record to read.
    pub fn committed(&self, partition: &TopicPartition, next: i64) {
        if let Some(own) = self.shared.lock().partitions.get_mut(partition) {
            own.committed = own.committed.max(next);
            while own.under_way.front().is_some_and(|(end, _)| *end <= own.committed) {
                own.under_way.pop_front();
            }
        }
    }

    /// A partition is not assigned any more.
    pub fn gone(&self, partition: &TopicPartition) {
        self.shared.lock().partitions.remove(partition);
    }

    /// Nothing is assigned any more.
    pub fn clear(&self) {
        self.shared.lock().partitions.clear();
    }

    /// The partitions that are assigned.
    pub fn partitions(&self) -> Vec<TopicPartition> {
        self.shared.lock().partitions.keys().cloned().collect()
    }

    /// Notes where the logs end; a partition that `ends` does not name has an unknown end.
    pub fn set_ends(&self, ends: &BTreeMap<TopicPartition, i64>) {
        for (partition, own) in &mut self.shared.lock().partitions {
            own.end = ends.get(partition).copied();
        }
    }

    /// Up to `most` records that are the first of their partitions and not in flight, in partitions
    /// that have not moved since the last call.
    pub fn unread(&self, most: usize) -> Vec<Unread> {
        let mut unread = Vec::new();
        for (partition, own) in &mut self.shared.lock().partitions {
            let has_moved = own.committed_then.replace(own.committed) != Some(own.committed);
            let is_known = own.looked_up.is_some_and(|(offset, _)| offset == own.committed);
            let Some(end) = own.end.filter(|end| *end > own.committed) else { continue };
            if !has_moved && !is_known && own.under_way.is_empty() && unread.len() < most {
                unread.push(Unread { partition: partition.clone(), from: own.committed, end });
            }
        }
        unread
    }

    /// Notes the timestamp in milliseconds of a record that was looked up.
    pub fn looked_up(&self, unread: &Unread, timestamp: i64) {
        if let Some(own) = self.shared.lock().partitions.get_mut(&unread.partition) {
            own.looked_up = Some((unread.from, timestamp));
        }
    }

    /// The lag of every assigned partition.
    pub fn now(&self) -> Vec<PartitionLag> {
        let now = clock::now_ms();
        let shared = self.shared.lock();
        let lag = |(partition, own): (&TopicPartition, &Own)| PartitionLag {
            partition: partition.clone(),
            records: own.records(),
            seconds: own.seconds(now),
        };
        shared.partitions.iter().map(lag).collect()
    }

    /// The records of all assigned partitions that are not committed; `None` while that of one of
    /// them is not known.
    pub fn total(&self) -> Option<i64> {
        self.shared.lock().partitions.values().map(Own::records).sum()
    }
}

impl Own {
    fn records(&self) -> Option<i64> {
        self.end.map(|end| (end - self.committed).max(0))
    }

    fn seconds(&self, now: i64) -> Option<f64> {
        if self.records()? == 0 {
            return Some(0.0);
        }
        let looked_up = self.looked_up.filter(|(offset, _)| *offset == self.committed);
        let first = self.under_way.front().or(looked_up.as_ref()).map(|(_, timestamp)| *timestamp);
        // Between two batches of a partition that is being read, the next record is about as old.
        let goes_on = self.committed_then.is_some_and(|then| then != self.committed);
        let timestamp = first.or(self.last_read.filter(|_| goes_on))?;
        // -1 means that there is none.
        (timestamp >= 0).then(|| (now - timestamp).max(0) as f64 / 1000.0)
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PartitionLabel {
    group: String,
    topic: String,
    partition: i32,
}

impl Collector for OwnLag {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let group = self.shared.lock().group.clone();
        let all = self.now();
        let label = |partition: &TopicPartition| PartitionLabel {
            group: group.clone(),
            topic: partition.topic.to_string(),
            partition: partition.partition,
        };
        let help = "Records of an assigned partition that the group has not committed";
        let mut metric = encoder.encode_descriptor("lag_records", help, None, MetricType::Gauge)?;
        for lag in &all {
            if let Some(records) = lag.records {
                ConstGauge::new(records).encode(metric.encode_family(&label(&lag.partition))?)?;
            }
        }
        let help = "Age of the first record of an assigned partition that the group has not committed";
        let mut metric = encoder.encode_descriptor("lag_seconds", help, None, MetricType::Gauge)?;
        for lag in &all {
            if let Some(seconds) = lag.seconds {
                ConstGauge::new(seconds).encode(metric.encode_family(&label(&lag.partition))?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(number: i32) -> TopicPartition {
        TopicPartition::new("t", number)
    }

    fn ends(ends: &[(i32, i64)]) -> BTreeMap<TopicPartition, i64> {
        ends.iter().map(|(number, end)| (partition(*number), *end)).collect()
    }

    #[test]
    fn only_what_is_known_of_what_is_assigned_is_shown() {
        let lag = OwnLag::default();
        lag.assigned(&partition(0), 10);
        lag.assigned(&partition(1), 0);
        lag.set_ends(&ends(&[(0, 25), (7, 9)]));
        let known: Vec<_> = lag.now().into_iter().map(|of| (of.partition.partition, of.records)).collect();
        assert_eq!(known, [(0, Some(15)), (1, None)]);
        assert_eq!(lag.total(), None);
        lag.gone(&partition(1));
        assert_eq!(lag.total(), Some(15));
        lag.set_ends(&BTreeMap::new());
        assert_eq!(lag.total(), None, "what was known is not what is");
    }

    #[test]
    fn the_age_is_that_of_the_first_record_that_is_not_committed() {
        let lag = OwnLag::default();
        let at = partition(0);
        let ago = |seconds: i64| clock::now_ms() - seconds * 1000;
        let age = || lag.now()[0].seconds;
        lag.assigned(&at, 0);
        lag.set_ends(&ends(&[(0, 30)]));
        lag.read(&at, 10, Some((ago(100), ago(90))));
        lag.read(&at, 20, Some((ago(50), ago(40))));
        assert!((100.0..130.0).contains(&age().unwrap()));
        lag.committed(&at, 10);
        assert!((50.0..80.0).contains(&age().unwrap()));
        assert_eq!(lag.unread(9), [], "it is under way");
        lag.committed(&at, 20);
        assert!((40.0..70.0).contains(&age().unwrap()), "the next is about as old as the last");
        assert_eq!(lag.unread(9), [], "it has just moved");
        let unread = lag.unread(9);
        assert_eq!(unread, [Unread { partition: at.clone(), from: 20, end: 30 }]);
        assert_eq!(age(), None, "it stands still, and nobody has looked");
        lag.looked_up(&unread[0], ago(35));
        assert!((35.0..65.0).contains(&age().unwrap()));
        assert_eq!(lag.unread(9), []);
        lag.committed(&at, 30);
        assert_eq!(age(), Some(0.0));
    }

    #[test]
    fn a_record_without_a_timestamp_has_no_age() {
        let lag = OwnLag::default();
        lag.assigned(&partition(0), 0);
        lag.set_ends(&ends(&[(0, 5)]));
        lag.read(&partition(0), 5, Some((-1, -1)));
        assert_eq!((lag.total(), lag.now()[0].seconds), (Some(5), None));
    }
}
