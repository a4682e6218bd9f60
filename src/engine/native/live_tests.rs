//! Against a broker: those named by `TOPICMILL_TEST_BROKERS`.

use std::{collections::BTreeMap, time::Duration};

use super::*;
use crate::{
    batch::{OutputBatch, TopicPartition},
    engine::{ClientSettings, ErrorKind, Sink},
    records::{NO_HEADERS, RecordWriter},
    transform::ErrorClass,
};

fn settings() -> ClientSettings {
    let brokers = std::env::var("TOPICMILL_TEST_BROKERS").expect("TOPICMILL_TEST_BROKERS names brokers");
    ClientSettings {
        brokers: brokers.split(',').map(str::to_owned).collect(),
        properties: BTreeMap::new(),
        connect_timeout: Duration::from_secs(10),
    }
}

fn fresh(name: &str) -> String {
    format!("{name}_{:016x}", rand::random::<u64>())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs brokers"]
async fn topics_are_created_described_and_deleted() {
    let client = Client::connect(&settings()).await.unwrap();
    let topic = fresh("admin");
    assert_eq!(client.topic(&topic).await.unwrap(), None);
    client.create_topic(&topic, 3, None, &[("max.message.bytes", "123456")]).await.unwrap();
    client.create_topic(&topic, 5, None, &[]).await.unwrap();
    assert_eq!(client.topic(&topic).await.unwrap().unwrap().partitions, 3);
    assert_eq!(client.topic_config(&topic).await.unwrap()["max.message.bytes"], "123456");
    let empty = BTreeMap::from([(0, 0), (1, 0), (2, 0)]);
    for at in [OffsetAt::Earliest, OffsetAt::Latest, OffsetAt::Timestamp(1)] {
        assert_eq!(client.offsets(&topic, at).await.unwrap(), empty, "{at:?}");
    }
    client.delete_topic(&topic).await.unwrap();
    client.delete_topic(&topic).await.unwrap();
    assert_eq!(client.topic(&topic).await.unwrap(), None);
    let error = client.create_topic(&topic, -7, None, &[]).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Fatal, "{error}");
}

#[tokio::test]
#[ignore = "needs brokers"]
async fn a_group_that_is_not_there_is_dead_and_has_committed_nothing() {
    let client = Client::connect(&settings()).await.unwrap();
    let group = client.group(&fresh("group")).await.unwrap();
    assert_eq!((group.state.as_str(), group.members.len()), ("Dead", 0));
    assert_eq!(client.committed(&fresh("group"), "t").await.unwrap(), BTreeMap::new());
}

fn batch(to: &TopicPartition, records: usize, from: usize) -> OutputBatch {
    let mut writer = RecordWriter::new(1_000_000, records * 70);
    for i in from..from + records {
        let value = format!("{{\"first_name\":\"a{i:010}\",\"last_name\":\"b{i:010}\"}}");
        writer.push(1_700_000_000_000 + i as i64, None, Some(&[value.as_bytes()]), NO_HEADERS);
    }
    OutputBatch { destination: to.clone(), chunks: writer.finish() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs brokers"]
async fn what_is_produced_is_there() {
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let mut settings = settings();
        settings.properties.insert("compression.type".into(), codec.into());
        let client = Client::connect(&settings).await.unwrap();
        let topic = fresh("produce");
        client.create_topic(&topic, 2, None, &[]).await.unwrap();
        let mut sink = NativeSink::new(&client, &settings).await.unwrap();
        let mut receipts = Vec::new();
        for i in 0..40 {
            let to = TopicPartition::new(topic.as_str(), i % 2);
            receipts.push(sink.send(batch(&to, 1000, i as usize * 1000)));
        }
        for receipt in receipts {
            assert!(receipt.await.unwrap().refused.is_empty());
        }
        let ends = client.offsets(&topic, OffsetAt::Latest).await.unwrap();
        assert_eq!(ends, BTreeMap::from([(0, 20_000), (1, 20_000)]), "{codec}");
        sink.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs brokers"]
async fn a_batch_that_is_too_large_is_split_and_a_record_refused() {
    for codec in ["none", "lz4"] {
        let mut settings = settings();
        settings.properties.insert("compression.type".into(), codec.into());
        let client = Client::connect(&settings).await.unwrap();
        let topic = fresh("large");
        client.create_topic(&topic, 1, None, &[("max.message.bytes", "20000")]).await.unwrap();
        let mut sink = NativeSink::new(&client, &settings).await.unwrap();
        let to = TopicPartition::new(topic.as_str(), 0);
        let mut receipts = vec![sink.send(batch(&to, 10, 0))];
        let mut writer = RecordWriter::new(usize::MAX, 0);
        let noise: Vec<u8> = (0..30_000).map(|_| rand::random()).collect();
        for i in 0..200 {
            let value = if i == 77 { &noise[..] } else { &noise[i * 20..i * 20 + 300] };
            writer.push(i as i64, None, Some(&[value]), NO_HEADERS);
        }
        receipts.push(sink.send(OutputBatch { destination: to.clone(), chunks: writer.finish() }));
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
        let ends = client.offsets(&topic, OffsetAt::Latest).await.unwrap();
        assert_eq!(ends, BTreeMap::from([(0, 10 + 199 + 2000)]), "{codec}");
        sink.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs brokers; prints a rate"]
async fn produce_rate() {
    let settings = settings();
    let client = Client::connect(&settings).await.unwrap();
    let topic = fresh("rate");
    client.create_topic(&topic, 1, None, &[]).await.unwrap();
    let mut sink = NativeSink::new(&client, &settings).await.unwrap();
    let to = TopicPartition::new(topic.as_str(), 0);
    let one = batch(&to, 15_000, 0);
    let start = std::time::Instant::now();
    let rounds = 1000;
    let mut receipts = std::collections::VecDeque::new();
    for _ in 0..rounds {
        let copy = OutputBatch { destination: to.clone(), chunks: one.chunks.clone() };
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
