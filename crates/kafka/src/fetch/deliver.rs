//! Decodes fetch responses into partition batches, in the order in which they came.

use std::{
    collections::HashMap,
    mem::take,
    sync::{Arc, atomic::Ordering},
};

use tokio::sync::mpsc;
use topicmill_mill::{
    batch::{AssignmentId, PartitionBatch, TopicPartition},
    budget::{Budget, Permit, expansion},
    engine::{EngineError, ErrorKind, Gap, SourceEvent},
};

use super::{
    FetchCommand, FetchShared,
    held::{share_of, tied_or_copied},
    parts::{Fetched, FetchedPart, Records},
    pieces::{PIECE_BYTES_MAX, ResponsePieces},
};

/// An entry of the queue to the consumer of events, in order per partition.
#[derive(Debug)]
pub(crate) enum Delivered {
    /// A batch with its share of the memory, and the room that it takes in the queue.
    Batch(PartitionBatch, Permit, Permit),
    /// Offsets that are gone.
    Gap(Gap),
    /// Nothing more comes of a partition.
    Unreadable(TopicPartition, AssignmentId, EngineError),
}

impl Delivered {
    /// The assignment that it belongs to.
    pub fn assignment(&self) -> (&TopicPartition, AssignmentId) {
        match self {
            Delivered::Batch(batch, ..) => (&batch.origin, batch.assignment),
            Delivered::Gap(gap) => (&gap.partition, gap.assignment),
            Delivered::Unreadable(partition, assignment, _) => (partition, *assignment),
        }
    }

    /// The event for the consumer.
    pub fn into_event(self) -> SourceEvent {
        match self {
            Delivered::Batch(batch, memory, _room) => SourceEvent::Batch(batch, memory),
            Delivered::Gap(gap) => SourceEvent::Skipped(gap),
            Delivered::Unreadable(_, assignment, error) => SourceEvent::Unreadable { assignment, error },
        }
    }
}

/// Runs until there are no more responses, or nobody takes batches any more.
pub(super) async fn run(
    shared: Arc<FetchShared>,
    mut fetched: mpsc::Receiver<Fetched>,
    batches: mpsc::Sender<Delivered>,
    commands: mpsc::WeakSender<FetchCommand>,
) {
    let queue = Budget::new((shared.budget.capacity() / 8).clamp(PIECE_BYTES_MAX, 4 * PIECE_BYTES_MAX));
    // The assignments of which nothing more is handed out.
    let mut ended: HashMap<TopicPartition, AssignmentId> = HashMap::new();
    while let Some(Fetched { mut permit, parts }) = fetched.recv().await {
        let size = parts.iter().map(FetchedPart::size).sum();
        let response = share_of(&shared.budget, &mut permit, size);
        for part in parts {
            let (partition, assignment) = part.assignment();
            if ended.get(partition) == Some(&assignment) {
                continue;
            }
            let place = (partition.clone(), assignment);
            let handed_out = match part {
                FetchedPart::Records(mut records) => {
                    records.bytes = tied_or_copied(&shared.budget, records.bytes, size, &response);
                    deliver(&shared, records, &mut permit, &queue, &batches).await
                }
                FetchedPart::Gap(gap) => {
                    batches.send(Delivered::Gap(gap)).await.map_err(|_| Undelivered::Closed)
                }
                FetchedPart::Nothing(origin, assignment, next_offset) => {
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
                FetchedPart::Unreadable(_, _, error) => Err(Undelivered::Unreadable(error)),
            };
            match handed_out {
                Ok(()) => {}
                Err(Undelivered::Closed) => return,
                Err(Undelivered::Unreadable(error)) => {
                    let (partition, assignment) = place.clone();
                    ended.insert(place.0, assignment);
                    if let Some(commands) = commands.upgrade() {
                        let _ = commands.send(FetchCommand::Halt(partition.clone(), assignment)).await;
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
    /// The record at some offset cannot be read.
    Unreadable(EngineError),
}

async fn deliver(
    shared: &FetchShared,
    records: Records,
    permit: &mut Permit,
    queue: &Budget,
    batches: &mpsc::Sender<Delivered>,
) -> Result<(), Undelivered> {
    let Records { wanted, bytes, aborted } = records;
    let size = bytes.len();
    let mut costs = size;
    let (isolation, reserve) = (shared.shape.isolation, take(permit));
    let mut pieces = ResponsePieces::new(bytes, wanted.position, aborted, isolation, &shared.budget, reserve);
    while shared.assignments.is_reading(&wanted.partition, wanted.assignment) {
        let Some(piece) = pieces.next().await else {
            wanted.expansion.store(expansion(size, costs), Ordering::Relaxed);
            break;
        };
        // The checksum was right: what cannot be read now never will be.
        let (piece, share) = piece.map_err(|error| {
            let at = pieces.next_offset();
            let text = error.to_string();
            let error = EngineError::new(ErrorKind::Fatal, text).from_cause(error);
            Undelivered::Unreadable(error.at_offset(&wanted.partition, at))
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
        if batches.send(Delivered::Batch(batch, share, room)).await.is_err() {
            return Err(Undelivered::Closed);
        }
    }
    *permit = pieces.into_reserve();
    Ok(())
}

#[cfg(test)]
mod tests {
    use topicmill_mill::engine::Troubles;
    use topicmill_records::{BatchHeader, HEADER_LEN};

    use super::*;
    use crate::{
        Client, Isolation, NativeSettings,
        assignments::Assignments,
        fetch::{FetchShape, Wanted},
        memory::Memory,
        testing::{embedded, fetch},
    };

    /// Two batches of a partition, of which the second has a right checksum and a wrong content.
    fn malformed(sound: &[u8], partition: i32, assignment: AssignmentId) -> FetchedPart {
        let size = BatchHeader::read(sound).unwrap().size;
        let mut bytes = sound[..size].to_vec();
        let mut broken = sound[size..].to_vec();
        broken[HEADER_LEN..].fill(0xff);
        let crc = crc_fast::crc32_iscsi(&broken[21..]);
        broken[17..21].copy_from_slice(&crc.to_be_bytes());
        bytes.extend_from_slice(&broken);
        records(bytes, partition, assignment, 0)
    }

    fn records(bytes: Vec<u8>, partition: i32, assignment: AssignmentId, position: i64) -> FetchedPart {
        let mut wanted = Wanted::new(TopicPartition::new("t", partition), position, 0);
        wanted.assignment = assignment;
        FetchedPart::Records(Records { wanted, bytes: bytes.into(), aborted: Vec::new() })
    }

    #[tokio::test]
    async fn a_malformed_batch_ends_its_assignment_alone() {
        let (broker, settings) = embedded().await;
        broker.create_topic("t", 2, &[]).unwrap();
        let client = Client::connect(&settings).await.unwrap();
        let mut sink = crate::NativeSink::new(&client, &settings, Troubles::default()).await.unwrap();
        use topicmill_mill::engine::Sink;
        for from in [0, 2] {
            let some = crate::testing::batch(&TopicPartition::new("t", 0), 2, from);
            sink.send(some).await.unwrap();
        }
        let sound = fetch(&client, &TopicPartition::new("t", 0), 0).await.to_vec();
        let assignments = Arc::new(Assignments::default());
        let [bad, good] = [0, 1].map(|number| assignments.hold(&TopicPartition::new("t", number)));
        let (events, _events) = mpsc::channel(1);
        let shared = FetchShared {
            client,
            shape: FetchShape::new(&NativeSettings::default().fetch, Isolation::ReadCommitted),
            topic: "t".into(),
            memory: Memory::default(),
            troubles: Troubles::default(),
            budget: Budget::new(1 << 20),
            assignments,
            events,
        };
        let (parts, fetched) = mpsc::channel(4);
        let (batches, mut delivered) = mpsc::channel(16);
        let (commands, mut told) = mpsc::channel(4);
        let running = tokio::spawn(run(Arc::new(shared), fetched, batches, commands.downgrade()));
        let both = vec![malformed(&sound, 0, bad), records(sound.clone(), 1, good, 0)];
        parts.send(Fetched { permit: Permit::none(), parts: both }).await.unwrap();
        // What was fetched after it under the same assignment is not handed out either.
        let late = vec![records(sound, 0, bad, 0)];
        parts.send(Fetched { permit: Permit::none(), parts: late }).await.unwrap();
        drop(parts);
        running.await.unwrap();
        let mut seen = Vec::new();
        while let Some(delivered) = delivered.recv().await {
            seen.push(match &delivered {
                Delivered::Batch(batch, ..) => (batch.origin.partition, Some(batch.next_offset)),
                Delivered::Unreadable(partition, assignment, error) => {
                    assert_eq!((*assignment, error.offset), (bad, Some(2)), "{error}");
                    (partition.partition, None)
                }
                Delivered::Gap(gap) => panic!("{gap:?}"),
            });
        }
        assert_eq!(seen, [(0, Some(2)), (0, None), (1, Some(4))]);
        assert!(
            matches!(told.try_recv(), Ok(FetchCommand::Halt(partition, of)) if partition.partition == 0 && of == bad)
        );
    }
}
