//! Takes fetch responses apart into partition batches, in the order that they came.

use std::sync::{Arc, atomic::Ordering};

use tokio::sync::mpsc;

use super::{
    Shared,
    request::{Fetched, Part},
};
use crate::{
    batch::{PartitionBatch, Record},
    budget::{Budget, Permit},
    engine::{EngineError, ErrorKind, native::Isolation},
    records::{AssembleSettings, Assembled, Assembler},
};

/// The size in bytes at which a batch ends.
const BATCH: usize = 1 << 20;

/// A batch in the queue to the consumer of events, with its shares of the memory and of the queue.
#[derive(Debug)]
pub(in crate::engine::native) struct Delivered {
    pub batch: PartitionBatch,
    pub memory: Permit,
    _room: Permit,
}

impl Delivered {
    /// A batch that holds `room` of the queue until it is taken out.
    pub fn new(batch: PartitionBatch, memory: Permit, room: Permit) -> Delivered {
        Delivered { batch, memory, _room: room }
    }
}

pub(super) async fn run(
    shared: Arc<Shared>,
    mut fetched: mpsc::Receiver<Fetched>,
    batches: mpsc::Sender<Delivered>,
) {
    let queue = Budget::new((shared.budget.capacity() / 8).clamp(BATCH, 4 * BATCH));
    while let Some(Fetched { mut permit, parts }) = fetched.recv().await {
        for part in parts {
            if let Err(error) = deliver(&shared, part, &mut permit, &queue, &batches).await {
                let _ = shared.events.send(Err(error)).await;
            }
        }
    }
}

async fn deliver(
    shared: &Shared,
    part: Part,
    permit: &mut Permit,
    queue: &Budget,
    batches: &mpsc::Sender<Delivered>,
) -> Result<(), EngineError> {
    let Part { wanted, bytes, aborted } = part;
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
            EngineError::new(ErrorKind::Fatal, text).from_cause(error).at_offset(&wanted.partition, at)
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
        if batches.send(Delivered::new(batch, share, room)).await.is_err() {
            return Ok(());
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
