//! The native source and reader against the embedded broker, or against the brokers that
//! `TEST_KAFKA` names where a test needs no fault injected.

#[path = "support/ask.rs"]
mod ask;
#[path = "native_source/consumer_protocol.rs"]
mod consumer_protocol;
#[path = "native_source/unknown_offsets.rs"]
mod unknown_offsets;

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::sync::oneshot;
use topicmill_broker::{ApiKey, Broker, BrokerSettings, Fault, FaultAction};
use topicmill_kafka::{Client, Isolation, NativeSink, NativeSource, Reader};
use topicmill_mill::{
    batch::{AssignmentId, OutputBatch, PartitionBatch, TopicPartition},
    budget::Budget,
    engine::{
        ClientSettings, EngineError, ErrorKind, Offset, OffsetReset, Room, Sink, Source, SourceEvent,
        SourceSettings, Troubles,
    },
};
use topicmill_records::{NO_HEADERS, RecordWriter};

/// Nothing here takes nearly as long; what does is stuck.
const LIMIT: Duration = Duration::from_secs(60);

const NOT_LEADER_OR_FOLLOWER: i16 = 6;
const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;

/// A topic of its own, and what is needed to read it.
struct Stage {
    /// `None` when the brokers are real ones.
    broker: Option<Broker>,
    client: Client,
    brokers: Vec<String>,
    topic: String,
    group: String,
}

impl Stage {
    async fn new(partitions: i32) -> Stage {
        match std::env::var("TEST_KAFKA") {
            Ok(brokers) => {
                Stage::with(None, brokers.split(',').map(str::to_owned).collect(), partitions).await
            }
            Err(_) => Stage::embedded(partitions).await,
        }
    }

    /// On the Apache Kafka that TEST_KAFKA names.
    async fn kafka(partitions: i32) -> Stage {
        let brokers = std::env::var("TEST_KAFKA").expect(
            "TEST_KAFKA must name a real Kafka, as scripts/test sets it: TEST_KAFKA=$(scripts/kafka up)",
        );
        Stage::with(None, brokers.split(',').map(str::to_owned).collect(), partitions).await
    }

    async fn embedded(partitions: i32) -> Stage {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let settings = BrokerSettings { listen, memory: 256 << 20, partitions: 0 };
        let broker = Broker::start(settings).await.unwrap();
        let brokers = vec![broker.address().to_string()];
        Stage::with(Some(broker), brokers, partitions).await
    }

    async fn with(broker: Option<Broker>, brokers: Vec<String>, partitions: i32) -> Stage {
        let client = Client::connect(&client_settings(&brokers, &[])).await.unwrap();
        let topic = format!("source_{:016x}", rand::random::<u64>());
        client.create_topic(&topic, partitions, Some(1), &[]).await.unwrap();
        Stage { broker, client, brokers, group: format!("group_of_{topic}"), topic }
    }

    fn broker(&self) -> &Broker {
        self.broker.as_ref().expect("the embedded broker")
    }

    fn partition(&self, number: i32) -> TopicPartition {
        TopicPartition::new(self.topic.as_str(), number)
    }

    /// Writes the numbers from `from` on to a partition, a few to a batch.
    async fn produce(&self, partition: i32, numbers: std::ops::Range<u64>) {
        let settings = client_settings(&self.brokers, &[("batch.size", "1")]);
        let mut sink = NativeSink::new(&self.client, &settings, Troubles::default()).await.unwrap();
        let mut writer = RecordWriter::new(700, 0);
        // Of today, as a broker deletes what is past its retention.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
        for number in numbers {
            writer.push(now, None, Some(&[number.to_string().as_bytes()]), NO_HEADERS);
        }
        let batch = OutputBatch {
            destination: self.partition(partition),
            chunks: writer.finish(),
            ..OutputBatch::default()
        };
        let receipt = sink.send(batch).await.unwrap();
        assert_eq!(receipt.refused.len(), 0);
        sink.close().await;
    }

    async fn source(&self, properties: &[(&str, &str)]) -> NativeSource {
        self.source_with(properties, OffsetReset::Earliest).await
    }

    async fn source_with(&self, properties: &[(&str, &str)], offset_reset: OffsetReset) -> NativeSource {
        let settings = client_settings(&self.brokers, properties);
        // Each member has connections of its own.
        let client = Client::connect(&settings).await.unwrap();
        let source_settings = SourceSettings {
            topic: self.topic.as_str().into(),
            group: self.group.clone(),
            offset_reset,
            revoke_timeout: LIMIT,
            budget: Budget::new(32 << 20),
            troubles: Troubles::default(),
        };
        NativeSource::new(&client, &settings, source_settings).await.unwrap()
    }
}

fn client_settings(brokers: &[String], properties: &[(&str, &str)]) -> ClientSettings {
    let properties = properties.iter().map(|(key, value)| (key.to_string(), value.to_string()));
    let mut all = BTreeMap::from([("heartbeat.interval.ms".to_owned(), "100".to_owned())]);
    all.extend(properties);
    if all.get("group.protocol").is_some_and(|protocol| protocol == "consumer") {
        all.remove("heartbeat.interval.ms");
    }
    ClientSettings { brokers: brokers.to_vec(), properties: all, connect_timeout: LIMIT }
}

async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.unwrap_or_else(|_| panic!("{what}: stuck"))
}

async fn next(source: &mut NativeSource) -> SourceEvent {
    in_time("the next event", source.next(&Room::open())).await.unwrap()
}

fn numbers(batch: &PartitionBatch) -> Vec<u64> {
    let text = |record: &topicmill_records::Record| {
        String::from_utf8(batch.bytes(record.value).unwrap().to_vec()).unwrap().parse().unwrap()
    };
    batch.records.iter().map(text).collect()
}

/// What a member has seen.
#[derive(Default)]
struct Seen {
    held: HashMap<TopicPartition, (AssignmentId, i64)>,
    read: BTreeMap<i32, Vec<u64>>,
    /// The leader epoch of what was read last.
    epochs: HashMap<TopicPartition, i32>,
}

impl Seen {
    /// Takes an event as an exact consumer would: commits before it lets go.
    async fn take(&mut self, source: &NativeSource, event: SourceEvent) {
        match event {
            SourceEvent::Assigned(assignments) => {
                for assigned in assignments {
                    self.held.insert(assigned.partition, (assigned.id, assigned.position));
                }
            }
            SourceEvent::Batch(batch, _) => {
                let (assignment, position) = self.held.get_mut(&batch.origin).expect("assigned before");
                assert_eq!(batch.assignment, *assignment);
                for record in &batch.records {
                    assert!(record.offset >= *position, "{} goes back to {}", batch.origin, record.offset);
                    *position = record.offset + 1;
                }
                *position = batch.next_offset;
                self.epochs.insert(batch.origin.clone(), batch.leader_epoch);
                self.read.entry(batch.origin.partition).or_default().extend(numbers(&batch));
            }
            SourceEvent::Revoked { partitions, release } => {
                self.commit(source).await.unwrap();
                self.held.retain(|partition, _| !partitions.contains(partition));
                drop(release);
            }
            SourceEvent::Lost(partitions) => {
                self.held.retain(|partition, _| !partitions.contains(partition));
            }
            SourceEvent::Skipped(_) | SourceEvent::Unreadable { .. } => panic!("{event:?}"),
        }
    }

    async fn commit(&self, source: &NativeSource) -> Result<(), EngineError> {
        let offsets = self.held.iter().map(|(partition, (assignment, next))| Offset {
            partition: partition.clone(),
            assignment: *assignment,
            next: *next,
            leader_epoch: self.epochs.get(partition).copied().unwrap_or(-1),
        });
        in_time("a commit", source.commit(offsets.collect())).await.map(drop)
    }

    fn count(&self) -> usize {
        self.read.values().map(Vec::len).sum()
    }
}

async fn read(source: &mut NativeSource, seen: &mut Seen, count: usize) {
    while seen.count() < count {
        let event = next(source).await;
        seen.take(source, event).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_record_of_every_partition_comes_in_order() {
    let stage = Stage::new(3).await;
    for partition in 0..3 {
        stage.produce(partition, 0..5000).await;
    }
    let (mut source, mut seen) = (stage.source(&[]).await, Seen::default());
    read(&mut source, &mut seen, 15_000).await;
    for partition in 0..3 {
        assert!(seen.read[&partition].iter().copied().eq(0..5000), "partition {partition}");
    }
    source.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_is_where_the_next_member_resumes() {
    let stage = Stage::new(1).await;
    stage.produce(0, 0..100).await;
    let (mut source, mut seen) = (stage.source(&[]).await, Seen::default());
    read(&mut source, &mut seen, 100).await;
    seen.commit(&source).await.unwrap();
    source.close().await;
    assert_eq!(stage.client.committed(&stage.group, &stage.topic).await.unwrap(), BTreeMap::from([(0, 100)]));

    stage.produce(0, 100..150).await;
    let (mut source, mut seen) = (stage.source(&[]).await, Seen::default());
    read(&mut source, &mut seen, 50).await;
    assert!(seen.read[&0].iter().copied().eq(100..150));
    source.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_come_and_go_and_each_record_is_read_once_in_order() {
    for strategy in ["range", "cooperative-sticky"] {
        come_and_go(&Stage::new(4).await, &[("partition.assignment.strategy", strategy)]).await;
    }
}

/// A second member joins, the first one leaves; the stage has four partitions.
async fn come_and_go(stage: &Stage, properties: &[(&str, &str)]) {
    for partition in 0..4 {
        stage.produce(partition, 0..1000).await;
    }
    let (mut first, mut of_first) = (stage.source(properties).await, Seen::default());
    read(&mut first, &mut of_first, 4000).await;

    let (mut second, mut of_second) = (stage.source(properties).await, Seen::default());
    while of_first.held.len() != 2 || of_second.held.len() != 2 {
        tokio::select! {
            event = next(&mut first) => of_first.take(&first, event).await,
            event = next(&mut second) => of_second.take(&second, event).await,
        }
    }
    for partition in 0..4 {
        stage.produce(partition, 1000..2000).await;
    }
    while of_first.count() + of_second.count() < 8000 {
        tokio::select! {
            event = next(&mut first) => of_first.take(&first, event).await,
            event = next(&mut second) => of_second.take(&second, event).await,
        }
    }
    of_first.commit(&first).await.unwrap();
    first.close().await;
    while of_second.held.len() != 4 {
        let event = next(&mut second).await;
        of_second.take(&second, event).await;
    }
    for partition in 0..4 {
        stage.produce(partition, 2000..2100).await;
    }
    let left = 8400 - of_first.count();
    read(&mut second, &mut of_second, left).await;
    for partition in 0..4 {
        let mut all = of_first.read.remove(&partition).unwrap_or_default();
        all.extend(of_second.read.remove(&partition).unwrap_or_default());
        assert!(all.iter().copied().eq(0..2100), "{properties:?}: partition {partition}");
    }
    second.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_without_a_partition_hears_that_it_has_none() {
    let stage = Stage::new(1).await;
    stage.produce(0, 0..10).await;
    let (mut first, mut of_first) = (stage.source(&[]).await, Seen::default());
    read(&mut first, &mut of_first, 10).await;
    let (mut second, mut of_second) = (stage.source(&[]).await, Seen::default());
    // Whoever is first by id gets the only partition.
    let mut without = false;
    while !without || of_first.held.len() + of_second.held.len() != 1 {
        tokio::select! {
            event = next(&mut first) => {
                without |= matches!(&event, SourceEvent::Assigned(all) if all.is_empty());
                of_first.take(&first, event).await;
            }
            event = next(&mut second) => {
                without |= matches!(&event, SourceEvent::Assigned(all) if all.is_empty());
                of_second.take(&second, event).await;
            }
        }
    }
    first.close().await;
    second.close().await;
}

/// Reads until a revoke and returns its release.
async fn until_revoked(source: &mut NativeSource, seen: &mut Seen, room: &Room) -> oneshot::Sender<()> {
    loop {
        match in_time("a revoke", source.next(room)).await.unwrap() {
            SourceEvent::Revoked { release, .. } => return release,
            event => seen.take(source, event).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoke_comes_before_queued_batches_and_waits_for_its_release() {
    let stage = Stage::new(1).await;
    stage.produce(0, 0..1000).await;
    let (mut first, mut seen) = (stage.source(&[]).await, Seen::default());
    read(&mut first, &mut seen, 1).await;
    let read_so_far = seen.count() as i64;
    stage.produce(0, 1000..2000).await;
    // Both members may get the only partition; whoever is first by id keeps it.
    let (mut second, mut of_second) = (stage.source(&[]).await, Seen::default());
    let release = until_revoked(&mut first, &mut seen, &Room::closed()).await;
    seen.commit(&first).await.unwrap();
    let committed = stage.client.committed(&stage.group, &stage.topic).await.unwrap();
    assert_eq!(committed, BTreeMap::from([(0, read_so_far)]), "a revoked partition still commits");
    // While the release is held nothing is assigned; the intake of the first has stopped.
    let room = Room::open();
    let early = tokio::time::timeout(Duration::from_millis(500), async {
        tokio::select! {
            event = first.next(&room) => event,
            event = second.next(&room) => event,
        }
    });
    assert!(early.await.is_err(), "something came while the release was held");
    drop(release);
    while seen.count() + of_second.count() < 2000 {
        tokio::select! {
            event = next(&mut first) => seen.take(&first, event).await,
            event = next(&mut second) => of_second.take(&second, event).await,
        }
    }
    let mut all = seen.read.remove(&0).unwrap_or_default();
    all.extend(of_second.read.remove(&0).unwrap_or_default());
    assert!(all.iter().copied().eq(0..2000));
    first.close().await;
    second.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_ends_loses_the_partitions_and_commits_nothing() {
    let stage = Stage::embedded(1).await;
    stage.produce(0, 0..10).await;
    let (mut source, mut seen) = (stage.source(&[("session.timeout.ms", "1000")]).await, Seen::default());
    read(&mut source, &mut seen, 10).await;
    let old = seen.held.clone();
    stage.broker().inject(Fault::always(ApiKey::Heartbeat, FaultAction::Close));
    while !seen.held.is_empty() {
        let event = next(&mut source).await;
        assert!(!matches!(event, SourceEvent::Revoked { .. }), "there is no time to release");
        seen.take(&source, event).await;
    }
    stage.broker().clear_faults();
    let before = Seen { held: old.clone(), ..Seen::default() };
    before.commit(&source).await.unwrap();
    assert_eq!(stage.client.committed(&stage.group, &stage.topic).await.unwrap(), BTreeMap::new());
    while seen.held.is_empty() {
        let event = next(&mut source).await;
        seen.take(&source, event).await;
    }
    assert!(seen.held[&stage.partition(0)].0 > old[&stage.partition(0)].0, "the assignment grows");
    source.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_on_the_wire_delay_but_lose_nothing() {
    let stage = Stage::embedded(2).await;
    let inject = |api, action| stage.broker().inject(Fault::always(api, action).times(2).after(1));
    inject(ApiKey::Fetch, FaultAction::Error(NOT_LEADER_OR_FOLLOWER));
    inject(ApiKey::OffsetCommit, FaultAction::Error(COORDINATOR_LOAD_IN_PROGRESS));
    inject(ApiKey::Heartbeat, FaultAction::Close);
    for api in [ApiKey::JoinGroup, ApiKey::SyncGroup, ApiKey::OffsetFetch] {
        stage.broker().inject(Fault::once(api, FaultAction::Close));
    }
    let (mut source, mut seen) = (stage.source(&[]).await, Seen::default());
    for round in 0..10 {
        for partition in 0..2 {
            stage.produce(partition, round * 100..(round + 1) * 100).await;
        }
        read(&mut source, &mut seen, (round as usize + 1) * 200).await;
        seen.commit(&source).await.unwrap();
        stage.broker().close_connections();
    }
    for partition in 0..2 {
        assert!(seen.read[&partition].iter().copied().eq(0..1000), "partition {partition}");
    }
    let committed = stage.client.committed(&stage.group, &stage.topic).await.unwrap();
    assert_eq!(committed, BTreeMap::from([(0, 1000), (1, 1000)]));
    source.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_reads_from_one_offset_to_another() {
    let stage = Stage::new(1).await;
    stage.produce(0, 0..1000).await;
    let budget = Budget::new(8 << 20);
    for (from, until) in [(0, 1000), (3, 997), (500, 501), (7, 7)] {
        let isolation = Isolation::ReadCommitted;
        let mut reader =
            Reader::new(&stage.client, stage.partition(0), from, until, isolation, budget.clone());
        let mut read = Vec::new();
        while let Some((batch, _)) = in_time("the reader", reader.next()).await.unwrap() {
            read.extend(numbers(&batch));
        }
        assert!(read.iter().copied().eq(from as u64..until as u64), "{from}..{until}");
    }
    let mut reader =
        Reader::new(&stage.client, stage.partition(0), 5000, 5001, Isolation::ReadCommitted, budget.clone());
    let error = in_time("the error", reader.next()).await.unwrap_err();
    assert_eq!((error.kind, error.offset), (ErrorKind::Fatal, Some(5000)));
    drop(reader);
    assert_eq!(budget.used(), 0);
}

/// A topic is deleted and made anew with more records than were read, while its member is busy
/// elsewhere: nothing of the new one is read at the old position, or committed for the old offsets.
async fn made_anew(stage: &Stage, properties: &[(&str, &str)]) {
    stage.produce(0, 0..100).await;
    let (mut source, mut seen) = (stage.source(properties).await, Seen::default());
    read(&mut source, &mut seen, 100).await;
    seen.commit(&source).await.unwrap();
    let old = seen.held[&stage.partition(0)].0;
    stage.client.delete_topic(&stage.topic).await.unwrap();
    let create = async || stage.client.create_topic(&stage.topic, 1, Some(1), &[]).await;
    // The old one may not be gone everywhere yet.
    in_time("the new topic", async {
        while create().await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    stage.produce(0, 1000..1500).await;
    let mut seen = Seen { held: seen.held, ..Seen::default() };
    while seen.count() < 500 {
        let event = next(&mut source).await;
        if let SourceEvent::Batch(batch, _) = &event {
            assert_ne!(batch.assignment, old, "it is of the new topic");
        }
        seen.take(&source, event).await;
    }
    assert!(seen.read[&0].iter().copied().eq(1000..1500), "{properties:?}");
    seen.commit(&source).await.unwrap();
    let committed = stage.client.committed(&stage.group, &stage.topic).await.unwrap();
    assert_eq!(committed, BTreeMap::from([(0, 500)]), "{properties:?}");
    source.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_made_anew_is_read_from_its_beginning() {
    for strategy in ["range", "cooperative-sticky"] {
        made_anew(&Stage::new(1).await, &[("partition.assignment.strategy", strategy)]).await;
    }
}
