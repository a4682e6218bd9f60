//! Every strategy against the serial one: the same records, in the order that is promised.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Strategy, *};
use crate::{
    batch::{AssignmentId, Record, Span, TopicPartition},
    budget::Permit,
    engine::Assignment,
    offsets::Offsets,
    records,
    transform::{Output, Values},
};

/// Doubles each value, slower for some, so that threads overtake each other.
struct Twice;

impl Transform for Twice {
    fn apply(&mut self, values: &Values<'_>, out: &mut Output<'_>) {
        if values.len().is_multiple_of(3) {
            std::thread::yield_now();
        }
        for (index, value) in values.iter() {
            out.write(index, &[value, value]);
        }
    }
}

type KeyValue = (Option<Vec<u8>>, Option<Vec<u8>>);

fn batch(records: &[KeyValue], first: i64) -> PartitionBatch {
    let mut buffer = Vec::new();
    let mut span = |bytes: &Option<Vec<u8>>| match bytes {
        None => Span::NULL,
        Some(bytes) => {
            let start = buffer.len() as u32;
            buffer.extend_from_slice(bytes);
            Span::new(start, bytes.len() as u32)
        }
    };
    let spans: Vec<(Span, Span)> = records.iter().map(|(key, value)| (span(key), span(value))).collect();
    let headers = span(&Some(records::NO_HEADERS.to_vec()));
    let records = spans
        .into_iter()
        .zip(first..)
        .map(|((key, value), offset)| Record { offset, timestamp: offset, key, value, headers })
        .collect::<Vec<_>>();
    PartitionBatch {
        origin: TopicPartition::new("t", 0),
        assignment: AssignmentId(1),
        next_offset: first + records.len() as i64,
        buffer: buffer.into(),
        records,
        ..PartitionBatch::default()
    }
}

/// Runs `batches` through a strategy; the records in the order they would be written, and
/// whether every batch was acknowledged.
async fn run(settings: &StrategySettings, batches: &[Vec<KeyValue>]) -> (Vec<KeyValue>, bool) {
    let mut strategy = Strategy::new(settings);
    let mut offsets = Offsets::default();
    let partition = TopicPartition::new("t", 0);
    offsets.assign(&Assignment {
        partition: partition.clone(),
        id: AssignmentId(1),
        position: 0,
        is_committed: true,
    });
    let (mut written, mut at, mut waiting, mut left) = (Vec::new(), 0, 0, batches.iter());
    loop {
        while strategy.has_room(waiting)
            && let Some(records) = left.next()
        {
            let batch = batch(records, at);
            at = batch.next_offset;
            let ticket = offsets.begin(&batch, Permit::none()).unwrap();
            let parts = strategy.submit(Job { batch, ticket: ticket.clone() });
            offsets.split(&ticket, parts);
            waiting += parts;
        }
        if waiting == 0 {
            let end = offsets.position(&partition).unwrap().acknowledged;
            return (written, end == at);
        }
        let product = strategy.next().await.unwrap();
        waiting -= 1;
        written.extend(decode(&product.transformed));
        offsets.acknowledge(&product.job.ticket);
    }
}

fn decode(transformed: &Transformed) -> Vec<KeyValue> {
    let mut all = Vec::new();
    for chunk in &transformed.chunks {
        let bytes = |span: Span| span.get(&chunk.bytes).map(<[u8]>::to_vec);
        all.extend(chunk.records().unwrap().iter().map(|record| (bytes(record.key), bytes(record.value))));
    }
    all
}

fn by_key(records: Vec<KeyValue>) -> BTreeMap<Vec<u8>, Vec<KeyValue>> {
    let mut keys = BTreeMap::<_, Vec<_>>::new();
    for record in records {
        if let Some(key) = record.0.clone() {
            keys.entry(key).or_default().push(record);
        }
    }
    keys
}

fn settings(kind: StrategyKind, workers: usize, order: Order) -> StrategySettings {
    let transform = TransformKind::Custom(std::sync::Arc::new(|| Box::new(Twice)));
    StrategySettings { kind, workers, order, transform, chunk_limit: 200 }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_strategy_writes_what_the_serial_one_writes(
        batches in prop::collection::vec(
            prop::collection::vec(
                (
                    prop::option::of(prop::collection::vec(0u8..4, 0..2)),
                    prop::option::of(prop::collection::vec(any::<u8>(), 0..20)),
                ),
                1..12,
            ),
            0..24,
        ),
        workers in 1usize..6,
    ) {
        runtime().block_on(async {
            let (expected, all) = run(&settings(StrategyKind::Serial, 1, Order::Partition), &batches).await;
            prop_assert!(all);
            prop_assert_eq!(expected.len(), batches.iter().map(Vec::len).sum::<usize>());
            for (kind, order) in [
                (StrategyKind::Pipeline, Order::Partition),
                (StrategyKind::Worker, Order::Partition),
                (StrategyKind::Worker, Order::Key),
                (StrategyKind::Worker, Order::None),
            ] {
                let (mut written, all) = run(&settings(kind, workers, order), &batches).await;
                prop_assert!(all, "{} {} acknowledges every batch", kind, order);
                let mut expected = expected.clone();
                match order {
                    Order::Partition => {}
                    Order::Key => prop_assert_eq!(by_key(written.clone()), by_key(expected.clone())),
                    Order::None => {}
                }
                if order != Order::Partition {
                    written.sort();
                    expected.sort();
                }
                prop_assert_eq!(written, expected, "{} {}", kind, order);
            }
            Ok(())
        })?;
    }
}

struct Panics;

impl Transform for Panics {
    fn apply(&mut self, _: &Values<'_>, _: &mut Output<'_>) {
        panic!("on purpose");
    }
}

#[test]
fn a_panic_names_the_partition_and_offset() {
    runtime().block_on(async {
        for kind in [StrategyKind::Serial, StrategyKind::Pipeline, StrategyKind::Worker] {
            let transform = TransformKind::Custom(std::sync::Arc::new(|| Box::new(Panics)));
            let mut strategy =
                Strategy::new(&StrategySettings { transform, ..settings(kind, 2, Order::Partition) });
            let mut offsets = Offsets::default();
            let batch = batch(&[(None, Some(b"x".to_vec()))], 41);
            let assignment = Assignment {
                partition: batch.origin.clone(),
                id: AssignmentId(1),
                position: 41,
                is_committed: true,
            };
            offsets.assign(&assignment);
            let ticket = offsets.begin(&batch, Permit::none()).unwrap();
            strategy.submit(Job { batch, ticket });
            let error = strategy.next().await.unwrap_err();
            assert_eq!(
                error.to_string(),
                "t[0]: the transform panicked on the records before offset 42: on purpose"
            );
        }
    });
}

#[test]
fn a_transform_that_cannot_be_made_is_told_at_the_start() {
    for kind in [StrategyKind::Serial, StrategyKind::Pipeline, StrategyKind::Worker] {
        let transform = TransformKind::Custom(std::sync::Arc::new(|| panic!("on purpose")));
        let settings = StrategySettings { transform, ..settings(kind, 2, Order::Partition) };
        assert!(catch_unwind(AssertUnwindSafe(|| Strategy::new(&settings))).is_err(), "{kind}");
    }
}
