//! The embedded broker as the Java clients and tools of Apache Kafka meet it.
//!
//! `TEST_KAFKA_LIBS` names the folder with Kafka's jars; `java` has to be installed.

use std::{
    io::Write,
    net::Ipv4Addr,
    process::{Command, Stdio},
};

use topicmill_broker::{ApiKey, Broker, BrokerSettings};

const PRODUCER: &str = "org.apache.kafka.tools.ConsoleProducer";
const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
const GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const OFFSETS: &str = "org.apache.kafka.tools.GetOffsetShell";
const CONFIGS: &str = "kafka.admin.ConfigCommand";
const COPIER: &str = "org.apache.kafka.tools.TransactionalMessageCopier";
const TRANSACTIONS: &str = "org.apache.kafka.tools.TransactionsCommand";

/// The longest that a tool may take.
const TIMEOUT_S: &str = "120";

async fn broker() -> Broker {
    let settings =
        BrokerSettings { listen: (Ipv4Addr::LOCALHOST, 0).into(), memory: 64 << 20, partitions: 1 };
    Broker::start(settings).await.expect("a free port")
}

/// Runs a tool, which has to succeed, and returns its standard output without its log.
async fn tool(broker: &Broker, class: &str, arguments: &[&str], input: &str) -> String {
    let address = broker.address().to_string();
    java(class, &[&["--bootstrap-server", &address], arguments].concat(), input).await
}

async fn java(class: &str, arguments: &[&str], input: &str) -> String {
    let libs = std::env::var("TEST_KAFKA_LIBS")
        .expect("set TEST_KAFKA_LIBS to the folder with the jars of Apache Kafka");
    let mut command = Command::new("timeout");
    command.args([
        TIMEOUT_S,
        "java",
        "-Xmx128m",
        "-XX:TieredStopAtLevel=1",
        "-cp",
        &format!("{libs}/*"),
        class,
    ]);
    command.args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let input = input.to_owned();
    let run = move || {
        let mut child = command.spawn().expect("timeout(1) is installed");
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(input.as_bytes()).expect("the tool reads its input");
        drop(stdin);
        child.wait_with_output().expect("it ran")
    };
    let output = tokio::task::spawn_blocking(run).await.expect("it does not panic");
    let errors = String::from_utf8_lossy(&output.stderr);
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{class} {arguments:?}: {text}{errors}");
    text
}

fn lines(count: usize) -> String {
    (1..=count).map(|i| format!("{i}\n")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_reads_what_was_produced_and_its_lag_is_told() {
    let broker = broker().await;
    for codec in ["none", "zstd"] {
        tool(&broker, PRODUCER, &["--topic", "t", "--compression-codec", codec], &lines(500)).await;
    }
    assert_eq!(broker.offsets("t", 0), Some((0, 1000)));
    let consumer = ["--topic", "t", "--group", "g", "--from-beginning", "--max-messages", "1000"];
    let read = tool(&broker, CONSUMER, &consumer, "").await;
    assert_eq!(read, lines(500).repeat(2));
    tool(&broker, PRODUCER, &["--topic", "t"], "one more\n").await;

    let listed = tool(&broker, GROUPS, &["--list"], "").await;
    assert!(listed.lines().any(|line| line == "g"), "{listed}");
    let described = tool(&broker, GROUPS, &["--describe", "--group", "g"], "").await;
    let row = described.lines().find(|line| line.starts_with("g ")).expect("a row of the group");
    let columns: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(columns[..6], ["g", "t", "0", "1000", "1001", "1"], "{described}");

    let reset = ["--reset-offsets", "--group", "g", "--topic", "t", "--to-offset", "7", "--execute"];
    tool(&broker, GROUPS, &reset, "").await;
    let rest = ["--topic", "t", "--group", "g", "--max-messages", "1"];
    assert_eq!(tool(&broker, CONSUMER, &rest, "").await, "8\n");
    tool(&broker, GROUPS, &["--delete-offsets", "--group", "g", "--topic", "t"], "").await;
    tool(&broker, GROUPS, &["--delete", "--group", "g"], "").await;
    let listed = tool(&broker, GROUPS, &["--list"], "").await;
    assert!(!listed.lines().any(|line| line == "g"), "{listed}");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_created_described_grown_and_deleted() {
    let broker = broker().await;
    let create = ["--create", "--topic", "t", "--partitions", "3", "--config", "max.message.bytes=2000000"];
    tool(&broker, TOPICS, &create, "").await;
    let described = tool(&broker, TOPICS, &["--describe", "--topic", "t"], "").await;
    assert!(described.contains("PartitionCount: 3"), "{described}");
    assert!(described.contains("max.message.bytes=2000000"), "{described}");
    tool(&broker, TOPICS, &["--alter", "--topic", "t", "--partitions", "4"], "").await;
    tool(&broker, PRODUCER, &["--topic", "t"], &lines(10)).await;
    let offsets = tool(&broker, OFFSETS, &["--topic", "t"], "").await;
    let ends =
        offsets.lines().filter_map(|line| line.strip_prefix("t:")?.split(':').nth(1)?.parse::<i64>().ok());
    let ends: Vec<i64> = ends.collect();
    assert_eq!((ends.len(), ends.iter().sum::<i64>()), (4, 10), "{offsets}");
    let configs = tool(&broker, CONFIGS, &["--describe", "--all", "--topic", "t"], "").await;
    assert!(configs.contains("min.insync.replicas=1"), "{configs}");
    tool(&broker, TOPICS, &["--delete", "--topic", "t"], "").await;
    assert_eq!(broker.offsets("t", 0), None);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_a_topic_does_not_take_are_refused_by_their_number() {
    let broker = broker().await;
    let create = ["--create", "--topic", "t", "--config", "cleanup.policy=compact"];
    tool(&broker, TOPICS, &[&create[..], &["--config", "message.timestamp.type=LogAppendTime"]].concat(), "")
        .await;
    // The console producer says what was refused, and ends well all the same.
    tool(&broker, PRODUCER, &["--topic", "t"], "without a key\n").await;
    assert_eq!(broker.offsets("t", 0), Some((0, 0)));
    let keyed = ["--topic", "t", "--property", "parse.key=true", "--property", "key.separator=:"];
    tool(&broker, PRODUCER, &keyed, "k:with a key\n").await;
    let stamped = ["--topic", "t", "--from-beginning", "--max-messages", "1"];
    let stamped = [&stamped[..], &["--property", "print.timestamp=true"]].concat();
    let read = tool(&broker, CONSUMER, &stamped, "").await;
    assert!(read.starts_with("LogAppendTime:") && read.ends_with("with a key\n"), "{read}");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transactional_copy_is_read_once_and_in_order() {
    for version in [1, 2] {
        let broker = broker().await;
        broker.set_transaction_version(version).expect("there are two");
        for topic in ["in", "out"] {
            broker.create_topic(topic, 1, &[]).expect("a new topic");
        }
        tool(&broker, PRODUCER, &["--topic", "in"], &lines(1000)).await;
        let address = broker.address().to_string();
        let copy = ["--broker-list", &address, "--input-topic", "in", "--input-partition", "0"];
        let within = ["--consumer-group", "g", "--transactional-id", "id", "--transaction-size", "50"];
        let how = ["--output-topic", "out", "--group-mode", "--use-group-metadata", "--enable-random-aborts"];
        java(COPIER, &[&copy[..], &within, &how].concat(), "").await;
        let committed = ["--isolation-level", "read_committed", "--from-beginning"];
        let read = [&committed[..], &["--topic", "out", "--max-messages", "1000"]].concat();
        assert_eq!(tool(&broker, CONSUMER, &read, "").await, lines(1000), "version {version}");
        let (_, end) = broker.offsets("out", 0).expect("a topic");
        assert_eq!(broker.last_stable_offset("out", 0), Some(end), "nothing is open");
        assert_eq!(broker.committed_offset("g", "in", 0), Some(1000));
        // The client speaks the version that it is told.
        let added = broker.seen(ApiKey::AddPartitionsToTxn).requests;
        assert_eq!(added > 0, version == 1, "{added} requests to add partitions");
        assert!(broker.seen(ApiKey::EndTxn).requests >= 20);

        let listed = tool(&broker, TRANSACTIONS, &["list"], "").await;
        assert!(listed.lines().any(|line| line.starts_with("id ") && line.contains("Complete")), "{listed}");
        let described = tool(&broker, TRANSACTIONS, &["describe", "--transactional-id", "id"], "").await;
        assert!(described.contains("Complete"), "{described}");
        broker.stop().await;
    }
}
