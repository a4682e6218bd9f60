//! Takes fetch responses apart into partition batches, in the order that they came.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use tokio::{sync::mpsc, task::yield_now};

use super::{
    Shared,
    request::{COST_PERCENT, Fetched, Part},
};
use crate::{
    batch::PartitionBatch,
    budget::{Budget, Permit, cost},
    buffers,
    engine::{EngineError, ErrorKind, native::Isolation},
    records::{AssembleSettings, Assembled, Assembler},
};

/// The size in bytes at which a batch ends.
const BATCH: usize = 1 << 20;

/// The number of records at which a batch ends: very small ones cost far more than their bytes.
const RECORDS: usize = 32 << 10;

/// The bytes that are copied sooner than thought about.
const TINY: usize = 4 << 10;

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

/// The part of a response that belongs to one partition, and what it takes to keep it: as long as
/// any slice of it lives the whole response does, and so its share of the memory is held.
struct Held {
    bytes: Bytes,
    _response: Arc<Permit>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

pub(super) async fn run(
    shared: Arc<Shared>,
    mut fetched: mpsc::Receiver<Fetched>,
    batches: mpsc::Sender<Delivered>,
) {
    let queue = Budget::new((shared.budget.capacity() / 8).clamp(BATCH, 4 * BATCH));
    while let Some(Fetched { mut permit, parts }) = fetched.recv().await {
        let size = parts.iter().map(|part| part.bytes.len()).sum();
        let response = Arc::new(hold(&shared.budget, &mut permit, size));
        for mut part in parts {
            part.bytes = keep(&shared.budget, part.bytes, size, &response);
            if let Err(error) = deliver(&shared, part, &mut permit, &queue, &batches).await {
                let _ = shared.events.send(Err(error)).await;
            }
        }
    }
}

/// The share of a response of `size` bytes, out of `permit` as far as that goes: it may be larger
/// than what was asked for (KIP-74).
pub(in crate::engine::native) fn hold(budget: &Budget, permit: &mut Permit, size: usize) -> Permit {
    let size = buffers::memory_of(size);
    let mut share = permit.split(size);
    share.merge(budget.overdraw(size - share.bytes()));
    share
}

/// The records of one partition in a response of `size` bytes, tied to the response's share of the
/// memory; or a copy, where they are so little that a batch which is held up would hold the whole
/// response for next to nothing.
fn keep(budget: &Budget, bytes: Bytes, size: usize, response: &Arc<Permit>) -> Bytes {
    let is_tiny = bytes.len() <= TINY && bytes.len() * 16 < size;
    let is_small = || bytes.len() * 2 < size && budget.is_strained();
    if is_tiny || is_small() {
        let share = Arc::new(budget.overdraw(bytes.len()));
        return Bytes::from_owner(Held { bytes: Bytes::copy_from_slice(&bytes), _response: share });
    }
    Bytes::from_owner(Held { bytes, _response: Arc::clone(response) })
}

async fn deliver(
    shared: &Shared,
    part: Part,
    permit: &mut Permit,
    queue: &Budget,
    batches: &mpsc::Sender<Delivered>,
) -> Result<(), EngineError> {
    let Part { wanted, bytes, aborted } = part;
    let budget = &shared.budget;
    let size = bytes.len();
    let (mut costs, mut position) = (size, wanted.position);
    let mut assembler = Assembler::new(bytes, wanted.position, aborted, settings(shared.shape.isolation));
    loop {
        if !shared.assignments.is_reading(&wanted.partition, wanted.assignment) {
            return Ok(());
        }
        let ahead = match assembler.needs() {
            // Before it is there; what it is, is known afterwards.
            Some(size) => Some(budget.acquire_batch(permit, cost(size, size, 1)).await),
            None => None,
        };
        let Some(piece) = assembler.next() else { break };
        // The checksum was right: what cannot be read now will not be later.
        let piece = piece.map_err(|error| {
            let at = assembler.next_offset();
            EngineError::new(ErrorKind::Fatal, error.to_string()).at_offset(&wanted.partition, at)
        })?;
        if piece.records.is_empty() && piece.next_offset <= position {
            // Part of a batch was passed over; that takes time, which others need too.
            yield_now().await;
            continue;
        }
        position = piece.next_offset;
        let cost = piece_cost(&piece);
        costs += cost;
        let share = match ahead {
            Some(share) => {
                share.charge(share.bytes(), cost);
                share
            }
            None => budget.acquire_batch(permit, cost).await,
        };
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
    let expansion = costs.saturating_mul(100 * 100) / (size.max(1) * COST_PERCENT);
    wanted.expansion.store(expansion.clamp(100, 10_000), Ordering::Relaxed);
    Ok(())
}

pub(in crate::engine::native) fn settings(isolation: Isolation) -> AssembleSettings {
    AssembleSettings {
        read_committed: isolation == Isolation::ReadCommitted,
        check_crc: false,
        max_bytes: BATCH,
        max_records: RECORDS,
    }
}

/// What a piece costs besides the response that it is of.
pub(in crate::engine::native) fn piece_cost(piece: &Assembled) -> usize {
    cost(piece.memory, piece.buffer.len(), piece.records.capacity())
}
