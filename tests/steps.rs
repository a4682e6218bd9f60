//! Steps from topic to topic, as a user runs them, on an embedded broker.

use std::{collections::BTreeMap, net::Ipv4Addr, process::Command, time::Duration};

use tempfile::NamedTempFile;
use topicmill_broker::{ApiKey, Broker, BrokerSettings};
use topicmill_kafka::{Client, Isolation, NativeSink, Reader};
use topicmill_mill::{
    batch::{OutputBatch, TopicPartition},
    budget::Budget,
    engine::{ClientSettings, Sink, Troubles},
};
use topicmill_records::{Headers, NO_HEADERS, RecordWriter, partition_of};

const ORDERS: usize = 3000;
const PARTITIONS: usize = 3;
const BROKEN: &str = "{\"country\":";

const STEPS: &str = r#"
[run]
until_caught_up = true
[source]
topic = "orders"
[destination]
topic = "shown"
[admin]
listen = "off"

[[step]]
filter = '.country == "DE" or .country == "FR"'

[[step]]
drop = [".password", ".items[].cost"]

[[step]]
mask = ".email"
first = 1

[[step]]
key = ".id"
partition = "by-key"

[[step]]
set = ".pieces"
value = ".items | length"
"#;

fn settings(broker: &Broker) -> ClientSettings {
    let brokers = vec![broker.address().to_string()];
    let connect_timeout = Duration::from_secs(10);
    ClientSettings { brokers, properties: Default::default(), connect_timeout }
}

/// The order with this number, and what becomes of it.
fn order(number: usize) -> (String, Option<String>) {
    let country = ["DE", "FR", "UK"][number % 3];
    let before = format!(
        r#"{{"id":{number}, "country":"{country}","email":"a{number}@b.de","password":"p","items":[{{"sku":1.50,"cost":2}},{{}}]}}"#
    );
    let masked = "*".repeat(format!("{number}@b.de").len());
    let after = format!(
        r#"{{"id":{number}, "country":"{country}","email":"a{masked}","items":[{{"sku":1.50}},{{}}],"pieces":2}}"#
    );
    (before, (country != "UK").then_some(after))
}

async fn produce(broker: &Broker, partition: i32, values: impl Iterator<Item = String>) {
    let mut settings = settings(broker);
    settings.properties.insert("batch.size".to_owned(), "10000".to_owned());
    let client = Client::connect(&settings).await.unwrap();
    let mut sink = NativeSink::new(&client, &settings, Troubles::default()).await.unwrap();
    let mut writer = RecordWriter::new(10_000, 0);
    values.for_each(|value| writer.push(1, None, Some(&[value.as_bytes()]), NO_HEADERS));
    let destination = TopicPartition::new("orders", partition);
    sink.send(OutputBatch { destination, chunks: writer.finish(), ..Default::default() }).await.unwrap();
    sink.close().await;
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    key: Option<String>,
    value: String,
    headers: Vec<(String, String)>,
}

impl Row {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Key and value of each record of a partition.
async fn records(broker: &Broker, topic: &str, partition: i32) -> Vec<(Option<String>, String)> {
    rows(broker, topic, partition).await.into_iter().map(|row| (row.key, row.value)).collect()
}

/// What readers of committed records see of a partition.
async fn rows(broker: &Broker, topic: &str, partition: i32) -> Vec<Row> {
    let client = Client::connect(&settings(broker)).await.unwrap();
    let end = broker.offsets(topic, partition).map_or(0, |(_, end)| end);
    let place = TopicPartition::new(topic, partition);
    let mut reader = Reader::new(&client, place, 0, end, Isolation::ReadCommitted, Budget::new(1 << 24));
    let mut records = Vec::new();
    while let Some((batch, _)) = reader.next().await.unwrap() {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        records.extend(batch.records.iter().map(|record| {
            let headers = Headers::new(batch.bytes(record.headers).unwrap());
            Row {
                key: batch.bytes(record.key).map(text),
                value: text(batch.bytes(record.value).unwrap()),
                headers: headers.map(|(key, value)| (text(key), text(value.unwrap_or_default()))).collect(),
            }
        }));
    }
    records
}

async fn broker_with_topic() -> Broker {
    let listen = (Ipv4Addr::LOCALHOST, 0).into();
    let broker = Broker::start(BrokerSettings { listen, memory: 64 << 20, partitions: 1 }).await.unwrap();
    broker.create_topic("orders", PARTITIONS as i32, &[]).expect("a new topic");
    broker
}

/// A broker with the orders, and one record that is not JSON.
async fn broker_with_orders() -> Broker {
    let broker = broker_with_topic().await;
    produce(&broker, 0, (0..ORDERS).map(|number| order(number).0).chain([BROKEN.to_owned()])).await;
    broker
}

/// Runs the program with this configuration; it has to end well.
async fn topicmill(broker: &Broker, command: &str, config: &str) {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), config).unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_topicmill"));
    program.args(["--log-level", "warn", command, "--brokers", &broker.address().to_string()]);
    program.arg("--config").arg(file.path());
    let output = tokio::task::spawn_blocking(move || program.output()).await.unwrap().unwrap();
    let said = [output.stderr, output.stdout].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{command}: {}", said.concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_filtered_edited_and_keyed() {
    let broker = broker_with_orders().await;
    topicmill(&broker, "run", STEPS).await;
    let expected = (0..ORDERS).filter_map(|number| Some((Some(number.to_string()), order(number).1?)));
    let expected: Vec<_> = expected.collect();
    for partition in 0..PARTITIONS {
        let own = |(key, _): &&(Option<String>, String)| {
            key.as_ref().is_some_and(|key| partition_of(key.as_bytes(), PARTITIONS) == partition)
        };
        let expected: Vec<_> = expected.iter().filter(own).cloned().collect();
        assert!(expected.len() > 100);
        assert_eq!(records(&broker, "shown", partition as i32).await, expected, "in their order");
    }
    assert_eq!(records(&broker, "shown_dead_letter", 0).await, [(None, BROKEN.to_owned())]);
    topicmill(&broker, "verify", STEPS).await;
    broker.stop().await;
}

/// With every strategy. What comes of jq has no blanks.
#[tokio::test(flavor = "multi_thread")]
async fn orders_are_split_and_routed() {
    for strategy in ["serial", "pipeline", "worker"] {
        let steps = STEPS.replace("until_caught_up", &format!("strategy = \"{strategy}\"\nuntil_caught_up"));
        let config = format!(
            "{steps}\n[[step]]\nroute = \"shown_{{.country}}\"\nwhen = '.id % 2 == 0'\n\n[[step]]\njq = '., .items[0]'\n"
        );
        let broker = broker_with_orders().await;
        topicmill(&broker, "run", &config).await;
        let is_routed = |number: &usize| number.is_multiple_of(2);
        for (topic, country) in [("shown_DE", 0), ("shown_FR", 1)] {
            let own = (0..ORDERS).filter(|number| is_routed(number) && number % 3 == country);
            let own = own.flat_map(|number| {
                [order(number).1.unwrap().replace(", ", ","), "{\"sku\":1.50}".to_owned()]
            });
            let mut expected: Vec<String> = own.collect();
            let mut found = Vec::new();
            for partition in 0..PARTITIONS {
                found.extend(
                    records(&broker, topic, partition as i32).await.into_iter().map(|(_, value)| value),
                );
            }
            expected.sort();
            found.sort();
            assert!(found == expected, "{strategy}: {} and {} records", found.len(), expected.len());
        }
        topicmill(&broker, "verify", &config).await;
        broker.stop().await;
    }
}

/// Records pass through every kind of step: some are passed over, some fail in the first step and some in the last,
/// the others become two, with headers, a key and the partition that it chooses, some of them in topics of their own.
const EVERY_KIND: &str = r#"
[run]
until_caught_up = true
commit_interval = "5ms"
STRATEGY
[source]
topic = "orders"
[destination]
topic = "shown"
[admin]
listen = "off"
# Many small batches.
[kafka]
max.partition.fetch.bytes = 10000

[[step]]
filter = '.country != "UK"'

[[step]]
header = "from"
value = '"\($partition)"'

[[step]]
jq = '., (.items[0] + {id, country})'

[[step]]
drop = [".password"]

[[step]]
key = ".id"
partition = "by-key"

[[step]]
route = "shown_{.country}"
when = '.id % 3 == 0'
"#;

/// The order with this number; there can be no topic for some countries.
fn order_of_every_kind(number: usize) -> String {
    let country = ["DE", "FR", "UK", "no where"][number % 4];
    match number % 50 {
        49 => BROKEN.to_owned(),
        _ => format!(
            r#"{{"id":{number},"country":"{country}","password":"p","items":[{{"sku":1.50,"cost":{number}}}]}}"#
        ),
    }
}

/// What stands in each partition of each topic, of each partition that it comes from: between these there is no order.
type Written = BTreeMap<(&'static str, i32, String), Vec<Row>>;

/// Runs the steps of every kind; what is written, and how often a transaction was ended.
async fn written(strategy: &str, aborts: u64) -> (Written, u64) {
    let broker = broker_with_topic().await;
    for partition in 0..PARTITIONS {
        let first = partition * ORDERS;
        produce(&broker, partition as i32, (first..first + ORDERS).map(order_of_every_kind)).await;
    }
    broker.abort_next_transactions(aborts);
    let config = EVERY_KIND.replace("STRATEGY", strategy);
    topicmill(&broker, "run", &config).await;
    topicmill(&broker, "verify", &config).await;
    let mut written = Written::new();
    for topic in ["shown", "shown_DE", "shown_FR", "shown_dead_letter"] {
        for partition in 0..PARTITIONS as i32 {
            for row in rows(&broker, topic, partition).await {
                let from = row.header("from").map_or(partition.to_string(), str::to_owned);
                written.entry((topic, partition, from)).or_default().push(row);
            }
        }
    }
    let ends = broker.seen(ApiKey::EndTxn).requests;
    broker.stop().await;
    (written, ends)
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_once_every_strategy_and_order_writes_what_serial_does_though_transactions_are_aborted() {
    let (expected, ends) = written("strategy = \"serial\"", 0).await;
    assert_eq!((expected.len(), ends), (3 * 3 * 3 + 3, 0));
    for (strategy, order) in [
        ("serial", "partition"),
        ("pipeline", "partition"),
        ("worker", "partition"),
        ("worker", "key"),
        ("worker", "none"),
    ] {
        let workers = if strategy == "worker" { "\nworkers = 3" } else { "" };
        let settings =
            format!("delivery = \"exactly-once\"\nstrategy = \"{strategy}\"\norder = \"{order}\"{workers}");
        let (found, ends) = written(&settings, 3).await;
        assert!(ends > 6, "{strategy} {order}: {ends} transactions");
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        for (place, expected) in &expected {
            let first = expected.iter().zip(&found[place]).position(|(expected, found)| expected != found);
            let (expected, found) = (expected.len(), found[place].len());
            assert_eq!((first, found), (None, expected), "{strategy} {order}: {place:?}");
        }
    }
}
