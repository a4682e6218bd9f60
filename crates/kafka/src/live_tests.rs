//! The client and the sink on a cluster where nothing goes wrong: the embedded broker, or those
//! that `TEST_KAFKA` names.

use std::collections::BTreeMap;

use topicmill_mill::{
    batch::{OutputBatch, TopicPartition},
    clock::now_ms,
    engine::{Assignment, ErrorKind, Offset, Room, Sink, Source, SourceEvent, SourceSettings, Troubles},
    transform::ErrorClass,
};
use topicmill_records::{NO_HEADERS, RecordWriter};

use super::{
    testing::{batch, cluster, fresh, read_all, source_settings, value},
    *,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_are_created_described_and_deleted() {
    let (_broker, settings) = cluster().await;
    let client = Client::connect(&settings).await.unwrap();
    let topic = fresh("admin");
    assert_eq!(client.topic(&topic).await.unwrap(), None);
    client.create_topic(&topic, 3, None, &[("max.message.bytes", "123456")]).await.unwrap();
    client.create_topic(&topic, 5, None, &[]).await.unwrap();
    assert_eq!(client.topic(&topic).await.unwrap().unwrap().partitions, 3);
    assert_eq!(client.topic_config(&topic).await.unwrap()["max.message.bytes"], "123456");
    let empty = BTreeMap::from([(0, 0), (1, 0), (2, 0)]);
    for at in [OffsetAt::Earliest, OffsetAt::Latest, OffsetAt::HighWatermark, OffsetAt::Timestamp(1)] {
        assert_eq!(client.offsets(&topic, at).await.unwrap(), empty, "{at:?}");
    }
    client.delete_topic(&topic).await.unwrap();
    client.delete_topic(&topic).await.unwrap();
    assert_eq!(client.topic(&topic).await.unwrap(), None);
    let error = client.create_topic(&topic, -7, None, &[]).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Fatal, "{error}");
}

#[tokio::test]
async fn a_topic_made_anew_has_another_id() {
    let (_broker, settings) = cluster().await;
    let client = Client::connect(&settings).await.unwrap();
    let topic = fresh("anew");
    let mut ids = Vec::new();
    for _ in 0..2 {
        client.create_topic(&topic, 1, None, &[]).await.unwrap();
        ids.push(client.topic(&topic).await.unwrap().unwrap().id.unwrap());
        assert_eq!(client.cluster().topic(&topic).await.unwrap().id, ids.last().copied());
        client.delete_topic(&topic).await.unwrap();
    }
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn a_topic_gains_partitions() {
    let (_broker, settings) = cluster().await;
    let client = Client::connect(&settings).await.unwrap();
    let topic = fresh("grow");
    let error = client.create_partitions(&topic, 2).await.unwrap_err();
    assert!(error.message.contains("UNKNOWN_TOPIC_OR_PARTITION"), "{error}");
    client.create_topic(&topic, 2, None, &[]).await.unwrap();
    // What there is already stays.
    for count in [3, 3, 2] {
        client.create_partitions(&topic, count).await.unwrap();
        assert_eq!(client.offsets(&topic, OffsetAt::Latest).await.unwrap().len(), 3);
    }
    client.delete_topic(&topic).await.unwrap();
}

#[tokio::test]
async fn a_group_that_is_not_there_is_dead_and_has_committed_nothing() {
    let (_broker, settings) = cluster().await;
    let client = Client::connect(&settings).await.unwrap();
    let group = client.group(&fresh("group")).await.unwrap();
    assert_eq!((group.state.as_str(), group.members.len()), ("Dead", 0));
    assert!(!group.exists());
    assert_eq!(client.committed(&fresh("group"), "t").await.unwrap(), BTreeMap::new());
}

#[tokio::test]
async fn a_group_tells_what_it_reads_and_has_committed() {
    let (_broker, settings) = cluster().await;
    let client = Client::connect(&settings).await.unwrap();
    let (topic, group) = (fresh("read"), fresh("group"));
    client.create_topic(&topic, 1, None, &[]).await.unwrap();
    let of = SourceSettings { topic: topic.as_str().into(), group: group.clone(), ..source_settings() };
    let mut source = NativeSource::new(&client, &settings, of).await.unwrap();
    let SourceEvent::Assigned(assigned) = source.next(&Room::open()).await.unwrap() else { panic!() };
    let Assignment { partition, id: assignment, .. } = assigned[0].clone();
    let offset = Offset { partition, assignment, next: 7, leader_epoch: -1 };
    source.commit(vec![offset]).await.unwrap();
    let described = client.group(&group).await.unwrap();
    assert!(described.exists());
    assert_eq!(described.members[0].topics, [topic.clone()].into());
    let expected = BTreeMap::from([(TopicPartition::new(topic.as_str(), 0), 7)]);
    assert_eq!(client.committed_all(&group).await.unwrap(), expected);
    source.close().await;
    assert!(client.group(&group).await.unwrap().exists(), "it has committed");
    client.delete_topic(&topic).await.unwrap();
}

#[tokio::test]
async fn no_broker_is_unreachable() {
    let (_broker, mut settings) = cluster().await;
    settings.brokers = vec!["127.0.0.1:1".to_owned()];
    settings.connect_timeout = std::time::Duration::from_millis(300);
    let error = Client::connect(&settings).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable);
    assert!(error.message.contains("127.0.0.1:1"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_produced_is_there_with_every_compression() {
    let (_broker, mut settings) = cluster().await;
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        settings.properties.insert("compression.type".into(), codec.into());
        let client = Client::connect(&settings).await.unwrap();
        let topic = fresh("produce");
        client.create_topic(&topic, 2, None, &[]).await.unwrap();
        let mut sink = NativeSink::new(&client, &settings, Troubles::default()).await.unwrap();
        let mut receipts = Vec::new();
        for i in 0..40 {
            let to = TopicPartition::new(topic.as_str(), i % 2);
            receipts.push(sink.send(batch(&to, 1000, i as usize / 2 * 1000)));
        }
        for receipt in receipts {
            assert!(receipt.await.unwrap().refused.is_empty());
        }
        let ends = client.offsets(&topic, OffsetAt::Latest).await.unwrap();
        assert_eq!(ends, BTreeMap::from([(0, 20_000), (1, 20_000)]), "{codec}");
        let expected: Vec<_> = (0..20_000).map(value).collect();
        for partition in 0..2 {
            let from = TopicPartition::new(topic.as_str(), partition);
            assert!(read_all(&client, &from, 20_000).await == expected, "{codec}: {from}");
        }
        sink.close().await;
        client.delete_topic(&topic).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_is_too_large_is_split_and_a_record_refused() {
    let (_broker, mut settings) = cluster().await;
    for codec in ["none", "lz4"] {
        settings.properties.insert("compression.type".into(), codec.into());
        let client = Client::connect(&settings).await.unwrap();
        let topic = fresh("large");
        client.create_topic(&topic, 1, None, &[("max.message.bytes", "20000")]).await.unwrap();
        let mut sink = NativeSink::new(&client, &settings, Troubles::default()).await.unwrap();
        let to = TopicPartition::new(topic.as_str(), 0);
        let mut receipts = vec![sink.send(batch(&to, 10, 0))];
        let mut writer = RecordWriter::new(usize::MAX, 0);
        let noise: String = (0..30_000).map(|_| char::from(rand::random_range(33..127u8))).collect();
        let of = |i: usize| if i == 77 { &noise[..] } else { &noise[i * 20..i * 20 + 300] };
        for i in 0..200 {
            writer.push(now_ms(), None, Some(&[of(i).as_bytes()]), NO_HEADERS);
        }
        receipts.push(sink.send(OutputBatch {
            destination: to.clone(),
            chunks: writer.finish(),
            ..OutputBatch::default()
        }));
        for i in 0..20 {
            receipts.push(sink.send(batch(&to, 100, i * 100)));
        }
        let mut refused = Vec::new();
        for receipt in receipts {
            refused.push(receipt.await.unwrap().refused);
        }
        assert_eq!(refused[1].len(), 1);
        assert_eq!((refused[1][0].index, refused[1][0].error.class), (77, ErrorClass::Oversized));
        assert_eq!(refused.iter().flatten().count(), 1);
        let expected: Vec<_> = (0..10)
            .map(value)
            .chain((0..200).filter(|i| *i != 77).map(|i| of(i).to_owned()))
            .chain((0..2000).map(value))
            .collect();
        let ends = client.offsets(&topic, OffsetAt::Latest).await.unwrap();
        assert_eq!(ends, BTreeMap::from([(0, expected.len() as i64)]), "{codec}");
        assert!(read_all(&client, &to, ends[&0]).await == expected, "{codec}");
        sink.close().await;
        client.delete_topic(&topic).await.unwrap();
    }
}

/// Restart or kill the brokers while this runs: everything must be there once and in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "waits for brokers to be restarted by hand"]
async fn restarted_brokers_lose_and_double_nothing() {
    let (_broker, settings) = cluster().await;
    let client = Client::connect(&settings).await.unwrap();
    let topic = fresh("restart");
    client.create_topic(&topic, 1, None, &[]).await.unwrap();
    let mut sink = NativeSink::new(&client, &settings, Troubles::default()).await.unwrap();
    let to = TopicPartition::new(topic.as_str(), 0);
    let mut receipts = std::collections::VecDeque::new();
    let total = 3000;
    for i in 0..total {
        receipts.push_back(sink.send(batch(&to, 100, i * 100)));
        if receipts.len() > 20 {
            receipts.pop_front().unwrap().await.unwrap();
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    for receipt in receipts {
        receipt.await.unwrap();
    }
    let ends = client.offsets(&topic, OffsetAt::Latest).await.unwrap();
    assert_eq!(ends[&0], total as i64 * 100);
    assert!(read_all(&client, &to, ends[&0]).await == (0..total * 100).map(value).collect::<Vec<_>>());
    client.delete_topic(&topic).await.unwrap();
}

/// The ceiling of writing: run it in release mode with `--ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures"]
async fn produce_rate() {
    let (_broker, settings) = cluster().await;
    let client = Client::connect(&settings).await.unwrap();
    let topic = fresh("rate");
    client.create_topic(&topic, 1, None, &[]).await.unwrap();
    let mut sink = NativeSink::new(&client, &settings, Troubles::default()).await.unwrap();
    let to = TopicPartition::new(topic.as_str(), 0);
    let one = batch(&to, 15_000, 0);
    let start = std::time::Instant::now();
    let rounds = 1000;
    let mut receipts = std::collections::VecDeque::new();
    for _ in 0..rounds {
        let copy =
            OutputBatch { destination: to.clone(), chunks: one.chunks.clone(), ..OutputBatch::default() };
        receipts.push_back(sink.send(copy));
        if receipts.len() > 8 {
            receipts.pop_front().unwrap().await.unwrap();
        }
    }
    for receipt in receipts {
        receipt.await.unwrap();
    }
    let rate = (rounds * one.record_count()) as f64 / start.elapsed().as_secs_f64();
    println!("{} bytes a batch, {rate:.0} records/s", one.size());
    client.delete_topic(&topic).await.unwrap();
}
