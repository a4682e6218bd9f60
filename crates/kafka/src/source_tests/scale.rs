//! What many partitions cost.

use topicmill_mill::budget::Budget;

use super::*;
use crate::fetch::VISITS;

/// How often the fetcher looks at a partition for each batch that it reads, of a topic that has two
/// records in each of its partitions. Everything runs on the thread of the test.
async fn visits_per_batch(partitions: i32) -> f64 {
    let scene = Scene::new(partitions).await;
    let mut sink = NativeSink::new(&scene.client, &scene.settings, Troubles::default()).await.unwrap();
    let mut receipts = Vec::new();
    for to in 0..partitions {
        receipts.push(sink.send(batch(&place(to), 2, 0)));
    }
    futures_util::future::try_join_all(receipts).await.unwrap();
    sink.close().await;
    let mut of = source_settings();
    of.budget = Budget::new(64 << 20);
    let before = VISITS.get();
    let mut source = NativeSource::new(&scene.client, &scene.settings, of).await.unwrap();
    let mut batches = 0;
    while batches < partitions {
        if let SourceEvent::Batch(batch, _) = next(&mut source).await {
            assert_eq!(batch.next_offset, 2, "one batch for each partition");
            batches += 1;
        }
    }
    (VISITS.get() - before) as f64 / f64::from(batches)
}

#[tokio::test]
async fn a_batch_costs_the_same_among_many_partitions_as_among_few() {
    let (few, many) = (visits_per_batch(40).await, visits_per_batch(4000).await);
    eprintln!("a partition is looked at {few} times a batch among 40, {many} times among 4,000");
    assert!(many <= 2.0 * few, "{few} and {many}");
}
