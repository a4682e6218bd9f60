//! Giving partitions up: first finish and commit what is under way, then let go.

use tokio::sync::oneshot;

use super::Mill;
use crate::{
    batch::TopicPartition,
    engine::{Sink, Source},
};

/// Partitions that the source waits to give up.
pub(super) struct Revoking {
    pub(super) partitions: Vec<TopicPartition>,
    pub(super) release: oneshot::Sender<()>,
}

impl Revoking {
    /// Whether the source has stopped waiting.
    fn is_late(&self) -> bool {
        self.release.is_closed()
    }
}

impl<S: Source, K: Sink> Mill<S, K> {
    /// Lets go of what is settled, or what the source no longer waits for.
    pub(super) fn release_settled(&mut self) {
        let offsets = &self.offsets;
        let settled: Vec<Revoking> = self
            .revoking
            .extract_if(.., |revoking| {
                revoking.is_late()
                    || revoking.partitions.iter().all(|partition| offsets.is_settled(partition))
            })
            .collect();
        for revoking in settled {
            if revoking.is_late() {
                tracing::warn!(
                    partitions = %super::list(&revoking.partitions),
                    "given up before everything was acknowledged; the rest will be read again"
                );
            }
            self.forget(&revoking.partitions);
            // The source may have stopped waiting meanwhile, which is all that sending asks of it.
            let _ = revoking.release.send(());
        }
    }
}
