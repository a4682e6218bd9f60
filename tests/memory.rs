//! What the memory of a process stays below, whatever its records are like.

mod support;

use std::{
    process::Child,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use support::{Cluster, Names, TestRecord, expect, pause, peak_memory, signal, start, wait};
use topicmill_broker::{ApiKey, Fault, FaultAction};
use topicmill_kafka::{Client, NativeSink};
use topicmill_mill::{
    batch::{OutputBatch, TopicPartition},
    engine::{ClientSettings, Sink},
};
use topicmill_records::{Compression, NO_HEADERS, RecordWriter};

/// What `--memory` is, and what the process may take: 64 MiB more.
const MEMORY: &str = "32MiB";
const MOST: usize = (32 + 64) << 20;

/// Writes `count` records of the same value to partition 0, all of them in one compressed batch.
fn produce_one_batch(cluster: &Cluster, topic: &str, count: usize, value: &[u8]) {
    let mut settings = cluster.settings();
    settings.properties.insert("compression.type".into(), "zstd".into());
    let client = cluster.client();
    cluster.runtime.block_on(async {
        let mut sink = NativeSink::new(&client, &settings, Default::default()).await.unwrap();
        let mut writer = RecordWriter::new(i32::MAX as usize, count * (value.len() + 20));
        (0..count).for_each(|_| writer.push(1000, None, Some(&[value]), NO_HEADERS));
        let chunks = writer.finish();
        assert_eq!(chunks.len(), 1);
        let (destination, compression) = (TopicPartition::new(topic, 0), Compression::Zstd);
        let batch = OutputBatch { destination, chunks, compression, ..OutputBatch::default() };
        let receipt = sink.send(batch).await.unwrap();
        assert!(receipt.refused.is_empty(), "{receipt:?}");
        sink.close().await;
    });
}

/// Waits for a program to end well; its peak memory on the way.
fn peak_until_done(child: &mut Child, limit: Duration) -> usize {
    let begin = Instant::now();
    let mut peak = 0;
    loop {
        // When it ends meanwhile there is nothing to read any more.
        peak = std::panic::catch_unwind(|| peak_memory(child)).unwrap_or(0).max(peak);
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{status}");
            return peak;
        }
        assert!(begin.elapsed() < limit, "the program does not end within {limit:?}");
        pause(Duration::from_millis(5));
    }
}

#[test]
fn a_batch_that_is_far_larger_unpacked_is_transformed_in_little_memory() {
    let long = [br#"{"first_name":""#, &vec![b'a'; 500_000][..], br#"","last_name":"b"}"#].concat();
    for (count, value) in [(300, &long[..]), (400_000, b"{}")] {
        let cluster = Cluster::embedded();
        let names = Names::new("large");
        cluster.create(&names.source, 1, &[]);
        produce_one_batch(&cluster, &names.source, count, value);
        let lag = ["lag", "--brokers", &cluster.brokers, "--group", &names.group, "--source", &names.source];
        // The group does not exist yet; whatever is said of that, the batch is not in the way.
        let more = ["--memory", MEMORY, "--until-caught-up", "-X", "compression.type=zstd"];
        let peak = peak_until_done(&mut start(&names.run(&cluster, &more)), Duration::from_secs(120));
        eprintln!("{count} records: peak memory {} MiB", peak >> 20);
        assert!(peak <= MOST, "{peak} bytes");
        let shown = expect(&[&lag[..], &["--json"]].concat(), 0);
        let found: serde_json::Value = serde_json::from_str(shown.lines().next().unwrap()).unwrap();
        assert_eq!((&found["committed"], &found["lag"]), (&count.into(), &0.into()), "{shown}");
        names.expect_clean(&cluster, "partition");
    }
}

/// A program that ends with its test, also when that panics.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Writes a small record to partition 0 every few milliseconds, until told to stop.
async fn trickle(client: Client, settings: ClientSettings, topic: String, stop: Arc<AtomicBool>) {
    let mut sink = NativeSink::new(&client, &settings, Default::default()).await.unwrap();
    while !stop.load(Ordering::Relaxed) {
        let mut writer = RecordWriter::new(10_000, 0);
        let value = &br#"{"first_name":"A","last_name":"B"}"#[..];
        writer.push(1000, None, Some(&[value]), NO_HEADERS);
        let (destination, chunks) = (TopicPartition::new(topic.as_str(), 0), writer.finish());
        sink.send(OutputBatch { destination, chunks, ..OutputBatch::default() }).await.unwrap();
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    sink.close().await;
}

#[test]
fn a_trickle_whose_destination_stalls_does_not_hold_what_is_fetched_beside_it() {
    const HOT: i32 = 6;
    const COUNT: usize = 1600;
    let cluster = Cluster::embedded();
    let names = Names::new("trickle");
    cluster.create(&names.source, HOT + 1, &[]);
    cluster.create(&names.destination, HOT + 1, &[]);
    let broker = cluster.embedded.as_ref().unwrap();
    // NOT_ENOUGH_REPLICAS for partition 0, for as long as it takes.
    let stall = Fault::always(ApiKey::Produce, FaultAction::Error(19)).on_partition(&names.destination, 0);
    let stall = broker.inject(stall);
    let long = [br#"{"first_name":""#, &vec![b'a'; 25_000][..], br#"","last_name":"b"}"#].concat();
    for partition in 1..=HOT {
        cluster.produce(&names.source, partition, &vec![TestRecord::value(long.clone()); COUNT]);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let (client, settings, topic) = (cluster.client(), cluster.settings(), names.source.clone());
    let trickle = cluster.runtime.spawn(trickle(client, settings, topic, Arc::clone(&stop)));

    let mut mill = Program(start(&names.run(&cluster, &["--memory", MEMORY])));
    let mut peak = 0;
    let begin = Instant::now();
    for partition in 1..=HOT {
        let end = || broker.offsets(&names.destination, partition).unwrap().1;
        while end() < COUNT as i64 {
            assert!(begin.elapsed() < Duration::from_secs(180), "partition {partition} is at {}", end());
            pause(Duration::from_millis(20));
            peak = peak_memory(&mill.0).max(peak);
        }
    }
    let stuck = broker.offsets(&names.source, 0).unwrap().1;
    eprintln!("peak memory {} MiB beside {stuck} records that wait", peak >> 20);
    assert!(peak <= MOST, "{peak} bytes");
    assert_eq!(broker.offsets(&names.destination, 0).unwrap().1, 0);
    stop.store(true, Ordering::Relaxed);
    cluster.runtime.block_on(trickle).unwrap();
    broker.lift(stall);
    signal(&mill.0, "-TERM");
    assert_eq!(wait(&mut mill.0, Duration::from_secs(60)), 0);
    names.catch_up(&cluster, &[]);
    names.expect_clean(&cluster, "partition");
}
