//! Every strategy against the serial one: the same records, in the promised order.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
};

use proptest::prelude::*;
use topicmill_records::NO_HEADERS;

use super::{Strategy, *};
use crate::{
    batch::{AssignmentId, Record, Span, TopicPartition},
    budget::Permit,
    engine::Assignment,
    offsets::Offsets,
    transform::{ErrorClass, Output, Transform, Values},
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
    let headers = span(&Some(NO_HEADERS.to_vec()));
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

/// Runs `batches` through a strategy; returns the records in the order they would be written, and
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
        is_late: false,
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
    for chunk in transformed.chunks() {
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
    let transform = TransformKind::custom(|| Box::new(Twice));
    StrategySettings { kind, workers, order, transform, on_panic: OnPanic::Stop, chunk_limit: 200 }
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
            let transform = TransformKind::custom(|| Box::new(Panics));
            let mut strategy =
                Strategy::new(&StrategySettings { transform, ..settings(kind, 2, Order::Partition) });
            let mut offsets = Offsets::default();
            let batch = batch(&[(None, Some(b"x".to_vec()))], 41);
            let assignment = Assignment {
                partition: batch.origin.clone(),
                id: AssignmentId(1),
                position: 41,
                is_committed: true,
                is_late: false,
            };
            offsets.assign(&assignment);
            let ticket = offsets.begin(&batch, Permit::none()).unwrap();
            strategy.submit(Job { batch, ticket });
            let error = strategy.next().await.unwrap_err();
            assert_eq!(error.to_string(), "t[0] at offset 41: the transform panicked: on purpose");
        }
    });
}

#[test]
fn a_transform_that_cannot_be_made_is_told_at_the_start() {
    for kind in [StrategyKind::Serial, StrategyKind::Pipeline, StrategyKind::Worker] {
        let transform = TransformKind::custom(|| panic!("on purpose"));
        let settings = StrategySettings { transform, ..settings(kind, 2, Order::Partition) };
        assert!(catch_unwind(AssertUnwindSafe(|| Strategy::new(&settings))).is_err(), "{kind}");
    }
}

const ALL: [(StrategyKind, Order); 5] = [
    (StrategyKind::Serial, Order::Partition),
    (StrategyKind::Pipeline, Order::Partition),
    (StrategyKind::Worker, Order::Partition),
    (StrategyKind::Worker, Order::Key),
    (StrategyKind::Worker, Order::None),
];

/// The first product, or the first error, of a batch of 100 numbers that starts at offset 1000.
fn first(settings: StrategySettings) -> Result<Product, TransformError> {
    runtime().block_on(async {
        let mut strategy = Strategy::new(&settings);
        let mut offsets = Offsets::default();
        let numbers: Vec<KeyValue> =
            (0..100).map(|number: i32| (None, Some(number.to_string().into_bytes()))).collect();
        let batch = batch(&numbers, 1000);
        let partition = batch.origin.clone();
        offsets.assign(&Assignment {
            partition,
            id: AssignmentId(1),
            position: 1000,
            is_committed: true,
            is_late: false,
        });
        let ticket = offsets.begin(&batch, Permit::none()).unwrap();
        strategy.submit(Job { batch, ticket });
        strategy.next().await
    })
}

/// A transform that copies values, except for what `special` does with a number.
fn copies_but(
    special: impl Fn(&str, usize, &mut Output<'_>) -> bool + Send + Sync + 'static,
) -> TransformKind {
    struct Copies<F>(std::sync::Arc<F>);
    impl<F: Fn(&str, usize, &mut Output<'_>) -> bool + Send + Sync> Transform for Copies<F> {
        fn apply(&mut self, values: &Values<'_>, out: &mut Output<'_>) {
            for (index, value) in values.iter() {
                if !(self.0)(std::str::from_utf8(value).unwrap(), index, out) {
                    out.write(index, &[value]);
                }
            }
        }
    }
    let special = std::sync::Arc::new(special);
    TransformKind::custom(move || Box::new(Copies(std::sync::Arc::clone(&special))))
}

#[test]
fn a_panic_on_one_record_names_its_offset() {
    for (kind, order) in ALL {
        for poison in ["0", "37", "99"] {
            let transform = copies_but(move |value, _, _| {
                assert!(value != poison, "no {value}");
                false
            });
            let error = first(StrategySettings { transform, ..settings(kind, 2, order) }).unwrap_err();
            let expected = format!("t[0] at offset 10{poison:0>2}: the transform panicked: no {poison}");
            assert_eq!(error.to_string(), expected);
        }
    }
}

#[test]
fn a_panic_that_does_not_come_again_names_the_batch() {
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let transform = copies_but(move |_, _, _| {
        assert!(calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) != 20, "once");
        false
    });
    let settings = StrategySettings { transform, ..settings(StrategyKind::Pipeline, 1, Order::Partition) };
    assert_eq!(
        first(settings).unwrap_err().to_string(),
        "t[0]: the transform panicked on the offsets 1000 to 1099, but not again on one of them alone: once"
    );
}

#[test]
fn records_that_the_transform_panics_on_become_dead_letters_and_their_neighbours_are_written() {
    let poison = |number: usize| [0, 41, 42, 99].contains(&number);
    for (kind, order) in ALL {
        // After a panic the transform is built anew; without that, a sum goes wrong and shows it.
        let transform = copies_but(move |value, index, out| {
            if value == "50" {
                out.fail(index, crate::transform::ValueError::new(ErrorClass::Other, "no"));
                return true;
            }
            assert!(!poison(value.parse().unwrap()), "no {value}");
            false
        });
        let settings =
            StrategySettings { transform, on_panic: OnPanic::DeadLetter, ..settings(kind, 2, order) };
        let product = first(settings).unwrap();
        let written: Vec<usize> = decode(&product.transformed)
            .into_iter()
            .map(|(_, value)| String::from_utf8(value.unwrap()).unwrap().parse().unwrap())
            .collect();
        let expected: Vec<usize> = (0..100).filter(|number| !poison(*number) && *number != 50).collect();
        assert_eq!(written, expected, "{kind} {order}");
        let failures: Vec<_> = product
            .transformed
            .failures
            .iter()
            .map(|failure| (failure.index, failure.error.to_string()))
            .collect();
        let panics = |number: usize| (number, format!("panic: no {number}"));
        assert_eq!(failures, [panics(0), panics(41), panics(42), (50, "other: no".into()), panics(99)]);
    }
}

#[test]
fn a_breach_of_the_contract_names_the_record_whatever_is_done_about_panics() {
    for on_panic in [OnPanic::Stop, OnPanic::DeadLetter] {
        for (kind, order) in ALL {
            let transform = copies_but(|value, index, out| {
                assert!(value != "90", "poison");
                if value == "60" {
                    out.write(index - 1, &[b"again"]);
                }
                false
            });
            let settings = StrategySettings { transform, on_panic, ..settings(kind, 2, order) };
            let error = first(settings).unwrap_err().to_string();
            // The breach comes first, but what panics says nothing of it.
            let expected = match on_panic {
                OnPanic::Stop => "t[0] at offset 1090: the transform panicked: poison",
                OnPanic::DeadLetter => {
                    "t[0] at offset 1059: the transform breaks its contract: it handled index"
                }
            };
            assert!(error.starts_with(expected), "{error}");
        }
    }
}

#[test]
fn the_age_of_a_batch_that_the_transform_does_not_return_from_is_known() {
    for (kind, order) in ALL {
        let (release, held) = std::sync::mpsc::sync_channel::<()>(0);
        let (entered_sender, entered) = std::sync::mpsc::sync_channel::<()>(1);
        let held = std::sync::Mutex::new(held);
        let transform = copies_but(move |value, _, _| {
            if value == "x" {
                entered_sender.send(()).unwrap();
                let _ = held.lock().unwrap().recv();
            }
            false
        });
        runtime().block_on(async {
            let mut strategy = Strategy::new(&StrategySettings { transform, ..settings(kind, 2, order) });
            assert_eq!(strategy.oldest_age(), None);
            let mut offsets = Offsets::default();
            let batch = batch(&[(None, Some(b"x".to_vec()))], 0);
            let partition = batch.origin.clone();
            offsets.assign(&Assignment {
                partition,
                id: AssignmentId(1),
                position: 0,
                is_committed: true,
                is_late: false,
            });
            let ticket = offsets.begin(&batch, Permit::none()).unwrap();
            strategy.submit(Job { batch, ticket });
            // The caller can do other things while it waits for the product: no strategy transforms
            // where it is called.
            assert!(futures_util::FutureExt::now_or_never(strategy.next()).is_none());
            entered.recv().unwrap();
            std::thread::sleep(Duration::from_millis(20));
            assert!(strategy.oldest_age().is_some_and(|age| age >= Duration::from_millis(20)), "{kind}");
            drop(release);
            strategy.next().await.unwrap();
            assert_eq!(strategy.oldest_age(), None, "{kind}");
        });
    }
}
