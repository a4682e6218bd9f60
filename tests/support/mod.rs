//! What the end-to-end tests share: clusters to run on, the program to run, topics to look at.

#![allow(dead_code)] // each test program uses its part

pub mod ask;
pub mod nodes;
pub mod program;

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::runtime::Runtime;
use topicmill_broker::{Broker, BrokerSettings};
use topicmill_kafka::{Client, Isolation, NativeSink, OffsetAt, Reader};
use topicmill_mill::{
    batch::{OutputBatch, TopicPartition},
    budget::Budget,
    clock::now_ms,
    engine::{ClientSettings, ErrorKind, Sink, Troubles},
};
use topicmill_records::{Headers, HeadersWriter, NO_HEADERS, RecordWriter};

/// How long a broker that is asked may be away.
const AWAY: Duration = Duration::from_secs(60);

/// A Kafka to test on.
pub struct Cluster {
    pub name: &'static str,
    pub brokers: String,
    pub runtime: Arc<Runtime>,
    pub embedded: Option<Broker>,
}

impl Cluster {
    /// The embedded broker.
    pub fn embedded() -> Cluster {
        let runtime = Arc::new(Runtime::new().unwrap());
        let settings =
            BrokerSettings { listen: "127.0.0.1:0".parse().unwrap(), memory: 1 << 30, partitions: 0 };
        let broker = runtime.block_on(Broker::start(settings)).unwrap();
        Cluster { name: "embedded", brokers: broker.address().to_string(), runtime, embedded: Some(broker) }
    }

    /// The Apache Kafka that TEST_KAFKA names.
    pub fn kafka() -> Cluster {
        let brokers = std::env::var("TEST_KAFKA").expect(
            "TEST_KAFKA must name a real Kafka, as scripts/test sets it: TEST_KAFKA=$(scripts/kafka up)",
        );
        Cluster { name: "kafka", brokers, runtime: Arc::new(Runtime::new().unwrap()), embedded: None }
    }

    pub fn all() -> [Cluster; 2] {
        [Cluster::embedded(), Cluster::kafka()]
    }

    pub fn settings(&self) -> ClientSettings {
        ClientSettings {
            brokers: self.brokers.split(',').map(str::to_owned).collect(),
            properties: BTreeMap::new(),
            connect_timeout: Duration::from_secs(10),
        }
    }

    pub fn client(&self) -> Client {
        self.runtime.block_on(Client::connect(&self.settings())).unwrap()
    }

    pub fn create(&self, topic: &str, partitions: i32, config: &[(&str, &str)]) {
        self.runtime.block_on(self.client().create_topic(topic, partitions, None, config)).unwrap();
    }

    /// Writes records to one partition.
    pub fn produce(&self, topic: &str, partition: i32, records: &[TestRecord]) {
        let client = self.client();
        self.runtime.block_on(async {
            let mut sink = NativeSink::new(&client, &self.settings(), Troubles::default()).await.unwrap();
            let mut writer = RecordWriter::new(900_000, 0);
            for record in records {
                let value = record.value.as_deref().map(|value| [value]);
                let headers = record.encoded_headers();
                writer.push(
                    record.timestamp,
                    record.key.as_deref(),
                    value.as_ref().map(|value| &value[..]),
                    &headers,
                );
            }
            let destination = TopicPartition::new(topic, partition);
            let receipt = sink
                .send(OutputBatch { destination, chunks: writer.finish(), ..OutputBatch::default() })
                .await
                .unwrap();
            assert!(receipt.refused.is_empty(), "{receipt:?}");
            sink.close().await;
        });
    }

    /// All records of a partition.
    pub fn consume(&self, topic: &str, partition: i32) -> Vec<TestRecord> {
        let client = self.client();
        self.runtime.block_on(async {
            let begin = client.offsets(topic, OffsetAt::Earliest).await.unwrap()[&partition];
            let end = client.offsets(topic, OffsetAt::Latest).await.unwrap()[&partition];
            let place = TopicPartition::new(topic, partition);
            let budget = Budget::new(256 << 20);
            let mut reader = Reader::new(&client, place, begin, end, Isolation::ReadCommitted, budget);
            let mut records = Vec::new();
            while let Some((batch, _)) = reader.next().await.unwrap() {
                for record in &batch.records {
                    let headers = Headers::new(batch.bytes(record.headers).unwrap());
                    records.push(TestRecord {
                        timestamp: record.timestamp,
                        key: batch.bytes(record.key).map(<[u8]>::to_vec),
                        value: batch.bytes(record.value).map(<[u8]>::to_vec),
                        headers: headers.map(|(k, v)| (text(k), text(v.unwrap_or_default()))).collect(),
                    });
                }
            }
            records
        })
    }

    pub fn committed(&self, group: &str, topic: &str) -> BTreeMap<i32, i64> {
        let began = Instant::now();
        loop {
            match self.runtime.block_on(self.client().committed(group, topic)) {
                Ok(offsets) => return offsets,
                // The coordinator may be away, or be another one soon.
                Err(error) if error.kind == ErrorKind::Retriable && began.elapsed() < AWAY => {
                    thread::sleep(Duration::from_millis(100));
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// When the tests began: their records are of now, as a broker deletes what is past its retention.
pub static START: LazyLock<i64> = LazyLock::new(now_ms);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TestRecord {
    /// In milliseconds since 1970.
    pub timestamp: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, String)>,
}

impl TestRecord {
    pub fn value(value: impl Into<Vec<u8>>) -> TestRecord {
        TestRecord { timestamp: *START, value: Some(value.into()), ..TestRecord::default() }
    }

    pub fn header(&self, key: &str) -> &str {
        let found = self.headers.iter().find(|(name, _)| name == key);
        &found.unwrap_or_else(|| panic!("no header {key} in {:?}", self.headers)).1
    }

    fn encoded_headers(&self) -> Vec<u8> {
        if self.headers.is_empty() {
            return NO_HEADERS.to_vec();
        }
        let mut writer = HeadersWriter::default();
        for (key, value) in &self.headers {
            writer.push(key.as_bytes(), Some(value.as_bytes()));
        }
        writer.finish()
    }
}

/// A record that `name-event` takes.
pub fn good(number: usize) -> TestRecord {
    TestRecord::value(format!(r#"{{"first_name":"f{number}","last_name":"l"}}"#))
}

/// One that it does not.
pub fn bad() -> TestRecord {
    TestRecord::value("not json")
}

pub fn goods(count: usize) -> Vec<TestRecord> {
    (0..count).map(good).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The engines of this build.
pub fn engines() -> &'static [&'static str] {
    if cfg!(feature = "librdkafka") { &["native", "librdkafka"] } else { &["native"] }
}

/// The topics and the group of one test.
#[derive(Clone, Debug)]
pub struct Names {
    pub source: String,
    pub destination: String,
    pub dead_letter: String,
    pub group: String,
}

impl Names {
    /// Names that no other test uses.
    pub fn new(what: &str) -> Names {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let now = now_ms();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let source = format!("{what}-{now}-{}-{number}", std::process::id());
        Names {
            destination: format!("{source}-out"),
            dead_letter: format!("{source}-dead"),
            group: format!("{source}-group"),
            source,
        }
    }

    /// The arguments of `run` for these names.
    pub fn run<'a>(&'a self, cluster: &'a Cluster, more: &[&'a str]) -> Vec<&'a str> {
        let mut arguments = vec!["run", "--brokers", &cluster.brokers, "--admin", "off"];
        arguments.extend(["--source", &self.source, "--destination", &self.destination]);
        arguments.extend(["--dead-letter", &self.dead_letter, "--group", &self.group]);
        arguments.extend(["--transform", "name-event"]);
        arguments.extend(more);
        arguments
    }

    /// Runs to the end offsets of now; fails unless that ends well.
    pub fn catch_up(&self, cluster: &Cluster, more: &[&str]) {
        let arguments = [&["--until-caught-up"], more].concat();
        expect(&self.run(cluster, &arguments), 0);
    }

    /// What `verify --json` counts, and its exit code.
    pub fn verify(&self, cluster: &Cluster, order: &str) -> (serde_json::Value, i32) {
        let output = topicmill(&[
            "verify",
            "--brokers",
            &cluster.brokers,
            "--source",
            &self.source,
            "--destination",
            &self.destination,
            "--dead-letter",
            &self.dead_letter,
            "--transform",
            "name-event",
            "--order",
            order,
            "--json",
        ]);
        let shown = String::from_utf8_lossy(&output.stdout);
        let found = serde_json::from_str(shown.trim())
            .unwrap_or_else(|error| panic!("{error}: {shown}\n{}", text(&output.stderr)));
        (found, output.status.code().unwrap())
    }

    /// Fails unless every record stands where it should, once and in order.
    pub fn expect_clean(&self, cluster: &Cluster, order: &str) {
        let (found, code) = self.verify(cluster, order);
        for kind in ["missing", "duplicates", "reordered", "corrupt", "phantom", "misrouted"] {
            assert_eq!(found[kind], 0, "{kind} in {found}");
        }
        assert_eq!((found["ok"].as_bool(), code), (Some(true), 0), "{found}");
    }
}

/// The program.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = apart(env!("CARGO_BIN_EXE_topicmill"));
    command.args(arguments);
    command
}

/// A program with none of the caller's settings.
pub fn apart(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TOPICMILL_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// Runs the program to its end.
pub fn topicmill(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

/// Runs the program to its end and fails unless it exits with `code`.
pub fn expect(arguments: &[&str], code: i32) -> String {
    let output = topicmill(arguments);
    let shown = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{shown}");
    shown
}

/// Starts the program; its log goes to where the test's goes.
pub fn start(arguments: &[&str]) -> Child {
    command(arguments).stdout(Stdio::null()).spawn().unwrap()
}

/// Sends a signal to a program that [`start`] started.
pub fn signal(child: &Child, signal: &str) {
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success(), "{signal} reaches the program");
}

/// Waits for a program; fails when it does not end in time.
pub fn wait(child: &mut Child, limit: Duration) -> i32 {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().unwrap_or(-1);
        }
        assert!(start.elapsed() < limit, "the program does not end within {limit:?}");
        pause(Duration::from_millis(10));
    }
}

/// The greatest resident memory of a running program so far, in bytes.
pub fn peak_memory(child: &Child) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

pub fn pause(duration: Duration) {
    thread::sleep(duration);
}

/// A number from the environment.
pub fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}
