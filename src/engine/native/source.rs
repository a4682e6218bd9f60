//! Reads the partitions that a consumer group assigns to this member.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{
    Client, NativeSettings,
    fetch::{Delivered, FetchHandle, FetchShape, Shared},
    group::{Assignments, Committer, MemberSettings, Membership, Task},
};
use crate::engine::{ClientSettings, EngineError, ErrorKind, Offset, Source, SourceEvent, SourceSettings};

/// The batches that wait for the consumer of events at most; their bytes are bounded besides.
const QUEUE: usize = 256;

/// How long leaving the group may take.
const LEAVE: Duration = Duration::from_secs(10);

/// The native [`Source`].
#[derive(Debug)]
pub struct NativeSource {
    events: mpsc::Receiver<Result<SourceEvent, EngineError>>,
    batches: mpsc::Receiver<Delivered>,
    assignments: Arc<Assignments>,
    committer: Arc<Committer>,
    closing: Option<oneshot::Sender<()>>,
    member: Task,
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
        let (batches_sender, batches) = mpsc::channel(QUEUE);
        let shared = Shared {
            client: client.clone(),
            shape: FetchShape::new(&native.fetch, native.fetch.isolation.unwrap_or_default()),
            offset_reset: member.offset_reset,
            budget: settings.budget,
            assignments: Arc::clone(&assignments),
            events: events_sender.clone(),
        };
        let fetcher = FetchHandle::new(shared, batches_sender);
        let membership = Membership::new(
            client.clone(),
            settings.group,
            member,
            Arc::clone(&assignments),
            fetcher,
            events_sender,
        );
        let committer = Arc::new(membership.committer());
        let (closing, closed) = oneshot::channel();
        let member = Task(tokio::spawn(membership.run(closed)));
        Ok(NativeSource { events, batches, assignments, committer, closing: Some(closing), member })
    }
}

impl Source for NativeSource {
    async fn next(&mut self, room: bool) -> Result<SourceEvent, EngineError> {
        loop {
            tokio::select! {
                biased;
                event = self.events.recv() => {
                    return event.unwrap_or_else(|| {
                        Err(EngineError::new(ErrorKind::Retriable, "the source has ended"))
                    });
                }
                Some(Delivered { batch, .. }) = self.batches.recv(), if room => {
                    if self.assignments.is_reading(&batch.origin, batch.generation) {
                        return Ok(SourceEvent::Batch(batch));
                    }
                }
            }
        }
    }

    fn commit(&self, offsets: Vec<Offset>) -> impl Future<Output = Result<(), EngineError>> + Send + 'static {
        let committer = Arc::clone(&self.committer);
        async move { committer.commit(offsets).await }
    }

    async fn close(mut self) {
        // What the member still has to say must not keep it from leaving.
        self.events.close();
        if let Some(closing) = self.closing.take() {
            let _ = closing.send(());
        }
        if timeout(LEAVE, &mut self.member.0).await.is_err() {
            tracing::warn!("leaving the group took longer than {LEAVE:?}");
        }
    }
}
