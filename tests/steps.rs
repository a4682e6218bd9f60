//! Steps from topic to topic, as a user runs them, on an embedded broker.

use std::{net::Ipv4Addr, process::Command, time::Duration};

use tempfile::NamedTempFile;
use topicmill_broker::{Broker, BrokerSettings};
use topicmill_kafka::{Client, Isolation, NativeSink, Reader};
use topicmill_mill::{
    batch::{OutputBatch, TopicPartition},
    budget::Budget,
    engine::{ClientSettings, Sink, Troubles},
};
use topicmill_records::{NO_HEADERS, RecordWriter, partition_of};

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

async fn produce(broker: &Broker, values: impl Iterator<Item = String>) {
    let settings = settings(broker);
    let client = Client::connect(&settings).await.unwrap();
    let mut sink = NativeSink::new(&client, &settings, Troubles::default()).await.unwrap();
    let mut writer = RecordWriter::new(100_000, 0);
    values.for_each(|value| writer.push(1, None, Some(&[value.as_bytes()]), NO_HEADERS));
    let destination = TopicPartition::new("orders", 0);
    sink.send(OutputBatch { destination, chunks: writer.finish(), ..Default::default() }).await.unwrap();
    sink.close().await;
}

/// Key and value of each record of a partition.
async fn records(broker: &Broker, topic: &str, partition: i32) -> Vec<(Option<String>, String)> {
    let client = Client::connect(&settings(broker)).await.unwrap();
    let end = broker.offsets(topic, partition).map_or(0, |(_, end)| end);
    let place = TopicPartition::new(topic, partition);
    let mut reader = Reader::new(&client, place, 0, end, Isolation::ReadCommitted, Budget::new(1 << 24));
    let mut records = Vec::new();
    while let Some((batch, _)) = reader.next().await.unwrap() {
        let text = |span| batch.bytes(span).map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
        records.extend(batch.records.iter().map(|record| (text(record.key), text(record.value).unwrap())));
    }
    records
}

/// A broker with the orders, and one record that is not JSON.
async fn broker_with_orders() -> Broker {
    let listen = (Ipv4Addr::LOCALHOST, 0).into();
    let broker = Broker::start(BrokerSettings { listen, memory: 64 << 20, partitions: 1 }).await.unwrap();
    broker.create_topic("orders", PARTITIONS as i32, &[]).expect("a new topic");
    produce(&broker, (0..ORDERS).map(|number| order(number).0).chain([BROKEN.to_owned()])).await;
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
