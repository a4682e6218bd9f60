//! The commit thread: one commit after another, so that an older one never follows a newer one.

use std::{
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use rdkafka::{
    Offset as At, TopicPartitionList,
    consumer::{CommitMode, Consumer},
    types::RDKafkaErrorCode,
};
use tokio::sync::oneshot;
use topicmill_mill::engine::{EngineError, ErrorKind, Offset};

use super::{error, inbox::Inbox, rebalance::GroupConsumer};

/// How long the coordinator may take to agree.
const DEADLINE: Duration = Duration::from_secs(30);
/// The most commits that may wait.
const MAX_WAITING: usize = 64;

/// Sends offsets to the commit thread, which ends once all of these are dropped.
#[derive(Debug)]
pub(super) struct Commits {
    requests: mpsc::SyncSender<Request>,
}

struct Request {
    offsets: Vec<Offset>,
    reply: oneshot::Sender<Result<Vec<Offset>, EngineError>>,
}

impl Commits {
    /// Starts the thread.
    pub fn start(consumer: Arc<GroupConsumer>, inbox: Arc<Inbox>) -> (Commits, thread::JoinHandle<()>) {
        let (requests, waiting) = mpsc::sync_channel::<Request>(MAX_WAITING);
        let run = move || {
            for request in waiting {
                let offsets = inbox.begin_commit(request.offsets);
                let result = commit(&consumer, &offsets);
                inbox.end_commit();
                // Nobody may be waiting any more.
                let _ = request.reply.send(result.map(|()| offsets));
            }
        };
        let thread = thread::Builder::new().name("rdkafka-commit".into()).spawn(run);
        (Commits { requests }, thread.expect("a thread can be started"))
    }

    /// Commits `offsets`; resolves when the coordinator agreed or the deadline has passed.
    pub fn commit(
        &self,
        offsets: Vec<Offset>,
    ) -> impl Future<Output = Result<Vec<Offset>, EngineError>> + Send + 'static {
        let (reply, result) = oneshot::channel();
        let sent = self.requests.try_send(Request { offsets, reply });
        async move {
            let late = |what: &str| EngineError::new(ErrorKind::Retriable, what);
            sent.map_err(|_| late("too many commits wait for the coordinator"))?;
            match tokio::time::timeout(DEADLINE, result).await {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err(late("the source was closed before the commit")),
                Err(_) => Err(late(&format!("the coordinator did not answer the commit in {DEADLINE:?}"))),
            }
        }
    }
}

/// librdkafka may block here for as long as the coordinator is away.
fn commit(consumer: &GroupConsumer, offsets: &[Offset]) -> Result<(), EngineError> {
    if offsets.is_empty() {
        return Ok(());
    }
    let mut list = TopicPartitionList::with_capacity(offsets.len());
    for Offset { partition, next, .. } in offsets {
        let added = list.add_partition_offset(&partition.topic, partition.partition, At::Offset(*next));
        added.map_err(|error| error::engine_error("committing", &error).at_offset(partition, *next))?;
    }
    match consumer.commit(&list, CommitMode::Sync) {
        Ok(()) => Ok(()),
        // Nothing had to be committed.
        Err(error) if error::code(&error) == RDKafkaErrorCode::NoOffset => Ok(()),
        Err(error) => Err(error::engine_error("committing", &error)),
    }
}
