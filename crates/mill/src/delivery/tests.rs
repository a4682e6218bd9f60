use topicmill_records::{Headers, NO_HEADERS};

use super::*;
use crate::{
    batch::{AssignmentId, Record, Span},
    budget::{Budget, Permit},
    engine::Assignment,
    offsets::Offsets,
    transform::{Outgoing, Transformed, ValueError},
};

/// Answers nothing.
struct Silent;

impl Sink for Silent {
    fn send(
        &mut self,
        _: OutputBatch,
    ) -> impl Future<Output = Result<Receipt, EngineError>> + Send + 'static {
        pending()
    }

    fn forget(&mut self, _origin: &TopicPartition, _assignment: AssignmentId) {}

    async fn close(self) {}
}

/// A batch of `count` records that all failed.
fn poison(count: usize) -> Product {
    poison_in(count, Permit::none())
}

/// As [`poison`], with its share of the memory.
fn poison_in(count: usize, memory: Permit) -> Product {
    let origin = TopicPartition::new("source", 0);
    let headers = Span::new(0, NO_HEADERS.len() as u32);
    let record = |offset| Record { offset, timestamp: 0, key: Span::NULL, value: Span::NULL, headers };
    let batch = PartitionBatch {
        origin: origin.clone(),
        assignment: AssignmentId(1),
        next_offset: count as i64,
        buffer: NO_HEADERS.into(),
        records: (0..count as i64).map(record).collect(),
        ..PartitionBatch::default()
    };
    let mut offsets = Offsets::default();
    offsets.assign(&Assignment {
        partition: origin,
        id: AssignmentId(1),
        position: 0,
        is_committed: true,
        is_late: false,
    });
    let ticket = offsets.begin(&batch, memory).unwrap();
    let error = ValueError::new(ErrorClass::Syntax, "poison");
    let failures = (0..count).map(|index| Failure { index, error: error.clone() }).collect();
    let transformed = Transformed { failures, ..Transformed::default() };
    Product { job: Job { batch, ticket }, transformed, time: Duration::ZERO }
}

fn routes(window: usize) -> Routes {
    Routes {
        destination: "destination".into(),
        dead_letter: "letters".into(),
        group: "group".into(),
        protect: None,
        chunk_limit: 1000,
        window,
        retries: 3,
        backoff: Backoff::default(),
    }
}

#[test]
fn dead_letters_under_way_take_room_too() {
    let mut delivery = Delivery::new(Silent, routes(10_000));
    delivery.send(poison(10));
    assert!(delivery.has_room());
    delivery.send(poison(100));
    assert!(!delivery.has_room());
}

#[tokio::test]
async fn dead_letters_count_as_memory_until_they_are_acknowledged() {
    let budget = Budget::new(1 << 20);
    let (sent, batches) = std::sync::mpsc::sync_channel(10);
    let sink = Picky { refuses: vec![ErrorClass::Refused], sent };
    let mut delivery = Delivery::new(sink, routes(10_000));
    delivery.send(poison_in(100, budget.try_acquire(1).unwrap()));
    let written = batches.try_recv().unwrap().size();
    let used = budget.used();
    assert!(used > written, "{used} bytes for letters of {written}");
    let delivered = delivery.next(|_| true).await;
    assert!(matches!(delivered, Delivered::Acknowledged(_)));
    drop(delivered);
    assert_eq!(budget.used(), 0);
}

/// Refuses each of the next batches for a class, then takes all.
struct Picky {
    refuses: Vec<ErrorClass>,
    sent: std::sync::mpsc::SyncSender<OutputBatch>,
}

impl Sink for Picky {
    fn send(
        &mut self,
        batch: OutputBatch,
    ) -> impl Future<Output = Result<Receipt, EngineError>> + Send + 'static {
        self.sent.send(batch).unwrap();
        let refused =
            self.refuses.pop().map(|class| Refusal { index: 0, error: ValueError::new(class, "no") });
        std::future::ready(Ok(Receipt { refused: refused.into_iter().collect() }))
    }

    fn forget(&mut self, _origin: &TopicPartition, _assignment: AssignmentId) {}

    async fn close(self) {}
}

/// What is sent for a single dead letter whose topic refuses it so, the last class first.
async fn letters(refuses: &[ErrorClass]) -> (Delivered, Vec<OutputBatch>) {
    let (sent, batches) = std::sync::mpsc::sync_channel(10);
    let sink = Picky { refuses: refuses.to_vec(), sent };
    let mut delivery = Delivery::new(sink, Routes { retries: 0, ..routes(10_000) });
    delivery.send(poison(1));
    let delivered = delivery.next(|_| true).await;
    (delivered, batches.try_iter().collect())
}

/// The timestamp of the only record, and the one of the header.
fn stamps(batch: &OutputBatch) -> (i64, Option<String>) {
    let (chunk, record) = (&batch.chunks[0], batch.chunks[0].records().unwrap()[0]);
    let mut headers = Headers::new(record.headers.get(&chunk.bytes).unwrap());
    let original = headers.find(|(key, _)| *key == dead_letter::TIMESTAMP.as_bytes());
    let text = |(_, value): (&[u8], Option<&[u8]>)| String::from_utf8_lossy(value.unwrap()).into_owned();
    (record.timestamp, original.map(text))
}

#[tokio::test]
async fn a_letter_that_is_refused_is_stamped_anew_or_compressed_before_its_partition_stops() {
    let before = crate::clock::now_ms();
    let (delivered, sent) = letters(&[ErrorClass::Refused]).await;
    assert!(matches!(delivered, Delivered::Acknowledged(_)));
    assert_eq!(stamps(&sent[0]), (0, None));
    let (timestamp, original) = stamps(&sent[1]);
    assert!(timestamp >= before);
    assert_eq!(original.as_deref(), Some("0"));
    assert!(!sent[1].must_compress);

    let (delivered, sent) = letters(&[ErrorClass::Oversized]).await;
    assert!(matches!(delivered, Delivered::Acknowledged(_)));
    assert_eq!(stamps(&sent[1]), (0, None));
    let compression: Vec<_> = sent.iter().map(|batch| (batch.compression, batch.must_compress)).collect();
    assert_eq!(compression, [(Compression::None, false), (Compression::Zstd, true)]);

    // Both at once, and then no more.
    let (delivered, sent) = letters(&[ErrorClass::Refused, ErrorClass::Oversized]).await;
    assert!(matches!(delivered, Delivered::Acknowledged(_)));
    assert!(sent[2].must_compress && stamps(&sent[2]).1.is_some());
    for refuses in [[ErrorClass::Refused; 2], [ErrorClass::Oversized; 2]] {
        let (delivered, sent) = letters(&refuses).await;
        assert!(matches!(delivered, Delivered::Stopped(..)));
        assert_eq!(sent.len(), 2);
    }
}

/// Refuses the records at these indexes of what is written to each topic, once.
struct Refuses {
    of: Vec<(&'static str, Vec<usize>)>,
    sent: std::sync::mpsc::SyncSender<OutputBatch>,
}

impl Sink for Refuses {
    fn send(
        &mut self,
        batch: OutputBatch,
    ) -> impl Future<Output = Result<Receipt, EngineError>> + Send + 'static {
        let at = self.of.iter().position(|(topic, _)| *topic == &*batch.destination.topic);
        let indexes = at.map(|at| self.of.remove(at).1).unwrap_or_default();
        self.sent.send(batch).unwrap();
        let error = ValueError::new(ErrorClass::Refused, "no");
        let refused = indexes.into_iter().map(|index| Refusal { index, error: error.clone() }).collect();
        std::future::ready(Ok(Receipt { refused }))
    }

    fn forget(&mut self, _origin: &TopicPartition, _assignment: AssignmentId) {}

    async fn close(self) {}
}

#[tokio::test]
async fn what_a_place_refuses_becomes_a_dead_letter_of_its_source() {
    let chunks = |count| vec![EncodedBatch { count, ..EncodedBatch::default() }];
    let place = |topic: Option<&str>, partition| Place { topic: topic.map(Arc::from), partition };
    let mut product = poison(8);
    product.transformed = Transformed {
        // Of eight records the second and the third fail, and the last is passed over.
        outputs: vec![
            Outgoing { place: place(None, None), chunks: chunks(3), sources: Sources::Listed(vec![0, 3, 6]) },
            Outgoing {
                place: place(Some("there"), Some(4)),
                chunks: chunks(4),
                sources: Sources::Listed(vec![3, 4, 5, 5]),
            },
        ],
        failures: product.transformed.failures.drain(1..3).collect(),
        skipped: 1,
    };
    let (sent, batches) = std::sync::mpsc::sync_channel(10);
    let of = vec![("destination", vec![1, 2]), ("there", vec![0, 2, 3])];
    let mut delivery = Delivery::new(Refuses { of, sent }, routes(10_000));
    delivery.send(product);

    let Delivered::Acknowledged(acknowledged) = delivery.next(|_| true).await else { panic!("acknowledged") };

    assert_eq!((acknowledged.written, acknowledged.filtered), (2, 1));
    let of_class = |class| acknowledged.dead_letters.iter().filter(|known| **known == class).count();
    // Record 3 has a result in each place that is refused, record 5 two in one: one letter each.
    assert_eq!((of_class(ErrorClass::Syntax), of_class(ErrorClass::Refused)), (2, 3));
    let sent: Vec<OutputBatch> = batches.try_iter().collect();
    let to: Vec<String> = sent.iter().map(|batch| batch.destination.to_string()).collect();
    assert_eq!(to, ["destination[0]", "there[4]", "letters[0]", "letters[0]"]);
    let offsets = sent[3].chunks[0].records().unwrap().into_iter().map(|record| {
        let mut headers = Headers::new(record.headers.get(&sent[3].chunks[0].bytes).unwrap());
        let offset = headers.find(|(key, _)| *key == dead_letter::OFFSET.as_bytes()).unwrap().1.unwrap();
        String::from_utf8_lossy(offset).into_owned()
    });
    assert_eq!(offsets.collect::<Vec<_>>(), ["3", "5", "6"]);
}
