use std::sync::Arc;

use super::*;
use crate::{
    batch::{AssignmentId, Record, Span},
    dead_letter::{self, Form, Letter, Stage},
    records::{EncodedBatch, HeadersWriter, NO_HEADERS},
    transform::{self, ErrorClass, TransformKind, ValueError},
};

/// A record: key, value, headers, timestamp.
type Row = (Option<&'static str>, Option<String>, Vec<u8>, i64);

/// Logs in memory.
#[derive(Default)]
struct MemoryLogs {
    topics: BTreeMap<String, BTreeMap<i32, Vec<Row>>>,
    stamped: Vec<&'static str>,
}

impl Logs for MemoryLogs {
    async fn ranges(&self, topic: &str) -> Result<Option<BTreeMap<i32, Range<i64>>>, EngineError> {
        let ranges = |partitions: &BTreeMap<i32, Vec<Row>>| {
            partitions.iter().map(|(&partition, rows)| (partition, 0..rows.len() as i64)).collect()
        };
        Ok(self.topics.get(topic).map(ranges))
    }

    async fn stamps_records(&self, topic: &str) -> Result<bool, EngineError> {
        Ok(self.stamped.contains(&topic))
    }

    async fn read(
        &self,
        partition: &TopicPartition,
        range: Range<i64>,
        mut each: impl FnMut(&PartitionBatch) + Send,
    ) -> Result<(), EngineError> {
        let rows = &self.topics[&*partition.topic][&partition.partition];
        // Batches of 7 records, so that nothing depends on where one ends.
        for start in (range.start..range.end).step_by(7) {
            let end = (start + 7).min(range.end);
            each(&batch(partition, start, &rows[start as usize..end as usize]));
        }
        Ok(())
    }
}

fn batch(origin: &TopicPartition, first: i64, rows: &[Row]) -> PartitionBatch {
    let mut buffer = Vec::new();
    let mut records = Vec::new();
    for (index, (key, value, headers, timestamp)) in rows.iter().enumerate() {
        let mut span = |bytes: Option<&[u8]>| match bytes {
            None => Span::NULL,
            Some(bytes) => {
                buffer.extend_from_slice(bytes);
                Span::new((buffer.len() - bytes.len()) as u32, bytes.len() as u32)
            }
        };
        records.push(Record {
            offset: first + index as i64,
            timestamp: *timestamp,
            key: span(key.map(str::as_bytes)),
            value: span(value.as_deref().map(str::as_bytes)),
            headers: span(Some(headers)),
        });
    }
    let next_offset = first + rows.len() as i64;
    let (origin, assignment) = (origin.clone(), AssignmentId(1));
    PartitionBatch {
        origin,
        assignment,
        next_offset,
        buffer: buffer.into(),
        records,
        ..PartitionBatch::default()
    }
}

fn rows_of(chunk: &EncodedBatch, key: Option<&'static str>) -> Vec<Row> {
    let text = |span: Span| span.get(&chunk.bytes).map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
    let headers = |record: &Record| record.headers.get(&chunk.bytes).unwrap().to_vec();
    let records = chunk.records().unwrap();
    records.iter().map(|record| (key, text(record.value), headers(record), record.timestamp)).collect()
}

/// A source of `partitions` with poison, tombstones, keys and headers, transformed faithfully.
fn transformed(partitions: i32) -> MemoryLogs {
    let mut logs = MemoryLogs::default();
    let (mut outputs, mut letters) = (BTreeMap::new(), Vec::new());
    let mut sources = BTreeMap::new();
    for partition in 0..partitions {
        let origin = TopicPartition::new("s", partition);
        let mut output = Vec::new();
        let rows: Vec<Row> = (0..100).map(|at| row(partition, at)).collect();
        for (offset, source) in rows.iter().enumerate() {
            let one = batch(&origin, offset as i64, std::slice::from_ref(source));
            let done = transform::apply(TransformKind::NameEvent.build().as_mut(), &one, 1 << 20);
            done.chunks.iter().for_each(|chunk| output.extend(rows_of(chunk, source.0)));
            for failure in done.failures {
                letters.extend(letter(&one, Stage::Transformation, failure.error, source.0));
            }
        }
        sources.insert(partition, rows);
        outputs.insert(partition, output);
    }
    logs.topics.insert("s".into(), sources);
    logs.topics.insert("d".into(), outputs);
    logs.topics.insert("t".into(), BTreeMap::from([(0, letters)]));
    logs
}

fn row(partition: i32, at: i64) -> Row {
    let value = match at % 10 {
        3 => None,
        7 => Some(format!("{{\"poison\":{at}")),
        _ => Some(format!(r#"{{"first_name":"P{partition}","last_name":"R{at}"}}"#)),
    };
    let mut headers = HeadersWriter::default();
    if at % 4 == 0 {
        headers.push(b"trace", Some(b"1"));
    }
    (Some(["a", "b"][at as usize % 2]), value, headers.finish(), 1000 + at / 20)
}

fn letter(one: &PartitionBatch, stage: Stage, error: ValueError, key: Option<&'static str>) -> Vec<Row> {
    let chunks =
        dead_letter::encode(one, &[Letter { index: 0, stage, error, form: Form::default() }], "g", 1 << 20);
    chunks.iter().flat_map(|chunk| rows_of(chunk, key)).collect()
}

async fn report_of(logs: &MemoryLogs, order: Order) -> Report {
    let config = VerifyConfig {
        client: Default::default(),
        source: "s".into(),
        destination: "d".into(),
        dead_letter: "t".into(),
        dead_letter_given: true,
        transform: TransformKind::NameEvent,
        order,
        memory: 1 << 20,
        json: false,
    };
    verify_logs(logs, &config, |done, total| assert!(done <= total)).await.unwrap()
}

/// The counts that are not 0, in partition order.
async fn found(logs: &MemoryLogs) -> Vec<(Kind, u64)> {
    let report = report_of(logs, Order::Partition).await;
    assert_eq!(report.is_ok(), report.counts.total() == 0);
    let counts = Kind::ALL.into_iter().map(|kind| (kind, report.counts.of(kind)));
    counts.filter(|&(_, count)| count > 0).collect()
}

impl MemoryLogs {
    fn rows(&mut self, topic: &str, partition: i32) -> &mut Vec<Row> {
        self.topics.get_mut(topic).unwrap().get_mut(&partition).unwrap()
    }
}

#[tokio::test]
async fn a_faithful_transformation_is_ok_in_any_order() {
    let logs = transformed(3);
    for order in [Order::Partition, Order::Key, Order::None] {
        let report = report_of(&logs, order).await;
        assert!(report.is_ok(), "{order}: {report}");
        assert_eq!((report.read, report.written, report.letters), (300, 270, 30), "{order}");
    }
}

#[tokio::test]
async fn the_destination_is_held_to_the_transform() {
    let mut logs = transformed(2);
    logs.rows("d", 1).remove(5);
    assert_eq!(found(&logs).await, [(Kind::Missing, 1)]);
    let report = report_of(&logs, Order::Partition).await;
    assert_eq!(report.places, [(Kind::Missing, Place { source: Some("s[1]@5".into()), found: None })]);

    let mut logs = transformed(2);
    logs.rows("d", 0)[40].1.as_mut().unwrap().push(' ');
    assert_eq!(found(&logs).await, [(Kind::Corrupt, 1)]);

    let mut logs = transformed(2);
    logs.rows("d", 0)[40].3 += 1;
    assert_eq!(found(&logs).await, [(Kind::Corrupt, 1)]);

    // A tombstone must stay one.
    let mut logs = transformed(2);
    assert_eq!(logs.rows("d", 0)[3].1, None);
    logs.rows("d", 0)[3].1 = Some(String::new());
    assert_eq!(found(&logs).await, [(Kind::Corrupt, 1)]);

    let mut logs = transformed(2);
    logs.rows("d", 0)[3].2 = NO_HEADERS.to_vec();
    logs.rows("d", 0)[4].2 = NO_HEADERS.to_vec();
    assert_eq!(found(&logs).await, [(Kind::Corrupt, 1)]);
}

#[tokio::test]
async fn a_record_in_the_wrong_partition_is_misrouted_and_not_missing() {
    let mut logs = transformed(3);
    let row = logs.rows("d", 0).remove(50);
    logs.rows("d", 2).insert(10, row.clone());
    assert_eq!(found(&logs).await, [(Kind::Misrouted, 1)]);
    // The same as a second copy of one that is where it belongs.
    logs.rows("d", 0).insert(50, row);
    assert_eq!(found(&logs).await, [(Kind::Misrouted, 1)]);
    // Two that changed places.
    let mut logs = transformed(2);
    let (a, b) = (logs.rows("d", 0)[20].clone(), logs.rows("d", 1)[20].clone());
    logs.rows("d", 0)[20] = b;
    logs.rows("d", 1)[20] = a;
    assert_eq!(found(&logs).await, [(Kind::Misrouted, 2)]);
    // A partition that the source does not have.
    let mut logs = transformed(1);
    let row = logs.rows("d", 0).remove(50);
    logs.topics.get_mut("d").unwrap().insert(1, vec![row]);
    assert_eq!(found(&logs).await, [(Kind::Misrouted, 1)]);
}

#[tokio::test]
async fn each_poison_record_has_one_intact_letter() {
    let mut logs = transformed(2);
    let lost = logs.rows("t", 0).remove(4);
    assert_eq!(found(&logs).await, [(Kind::Missing, 1)]);
    logs.rows("t", 0).extend([lost.clone(), lost.clone(), lost]);
    assert_eq!(found(&logs).await, [(Kind::Duplicate, 2)]);
    logs.rows("t", 0)[0].1 = Some("{".into());
    assert_eq!(found(&logs).await, [(Kind::Duplicate, 2), (Kind::Corrupt, 1)]);
}

#[tokio::test]
async fn a_letter_of_what_can_be_transformed_stands_for_it_only_if_refused() {
    let source = TopicPartition::new("s", 0);
    let error = |class| ValueError::new(class, "x");
    let mut logs = transformed(1);
    let fine = batch(&source, 50, &[row(0, 50)]);
    let refused = letter(&fine, Stage::Produce, error(ErrorClass::Oversized), row(0, 50).0);
    let failed = letter(&fine, Stage::Transformation, error(ErrorClass::Syntax), row(0, 50).0);

    logs.rows("t", 0).extend(failed);
    assert_eq!(found(&logs).await, [(Kind::Phantom, 1)]);
    *logs.rows("t", 0).last_mut().unwrap() = refused[0].clone();
    assert_eq!(found(&logs).await, [(Kind::Duplicate, 1)]);
    let position =
        logs.rows("d", 0).iter().position(|row| row.1.as_ref().is_some_and(|v| v.contains("R50\"")));
    logs.rows("d", 0).remove(position.unwrap());
    assert_eq!(found(&logs).await, []);
}

#[tokio::test]
async fn letters_of_other_topics_and_later_records_do_not_count() {
    let mut logs = transformed(1);
    let error = || ValueError::new(ErrorClass::Syntax, "x");
    let other = batch(&TopicPartition::new("other", 0), 7, &[row(0, 7)]);
    let later = batch(&TopicPartition::new("s", 0), 100, &[row(0, 107)]);
    for one in [other, later] {
        logs.rows("t", 0).extend(letter(&one, Stage::Transformation, error(), Some("b")));
    }
    logs.rows("t", 0).push((None, Some("no headers".into()), NO_HEADERS.to_vec(), 0));
    assert_eq!(found(&logs).await, []);
}

#[tokio::test]
async fn timestamps_do_not_count_where_brokers_stamp_records() {
    let mut logs = transformed(1);
    logs.rows("d", 0).iter_mut().for_each(|row| row.3 = 99);
    assert_eq!(found(&logs).await, [(Kind::Corrupt, 90)]);
    logs.stamped.push("d");
    assert_eq!(found(&logs).await, []);
}

#[tokio::test]
async fn a_missing_topic_is_an_error_and_names_it() {
    let mut logs = transformed(1);
    logs.topics.remove("d");
    let config = VerifyConfig {
        client: Default::default(),
        source: Arc::from("s"),
        destination: "d".into(),
        dead_letter: "t".into(),
        dead_letter_given: false,
        transform: TransformKind::NameEvent,
        order: Order::Partition,
        memory: 1 << 20,
        json: false,
    };
    let error = verify_logs(&logs, &config, |_, _| ()).await.unwrap_err();
    assert_eq!(error.to_string(), "the topic d does not exist");
}

#[test]
fn the_json_has_exactly_these_keys() {
    let mut counts = Counts::default();
    counts.add(Kind::Duplicate, 2);
    let report = Report {
        source: "s".into(),
        destination: "d".into(),
        dead_letter: "t".into(),
        counts,
        ..Report::default()
    };
    assert_eq!(
        report.to_json(),
        concat!(
            r#"{"source":"s","destination":"d","dead_letter":"t","missing":0,"duplicates":2,"#,
            r#""reordered":0,"corrupt":0,"phantom":0,"misrouted":0,"ok":false}"#
        )
    );
}
