//! A transform of the library's user that filters, splits and routes: the example `orders`, run on the embedded
//! broker by every engine and strategy, and verified.

mod support;

#[allow(dead_code)] // its `main`
#[path = "../examples/orders.rs"]
mod orders;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use orders::{ORDERS, Orders};
use support::{Cluster, Names, TestRecord, engines, pause};
use topicmill::{
    CancellationToken, Pipeline,
    internal::verify,
    metrics::Metrics,
    pipeline::{EngineKind, Order, PipelineBuilder, StrategyKind},
    transform::registry,
};

/// Long enough for any step on a busy machine.
const SOON: Duration = Duration::from_secs(60);

const PARTITIONS: i32 = 2;

fn value(number: usize) -> String {
    let customer = format!("c{}", number % 7);
    match number % 6 {
        0 => format!("{customer};home;bread{number},milk{number}"),
        1 => format!("{customer};de;Brot{number}"),
        2 => format!("{customer};fr;"),
        3 => format!("{customer};fr;pain{number},lait{number},beurre{number}"),
        4 => format!("{customer};no where;nothing{number}"),
        _ => format!("nonsense{number}"),
    }
}

/// A source with so many records in each partition.
fn fill(cluster: &Cluster, names: &Names, records: usize) {
    cluster.create(&names.source, PARTITIONS, &[]);
    for partition in 0..PARTITIONS {
        let first = partition as usize * records;
        let values: Vec<_> =
            (first..first + records).map(|number| TestRecord::value(value(number))).collect();
        cluster.produce(&names.source, partition, &values);
    }
}

fn pipeline(cluster: &Cluster, names: &Names) -> PipelineBuilder {
    Pipeline::builder()
        .brokers([cluster.brokers.as_str()])
        .source(&names.source)
        .destination(&names.destination)
        .dead_letter(&names.dead_letter)
        .group(&names.group)
        .transform(Orders::default)
}

/// Runs to the end of now.
fn catch_up(cluster: &Cluster, builder: PipelineBuilder) -> Arc<Metrics> {
    let pipeline = builder.until_caught_up(true).build().unwrap();
    let metrics = Arc::clone(pipeline.metrics());
    cluster.runtime.block_on(async {
        let run = tokio::time::timeout(SOON, pipeline.run(CancellationToken::new()));
        run.await.expect("it ends").unwrap();
    });
    metrics
}

/// The report of `verify`, and whether all is well.
fn verified(cluster: &Cluster, names: &Names, order: Order) -> (String, bool) {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| registry::register(&ORDERS).unwrap());
    let order = order.to_string();
    let line =
        ["topicmill", "verify", "--transform", "orders", "--brokers", &cluster.brokers, "--order", &order];
    let topics = ["--source", &names.source, "--destination", &names.destination];
    let letters = ["--dead-letter", &names.dead_letter, "--group", &names.group];
    let line = line.into_iter().chain(topics).chain(letters);
    cluster.runtime.block_on(verify(line)).unwrap()
}

fn expect_clean(cluster: &Cluster, names: &Names, order: Order) {
    let (report, is_ok) = verified(cluster, names, order);
    assert!(is_ok, "{report}");
}

/// The values of a partition, with key and number of the item.
fn items(cluster: &Cluster, topic: &str, partition: i32) -> Vec<(String, String, String)> {
    let text = |bytes: Option<Vec<u8>>| String::from_utf8(bytes.unwrap()).unwrap();
    let records = cluster.consume(topic, partition).into_iter();
    let item = |record: TestRecord| {
        let number = record.header("item").to_owned();
        (text(record.key), text(record.value), number)
    };
    records.map(item).collect()
}

/// The number of dead letters of each class.
fn letters(cluster: &Cluster, names: &Names) -> BTreeMap<String, usize> {
    let mut classes = BTreeMap::new();
    for partition in 0..PARTITIONS {
        for letter in cluster.consume(&names.dead_letter, partition) {
            let class =
                letter.headers.iter().find(|(name, _)| name.ends_with("exception.class.name")).unwrap();
            *classes.entry(class.1.clone()).or_default() += 1;
        }
    }
    classes
}

fn topic_exists(cluster: &Cluster, topic: &str) -> bool {
    cluster.runtime.block_on(cluster.client().topic(topic)).unwrap().is_some()
}

#[test]
fn an_order_becomes_its_items_in_the_topic_of_its_country() {
    for engine in engines() {
        let engine: EngineKind = engine.parse().unwrap();
        for (strategy, order) in [
            (StrategyKind::Serial, Order::Partition),
            (StrategyKind::Pipeline, Order::Partition),
            (StrategyKind::Worker, Order::Partition),
            (StrategyKind::Worker, Order::Key),
            (StrategyKind::Worker, Order::None),
        ] {
            let (cluster, names) = (Cluster::embedded(), Names::new("orders"));
            fill(&cluster, &names, 600);
            let builder = pipeline(&cluster, &names).engine(engine).strategy(strategy).order(order);
            let metrics = catch_up(&cluster, builder);
            let what = format!("{engine} {strategy} {order}");
            // Of six orders of a partition's hundred each.
            assert_eq!(metrics.records_filtered.get(), 200, "{what}");
            assert_eq!(metrics.records_written.get(), 2 * (200 + 100 + 300), "{what}");
            let classes = letters(&cluster, &names);
            assert_eq!(classes, [("route".to_owned(), 200), ("syntax".to_owned(), 200)].into(), "{what}");
            for (topic, per_partition) in
                [(names.destination.as_str(), 200), ("items_de", 100), ("items_fr", 300)]
            {
                for partition in 0..PARTITIONS {
                    assert_eq!(items(&cluster, topic, partition).len(), per_partition, "{what} {topic}");
                }
            }
            if order == Order::Partition {
                let first = items(&cluster, "items_fr", 0).into_iter().take(4);
                let item = |key: &str, value: &str, number: &str| (key.into(), value.into(), number.into());
                let expected = [
                    item("c3", "pain3", "0"),
                    item("c3", "lait3", "1"),
                    item("c3", "beurre3", "2"),
                    item("c2", "pain9", "0"),
                ];
                assert_eq!(first.collect::<Vec<(String, String, String)>>(), expected, "{what}");
            }
            expect_clean(&cluster, &names, order);
            // One that belongs elsewhere.
            cluster.produce("items_de", 0, &[TestRecord::value("bread0")]);
            assert!(!verified(&cluster, &names, order).1, "{what}");
        }
    }
}

#[test]
fn without_leave_to_create_topics_what_is_routed_becomes_dead_letters() {
    for engine in engines() {
        let engine: EngineKind = engine.parse().unwrap();
        let (cluster, names) = (Cluster::embedded(), Names::new("orders"));
        fill(&cluster, &names, 60);
        for topic in [&names.destination, &names.dead_letter] {
            cluster.create(topic, PARTITIONS, &[]);
        }
        // One partition less than is needed.
        cluster.create("items_de", 1, &[]);
        catch_up(&cluster, pipeline(&cluster, &names).engine(engine).create_topics(false));
        assert!(!topic_exists(&cluster, "items_fr"));
        let classes = letters(&cluster, &names);
        assert_eq!(
            classes,
            [("route".to_owned(), 20 + 20 + 10), ("syntax".to_owned(), 20)].into(),
            "{engine}"
        );
        assert_eq!(items(&cluster, "items_de", 0).len(), 10);
        expect_clean(&cluster, &names, Order::Partition);
    }
}

#[test]
fn a_routed_topic_is_created_and_grown_as_the_destination_is() {
    let (cluster, names) = (Cluster::embedded(), Names::new("orders"));
    cluster.create("items_de", 1, &[]);
    fill(&cluster, &names, 60);
    catch_up(&cluster, pipeline(&cluster, &names));
    let client = cluster.client();
    for topic in ["items_de", "items_fr"] {
        let found = cluster.runtime.block_on(client.topic(topic)).unwrap().unwrap();
        assert_eq!(found.partitions, PARTITIONS, "{topic}");
    }
    let config = |topic: &str| cluster.runtime.block_on(client.topic_config(topic)).unwrap();
    let of_destination = config(&names.destination);
    for key in ["max.message.bytes", "retention.ms", "cleanup.policy"] {
        assert_eq!(config("items_fr").get(key), of_destination.get(key), "{key}");
    }
    expect_clean(&cluster, &names, Order::Partition);
}

#[test]
fn a_routed_topic_that_is_deleted_is_made_again() {
    for engine in engines() {
        let engine: EngineKind = engine.parse().unwrap();
        let (cluster, names) = (Cluster::embedded(), Names::new("orders"));
        fill(&cluster, &names, 60);
        let pipeline = pipeline(&cluster, &names).engine(engine).build().unwrap();
        let metrics = Arc::clone(pipeline.metrics());
        let stop = CancellationToken::new();
        let running = cluster.runtime.spawn(pipeline.run(stop.clone()));
        until("it is written", || metrics.records_written.get() >= 120);
        cluster.runtime.block_on(cluster.client().delete_topic("items_fr")).unwrap();
        let more: Vec<_> = (0..60).map(|number| TestRecord::value(value(number))).collect();
        cluster.produce(&names.source, 0, &more);
        until("it is written again", || {
            topic_exists(&cluster, "items_fr") && cluster.consume("items_fr", 0).len() >= 30
        });
        stop.cancel();
        cluster.runtime.block_on(async { running.await.unwrap().unwrap() });
        let items = items(&cluster, "items_fr", 0);
        assert_eq!(items[0].1, "pain3", "{engine}");
    }
}

#[test]
fn a_partition_of_a_routed_topic_that_fails_holds_up_what_comes_from_its_own_and_nothing_else() {
    let (cluster, names) = (Cluster::embedded(), Names::new("orders"));
    fill(&cluster, &names, 300);
    cluster.create("items_de", PARTITIONS, &[]);
    let broker = cluster.embedded.as_ref().unwrap();
    broker.set_leaderless("items_de", 1, true).unwrap();
    let pipeline = pipeline(&cluster, &names).commit_interval(Duration::from_millis(50)).build().unwrap();
    let health = Arc::clone(pipeline.health());
    let stop = CancellationToken::new();
    let running = cluster.runtime.spawn(pipeline.run(stop.clone()));
    until("the other is done", || cluster.committed(&names.group, &names.source).get(&0) == Some(&300));
    assert!(cluster.committed(&names.group, &names.source).get(&1).copied().unwrap_or(0) < 6);
    assert!(health.live().is_ok());
    broker.set_leaderless("items_de", 1, false).unwrap();
    until("this one, too", || cluster.committed(&names.group, &names.source).get(&1) == Some(&300));
    stop.cancel();
    cluster.runtime.block_on(async { running.await.unwrap().unwrap() });
    assert_eq!([0, 1].map(|partition| items(&cluster, "items_de", partition).len()), [50, 50]);
    expect_clean(&cluster, &names, Order::Partition);
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let started = std::time::Instant::now();
    while !holds() {
        assert!(started.elapsed() < SOON, "{what}");
        pause(Duration::from_millis(50));
    }
}
