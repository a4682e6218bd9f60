use super::*;
use crate::{
    batch::{AssignmentId, Record, Span},
    budget::Permit,
    engine::Assignment,
    offsets::Offsets,
    records::NO_HEADERS,
    transform::{Transformed, ValueError},
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
    offsets.assign(&Assignment { partition: origin, id: AssignmentId(1), position: 0, is_committed: true });
    let ticket = offsets.begin(&batch, Permit::none()).unwrap();
    let error = ValueError::new(ErrorClass::Syntax, "poison");
    let failures = (0..count).map(|index| Failure { index, error: error.clone() }).collect();
    let transformed = Transformed { chunks: Vec::new(), failures };
    Product { job: Job { batch, ticket }, transformed, time: Duration::ZERO }
}

fn routes(window: usize) -> Routes {
    Routes {
        destination: "destination".into(),
        dead_letter: "letters".into(),
        group: "group".into(),
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
