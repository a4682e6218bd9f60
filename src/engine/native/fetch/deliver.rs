//! Takes fetch responses apart into partition batches, in the order that they came.

use std::{
    mem::take,
    sync::{Arc, atomic::Ordering},
};

use tokio::sync::mpsc;

use super::{
    Shared,
    held::{share_of, tied_or_copied},
    pieces::{PIECE, Pieces},
    request::{COST_PERCENT, Fetched, Part},
};
use crate::{
    batch::PartitionBatch,
    budget::{Budget, Permit},
    engine::{EngineError, ErrorKind},
};

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
    let queue = Budget::new((shared.budget.capacity() / 8).clamp(PIECE, 4 * PIECE));
    while let Some(Fetched { mut permit, parts }) = fetched.recv().await {
        let size = parts.iter().map(|part| part.bytes.len()).sum();
        let response = share_of(&shared.budget, &mut permit, size);
        for mut part in parts {
            part.bytes = tied_or_copied(&shared.budget, part.bytes, size, &response);
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
    let mut costs = size;
    let (isolation, reserve) = (shared.shape.isolation, take(permit));
    let mut pieces = Pieces::new(bytes, wanted.position, aborted, isolation, &shared.budget, reserve);
    while shared.assignments.is_reading(&wanted.partition, wanted.assignment) {
        let Some(piece) = pieces.next().await else {
            let expansion = costs.saturating_mul(100 * 100) / (size.max(1) * COST_PERCENT);
            wanted.expansion.store(expansion.clamp(100, 10_000), Ordering::Relaxed);
            break;
        };
        // The checksum was right: what cannot be read now will not be later.
        let (piece, share) = piece.map_err(|error| {
            let at = pieces.next_offset();
            EngineError::new(ErrorKind::Fatal, error.to_string()).at_offset(&wanted.partition, at)
        })?;
        costs += share.bytes();
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
            break;
        }
    }
    *permit = pieces.into_reserve();
    Ok(())
}
