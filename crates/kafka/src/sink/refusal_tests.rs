//! Records that are refused within a transaction, on the embedded broker.

use std::time::Duration;

use kafka_protocol::{ResponseError, messages::ApiKey};
use rand::RngCore;
use tokio::time::timeout;
use topicmill_broker::{Broker, Fault, FaultAction};
use topicmill_mill::{
    batch::{AssignmentId, OutputBatch, TopicPartition, TransactionNumber},
    clock,
    engine::{ErrorKind, Sink, TransactionEnd, Troubles},
    transform::ErrorClass,
};
use topicmill_records::{Compression, NO_HEADERS, RecordWriter};

use super::{
    NativeSink,
    transaction_faults_tests::{commit, place, sized},
};
use crate::testing::fresh;

/// A topic that takes no batch of more than 2,000 bytes.
fn small_topic(broker: &Broker) -> String {
    let topic = fresh("small");
    broker.create_topic(&topic, 1, &[("max.message.bytes", "2000"), ("retention.ms", "-1")]).unwrap();
    topic
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_the_broker_does_not_even_read_is_refused_after_an_abort() {
    for version in [1, 2] {
        let (broker, place) = place(version, &[("batch.size", "900000")]).await;
        let mut sink = place.sink().await;
        broker.limit_requests(300_000);
        let batch = |number: u64| sized(&place.topic, number, clock::now_ms(), [100, 200, 400_000, 300]);
        let error = sink.send(batch(0)).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Retriable, "{error}");
        sink.abort().await.unwrap();
        let receipt = sink.send(batch(2)).await.unwrap();
        let refused: Vec<_> = receipt.refused.iter().map(|of| (of.index, of.error.class)).collect();
        assert_eq!(refused, [(2, ErrorClass::Oversized)], "version {version}");
        let ended = commit(&mut sink, &place, 2).await.unwrap();
        assert!(matches!(ended, TransactionEnd::Committed), "version {version}: {ended:?}");
        sink.close().await;
    }
}

/// The first batches are answered with CONCURRENT_TRANSACTIONS while the transaction before has not quite ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_may_be_refused_in_a_transaction_that_had_to_wait() {
    for version in [1, 2] {
        let (broker, place) = place(version, &[("batch.size", "1000")]).await;
        let topic = small_topic(&broker);
        let mut sink = place.sink().await;
        let now = clock::now_ms();
        // Known to the leader, both ids have several batches under way at once.
        for number in [0, 1] {
            sink.send(sized(&topic, number, now, [500])).await.unwrap();
            let ended = commit(&mut sink, &place, number).await.unwrap();
            assert!(matches!(ended, TransactionEnd::Committed), "version {version}: {ended:?}");
        }
        let refusal = FaultAction::Error(ResponseError::ConcurrentTransactions.code());
        broker.inject(Fault::once(ApiKey::Produce, refusal));
        broker.inject(Fault::always(ApiKey::Produce, FaultAction::Delay(Duration::from_millis(20))));
        let sizes = [500, 600, 3000, 700];
        let mut sent = Vec::new();
        for size in sizes {
            sent.push(sink.send(sized(&topic, 2, now, [size])));
        }
        for (size, sent) in sizes.into_iter().zip(sent) {
            let receipt = sent.await.unwrap();
            assert_eq!(receipt.refused.len(), usize::from(size == 3000), "version {version}: {size}");
        }
        let ended = commit(&mut sink, &place, 2).await.unwrap();
        assert!(matches!(ended, TransactionEnd::Committed), "version {version}: {ended:?}");
        sink.close().await;
    }
}

/// Nothing of it is committed before it is through, and there is never time for all of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_are_refused_one_by_one_are_all_found_over_several_aborts() {
    let (broker, place) = place(2, &[]).await;
    let topic = small_topic(&broker);
    let mut sink = place.sink().await;
    broker.inject(Fault::always(ApiKey::Produce, FaultAction::Delay(Duration::from_millis(30))));
    let now = clock::now_ms();
    let is_large = |index: usize| index % 5 == 2;
    let mut number = 0;
    let receipt = loop {
        // Each is smaller than those before it, so that it has to be asked for.
        let sizes = (0..100).map(|index| if is_large(index) { 4000 - index } else { 100 });
        let sent = sink.send(sized(&topic, number, now, sizes));
        if let Ok(receipt) = timeout(Duration::from_millis(600), sent).await {
            break receipt.unwrap();
        }
        sink.abort().await.unwrap();
        number += 2;
        assert!(number < 100, "it is not found");
    };
    assert!(number > 0, "there is time for all of it");
    let refused: Vec<_> = receipt.refused.iter().map(|of| (of.index, of.error.class)).collect();
    let large = (0..100).filter(|index| is_large(*index));
    assert_eq!(refused, large.map(|index| (index, ErrorClass::Oversized)).collect::<Vec<_>>());
    let ended = commit(&mut sink, &place, number).await.unwrap();
    assert!(matches!(ended, TransactionEnd::Committed), "{ended:?}");
    // What was committed is forgotten: the topic may take it now.
    let requests = broker.seen(ApiKey::Produce).requests;
    let receipt = sink.send(sized(&topic, number + 1, now, [100, 3998])).await.unwrap();
    assert_eq!(receipt.refused.len(), 1);
    assert!(broker.seen(ApiKey::Produce).requests > requests + 1, "it was asked");
    sink.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_as_large_as_one_that_was_refused_is_not_asked_for_in_the_same_transaction() {
    for version in [1, 2] {
        let (broker, place) = place(version, &[]).await;
        let topic = small_topic(&broker);
        let mut sink = place.sink().await;
        let now = clock::now_ms();
        // How many requests it takes, and what is refused.
        let mut send = async |number, sizes: &[usize]| {
            let before = broker.seen(ApiKey::Produce).requests;
            let receipt = sink.send(sized(&topic, number, now, sizes.iter().copied())).await.unwrap();
            let refused = receipt.refused.iter().map(|of| of.index).collect::<Vec<_>>();
            (broker.seen(ApiKey::Produce).requests - before, refused)
        };
        assert_eq!(send(0, &[100, 3000, 200]).await.1, [1]);
        assert_eq!(send(0, &[3000, 3001, 5000, 3000]).await, (0, vec![0, 1, 2, 3]), "version {version}");
        // What is smaller may be taken, and what follows is, with the numbers that were not used.
        assert_eq!(send(0, &[3001, 1500, 3001, 1500]).await, (2, vec![0, 2]), "version {version}");
        // Both may be under way before either is refused.
        let (requests, refused) = send(0, &[3000, 2500, 2600]).await;
        assert!(requests <= 2 && refused == [0, 1, 2], "version {version}: {requests} {refused:?}");
        assert_eq!(broker.offsets(&topic, 0).unwrap().1, 4, "version {version}");
        // A topic that is made anew may take more.
        let gone = FaultAction::Error(ResponseError::UnknownTopicOrPartition.code());
        broker.inject(Fault::once(ApiKey::Produce, gone));
        assert!(send(0, &[100]).await.1.is_empty());
        assert_eq!(send(0, &[3000]).await, (1, vec![0]), "version {version}");
        // Another transaction asks again.
        assert_eq!(send(1, &[3000]).await, (1, vec![0]), "version {version}");
        for number in [0, 1] {
            let ended = commit(&mut sink, &place, number).await.unwrap();
            assert!(matches!(ended, TransactionEnd::Committed), "version {version}: {ended:?}");
        }
        sink.close().await;
    }
}

/// A topic may have them compressed in another way, so that a smaller one is too large and a larger one is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_compressed_record_is_asked_for() {
    let (broker, place) = place(2, &[]).await;
    let topic = small_topic(&broker);
    let mut sink = place.sink().await;
    // What is refused in one way says nothing of the other.
    for (compression, size) in
        [(Compression::Zstd, 3000), (Compression::None, 3100), (Compression::Zstd, 3200)]
    {
        let mut value = vec![0; size];
        rand::rng().fill_bytes(&mut value);
        let mut writer = RecordWriter::new(1_000_000, 0);
        writer.push(clock::now_ms(), None, Some(&[&value[..]]), NO_HEADERS);
        let batch = OutputBatch {
            destination: TopicPartition::new(&*topic, 0),
            chunks: writer.finish(),
            transaction: Some(TransactionNumber(0)),
            assignment: AssignmentId(0),
            compression,
            must_compress: true,
            ..OutputBatch::default()
        };
        let before = broker.seen(ApiKey::Produce).requests;
        let receipt = sink.send(batch).await.unwrap();
        assert_eq!(receipt.refused.len(), 1, "{size}");
        assert_eq!(broker.seen(ApiKey::Produce).requests, before + 1, "{size}");
    }
    sink.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_whose_last_record_is_refused_is_not_in_trouble() {
    let (broker, place) = place(2, &[]).await;
    let topic = small_topic(&broker);
    let troubles = Troubles::default();
    let begun =
        NativeSink::transactional(&place.client, &place.settings, troubles.clone(), None, &place.group).await;
    let mut sink = begun.unwrap();
    let refusal = FaultAction::Error(ResponseError::ConcurrentTransactions.code());
    broker.inject(Fault::once(ApiKey::Produce, refusal));
    let receipt = sink.send(sized(&topic, 0, clock::now_ms(), [3000])).await.unwrap();
    assert_eq!((receipt.refused.len(), troubles.now()), (1, Vec::new()));
    sink.close().await;
}
