//! Reads the partitions that a consumer group assigns to this member.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;
use topicmill_mill::{
    batch::TopicPartition,
    engine::{
        ClientSettings, EngineError, ErrorKind, Offset, Room, Source, SourceEvent, SourceSettings, Stake,
    },
};

use super::{
    Client, NativeSettings,
    assignments::Assignments,
    fetch::{Delivered, FetchHandle, FetchShape, FetchShared},
    group::{Committer, MemberSettings, Membership},
};

/// The most batches that wait for the consumer of events; their bytes are bounded separately.
const QUEUE_BATCHES_MAX: usize = 256;

/// How long leaving the group may take.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The native [`Source`].
#[derive(Debug)]
pub struct NativeSource {
    events: mpsc::Receiver<Result<SourceEvent, EngineError>>,
    batches: mpsc::Receiver<Delivered>,
    /// A batch taken from its queue before the events that come first.
    held: Option<Delivered>,
    assignments: Arc<Assignments>,
    committer: Arc<Committer>,
    /// The partitions that are not to be fetched, as passed to the fetcher.
    full: watch::Sender<Arc<BTreeSet<TopicPartition>>>,
    closing: Option<oneshot::Sender<()>>,
    member: AbortOnDropHandle<()>,
}

impl NativeSource {
    /// Joins the group in the background and starts to read.
    ///
    /// # Errors
    /// When a property is not supported.
    pub async fn new(
        client: &Client,
        client_settings: &ClientSettings,
        settings: SourceSettings,
    ) -> Result<NativeSource, EngineError> {
        let native = NativeSettings::from_properties(&client_settings.properties)?;
        let member = MemberSettings::new(&native.group, &settings);
        let assignments = Arc::new(Assignments::default());
        let (events_sender, events) = mpsc::channel(16);
        let (batches_sender, batches) = mpsc::channel(QUEUE_BATCHES_MAX);
        let shared = FetchShared {
            client: client.clone(),
            shape: FetchShape::new(&native.fetch, native.fetch.isolation.unwrap_or_default()),
            topic: Arc::clone(&member.topic),
            memory: client.cluster().memory(&settings.group, &member.topic),
            troubles: settings.troubles.clone(),
            budget: settings.budget,
            assignments: Arc::clone(&assignments),
            events: events_sender.clone(),
        };
        let (full, is_full) = watch::channel(Arc::default());
        let (fetcher, fetching) = FetchHandle::new(shared, batches_sender, is_full);
        let membership = Membership::new(
            client.clone(),
            settings.group,
            member,
            settings.troubles,
            Arc::clone(&assignments),
            fetcher,
            events_sender,
        );
        let committer = Arc::new(membership.committer());
        let (closing, closed) = oneshot::channel();
        let member = AbortOnDropHandle::new(tokio::spawn(membership.run(closed, fetching)));
        Ok(NativeSource {
            events,
            batches,
            held: None,
            assignments,
            committer,
            full,
            closing: Some(closing),
            member,
        })
    }
}

impl NativeSource {
    /// The event, without assignments that have ended already: the event that ends them follows, or
    /// has come.
    fn still_holds(
        &self,
        event: Result<SourceEvent, EngineError>,
    ) -> Option<Result<SourceEvent, EngineError>> {
        let mut event = event;
        if let Ok(SourceEvent::Assigned(assigned)) = &mut event
            && !assigned.is_empty()
        {
            assigned.retain(|assigned| self.assignments.is_current(&assigned.partition, assigned.id));
            if assigned.is_empty() {
                return None;
            }
        }
        Some(event)
    }
}

async fn next_event(
    events: &mut mpsc::Receiver<Result<SourceEvent, EngineError>>,
) -> Result<SourceEvent, EngineError> {
    let ended = || Err(EngineError::new(ErrorKind::Retriable, "the source has ended"));
    events.recv().await.unwrap_or_else(ended)
}

async fn next_batch(
    held: &mut Option<Delivered>,
    batches: &mut mpsc::Receiver<Delivered>,
) -> Option<Delivered> {
    match held.take() {
        Some(delivered) => Some(delivered),
        None => batches.recv().await,
    }
}

impl Source for NativeSource {
    async fn next(&mut self, room: &Room) -> Result<SourceEvent, EngineError> {
        if *self.full.borrow().as_ref() != room.full {
            self.full.send_replace(Arc::new(room.full.clone()));
        }
        loop {
            tokio::select! {
                biased;
                event = next_event(&mut self.events) => {
                    if let Some(event) = self.still_holds(event) {
                        return event;
                    }
                }
                delivered = next_batch(&mut self.held, &mut self.batches), if room.is_open => {
                    // The member reports why, if it can.
                    let Some(delivered) = delivered else { return next_event(&mut self.events).await };
                    // A batch must not overtake the event that assigned its partition, though the two
                    // come by different channels. This is how it would:
                    //   1. `select!` looks at the events, and there is none;
                    //   2. on another thread the finder sends `Assigned`, then starts the fetcher
                    //      (`Finder::settle`), whose first batch arrives;
                    //   3. `select!` looks at the batches, and there is one.
                    // As the event is sent before the fetcher is started, it is in its channel by (3).
                    // So the batch waits for one more round, which begins with the events. If it is
                    // another event that came, that round costs nothing but itself.
                    if !self.events.is_empty() {
                        self.held = Some(delivered);
                        continue;
                    }
                    // What was fetched before a revoke, a loss or a rewind may still be in the channel.
                    // All three end the reading first, and send their event after that: so no batch
                    // comes after the event which ends its assignment.
                    let (partition, assignment) = delivered.assignment();
                    if self.assignments.is_reading(partition, assignment) {
                        return Ok(delivered.into_event());
                    }
                }
            }
        }
    }

    fn commit(
        &self,
        offsets: Vec<Offset>,
    ) -> impl Future<Output = Result<Vec<Offset>, EngineError>> + Send + 'static {
        let committer = Arc::clone(&self.committer);
        async move { committer.commit(offsets).await }
    }

    fn stake(&self, offsets: Vec<Offset>) -> Option<Stake> {
        let (identity, offsets) = self.assignments.stake(offsets)?;
        Some(self.committer.stake(identity, offsets))
    }

    /// From here on, nothing of the old assignments counts. Where the new ones begin is found out
    /// in the background, as for partitions that the group assigns. The group is not involved.
    async fn rewind(&mut self, partitions: Vec<TopicPartition>) {
        self.assignments.seek(partitions.into_iter().map(|partition| (partition, None)), drop);
    }

    async fn close(mut self) {
        // Events that the member still has must not keep it from leaving.
        self.events.close();
        if let Some(closing) = self.closing.take() {
            let _ = closing.send(());
        }
        if timeout(LEAVE_TIMEOUT, &mut self.member).await.is_err() {
            tracing::warn!("leaving the group took longer than {LEAVE_TIMEOUT:?}");
        }
    }
}

#[cfg(test)]
#[path = "source_tests/mod.rs"]
mod tests;
