//! What a mill reports: log lines and metrics.

use tracing::{debug, info, warn};

use super::Mill;
use crate::{
    batch::{PartitionBatch, TopicPartition},
    clock,
    delivery::Acknowledged,
    engine::{Assignment, Gap, Offset, Sink, Source},
    metrics::LastLetter,
    sentences::names,
};

impl<S: Source, K: Sink> Mill<S, K> {
    /// One line for all of them; none for a partition that is only read again, whose failure is
    /// reported elsewhere.
    pub(super) fn tell_assigned(&self, assignments: &[Assignment], are_new: bool) {
        let partitions: Vec<TopicPartition> = assignments.iter().map(|of| of.partition.clone()).collect();
        if are_new {
            info!(partitions = partitions.len(), names = names(&partitions), "assigned");
        }
        for Assignment { partition, position, is_committed, .. } in assignments {
            let (topic, partition_number) = (&*partition.topic, partition.partition);
            debug!(topic, partition = partition_number, position, is_committed, "begins");
            self.metrics.lag.assigned(partition, *position);
        }
    }

    pub(super) fn tell_read(&self, batch: &PartitionBatch) {
        let ends = batch.records.first().zip(batch.records.last());
        let timestamps = ends.map(|(first, last)| (first.timestamp, last.timestamp));
        self.metrics.lag.read(&batch.origin, batch.next_offset, timestamps);
    }

    pub(super) fn tell_committed(&self, offsets: &[&Offset]) {
        self.metrics.commits.inc();
        self.metrics.last_commit.set(clock::now_ms() / 1000);
        for offset in offsets {
            self.metrics.lag.committed(&offset.partition, offset.next);
        }
    }

    pub(super) fn tell_letters(&self, acknowledged: &Acknowledged) {
        for class in &acknowledged.dead_letters {
            self.metrics.dead_letter(class.as_str());
        }
        if let Some((offset, class)) = acknowledged.last_letter {
            let partition = acknowledged.ticket.partition().clone();
            self.metrics.set_last_letter(LastLetter { partition, offset, class: class.as_str() });
        }
    }

    pub(super) fn tell_gap(&self, gap: &Gap) {
        let Gap { partition, from, to, reason, .. } = gap;
        let offsets = u64::try_from(to - from).unwrap_or(0);
        let reason = reason.as_str();
        self.metrics.skipped(partition, reason, offsets);
        let (topic, partition) = (&*partition.topic, partition.partition);
        warn!(
            topic,
            partition,
            from,
            to,
            offsets,
            reason,
            "offsets are passed over: the log does not have them any more"
        );
    }
}
