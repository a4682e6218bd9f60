//! What `--until-caught-up` waits for: the end offsets that were seen at the start.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tracing::warn;

use crate::{
    batch::TopicPartition,
    config::Config,
    engine::{
        EngineError, OffsetReset,
        native::{Client, OffsetAt},
    },
};

/// The offsets to reach, for partitions that have something to read.
#[derive(Clone, Debug)]
pub(super) struct Goal {
    ends: BTreeMap<TopicPartition, End>,
}

#[derive(Clone, Copy, Debug)]
struct End {
    end: i64,
    /// The committed offset, if it lies beyond the end: it belongs to an earlier log and is no
    /// progress.
    not: Option<i64>,
}

impl Goal {
    /// The end offsets now, for partitions in which the group has something left to read.
    pub(super) async fn now(client: &Client, config: &Config) -> Result<Goal, EngineError> {
        let topic = &config.source;
        // The commits first, so that none of them is beyond the ends.
        let committed = client.committed(&config.group, topic).await?;
        let starts = client.offsets(topic, OffsetAt::Earliest).await?;
        let ends = client.offsets(topic, OffsetAt::Latest).await?;
        warn_of_transactions(client, topic, &ends).await;
        let mut left = BTreeMap::new();
        for (number, end) in ends {
            let start = starts.get(&number).copied().unwrap_or(0);
            let committed = committed.get(&number).copied();
            let not = committed.filter(|committed| *committed > end);
            let is_left = match committed {
                _ if not.is_some() => end > start,
                // What retention has removed is not there to be read.
                Some(committed) => end > start.max(committed),
                // The end that it starts at has to be committed: the next run would choose a later
                // one.
                None => end > start || config.offset_reset == OffsetReset::Latest,
            };
            if is_left {
                left.insert(TopicPartition { topic: Arc::clone(topic), partition: number }, End { end, not });
            }
        }
        Ok(Goal { ends: left })
    }

    /// The goal by partition, for a mill; partitions whose progress only the group's commits can
    /// show are left unreachable.
    pub(super) fn offsets(&self) -> BTreeMap<TopicPartition, i64> {
        let of = |(partition, goal): (&TopicPartition, &End)| {
            (partition.clone(), if goal.not.is_some() { i64::MAX } else { goal.end })
        };
        self.ends.iter().map(of).collect()
    }

    /// Whether the group's committed offsets have reached it.
    pub(super) fn is_reached(&self, committed: &BTreeMap<TopicPartition, i64>) -> bool {
        let is_reached = |(partition, goal): (&TopicPartition, &End)| {
            let committed = committed.get(partition);
            committed.is_some_and(|at| *at >= goal.end && Some(*at) != goal.not)
        };
        self.ends.iter().all(is_reached)
    }
}

/// What stands behind an open transaction cannot be read, and is not waited for.
async fn warn_of_transactions(client: &Client, topic: &str, ends: &BTreeMap<i32, i64>) {
    let Ok(marks) = client.offsets_by_partition(topic, OffsetAt::HighWatermark, Duration::ZERO).await else {
        return;
    };
    let behind = |(number, end): (&i32, &i64)| Some((marks.get(number)?.as_ref().ok()? - end).max(0));
    let records: i64 = ends.iter().filter_map(behind).sum();
    if records > 0 {
        warn!(topic, records, "records stand behind an open transaction, and are not waited for");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_of_what_the_log_was_before_is_no_progress() {
        let partition = TopicPartition::new("t", 0);
        let ends = BTreeMap::from([(partition.clone(), End { end: 50, not: Some(70) })]);
        let goal = Goal { ends };
        let is_reached = |at| goal.is_reached(&BTreeMap::from([(partition.clone(), at)]));
        assert_eq!([70, 49, 50, 51].map(is_reached), [false, false, true, true]);
    }
}
