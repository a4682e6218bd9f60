//! Fetches assigned partitions in the background and hands out batches of them.
//!
//! One task (`fetcher`) holds each partition's position and leader (`table`, `slot`). At most one
//! request per leader is in flight (`request`), for all of its partitions that are ready. Responses
//! are checked (`scan`) so that the next request can go out while the records are decoded
//! (`deliver`). `reposition` deals with a position that no longer exists.

mod deliver;
mod fetcher;
mod held;
mod parts;
mod pieces;
mod reposition;
mod request;
mod response;
mod scan;
mod slot;
mod slots;
mod table;

use std::{collections::BTreeSet, sync::Arc};

use tokio::{
    sync::{mpsc, watch},
    task::{JoinError, JoinSet},
};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

pub(super) use deliver::Delivered;
use fetcher::Fetcher;
pub(super) use held::{share_of, tied};
pub(super) use parts::Wanted;
pub(super) use pieces::ResponsePieces;
pub(super) use request::{FetchShape, ask};
pub(super) use response::aborted;
pub(super) use scan::{CORRUPT_READS_MAX, Scanned, scan};
#[cfg(test)]
pub(super) use slots::VISITS;
use table::Table;
use topicmill_mill::{
    batch::{AssignmentId, TopicPartition},
    budget::Budget,
    engine::{EngineError, ErrorKind, SourceEvent, Troubles},
};

use super::{Client, assignments::Assignments, memory::Memory};

/// The responses that wait to be decoded; with the budget, this bounds fetching ahead.
const RESPONSES_AHEAD_MAX: usize = 1;

/// Where to start reading an assigned partition.
#[derive(Clone, Debug)]
pub(super) struct Start {
    pub partition: TopicPartition,
    pub assignment: AssignmentId,
    pub position: i64,
    /// The leader epoch of the record before the position; -1 when unknown (KIP-320).
    pub epoch: i32,
    /// The id of the topic that the position belongs to, if brokers report it (KIP-516).
    pub topic: Option<Uuid>,
}

/// What the parts of the fetcher share.
#[derive(Debug)]
pub(super) struct FetchShared {
    pub client: Client,
    pub shape: FetchShape,
    pub topic: Arc<str>,
    pub memory: Memory,
    pub troubles: Troubles,
    pub budget: Budget,
    pub assignments: Arc<Assignments>,
    pub events: mpsc::Sender<Result<SourceEvent, EngineError>>,
}

/// Controls the fetcher.
#[derive(Debug)]
pub(super) struct FetchHandle {
    commands: mpsc::Sender<FetchCommand>,
}

/// The fetcher's tasks; they end when this is dropped.
#[derive(Debug)]
pub(super) struct Fetching {
    fetcher: AbortOnDropHandle<EngineError>,
    deliverer: AbortOnDropHandle<()>,
}

/// A command for the fetcher.
#[derive(Debug)]
pub(super) enum FetchCommand {
    /// Start reading these.
    Start(Vec<Start>),
    /// Stop reading these, unless they are read under a later assignment.
    Stop(Vec<(TopicPartition, AssignmentId)>),
    /// This assignment cannot be read any further.
    Halt(TopicPartition, AssignmentId),
}

impl FetchHandle {
    /// Starts the fetcher. The batches go to `batches`; partitions that are `full` are not fetched.
    pub fn new(
        shared: FetchShared,
        batches: mpsc::Sender<Delivered>,
        full: watch::Receiver<Arc<BTreeSet<TopicPartition>>>,
    ) -> (FetchHandle, Fetching) {
        let (commands, receiver) = mpsc::channel(16);
        let (parts, fetched) = mpsc::channel(RESPONSES_AHEAD_MAX);
        let shared = Arc::new(shared);
        let deliverer = deliver::run(Arc::clone(&shared), fetched, batches, commands.downgrade());
        let fetcher = Fetcher { shared, parts, table: Table::default(), tasks: JoinSet::new() };
        let fetching = Fetching {
            fetcher: AbortOnDropHandle::new(tokio::spawn(fetcher.run(receiver, full))),
            deliverer: AbortOnDropHandle::new(tokio::spawn(deliverer)),
        };
        (FetchHandle { commands }, fetching)
    }

    /// For others that control the fetcher.
    pub fn commands(&self) -> mpsc::Sender<FetchCommand> {
        self.commands.clone()
    }

    /// Stops reading these partitions.
    pub async fn stop(&self, partitions: &BTreeSet<TopicPartition>) {
        let all = partitions.iter().map(|partition| (partition.clone(), AssignmentId(u64::MAX)));
        let _ = self.commands.send(FetchCommand::Stop(all.collect())).await;
    }
}

impl Fetching {
    /// Waits until fetching has ended by itself, which happens only when something is wrong.
    pub async fn ended(&mut self) -> EngineError {
        let failed =
            |what: &str, error: JoinError| EngineError::new(ErrorKind::Retriable, format!("{what}: {error}"));
        tokio::select! {
            error = &mut self.fetcher => error.unwrap_or_else(|error| failed("the fetcher has ended", error)),
            ended = &mut self.deliverer => match ended {
                Ok(()) => EngineError::new(ErrorKind::Retriable, "nobody takes what was fetched"),
                Err(error) => failed("taking records apart has ended", error),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_of_a_task_is_told() {
        let forever = || AbortOnDropHandle::new(tokio::spawn(std::future::pending()));
        let panicking = || async { panic!("a bug") };
        let mut fetching =
            Fetching { fetcher: AbortOnDropHandle::new(tokio::spawn(panicking())), deliverer: forever() };
        let error = fetching.ended().await;
        assert_eq!(error.kind, ErrorKind::Retriable);
        assert!(error.message.contains("the fetcher has ended"), "{error}");
        let deliverer = AbortOnDropHandle::new(tokio::spawn(async { panic!("a bug") }));
        let mut fetching =
            Fetching { fetcher: AbortOnDropHandle::new(tokio::spawn(std::future::pending())), deliverer };
        let error = fetching.ended().await;
        assert_eq!(error.kind, ErrorKind::Retriable);
        assert!(error.message.contains("taking records apart"), "{error}");
    }
}
