//! What goes wrong with a partition, a broker's pace or a record concerns nothing else.

use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, join_all};
use kafka_protocol::ResponseError;
use topicmill_broker::{ApiKey, Fault, FaultAction};
use topicmill_mill::{engine::Place, transform::ErrorClass};
use topicmill_records::{BatchHeader, NO_HEADERS, RecordWriter};

use super::{
    tests::{Setup, assert_exactly_once_in_order, produce, setup, under, wire_batches, write},
    *,
};
use crate::testing::{batch, cluster, fetch, fresh, read_all, value};

/// A topic of its own with this many partitions.
async fn partitions(setup: &Setup, count: i32) -> Vec<TopicPartition> {
    let topic = fresh("many");
    setup.client.create_topic(&topic, count, None, &[]).await.unwrap();
    (0..count).map(|partition| TopicPartition::new(topic.as_str(), partition)).collect()
}

type Answer = BoxFuture<'static, Result<Receipt, EngineError>>;

/// Gives all of these to the sink.
fn give(sink: &mut NativeSink, batches: impl IntoIterator<Item = OutputBatch>) -> Vec<Answer> {
    let mut answers: Vec<Answer> = Vec::new();
    for batch in batches {
        answers.push(Box::pin(sink.send(batch)));
    }
    answers
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(20), "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The places that are failing.
fn troubled(troubles: &Troubles) -> Vec<Place> {
    troubles.now().into_iter().map(|(place, _)| place).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_without_a_leader_fails_alone_and_goes_on_when_it_has_one() {
    let setup = setup(&[("request.timeout.ms", "400"), ("delivery.timeout.ms", "600")]).await;
    let to = partitions(&setup, 2).await;
    setup.broker.set_leaderless(&to[1].topic, 1, true).unwrap();
    let troubles = Troubles::default();
    let mut sink = NativeSink::new(&setup.client, &setup.settings, troubles.clone()).await.unwrap();
    let started = Instant::now();
    let lost = sink.send(under(1, batch(&to[1], 10, 0)));
    let mut written = 0;
    // The other goes on all the while.
    let failed = tokio::spawn(lost);
    while !failed.is_finished() {
        sink.send(under(1, batch(&to[0], 1, written))).await.unwrap();
        written += 1;
    }
    assert!(written > 10);
    assert!(started.elapsed() >= Duration::from_millis(400), "it was tried for long enough");
    let failed = failed.await.unwrap().unwrap_err();
    assert_eq!((failed.kind, failed.partition.as_ref()), (ErrorKind::Retriable, Some(&to[1])));
    assert!(failed.message.contains("delivery.timeout.ms"), "{failed}");
    assert_eq!(troubled(&troubles), [Place::Write(to[1].clone())]);
    // What comes later under the same assignment is refused at once.
    let refused = Instant::now();
    assert!(sink.send(under(1, batch(&to[1], 1, 0))).await.is_err());
    assert!(refused.elapsed() < Duration::from_millis(400));
    // The next assignment waits for a leader, and is written soon after there is one.
    let later = tokio::spawn(sink.send(under(2, batch(&to[1], 10, 0))));
    tokio::time::sleep(Duration::from_millis(100)).await;
    setup.broker.set_leaderless(&to[1].topic, 1, false).unwrap();
    later.await.unwrap().unwrap();
    assert_eq!(troubled(&troubles), []);
    assert_eq!(setup.broker.offsets(&to[1].topic, 1).unwrap(), (0, 10));
    assert_eq!(setup.broker.offsets(&to[0].topic, 0).unwrap(), (0, written as i64));
    sink.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_be_written_already_is_sent_again_until_its_leader_is_back() {
    let setup = setup(&[("request.timeout.ms", "300"), ("delivery.timeout.ms", "400")]).await;
    let troubles = Troubles::default();
    let mut sink = NativeSink::new(&setup.client, &setup.settings, troubles.clone()).await.unwrap();
    sink.send(under(1, batch(&setup.to, 1, 0))).await.unwrap();
    // The leader has it, and is gone with the answer.
    setup.broker.inject(produce(FaultAction::LoseResponse, 0, 1));
    let receipt = tokio::spawn(sink.send(under(1, batch(&setup.to, 1, 1))));
    eventually("it is in the log", || setup.broker.offsets(&setup.to.topic, 0).unwrap() == (0, 2)).await;
    setup.broker.set_leaderless(&setup.to.topic, 0, true).unwrap();
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert!(!receipt.is_finished(), "it is not given up");
    assert_eq!(troubled(&troubles), [Place::Write(setup.to.clone())]);
    setup.broker.set_leaderless(&setup.to.topic, 0, false).unwrap();
    receipt.await.unwrap().unwrap();
    sink.send(under(1, batch(&setup.to, 1, 2))).await.unwrap();
    assert_eq!(setup.broker.offsets(&setup.to.topic, 0).unwrap(), (0, 3), "nothing is there twice");
    sink.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_an_old_epoch_lands_after_the_new_one() {
    let setup = setup(&[("request.timeout.ms", "300"), ("delivery.timeout.ms", "300")]).await;
    let mut sink = NativeSink::new(&setup.client, &setup.settings, Troubles::default()).await.unwrap();
    sink.send(under(1, batch(&setup.to, 1, 0))).await.unwrap();
    let frozen = setup.broker.inject(Fault::once(ApiKey::Produce, FaultAction::Freeze));
    // What may be written already is not given up for a timeout, but it is for what never passes.
    let refused = FaultAction::Error(ResponseError::TopicAuthorizationFailed.code());
    setup.broker.inject(produce(refused, 1, 1));
    sink.send(under(1, batch(&setup.to, 1, 1))).await.unwrap_err();
    for i in 1..4 {
        sink.send(under(2, batch(&setup.to, 1, i))).await.unwrap();
    }
    // The broker continues with what it was sent under the old epoch.
    setup.broker.lift(frozen);
    tokio::time::sleep(Duration::from_millis(300)).await;
    sink.send(under(2, batch(&setup.to, 1, 4))).await.unwrap();
    let written = read_all(&setup.client, &setup.to, 5).await;
    assert_eq!(written, (0..5).map(value).collect::<Vec<_>>());
    assert_eq!(setup.broker.offsets(&setup.to.topic, 0).unwrap(), (0, 5));
    sink.close().await;
}

/// As Apache Kafka sees it, too: another batch of the same producer, as an attempt that was taken
/// for lost, makes what follows out of order; a new epoch begins at 0 and fences the old one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_epoch_begins_where_the_old_one_is_out_of_order_and_fences_it() {
    let (_broker, settings) = cluster().await;
    let client = Client::connect(&settings).await.unwrap();
    let to = TopicPartition::new(fresh("epochs"), 0);
    client.create_topic(&to.topic, 1, None, &[]).await.unwrap();
    let mut sink = NativeSink::new(&client, &settings, Troubles::default()).await.unwrap();
    sink.send(under(1, batch(&to, 1, 0))).await.unwrap();
    let leader = client.cluster().leader(&to).await.unwrap().broker;
    let connection = client.cluster().connection(leader, Lane::Produce).await.unwrap();
    let producer = sink.shared.producers.first();
    let foreign = async |sequence: i32, number: usize| {
        let stamp = sealed::stamp(producer, sequence);
        let sealed = batch(&to, 3, number).chunks.remove(0).seal(stamp, Compression::None);
        let part = request::ProducePart { to: &to, batch: &sealed };
        let reply = request::send(&connection, &[part], Duration::from_secs(10), None).await.unwrap();
        let response = reply.response().await.unwrap();
        ResponseError::try_from_code(response.responses[0].partition_responses[0].error_code)
    };
    assert_eq!(foreign(1, 1).await, None);
    let failed = sink.send(under(1, batch(&to, 1, 4))).await.unwrap_err();
    assert!(failed.message.contains("OUT_OF_ORDER_SEQUENCE_NUMBER"), "{failed}");
    for i in 4..6 {
        sink.send(under(2, batch(&to, 1, i))).await.unwrap();
    }
    let fenced = foreign(4, 70).await;
    assert!(matches!(fenced, Some(ResponseError::InvalidProducerEpoch | ResponseError::ProducerFenced)));
    sink.send(under(2, batch(&to, 1, 6))).await.unwrap();
    assert_eq!(read_all(&client, &to, 7).await, (0..7).map(value).collect::<Vec<_>>());
    sink.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_carries_many_partitions_and_more_so_the_more_waits() {
    const PARTITIONS: usize = 100;
    const JOBS: usize = 100;
    let setup = setup(&[("batch.size", "500000")]).await;
    let to = partitions(&setup, PARTITIONS as i32).await;
    let mut sink = NativeSink::new(&setup.client, &setup.settings, Troubles::default()).await.unwrap();
    setup.broker.inject(Fault::always(ApiKey::Produce, FaultAction::Delay(Duration::from_millis(10))));
    // With nothing waiting, each batch has its own request at once.
    for to in &to {
        sink.send(batch(to, 2, 0)).await.unwrap();
    }
    let quiet = setup.broker.seen(ApiKey::Produce);
    assert_eq!((quiet.requests, quiet.partitions), (PARTITIONS as u64, PARTITIONS as u64));
    let mut receipts = Vec::new();
    for job in 1..=JOBS {
        for to in &to {
            receipts.push(sink.send(batch(to, 2, job * 2)));
        }
    }
    for receipt in join_all(receipts).await {
        assert!(receipt.unwrap().refused.is_empty());
    }
    let seen = setup.broker.seen(ApiKey::Produce);
    let (requests, batches) = (seen.requests - quiet.requests, seen.partitions - quiet.partitions);
    let jobs = (PARTITIONS * JOBS) as u64;
    assert!(batches * 5 < jobs, "{jobs} jobs in {batches} batches");
    assert!(requests * 5 < batches, "{batches} batches in {requests} requests");
    setup.broker.clear_faults();
    for to in [&to[0], &to[57], &to[99]] {
        let end = (JOBS as i64 + 1) * 2;
        assert_eq!(setup.broker.offsets(&to.topic, to.partition).unwrap(), (0, end));
        let expected: Vec<_> = (0..end as usize).map(value).collect();
        assert!(read_all(&setup.client, to, end).await == expected, "{to} is not in order");
    }
    sink.close().await;
}

/// Faults of one partition do not touch the others in its requests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_partition_of_a_request_has_its_own_verdict() {
    use ResponseError::*;
    let setup = setup(&[("batch.size", "20000")]).await;
    let to = partitions(&setup, 20).await;
    let mut sink = NativeSink::new(&setup.client, &setup.settings, Troubles::default()).await.unwrap();
    setup.broker.inject(Fault::always(ApiKey::Produce, FaultAction::Delay(Duration::from_millis(2))));
    for (partition, error) in [(1, NotLeaderOrFollower), (2, NotEnoughReplicas), (3, MessageTooLarge)] {
        let fault = Fault::once(ApiKey::Produce, FaultAction::Error(error.code())).after(3).times(3);
        setup.broker.inject(fault.on_partition(&to[0].topic, partition));
    }
    let fatal = Fault::always(ApiKey::Produce, FaultAction::Error(OutOfOrderSequenceNumber.code())).after(3);
    setup.broker.inject(fatal.on_partition(&to[0].topic, 4));
    let mut receipts = Vec::new();
    for job in 0..200 {
        for to in &to {
            receipts.push((to.partition, sink.send(under(1, batch(to, 20, job * 20)))));
        }
    }
    for (partition, receipt) in receipts {
        let receipt = receipt.await;
        assert!(receipt.is_ok() || partition == 4, "{partition}: {receipt:?}");
    }
    setup.broker.clear_faults();
    for to in to.iter().filter(|to| to.partition != 4) {
        assert_eq!(setup.broker.offsets(&to.topic, to.partition).unwrap(), (0, 4000), "{to}");
        let expected: Vec<_> = (0..4000).map(value).collect();
        assert!(read_all(&setup.client, to, 4000).await == expected, "{to} is not in order");
    }
    sink.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_forgotten_and_was_not_sent_is_not_written() {
    let setup = setup(&[]).await;
    let troubles = Troubles::default();
    let mut sink = NativeSink::new(&setup.client, &setup.settings, troubles.clone()).await.unwrap();
    let origin = under(1, batch(&setup.to, 1, 0)).origin;
    let frozen = setup.broker.inject(Fault::once(ApiKey::Produce, FaultAction::Freeze));
    // The first is in flight, alone: the leader does not know the producer yet.
    let sent = tokio::spawn(sink.send(under(1, batch(&setup.to, 5, 0))));
    eventually("it is sent", || setup.broker.seen(ApiKey::Produce).requests == 1).await;
    let unsent = give(&mut sink, [1, 2].map(|i| under(1, batch(&setup.to, 5, i * 5))));
    let others = sink
        .send(OutputBatch { origin: TopicPartition::new("other", 0), ..under(1, batch(&setup.to, 5, 5)) });
    sink.forget(&origin, AssignmentId(1));
    for unsent in unsent {
        let failed = unsent.await.unwrap_err();
        assert_eq!(failed.partition.as_ref(), Some(&setup.to));
    }
    assert!(sink.send(under(1, batch(&setup.to, 1, 0))).await.is_err());
    let next = sink.send(under(2, batch(&setup.to, 5, 10)));
    setup.broker.lift(frozen);
    sent.await.unwrap().unwrap();
    others.await.unwrap();
    next.await.unwrap();
    assert_eq!(setup.broker.offsets(&setup.to.topic, 0).unwrap(), (0, 15));
    let expected: Vec<_> = (0..15).map(value).collect();
    assert_eq!(read_all(&setup.client, &setup.to, 15).await, expected);

    // Nothing is written of what waits for a leader, and nobody waits for one then.
    setup.broker.set_leaderless(&setup.to.topic, 0, true).unwrap();
    setup.client.cluster().invalidate();
    let sent = tokio::spawn(sink.send(under(2, batch(&setup.to, 5, 15))));
    eventually("it is told", || !troubled(&troubles).is_empty()).await;
    let waits = give(&mut sink, [20, 25].map(|number| under(2, batch(&setup.to, 5, number))));
    sink.forget(&origin, AssignmentId(2));
    for waits in waits {
        waits.await.unwrap_err();
    }
    setup.broker.set_leaderless(&setup.to.topic, 0, false).unwrap();
    // It was sent once, to a broker that did not lead any more.
    sent.await.unwrap().unwrap();
    eventually("it is over", || troubled(&troubles).is_empty()).await;
    assert_eq!(setup.broker.offsets(&setup.to.topic, 0).unwrap(), (0, 20));
    sink.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_forgotten_is_no_trouble_once_it_is_given_up() {
    let setup = setup(&[("request.timeout.ms", "400"), ("delivery.timeout.ms", "600")]).await;
    let troubles = Troubles::default();
    let mut sink = NativeSink::new(&setup.client, &setup.settings, troubles.clone()).await.unwrap();
    sink.send(under(1, batch(&setup.to, 5, 0))).await.unwrap();
    let error = ResponseError::NotEnoughReplicas.code();
    setup.broker.inject(produce(FaultAction::Error(error), 0, u64::MAX));
    let sent = tokio::spawn(sink.send(under(1, batch(&setup.to, 5, 5))));
    eventually("it is told", || !troubled(&troubles).is_empty()).await;
    sink.forget(&under(1, batch(&setup.to, 1, 0)).origin, AssignmentId(1));
    // It was sent, and so is tried to its end.
    assert!(sent.await.unwrap().unwrap_err().message.contains("delivery.timeout.ms"));
    eventually("it is over", || troubled(&troubles).is_empty()).await;
    sink.close().await;
}

/// What is sealed and waits for the broker goes back, and what is left gets its numbers anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sealed_but_not_sent_is_forgotten_too() {
    let setup = setup(&[("batch.size", "20000"), ("max.in.flight.requests.per.connection", "1")]).await;
    let to = partitions(&setup, 2).await;
    let mut sink = NativeSink::new(&setup.client, &setup.settings, Troubles::default()).await.unwrap();
    for to in &to {
        sink.send(under(1, batch(to, 1, 0))).await.unwrap();
    }
    let before = setup.broker.seen(ApiKey::Produce).requests;
    let frozen = setup.broker.inject(Fault::once(ApiKey::Produce, FaultAction::Freeze));
    // One partition has the only request in flight; what the other has sealed waits.
    let busy = sink.send(under(1, batch(&to[0], 1, 1)));
    eventually("it is frozen", || setup.broker.seen(ApiKey::Produce).requests > before).await;
    let from = |partition: i32, number| OutputBatch {
        origin: TopicPartition::new("origin", partition),
        ..under(1, batch(&to[1], 1, number))
    };
    // The first is sealed by itself, and the others are joined behind it.
    let mut dropped = give(&mut sink, [from(8, 70)]);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut kept = give(&mut sink, [from(7, 1)]);
    dropped.extend(give(&mut sink, [from(8, 71)]));
    kept.extend(give(&mut sink, [from(7, 2), from(7, 3)]));
    tokio::time::sleep(Duration::from_millis(50)).await;
    sink.forget(&TopicPartition::new("origin", 8), AssignmentId(1));
    for dropped in dropped {
        dropped.await.unwrap_err();
    }
    setup.broker.lift(frozen);
    for kept in kept {
        kept.await.unwrap();
    }
    busy.await.unwrap();
    assert_eq!(read_all(&setup.client, &to[1], 4).await, (0..4).map(value).collect::<Vec<_>>());
    assert_eq!(setup.broker.offsets(&to[1].topic, 1).unwrap(), (0, 4));
    sink.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_broker_does_not_fail_for_slowness_alone() {
    let setup = setup(&[("request.timeout.ms", "500"), ("delivery.timeout.ms", "500")]).await;
    let mut sink = NativeSink::new(&setup.client, &setup.settings, Troubles::default()).await.unwrap();
    // Some 2 s of output, of which something fails once, long after it was handed over.
    setup.broker.limit_produce_rate(Some(100_000));
    let error = ResponseError::NotEnoughReplicas.code();
    setup.broker.inject(produce(FaultAction::Error(error), 45, 1));
    let started = Instant::now();
    for result in write(&mut sink, &setup.to).await {
        result.unwrap();
    }
    assert!(started.elapsed() > Duration::from_secs(1));
    setup.broker.clear_faults();
    assert_exactly_once_in_order(&setup, "slow").await;
    sink.close().await;
}

/// If all of it were in flight at once, the last would be answered after several request timeouts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_under_way_to_a_slow_broker_is_answered_in_time() {
    let setup =
        setup(&[("request.timeout.ms", "2000"), ("delivery.timeout.ms", "2000"), ("batch.size", "480000")])
            .await;
    let to = partitions(&setup, 4).await;
    let troubles = Troubles::default();
    let mut sink = NativeSink::new(&setup.client, &setup.settings, troubles.clone()).await.unwrap();
    let connections = setup.broker.connections_accepted();
    setup.broker.limit_produce_rate(Some(700_000));
    let mut receipts = Vec::new();
    for job in 0..2 {
        for to in &to {
            receipts.push(sink.send(under(1, batch(to, 6000, job * 6000))));
        }
    }
    for receipt in receipts {
        receipt.await.unwrap();
    }
    let connections = setup.broker.connections_accepted() - connections;
    assert!(connections <= 1, "{connections} connections");
    sink.close().await;
}

/// A batch with records of these sizes.
fn sized(to: &TopicPartition, sizes: &[usize]) -> OutputBatch {
    let mut writer = RecordWriter::new(1_000_000, 0);
    let now = topicmill_mill::clock::now_ms();
    for size in sizes {
        writer.push(now, None, Some(&[&vec![b'x'; *size][..]]), NO_HEADERS);
    }
    OutputBatch { destination: to.clone(), chunks: writer.finish(), ..OutputBatch::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_the_broker_does_not_even_read_is_refused_and_its_neighbours_are_written_once() {
    let setup = setup(&[("batch.size", "900000")]).await;
    let to = partitions(&setup, 2).await;
    let mut sink = NativeSink::new(&setup.client, &setup.settings, Troubles::default()).await.unwrap();
    setup.broker.limit_requests(300_000);
    let mut sizes = vec![100; 20];
    sizes[13] = 400_000;
    let suspect = sink.send(under(1, sized(&to[0], &sizes)));
    let after = sink.send(under(1, sized(&to[0], &[7, 8])));
    let neighbours = give(&mut sink, (0..20).map(|i| under(1, batch(&to[1], 10, i * 10))));
    for neighbour in join_all(neighbours).await {
        assert!(neighbour.unwrap().refused.is_empty());
    }
    let receipt = suspect.await.unwrap();
    let refused: Vec<_> =
        receipt.refused.iter().map(|refusal| (refusal.index, refusal.error.class)).collect();
    assert_eq!(refused, [(13, ErrorClass::Oversized)]);
    assert!(receipt.refused[0].error.message.contains("socket.request.max.bytes"));
    assert!(after.await.unwrap().refused.is_empty());
    sizes.remove(13);
    sizes.extend([7, 8]);
    let written = read_all(&setup.client, &to[0], sizes.len() as i64).await;
    assert_eq!(written.iter().map(String::len).collect::<Vec<_>>(), sizes);
    assert_eq!(setup.broker.offsets(&to[0].topic, 0).unwrap(), (0, sizes.len() as i64));
    assert_eq!(read_all(&setup.client, &to[1], 200).await, (0..200).map(value).collect::<Vec<_>>());
    assert_eq!(setup.broker.offsets(&to[1].topic, 1).unwrap(), (0, 200));
    sink.close().await;
}

/// A connection that ends once, or twice, is no reason to take a batch apart or leave a record out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_batch_survives_connections_that_end() {
    for action in [FaultAction::Close, FaultAction::LoseResponse] {
        let setup = setup(&[("batch.size", "900000")]).await;
        let mut sink = NativeSink::new(&setup.client, &setup.settings, Troubles::default()).await.unwrap();
        setup.broker.inject(produce(action, 0, 1));
        assert!(sink.send(sized(&setup.to, &[100_000; 4])).await.unwrap().refused.is_empty());
        assert!(sink.send(sized(&setup.to, &[200_000])).await.unwrap().refused.is_empty());
        assert_eq!(setup.broker.offsets(&setup.to.topic, 0).unwrap(), (0, 5));
        assert_eq!(wire_batches(&setup).await, 2);
        sink.close().await;
    }
}

/// The compressions of the wire batches in the log.
async fn compressions(setup: &Setup) -> Vec<Compression> {
    let records = fetch(&setup.client, &setup.to, 0).await;
    let (mut rest, mut found) = (&records[..], Vec::new());
    while let Ok(header) = BatchHeader::read(rest) {
        found.push(Compression::from_id(header.codec()).unwrap());
        rest = &rest[header.size..];
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_is_compressed_as_it_arrived_unless_it_is_said() {
    use Compression::{Gzip, Lz4, None, Snappy, Zstd};
    for (said, expected) in [
        (&[][..], [Lz4, None, Gzip, Snappy, Zstd]),
        (&[("compression.type", "none")], [None, None, None, None, Zstd]),
        (&[("compression.type", "zstd")], [Zstd; 5]),
    ] {
        let setup = setup(said).await;
        let mut sink = NativeSink::new(&setup.client, &setup.settings, Troubles::default()).await.unwrap();
        for compression in [Lz4, None, Gzip, Snappy] {
            sink.send(OutputBatch { compression, ..batch(&setup.to, 50, 0) }).await.unwrap();
        }
        let forced = OutputBatch { compression: Zstd, must_compress: true, ..batch(&setup.to, 50, 0) };
        sink.send(forced).await.unwrap();
        assert_eq!(compressions(&setup).await, expected, "{said:?}");
        sink.close().await;
    }
}

/// A measure, to be run beside other programs: what 100 partitions led by one broker take, whose
/// answers come 10 ms late, in batches of two records.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measure"]
async fn measure_small_batches_to_many_partitions_of_a_slow_broker() {
    let setup = setup(&[("batch.size", "500000")]).await;
    let to = partitions(&setup, 100).await;
    let mut sink = NativeSink::new(&setup.client, &setup.settings, Troubles::default()).await.unwrap();
    setup.broker.inject(Fault::always(ApiKey::Produce, FaultAction::Delay(Duration::from_millis(10))));
    for rate in [1_000, 5_000, 20_000, 100_000] {
        let (started, cpu) = (Instant::now(), topicmill_mill::cpu::time_used());
        let before = setup.broker.seen(ApiKey::Produce);
        let mut receipts = Vec::new();
        for jobs in 0..rate / 2 * 5 {
            let due = Duration::from_secs_f64(f64::from(jobs * 2) / f64::from(rate));
            if let Some(wait) = due.checked_sub(started.elapsed()) {
                tokio::time::sleep(wait).await;
            }
            receipts.push(sink.send(batch(&to[jobs as usize % 100], 2, 0)));
        }
        let sent = started.elapsed();
        for receipt in join_all(receipts).await {
            receipt.unwrap();
        }
        let (took, seen) = (started.elapsed(), setup.broker.seen(ApiKey::Produce));
        let cpu = topicmill_mill::cpu::time_used_since(cpu);
        println!(
            "{rate}/s for 5 s: handed over in {sent:.1?}, written in {took:.1?}, {} requests, {} batches, {cpu:?}",
            seen.requests - before.requests,
            seen.partitions - before.partitions,
        );
    }
    sink.close().await;
}
