//! The writers of a sink: one for each partition that is written to.
//!
//! The topics that records are routed to may be any number in the course of time, so there is a limit, and
//! beyond it writers that have had nothing to do for a while are retired. A writer owns the sequence numbers of
//! its partition, and they go with it:
//!   1. a writer writes batches 0 to 9 under a producer's first epoch, and is retired;
//!   2. another one for the same partition begins with 0 under that epoch;
//!   3. the leader takes it for a duplicate or for out of order.
//!
//! So once a writer has been retired, those that come later have a producer of their own. In transactions all have
//! that of the transaction: there a writer stays until each producer that it wrote as has been replaced, which is
//! asked for, and does not count for the limit meanwhile. With version 1 the leader would know the batches of all
//! earlier transactions of that producer, and acknowledge another one with the same numbers without appending it.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::Instant,
};
use topicmill_mill::{
    batch::{AssignmentId, OutputBatch, TopicPartition},
    engine::{EngineError, ErrorKind, Receipt, Refusal},
    transform::{ErrorClass, ValueError},
};
use topicmill_records::Codec;

use super::{
    SinkShared,
    commands::{Job, WriteCommand},
    outputs::{Provenance, ReceiptSender},
    partition::PartitionWriter,
    producer::Producer,
    transaction::Transactions,
};

/// The most topics that records are routed to at a time.
pub(super) const TOPICS_MAX: usize = 1000;

/// A writer of a routed topic without anything to do for this long may be retired, and for twice the time of
/// a request: then everything that it sent was answered, or its connection has ended.
const IDLE: Duration = Duration::from_secs(60);

/// The most topics beside those: such as have idle writers that stay until their producers are replaced.
const STAYING_MAX: usize = TOPICS_MAX;

/// How often it is looked for idle writers, at most.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// What became of a batch that was given to be written.
pub(super) enum Given {
    /// It is answered at once.
    Answered(Result<Receipt, EngineError>),
    /// The answer comes.
    Taken(oneshot::Receiver<Result<Receipt, EngineError>>),
}

/// The writers, and what was said about where batches come from.
#[derive(Debug, Default)]
pub(super) struct Writers {
    writers: HashMap<TopicPartition, Writer>,
    /// The number of writers of each routed topic.
    routed: HashMap<Arc<str>, usize>,
    /// The last assignment of each partition of the source that is forgotten.
    forgotten: HashMap<TopicPartition, AssignmentId>,
    tasks: JoinSet<()>,
    has_retired: bool,
    /// The topics with writers that were only kept for their producers when it was last looked.
    staying: usize,
    swept: Option<Instant>,
}

#[derive(Debug)]
struct Writer {
    commands: mpsc::UnboundedSender<WriteCommand>,
    /// Each batch that is not answered has a clone.
    open: Arc<()>,
    /// The partitions of the source whose records it was given.
    origins: BTreeSet<TopicPartition>,
    /// The last producer of each side of the transactions that it wrote as.
    producers: [Option<Producer>; 2],
    used: Instant,
}

impl Writer {
    fn new(commands: mpsc::UnboundedSender<WriteCommand>) -> Writer {
        let (open, origins) = (Arc::default(), BTreeSet::new());
        Writer { commands, open, origins, producers: [None; 2], used: Instant::now() }
    }
}

impl Writers {
    /// Gives a batch to the writer of its partition.
    pub fn give(
        &mut self,
        shared: &Arc<SinkShared>,
        batch: OutputBatch,
        transactions: Option<&Transactions>,
    ) -> Given {
        let count = batch.record_count();
        let transaction = transactions.and_then(|of| batch.transaction.map(|number| of.open(number)));
        let OutputBatch { destination: to, origin, assignment, compression, must_compress, chunks, .. } =
            batch;
        if let Some(error) = shared.routed.refusal(&to) {
            return Given::Answered(Ok(all_refused(count, &error)));
        }
        let forgotten = self.forgotten.get(&origin).copied();
        let Some(writer) = self.writer(shared, &to, transactions) else {
            let text = format!("{}: more than {TOPICS_MAX} topics are routed to at a time", to.topic);
            return Given::Answered(Ok(all_refused(count, &ValueError::new(ErrorClass::Route, text))));
        };
        if !writer.origins.contains(&origin) {
            // The writer was not told, as it had nothing of it.
            if forgotten.is_some_and(|forgotten| assignment <= forgotten) {
                return Given::Answered(Err(given_up(&to)));
            }
            writer.origins.insert(origin.clone());
        }
        let codec = if must_compress { Codec::from(compression) } else { shared.produce.codec(compression) };
        let (done, receipt) = oneshot::channel();
        let done = ReceiptSender::new(done, Arc::clone(&writer.open));
        writer.used = Instant::now();
        if let Some(transaction) = &transaction {
            writer.producers[transaction.side()] = Some(transaction.producer);
        }
        // A writer ends only when nothing is given any more, and then the receipt says so.
        let _ = writer.commands.send(WriteCommand::Write(Job {
            chunks,
            codec,
            transaction,
            from: Provenance { origin, assignment },
            done,
        }));
        Given::Taken(receipt)
    }

    /// What comes from there is no longer wanted. Only the writers that have anything of it are told.
    pub fn forget(&mut self, from: Provenance) {
        for writer in self.writers.values().filter(|writer| writer.origins.contains(&from.origin)) {
            let _ = writer.commands.send(WriteCommand::Forget(from.clone()));
        }
        let last = self.forgotten.entry(from.origin).or_insert(from.assignment);
        *last = from.assignment.max(*last);
    }

    /// Drops everything that was given: its transactions are aborted.
    pub fn abandon(&self) {
        for writer in self.writers.values() {
            let _ = writer.commands.send(WriteCommand::Abandon);
        }
    }

    pub async fn close(mut self) {
        self.tasks.shutdown().await;
    }

    /// As if a record had been written to this topic.
    #[cfg(test)]
    pub fn pretend(&mut self, topic: &Arc<str>) {
        self.routed.insert(Arc::clone(topic), 1);
        let to = TopicPartition { topic: Arc::clone(topic), partition: 0 };
        #[expect(clippy::disallowed_methods, reason = "nothing is sent")]
        let (commands, _) = mpsc::unbounded_channel();
        self.writers.insert(to, Writer::new(commands));
    }

    #[cfg(test)]
    pub fn has(&self, to: &TopicPartition) -> bool {
        self.writers.contains_key(to)
    }

    /// As if every writer had been idle for long.
    #[cfg(test)]
    pub fn age(&mut self, idle: Duration) {
        self.swept = None;
        for writer in self.writers.values_mut() {
            writer.used = Instant::now().checked_sub(idle).expect("the machine has been up for longer");
        }
    }

    /// The writer of a partition; `None` when there are too many topics.
    fn writer(
        &mut self,
        shared: &Arc<SinkShared>,
        to: &TopicPartition,
        transactions: Option<&Transactions>,
    ) -> Option<&mut Writer> {
        if !self.writers.contains_key(to) {
            let is_routed = shared.routed.is_routed(&to.topic);
            if is_routed && !self.routed.contains_key(&to.topic) && self.is_full() {
                self.sweep(shared, transactions);
                if self.is_full() {
                    return None;
                }
            }
            #[expect(
                clippy::disallowed_methods,
                reason = "whoever sends bounds what waits for its receipt, and takes every command at once"
            )]
            let (commands, receiver) = mpsc::unbounded_channel();
            let mut writer = PartitionWriter::new(Arc::clone(shared), to.clone(), receiver);
            if is_routed {
                *self.routed.entry(Arc::clone(&to.topic)).or_default() += 1;
                if self.has_retired {
                    writer.producer = None;
                }
            }
            self.tasks.spawn(writer.run());
            self.writers.insert(to.clone(), Writer::new(commands));
        }
        self.writers.get_mut(to)
    }

    /// Whether no other topic may be routed to.
    fn is_full(&self) -> bool {
        self.routed.len() >= TOPICS_MAX + self.staying
    }

    /// Retires the writers of routed topics that are idle, or refused. Nobody else gives a batch meanwhile, so
    /// what is not open now stays so.
    fn sweep(&mut self, shared: &SinkShared, transactions: Option<&Transactions>) {
        if self.swept.is_some_and(|swept| swept.elapsed() < SWEEP_EVERY) {
            return;
        }
        self.swept = Some(Instant::now());
        let routed = &mut self.routed;
        let idle = IDLE.max(2 * shared.request_timeout);
        let before = self.writers.len();
        let mut staying = HashSet::new();
        self.writers.retain(|to, writer| {
            let is_over = || writer.used.elapsed() > idle || shared.routed.refusal(to).is_some();
            let Some(count) = routed.get_mut(&to.topic) else { return true };
            if Arc::strong_count(&writer.open) > 1 || !is_over() {
                return true;
            }
            if transactions.is_some_and(|of| of.may_write(&writer.producers)) {
                staying.insert(Arc::clone(&to.topic));
                return true;
            }
            *count -= 1;
            if *count == 0 {
                routed.remove(&to.topic);
                shared.cluster.unwanted(&to.topic);
            }
            false
        });
        self.has_retired |= self.writers.len() < before;
        self.staying = staying.len().min(STAYING_MAX);
        if let Some(transactions) = transactions.filter(|_| self.staying > 0) {
            transactions.replace_producers();
        }
        while self.tasks.try_join_next().is_some() {}
    }
}

fn all_refused(count: usize, error: &ValueError) -> Receipt {
    let refusal = |index| Refusal { index, error: error.clone() };
    Receipt { refused: (0..count).map(refusal).collect() }
}

/// The error for what comes from a partition of the source that was given up.
pub(super) fn given_up(to: &TopicPartition) -> EngineError {
    EngineError::new(ErrorKind::Retriable, "the partition it was read from was given up").at(to)
}
