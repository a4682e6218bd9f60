//! Partitions that are stopped: they cannot go on, while the others do.

use tracing::error;

use super::Mill;
use crate::{
    batch::TopicPartition,
    delivery,
    engine::{EngineError, Gap, Sink, Source},
};

/// Why a partition is stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Stopped {
    /// The dead letter topic refused a record.
    #[error("{letter}{}", .unwritten.as_ref().map(Unwritten::to_string).unwrap_or_default())]
    Letter {
        /// Which one.
        letter: delivery::RefusedLetter,
        /// What of the partition is not written either; exactly once only.
        unwritten: Option<Unwritten>,
    },
    /// The log holds something that cannot be read.
    #[error("{0}; the partition stops here")]
    Unreadable(EngineError),
    /// Offsets are gone, and the configuration says to stop there.
    #[error(
        "{} at offset {}: {} offsets are gone ({}); the partition stops here ([source] on_gap)",
        .0.partition, .0.from, .0.to - .0.from, .0.reason.as_str()
    )]
    Gap(Gap),
}

/// The records before a refused one whose output went with the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(", and nothing of it is written from {} on, as the transaction is aborted: to go on behind the record, \
         those before it have to be read again", .from.map_or("where it began".into(), |from| format!("offset {from}")))]
pub struct Unwritten {
    /// The committed offset, if there is one.
    pub from: Option<i64>,
}

impl<S: Source, K: Sink> Mill<S, K> {
    /// Reports that a partition, which is halted already, is stopped.
    pub(super) fn stop(&mut self, partition: TopicPartition, why: Stopped) {
        error!("{why}");
        self.stopped.insert(partition.clone(), why);
        self.refresh_room(&partition);
        self.tell_stopped();
    }

    /// Forgets that a partition was stopped, as it is read again. In a drain nothing is: it ends with the stop, even
    /// when the partition is taken away meanwhile.
    pub(super) fn forget_stop(&mut self, partition: &TopicPartition) {
        if !self.is_draining && self.stopped.remove(partition).is_some() {
            self.tell_stopped();
        }
    }

    fn tell_stopped(&self) {
        self.metrics.partitions_stopped.set(self.stopped.len() as i64);
        self.health.stopped(self.stopped.values().next().map(Stopped::to_string));
    }
}
