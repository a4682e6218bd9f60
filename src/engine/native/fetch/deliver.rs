//! Takes fetch responses apart into partition batches, in the order that they came.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

use tokio::sync::mpsc;

use super::{
    Command, Shared,
    request::{Fetched, Part, Records},
};
use crate::{
    batch::{AssignmentId, PartitionBatch, Record, TopicPartition},
    budget::{Budget, Permit},
    engine::{EngineError, ErrorKind, Gap, SourceEvent, native::Isolation},
    records::{AssembleSettings, Assembled, Assembler},
};

/// The size in bytes at which a batch ends.
const BATCH: usize = 1 << 20;

/// What stands in the queue to the consumer of events, in its order per partition.
#[derive(Debug)]
pub(in crate::engine::native) enum Delivered {
    /// A batch with its share of the memory, and the room that it takes in the queue.
    Batch(PartitionBatch, Permit, Permit),
    /// Offsets that are not there.
    Gap(Gap),
    /// Nothing more comes of a partition.
    Unreadable(TopicPartition, AssignmentId, EngineError),
}

impl Delivered {
    /// The assignment that it is of.
    pub fn assignment(&self) -> (&TopicPartition, AssignmentId) {
        match self {
            Delivered::Batch(batch, ..) => (&batch.origin, batch.assignment),
            Delivered::Gap(gap) => (&gap.partition, gap.assignment),
            Delivered::Unreadable(partition, assignment, _) => (partition, *assignment),
        }
    }

    /// As the consumer is told of it.
    pub fn into_event(self) -> SourceEvent {
        match self {
            Delivered::Batch(batch, memory, _room) => SourceEvent::Batch(batch, memory),
            Delivered::Gap(gap) => SourceEvent::Skipped(gap),
            Delivered::Unreadable(_, assignment, error) => SourceEvent::Unreadable { assignment, error },
        }
    }
}

/// Runs until nobody hands in responses or takes batches any more.
pub(super) async fn run(
    shared: Arc<Shared>,
    mut fetched: mpsc::Receiver<Fetched>,
    batches: mpsc::Sender<Delivered>,
    commands: mpsc::WeakSender<Command>,
) {
    let queue = Budget::new((shared.budget.capacity() / 8).clamp(BATCH, 4 * BATCH));
    // The assignments of which nothing more is handed out.
    let mut ended: HashMap<TopicPartition, AssignmentId> = HashMap::new();
    while let Some(Fetched { mut permit, parts }) = fetched.recv().await {
        for part in parts {
            let (partition, assignment) = part.assignment();
            if ended.get(partition) == Some(&assignment) {
                continue;
            }
            let place = (partition.clone(), assignment);
            let handed_out = match part {
                Part::Records(records) => deliver(&shared, records, &mut permit, &queue, &batches).await,
                Part::Gap(gap) => batches.send(Delivered::Gap(gap)).await.map_err(|_| Undelivered::Closed),
                Part::Nothing(origin, assignment, next_offset) => {
                    let leader_epoch = -1;
                    let batch = PartitionBatch {
                        origin,
                        assignment,
                        next_offset,
                        leader_epoch,
                        ..Default::default()
                    };
                    let batch = Delivered::Batch(batch, Permit::none(), Permit::none());
                    batches.send(batch).await.map_err(|_| Undelivered::Closed)
                }
                Part::Unreadable(_, _, error) => Err(Undelivered::Unreadable(error)),
            };
            match handed_out {
                Ok(()) => {}
                Err(Undelivered::Closed) => return,
                Err(Undelivered::Unreadable(error)) => {
                    let (partition, assignment) = place.clone();
                    ended.insert(place.0, assignment);
                    if let Some(commands) = commands.upgrade() {
                        let _ = commands.send(Command::Halt(partition.clone(), assignment)).await;
                    }
                    let _ = batches.send(Delivered::Unreadable(partition, assignment, error)).await;
                }
            }
        }
    }
}

/// Why a response is not handed out.
enum Undelivered {
    /// Nobody takes batches any more.
    Closed,
    /// What stands at some offset cannot be read.
    Unreadable(EngineError),
}

async fn deliver(
    shared: &Shared,
    records: Records,
    permit: &mut Permit,
    queue: &Budget,
    batches: &mpsc::Sender<Delivered>,
) -> Result<(), Undelivered> {
    let Records { wanted, bytes, aborted } = records;
    let size = bytes.len();
    let mut assembled_size = 0;
    let mut assembler = Assembler::new(bytes, wanted.position, aborted, settings(shared.shape.isolation));
    loop {
        if !shared.assignments.is_reading(&wanted.partition, wanted.assignment) {
            return Ok(());
        }
        let Some(piece) = assembler.next() else { break };
        // The checksum was right: what cannot be read now will not be later.
        let piece = piece.map_err(|error| {
            let at = assembler.next_offset();
            let text = error.to_string();
            let error = EngineError::new(ErrorKind::Fatal, text).from_cause(error);
            Undelivered::Unreadable(error.at_offset(&wanted.partition, at))
        })?;
        assembled_size += piece.buffer.len();
        let share = permit.split(cost(&piece));
        let batch = PartitionBatch {
            origin: wanted.partition.clone(),
            assignment: wanted.assignment,
            next_offset: piece.next_offset,
            leader_epoch: piece.leader_epoch,
            compression: piece.compression,
            buffer: piece.buffer,
            records: piece.records,
        };
        let room = queue.acquire(batch.buffer.len()).await;
        if batches.send(Delivered::Batch(batch, share, room)).await.is_err() {
            return Err(Undelivered::Closed);
        }
    }
    let expansion = (assembled_size * 100 / size.max(1)).clamp(100, 10_000);
    wanted.expansion.store(expansion, Ordering::Relaxed);
    Ok(())
}

pub(in crate::engine::native) fn settings(isolation: Isolation) -> AssembleSettings {
    AssembleSettings {
        read_committed: isolation == Isolation::ReadCommitted,
        check_crc: false,
        max_bytes: BATCH,
        ..AssembleSettings::default()
    }
}

/// What a piece holds in memory until its output, half as large again, is acknowledged.
pub(in crate::engine::native) fn cost(piece: &Assembled) -> usize {
    piece.buffer.len() * 5 / 2 + piece.records.len() * size_of::<Record>()
}
