//! Verification of transforms that filter, write several records for one, and choose topics and partitions.

use topicmill_steps::{Given, Plan, StepTable};

use super::{
    tests::{MemoryLogs, Row, batch, config, letter, report_with, rows_of},
    *,
};
use crate::{
    dead_letter::Stage,
    records::NO_HEADERS,
    transform::{self, Emission, ErrorClass, Output, Transform, TransformKind, ValueError, Values},
};

/// Does with a record what its first letter says.
struct Letters;

impl Transform for Letters {
    fn apply(&mut self, values: &Values<'_>, out: &mut Output<'_>) {
        let (routed, named): (Arc<str>, Arc<str>) = ("r".into(), "d".into());
        for (index, value) in values.iter() {
            let record = values.record(index);
            let mut emit = |topic, partition, mark: &[u8]| {
                out.emit(
                    index,
                    &Emission {
                        topic,
                        partition,
                        timestamp: record.timestamp,
                        key: record.key,
                        value: Some(&[value, mark]),
                        headers: record.headers,
                    },
                );
            };
            match value[0] {
                b'w' => out.write(index, &[value]),
                b's' => out.skip(index),
                b'f' => out.fail(index, ValueError::new(ErrorClass::Missing, "no")),
                b'r' => emit(Some(&routed), None, b"!"),
                b'n' => emit(Some(&named), None, b"?"),
                b'p' => emit(None, Some(record.timestamp as i32 % 2), b""),
                b'b' => {
                    emit(None, None, b"1");
                    emit(Some(&routed), None, b"2");
                    emit(Some(&routed), None, b"3");
                }
                other => panic!("{other}"),
            }
        }
    }
}

/// A source of two partitions, with records of these kinds in turn, transformed faithfully.
fn transformed(kinds: &str) -> MemoryLogs {
    let mut logs = MemoryLogs::default();
    let rows = |partition: i32| -> Vec<Row> {
        let kind = |at: i64| kinds.as_bytes()[at as usize % kinds.len()] as char;
        let value = |at| format!("{} P{partition} R{at}", kind(at));
        let key = |at: i64| Some(["a", "b"][at as usize % 2]);
        (0..100).map(|at| (key(at), Some(value(at)), NO_HEADERS.to_vec(), 1000 + at / 3)).collect()
    };
    for topic in ["d", "r"] {
        logs.topics.insert(topic.into(), (0..2).map(|partition| (partition, Vec::new())).collect());
    }
    logs.topics.insert("t".into(), BTreeMap::from([(0, Vec::new())]));
    logs.topics.insert("s".into(), (0..2).map(|partition| (partition, rows(partition))).collect());
    // A few of one partition, then a few of the other.
    for start in (0..100).step_by(5) {
        for partition in 0..2 {
            for at in start..start + 5 {
                write(&mut logs, partition, at);
            }
        }
    }
    logs
}

fn write(logs: &mut MemoryLogs, partition: i32, at: i64) {
    let origin = TopicPartition::new("s", partition);
    let row = logs.rows("s", partition)[at as usize].clone();
    let one = batch(&origin, at, std::slice::from_ref(&row));
    let done = transform::apply(&mut Letters, &one, 1 << 20).unwrap();
    for (to, chunks, _) in transform::resolve(done.outputs, &"d".into(), &origin).unwrap() {
        let written = chunks.iter().flat_map(|chunk| rows_of(chunk, row.0));
        logs.rows(&to.topic, to.partition).extend(written);
    }
    for failure in done.failures {
        let letter = letter(&one, Stage::Transformation, failure.error, row.0);
        logs.rows("t", 0).extend(letter);
    }
}

async fn report(logs: &MemoryLogs, order: Order) -> Report {
    let transform = TransformKind::custom(|| Box::new(Letters));
    report_with(logs, &VerifyConfig { transform, ..config(order) }).await
}

/// The counts that are not 0.
async fn found(logs: &MemoryLogs) -> Vec<(Kind, u64)> {
    let report = report(logs, Order::Partition).await;
    assert_eq!(report.is_ok(), report.counts.total() == 0);
    let counts = Kind::ALL.into_iter().map(|kind| (kind, report.counts.of(kind)));
    counts.filter(|&(_, count)| count > 0).collect()
}

/// The offset of the first record of a topic's partition whose value begins so.
fn at(logs: &mut MemoryLogs, topic: &str, partition: i32, beginning: &str) -> usize {
    let begins = |row: &Row| row.1.as_deref().is_some_and(|value| value.starts_with(beginning));
    logs.rows(topic, partition).iter().position(begins).unwrap()
}

/// All kinds, and all but the one that chooses the partition.
const KINDS: [&str; 2] = ["wsrnbfpwwr", "wsrnbfwwr"];

#[tokio::test]
async fn what_is_filtered_split_and_routed_faithfully_is_ok_in_any_order() {
    for kinds in KINDS {
        let logs = transformed(kinds);
        for order in [Order::Partition, Order::Key, Order::None] {
            let report = report(&logs, order).await;
            assert!(report.is_ok(), "{kinds} {order}: {report}");
            let written: usize =
                ["d", "r"].iter().flat_map(|of| logs.topics[*of].values()).map(Vec::len).sum();
            assert_eq!((report.read, report.written), (200, written as u64), "{kinds} {order}");
        }
    }
}

#[tokio::test]
async fn every_planted_fault_is_found() {
    type Fault = (&'static str, fn(&mut MemoryLogs), &'static [(Kind, u64)]);
    let faults: [Fault; 9] = [
        (
            "a record in the destination that belongs to the other topic",
            |logs| {
                let from = at(logs, "r", 1, "r");
                let row = logs.rows("r", 1).remove(from);
                logs.rows("d", 1).insert(7, row);
            },
            &[(Kind::Misrouted, 1)],
        ),
        (
            "a record in the other topic that belongs to the destination",
            |logs| {
                let from = at(logs, "d", 0, "w");
                let row = logs.rows("d", 0).remove(from);
                logs.rows("r", 0).insert(3, row);
            },
            &[(Kind::Misrouted, 1)],
        ),
        (
            "a record missing in a routed topic",
            |logs| {
                let from = at(logs, "r", 0, "r P0 R2");
                logs.rows("r", 0).remove(from);
            },
            &[(Kind::Missing, 1)],
        ),
        (
            "a filtered record that is there",
            |logs| {
                let from = at(logs, "s", 1, "s");
                let row = logs.rows("s", 1)[from].clone();
                logs.rows("d", 1).insert(from, row);
            },
            &[(Kind::Phantom, 1)],
        ),
        (
            "one of several results twice",
            |logs| {
                let from = logs.rows("r", 1).iter().position(|row| row.1.as_deref().unwrap().ends_with('3'));
                let from = from.unwrap();
                let row = logs.rows("r", 1)[from].clone();
                logs.rows("r", 1).insert(from, row);
            },
            &[(Kind::Duplicate, 1)],
        ),
        (
            "one of several results missing",
            |logs| {
                let from = logs.rows("r", 1).iter().position(|row| row.1.as_deref().unwrap().ends_with('3'));
                logs.rows("r", 1).remove(from.unwrap());
            },
            &[(Kind::Missing, 1)],
        ),
        (
            "results in the wrong order",
            |logs| {
                let from = logs.rows("r", 0).iter().position(|row| row.1.as_deref().unwrap().ends_with('3'));
                logs.rows("r", 0).swap(from.unwrap(), from.unwrap() - 1);
            },
            &[(Kind::Reordered, 1)],
        ),
        (
            "a record in another partition than was chosen",
            |logs| {
                let from = at(logs, "d", 0, "w");
                let row = logs.rows("d", 0).remove(from);
                logs.rows("d", 1).insert(3, row);
            },
            &[(Kind::Misrouted, 1)],
        ),
        ("a dead letter missing", |logs| drop(logs.rows("t", 0).remove(1)), &[(Kind::Missing, 1)]),
    ];
    for kinds in KINDS {
        for (what, plant, expected) in &faults {
            let mut logs = transformed(kinds);
            plant(&mut logs);
            assert_eq!(found(&logs).await, *expected, "{what}, {kinds}");
        }
    }
}

#[tokio::test]
async fn findings_name_the_topic() {
    let mut logs = transformed("wr");
    logs.rows("r", 0).remove(3);
    let row = logs.rows("d", 1).remove(4);
    logs.rows("r", 1).insert(1, row);
    let text = report(&logs, Order::Partition).await.to_string();
    for said in ["missing: s[0]@7, due in r[0]", "misrouted: r[1]@1"] {
        assert!(text.contains(said), "{said}: {text}");
    }
    logs.committed = BTreeMap::from([(0, 5), (1, 100)]);
    let transform = TransformKind::custom(|| Box::new(Letters));
    let group = Some("g".to_owned());
    let report = report_with(&logs, &VerifyConfig { transform, group, ..config(Order::Partition) }).await;
    assert_eq!((report.behind.count, report.counts.of(Kind::Missing)), (1, 0), "{report}");
}

#[tokio::test]
async fn a_topic_that_is_not_there_lacks_everything_unless_letters_say_that_it_was_refused() {
    let mut logs = transformed("wb");
    logs.topics.remove("r");
    assert_eq!(found(&logs).await, [(Kind::Missing, 200)]);
    for partition in 0..2 {
        for at in (1..100).step_by(2) {
            let origin = TopicPartition::new("s", partition);
            let row = logs.rows("s", partition)[at].clone();
            let one = batch(&origin, at as i64, std::slice::from_ref(&row));
            let refused = ValueError::new(ErrorClass::Route, "no");
            let letter = letter(&one, Stage::Produce, refused, row.0);
            logs.rows("t", 0).extend(letter);
        }
    }
    assert_eq!(found(&logs).await, []);
    // Of a refused record the other result may be missing as well, but it is there once.
    let from = at(&mut logs, "d", 0, "b");
    let row = logs.rows("d", 0)[from].clone();
    logs.rows("d", 0).insert(from, row);
    assert_eq!(found(&logs).await, [(Kind::Phantom, 1)]);
}

/// A run counts the names of a route in the order in which it happens to read, `verify` in another one.
#[tokio::test]
async fn a_record_beyond_the_bound_of_a_route_is_right_either_way() {
    let steps = StepTable::of("route", "r_{.c}").with("max_topics", Given::Integer(1));
    let plan = || Arc::new(Plan::new(vec![steps.clone()]).unwrap());
    let mut logs = MemoryLogs::default();
    for topic in ["s", "d", "r_a", "t"] {
        logs.topics.insert(topic.into(), (0..2).map(|partition| (partition, Vec::new())).collect());
    }
    let mut run = plan().kind().build();
    // The partition that is read last by `verify` is read first.
    for (partition, name) in [(1, "a"), (0, "b"), (1, "a")] {
        let origin = TopicPartition::new("s", partition);
        let at = logs.rows("s", partition).len() as i64;
        let row: Row = (None, Some(format!(r#"{{"c":"{name}","n":{at}}}"#)), NO_HEADERS.to_vec(), at);
        logs.rows("s", partition).push(row.clone());
        let one = batch(&origin, at, std::slice::from_ref(&row));
        let done = transform::apply(run.as_mut(), &one, 1 << 20).unwrap();
        for (to, chunks, _) in transform::resolve(done.outputs, &"d".into(), &origin).unwrap() {
            let written = chunks.iter().flat_map(|chunk| rows_of(chunk, None));
            logs.rows(&to.topic, to.partition).extend(written);
        }
        for failure in done.failures {
            let letter = letter(&one, Stage::Transformation, failure.error, None);
            logs.rows("t", 0).extend(letter);
        }
    }
    assert_eq!((logs.rows("r_a", 1).len(), logs.rows("t", 0).len()), (2, 1));
    let verified = plan();
    verified.lift_bounds();
    let config = VerifyConfig { transform: verified.kind(), ..config(Order::Partition) };
    let report = report_with(&logs, &config).await;
    assert!(report.is_ok() && report.read == 3, "{report}");
    // In its topic and among the letters it is one copy too many.
    let row = logs.rows("s", 1)[0].clone();
    let letter = letter(
        &batch(&TopicPartition::new("s", 1), 0, std::slice::from_ref(&row)),
        Stage::Transformation,
        ValueError::new(ErrorClass::Route, "no"),
        None,
    );
    logs.rows("t", 0).extend(letter);
    let report = report_with(&logs, &config).await;
    assert_eq!(report.counts.of(Kind::Duplicate), 1, "{report}");
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
    let finding = &json["findings"][0];
    assert_eq!((&finding["kind"], &finding["topic"]), (&"duplicates".into(), &"r_a".into()), "{json}");
    assert_eq!((&finding["partition"], &finding["offset"]), (&1.into(), &0.into()), "{json}");
}

#[tokio::test]
async fn what_came_of_records_that_are_gone_is_not_checked() {
    for kinds in KINDS {
        let mut logs = transformed(kinds);
        logs.cut = 50;
        let report = report(&logs, Order::Partition).await;
        let findings = report.counts.total() - report.counts.of(Kind::Phantom);
        assert_eq!(findings, 0, "{kinds}: {report}");
        assert!(report.unchecked.count > 40, "{kinds}: {report}");
    }
}

#[tokio::test]
async fn a_transaction_that_hides_what_is_missing_is_named() {
    let mut logs = transformed("w");
    logs.open = Some(90);
    assert!(report(&logs, Order::Partition).await.hints.is_empty());
    logs.rows("d", 0).truncate(90);
    let report = report(&logs, Order::Partition).await;
    assert_eq!(report.counts.of(Kind::Missing), 10);
    let [hint] = &report.hints[..] else { panic!("{report}") };
    assert!(hint.starts_with("a transaction is open in d[0] from offset 90 on"), "{hint}");
}
