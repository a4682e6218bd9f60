//! The seam over librdkafka against a broker: the embedded one, or those in `TEST_KAFKA`.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
    time::{Duration, SystemTime},
};

use topicmill_broker::{Broker, BrokerSettings};
use topicmill_kafka::Client;
use topicmill_librdkafka::{LibrdkafkaSink, LibrdkafkaSource};
use topicmill_mill::{
    batch::{OutputBatch, PartitionBatch, TopicPartition},
    budget::Budget,
    engine::{
        Assignment, ClientSettings, ErrorKind, Offset, OffsetReset, Receipt, Room, Sink, Source, SourceEvent,
        SourceSettings, Troubles,
    },
    transform::ErrorClass,
};
use topicmill_records::{HeadersWriter, NO_HEADERS, RecordWriter};

/// Long enough for any step on a busy machine; passing it is a failure.
const DEADLINE: Duration = Duration::from_secs(60);

/// The first timestamp: of today, or a broker's retention takes the records away.
static START: LazyLock<i64> = LazyLock::new(|| {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    now.as_millis() as i64
});

/// A cluster to test on.
struct Cluster {
    brokers: Vec<String>,
    _embedded: Option<Broker>,
}

impl Cluster {
    async fn new() -> Cluster {
        match std::env::var("TEST_KAFKA") {
            Ok(brokers) => {
                Cluster { brokers: brokers.split(',').map(str::to_owned).collect(), _embedded: None }
            }
            Err(_) => {
                let broker = embedded().await;
                Cluster { brokers: vec![broker.address().to_string()], _embedded: Some(broker) }
            }
        }
    }

    /// A new topic with two partitions.
    async fn topic(&self, name: &str) -> String {
        let topic = unique(name);
        let client = Client::connect(&self.client(&[])).await.unwrap();
        client.create_topic(&topic, 2, None, &[]).await.unwrap();
        topic
    }

    fn client(&self, properties: &[(&str, &str)]) -> ClientSettings {
        client(&self.brokers, properties)
    }

    fn source(&self, topic: &str, group: &str, properties: &[(&str, &str)]) -> LibrdkafkaSource {
        LibrdkafkaSource::new(&self.client(properties), settings(topic, group)).unwrap()
    }

    fn sink(&self, properties: &[(&str, &str)]) -> LibrdkafkaSink {
        LibrdkafkaSink::new(&self.client(properties)).unwrap()
    }

    /// Writes `count` numbers to each of `partitions`.
    async fn fill(&self, topic: &str, partitions: &[i32], count: u32) {
        let mut sink = self.sink(&[]);
        for &partition in partitions {
            let receipt = within(sink.send(numbers(topic, partition, 0..count))).await.unwrap();
            assert!(receipt.refused.is_empty());
        }
        sink.close().await;
    }
}

async fn embedded() -> Broker {
    let listen = "127.0.0.1:0".parse().unwrap();
    Broker::start(BrokerSettings { listen, memory: 256 << 20, partitions: 2 }).await.unwrap()
}

fn client(brokers: &[String], properties: &[(&str, &str)]) -> ClientSettings {
    ClientSettings {
        brokers: brokers.to_vec(),
        properties: properties.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect(),
        connect_timeout: Duration::from_secs(10),
    }
}

fn unique(name: &str) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    format!("{name}-{}", now.as_nanos())
}

fn settings(topic: &str, group: &str) -> SourceSettings {
    SourceSettings {
        topic: topic.into(),
        group: group.into(),
        offset_reset: OffsetReset::Earliest,
        revoke_timeout: Duration::from_secs(20),
        budget: Budget::new(64 << 20),
        troubles: Troubles::default(),
    }
}

fn numbers(topic: &str, partition: i32, range: std::ops::Range<u32>) -> OutputBatch {
    let mut writer = RecordWriter::new(200_000, 0);
    for i in range {
        let value = i.to_string();
        writer.push(*START + i64::from(i), None, Some(&[value.as_bytes()]), NO_HEADERS);
    }
    OutputBatch {
        destination: TopicPartition::new(topic, partition),
        chunks: writer.finish(),
        ..OutputBatch::default()
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("within the deadline")
}

async fn next(source: &mut LibrdkafkaSource) -> SourceEvent {
    within(source.next(&Room::open())).await.unwrap()
}

async fn assigned(source: &mut LibrdkafkaSource) -> Vec<Assignment> {
    loop {
        match next(source).await {
            SourceEvent::Assigned(assigned) if !assigned.is_empty() => return assigned,
            SourceEvent::Assigned(_) => {}
            event => panic!("an assignment comes first, not {event:?}"),
        }
    }
}

async fn batch(source: &mut LibrdkafkaSource) -> PartitionBatch {
    match next(source).await {
        SourceEvent::Batch(batch, _) => batch,
        event => panic!("a batch, not {event:?}"),
    }
}

/// The values of partition 0 from the next `count` records.
async fn values(source: &mut LibrdkafkaSource, count: usize) -> Vec<u32> {
    let mut values = Vec::new();
    while values.len() < count {
        let batch = batch(source).await;
        for record in &batch.records {
            let value = std::str::from_utf8(batch.bytes(record.value).unwrap()).unwrap();
            assert_eq!(record.timestamp, *START + value.parse::<i64>().unwrap());
            values.push(value.parse().unwrap());
        }
    }
    values
}

fn offset(assignment: &Assignment, next: i64) -> Offset {
    Offset { partition: assignment.partition.clone(), assignment: assignment.id, next, leader_epoch: -1 }
}

#[tokio::test]
async fn every_part_of_a_record_comes_back_as_written() {
    let cluster = Cluster::new().await;
    let topic = cluster.topic("parts").await;
    let mut headers = HeadersWriter::default();
    headers.push(b"h", Some(b"1"));
    headers.push(b"h", Some(b""));
    headers.push(b"null", None);
    let headers = headers.finish();
    let mut writer = RecordWriter::new(1000, 0);
    writer.push(*START + 5, Some(b"key"), Some(&[b"val", b"ue"]), &headers);
    writer.push(*START + 6, Some(b""), Some(&[b""]), NO_HEADERS);
    writer.push(*START + 7, None, None, NO_HEADERS);
    let destination = TopicPartition::new(topic.as_str(), 1);
    let mut sink = cluster.sink(&[]);
    within(sink.send(OutputBatch { destination, chunks: writer.finish(), ..OutputBatch::default() }))
        .await
        .unwrap();
    sink.close().await;

    let mut source = cluster.source(&topic, &topic, &[]);
    assigned(&mut source).await;
    let batch = batch(&mut source).await;
    assert_eq!(batch.origin.partition, 1);
    assert_eq!(batch.next_offset, 3);
    let part = |i: usize| {
        let record = &batch.records[i];
        (record.timestamp, batch.bytes(record.key), batch.bytes(record.value), batch.bytes(record.headers))
    };
    assert_eq!(part(0), (*START + 5, Some(&b"key"[..]), Some(&b"value"[..]), Some(&headers[..])));
    assert_eq!(part(1), (*START + 6, Some(&b""[..]), Some(&b""[..]), Some(NO_HEADERS)));
    assert_eq!(part(2), (*START + 7, None, None, Some(NO_HEADERS)));
    source.close().await;
}

#[tokio::test]
async fn all_is_read_in_order_and_a_commit_is_resumed_from() {
    let cluster = Cluster::new().await;
    let topic = cluster.topic("resume").await;
    cluster.fill(&topic, &[0], 30_000).await;
    let mut first = cluster.source(&topic, &topic, &[]);
    let assignment = assigned(&mut first).await.into_iter().find(|a| a.partition.partition == 0).unwrap();
    assert_eq!(assignment.position, 0);
    assert_eq!(values(&mut first, 30_000).await, (0..30_000).collect::<Vec<_>>());
    within(first.commit(vec![offset(&assignment, 12_345)])).await.unwrap();
    first.close().await;

    let mut second = cluster.source(&topic, &topic, &[]);
    let assignment = assigned(&mut second).await.into_iter().find(|a| a.partition.partition == 0).unwrap();
    assert_eq!(assignment.position, 12_345);
    assert_eq!(values(&mut second, 30_000 - 12_345).await, (12_345..30_000).collect::<Vec<_>>());
    second.close().await;
}

/// With librdkafka's auto offset store, a graceful end commits what was prefetched but never read.
#[tokio::test]
async fn an_end_without_commits_skips_nothing() {
    let cluster = Cluster::new().await;
    let topic = cluster.topic("drop").await;
    cluster.fill(&topic, &[0], 50_000).await;
    for close in [true, false] {
        let mut first = cluster.source(&topic, &topic, &[]);
        let assignment = assigned(&mut first).await.into_iter().find(|a| a.partition.partition == 0).unwrap();
        batch(&mut first).await;
        within(first.commit(vec![offset(&assignment, 100)])).await.unwrap();
        if close {
            first.close().await;
        } else {
            drop(first);
        }
        let mut second = cluster.source(&topic, &topic, &[]);
        let assignment =
            assigned(&mut second).await.into_iter().find(|a| a.partition.partition == 0).unwrap();
        assert_eq!(assignment.position, 100);
        assert_eq!(values(&mut second, 1).await[0], 100);
        second.close().await;
    }
}

/// Joins a second member and plays the first one's part of the rebalance.
async fn hand_over(strategy: &str) {
    let cluster = Cluster::new().await;
    let topic = cluster.topic("revoke").await;
    let properties = [("partition.assignment.strategy", strategy)];
    cluster.fill(&topic, &[0, 1], 1_000).await;
    let mut first = cluster.source(&topic, &topic, &properties);
    let held = assigned(&mut first).await;
    assert!(held.len() >= 2, "the topic has two partitions");
    let mut second = cluster.source(&topic, &topic, &properties);

    let (mut revoked, mut moved, mut waited) = (BTreeMap::new(), Vec::new(), false);
    let (closed, open) = (Room::closed(), Room::open());
    while moved.is_empty() {
        tokio::select! {
            event = within(first.next(&closed)) => match event.unwrap() {
                SourceEvent::Revoked { partitions, release } => {
                    // Until the release, commits count, and nobody else has the partitions.
                    let mine = held.iter().filter(|a| partitions.contains(&a.partition));
                    let offsets: Vec<_> = mine.map(|a| offset(a, 321)).collect();
                    assert!(!offsets.is_empty());
                    let early = tokio::time::timeout(Duration::from_millis(500), assigned(&mut second)).await;
                    waited = early.is_err();
                    within(first.commit(offsets)).await.unwrap();
                    revoked.extend(partitions.into_iter().map(|p| (p, true)));
                    release.send(()).unwrap();
                }
                SourceEvent::Assigned(_) => {}
                event => panic!("no {event:?} while a member joins"),
            },
            event = within(second.next(&open)) => match event.unwrap() {
                SourceEvent::Assigned(assigned) => moved = assigned,
                event => panic!("an assignment comes first, not {event:?}"),
            },
        }
    }
    assert!(waited, "the second member had to wait for the release");
    for assignment in &moved {
        assert!(revoked.contains_key(&assignment.partition));
        assert_eq!(assignment.position, 321);
    }

    // The first member's commits under the old assignment no longer count.
    let stale: Vec<_> = held.iter().filter(|a| moved.iter().any(|m| m.partition == a.partition)).collect();
    within(first.commit(stale.iter().map(|a| offset(a, 999)).collect())).await.unwrap();
    first.close().await;
    second.close().await;
    let mut third = cluster.source(&topic, &topic, &properties);
    for assignment in assigned(&mut third).await {
        let moved = moved.iter().any(|m| m.partition == assignment.partition);
        assert!(!moved || assignment.position == 321, "{assignment:?}");
    }
    third.close().await;
}

#[tokio::test]
async fn a_revoke_waits_for_the_release_and_counts_commits_cooperatively() {
    hand_over("cooperative-sticky").await;
}

#[tokio::test]
async fn a_revoke_waits_for_the_release_and_counts_commits_eagerly() {
    hand_over("range").await;
}

#[tokio::test]
async fn back_pressure_keeps_the_membership_and_every_record() {
    let cluster = Cluster::new().await;
    let topic = cluster.topic("pressure").await;
    cluster.fill(&topic, &[0], 100_000).await;
    let properties = [("session.timeout.ms", "6000"), ("max.poll.interval.ms", "6000")];
    let budget = Budget::new(64 << 10);
    let settings = SourceSettings { budget: budget.clone(), ..settings(&topic, &topic) };
    let mut source = LibrdkafkaSource::new(&cluster.client(&properties), settings).unwrap();
    assigned(&mut source).await;
    // Longer than either timeout: a member that did not poll would be thrown out.
    tokio::time::sleep(Duration::from_secs(9)).await;
    // It is larger than the budget, which counts what it takes and lets it pass alone.
    assert!(budget.used() >= budget.capacity(), "a batch waits and holds the whole budget");
    // `values` accepts batches only: a lost or new assignment would fail it.
    assert_eq!(values(&mut source, 100_000).await, (0..100_000).collect::<Vec<_>>());
    source.close().await;
}

#[tokio::test]
async fn batches_are_written_in_the_order_of_the_calls() {
    let cluster = Cluster::new().await;
    let topic = cluster.topic("order").await;
    let mut sink = cluster.sink(&[("compression.type", "lz4")]);
    let mut sent = Vec::new();
    for i in 0..100 {
        sent.push(sink.send(numbers(&topic, 0, i * 1000..(i + 1) * 1000)));
    }
    for receipt in sent.into_iter().rev() {
        assert!(within(receipt).await.unwrap().refused.is_empty());
    }
    sink.close().await;
    let mut source = cluster.source(&topic, &topic, &[]);
    assigned(&mut source).await;
    assert_eq!(values(&mut source, 100_000).await, (0..100_000).collect::<Vec<_>>());
    source.close().await;
}

#[tokio::test]
async fn an_oversized_record_is_refused_and_its_neighbours_are_written() {
    let cluster = Cluster::new().await;
    let topic = cluster.topic("oversized").await;
    let mut writer = RecordWriter::new(1_000, 0);
    let large = vec![b'x'; 20_000];
    for value in [&b"0"[..], &large, b"2"] {
        writer.push(*START, None, Some(&[value]), NO_HEADERS);
    }
    let destination = TopicPartition::new(topic.as_str(), 0);
    let mut sink = cluster.sink(&[("max.request.size", "10000")]);
    let Receipt { refused } =
        within(sink.send(OutputBatch { destination, chunks: writer.finish(), ..OutputBatch::default() }))
            .await
            .unwrap();
    assert_eq!(refused.len(), 1);
    assert_eq!((refused[0].index, refused[0].error.class), (1, ErrorClass::Oversized));
    sink.close().await;
    let mut source = cluster.source(&topic, &topic, &[]);
    assigned(&mut source).await;
    let batch = batch(&mut source).await;
    let values: Vec<_> = batch.records.iter().map(|record| batch.bytes(record.value).unwrap()).collect();
    assert_eq!(values, [b"0", b"2"]);
    source.close().await;
}

#[tokio::test]
async fn an_unreachable_cluster_and_a_missing_topic_are_told_apart() {
    let nobody = ClientSettings {
        brokers: vec!["127.0.0.1:1".into()],
        connect_timeout: Duration::from_millis(300),
        ..ClientSettings::default()
    };
    let mut source = LibrdkafkaSource::new(&nobody, settings("t", "g")).unwrap();
    assert_eq!(within(source.next(&Room::open())).await.unwrap_err().kind, ErrorKind::Unreachable);
    source.close().await;
    let mut sink = LibrdkafkaSink::new(&nobody).unwrap();
    let sent = within(sink.send(numbers("t", 0, 0..1))).await;
    assert_eq!(sent.unwrap_err().kind, ErrorKind::Unreachable);
    sink.close().await;

    let cluster = Cluster::new().await;
    let topic = unique("missing");
    let mut source = LibrdkafkaSource::new(&cluster.client(&[]), settings(&topic, "g")).unwrap();
    let error = within(source.next(&Room::open())).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Fatal);
    assert!(error.message.contains(&topic), "{error}");
    source.close().await;
}

#[tokio::test]
async fn without_a_committed_offset_the_reset_decides() {
    let cluster = Cluster::new().await;
    let topic = cluster.topic("reset").await;
    cluster.fill(&topic, &[0, 1], 10).await;
    let with = |reset| SourceSettings { offset_reset: reset, ..settings(&topic, &unique("group")) };
    let mut latest = LibrdkafkaSource::new(&cluster.client(&[]), with(OffsetReset::Latest)).unwrap();
    let positions: Vec<_> = assigned(&mut latest).await.iter().map(|a| a.position).collect();
    assert_eq!(positions[..2], [10, 10]);
    latest.close().await;
    let mut none = LibrdkafkaSource::new(&cluster.client(&[]), with(OffsetReset::None)).unwrap();
    assert_eq!(within(none.next(&Room::open())).await.unwrap_err().kind, ErrorKind::Fatal);
    none.close().await;
}

#[tokio::test]
async fn a_closed_sink_gives_up_what_is_not_acknowledged() {
    let cluster = Cluster::new().await;
    let topic: Arc<str> = cluster.topic("give-up").await.into();
    let mut sink = cluster.sink(&[("linger.ms", "60000")]);
    let sent = sink.send(numbers(&topic, 0, 0..10));
    sink.close().await;
    assert_eq!(within(sent).await.unwrap_err().kind, ErrorKind::Retriable);
}

/// A broker refuses the whole request that holds an oversized record and does not say which it is.
#[tokio::test]
async fn what_the_broker_refuses_is_found_by_the_next_sink() {
    let broker = embedded().await;
    broker.create_topic("small", 1, &[("max.message.bytes", "5000")]).unwrap();
    let client = client(&[broker.address().to_string()], &[]);
    let batch = || {
        let mut writer = RecordWriter::new(100_000, 0);
        let large = vec![b'x'; 6_000];
        for value in [&b"0"[..], b"1", &large, b"3"] {
            writer.push(*START, None, Some(&[value]), NO_HEADERS);
        }
        OutputBatch {
            destination: TopicPartition::new("small", 0),
            chunks: writer.finish(),
            ..OutputBatch::default()
        }
    };
    let mut sink = LibrdkafkaSink::new(&client).unwrap();
    let error = within(sink.send(batch())).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Retriable, "{error}");
    sink.close().await;
    assert_eq!(broker.offsets("small", 0), Some((0, 0)));

    let mut sink = LibrdkafkaSink::new(&client).unwrap();
    let Receipt { refused } = within(sink.send(batch())).await.unwrap();
    sink.close().await;
    assert_eq!(refused.len(), 1);
    assert_eq!((refused[0].index, refused[0].error.class), (2, ErrorClass::Oversized));
    assert_eq!(broker.offsets("small", 0), Some((0, 3)));
}

#[tokio::test]
async fn lost_connections_lose_and_duplicate_nothing() {
    let broker = embedded().await;
    let client = client(&[broker.address().to_string()], &[]);
    let mut sink = LibrdkafkaSink::new(&client).unwrap();
    for i in 0..5 {
        let sent = sink.send(numbers("t", 0, i * 1000..(i + 1) * 1000));
        broker.close_connections();
        assert!(within(sent).await.unwrap().refused.is_empty());
    }
    sink.close().await;
    let mut source = LibrdkafkaSource::new(&client, settings("t", "g")).unwrap();
    assigned(&mut source).await;
    broker.close_connections();
    assert_eq!(values(&mut source, 5_000).await, (0..5_000).collect::<Vec<_>>());
    source.close().await;
}
