use super::*;
use crate::{
    batch::{AssignmentId, Record, Span},
    dead_letter::{self, Form, Letter, Stage},
    records::{EncodedBatch, HeadersWriter, NO_HEADERS},
    transform::{self, ErrorClass, HashField, NameEvent, ValueError},
};

/// A record: key, value, headers, timestamp.
pub(super) type Row = (Option<&'static str>, Option<String>, Vec<u8>, i64);

/// Logs in memory.
#[derive(Default)]
pub(super) struct MemoryLogs {
    pub(super) topics: BTreeMap<String, BTreeMap<i32, Vec<Row>>>,
    stamped: Vec<&'static str>,
    /// Where a transaction is open in partition 0 of the destination.
    pub(super) open: Option<i64>,
    /// What the group has committed of the source.
    pub(super) committed: BTreeMap<i32, i64>,
    /// The records that retention took from the beginning of each partition of the source.
    pub(super) cut: usize,
}

impl Logs for MemoryLogs {
    async fn ranges(&self, topic: &str) -> Result<Option<BTreeMap<i32, Range<i64>>>, EngineError> {
        let start = if topic == "s" { self.cut as i64 } else { 0 };
        let ranges = |partitions: &BTreeMap<i32, Vec<Row>>| {
            partitions.iter().map(|(&partition, rows)| (partition, start..rows.len() as i64)).collect()
        };
        Ok(self.topics.get(topic).map(ranges))
    }

    async fn held_up(&self, topic: &str) -> Result<BTreeMap<i32, i64>, EngineError> {
        Ok(self.open.filter(|_| topic == "d").map(|offset| (0, offset)).into_iter().collect())
    }

    async fn stamps_records(&self, topic: &str) -> Result<bool, EngineError> {
        Ok(self.stamped.contains(&topic))
    }

    async fn committed(&self, _: &str, _: &str) -> Result<BTreeMap<i32, i64>, EngineError> {
        Ok(self.committed.clone())
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

pub(super) fn batch(origin: &TopicPartition, first: i64, rows: &[Row]) -> PartitionBatch {
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

pub(super) fn rows_of(chunk: &EncodedBatch, key: Option<&'static str>) -> Vec<Row> {
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
            let done = transform::apply(NameEvent::kind().build().as_mut(), &one, 1 << 20).unwrap();
            done.chunks().for_each(|chunk| output.extend(rows_of(chunk, source.0)));
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

pub(super) fn letter(
    one: &PartitionBatch,
    stage: Stage,
    error: ValueError,
    key: Option<&'static str>,
) -> Vec<Row> {
    letter_of("g", one, stage, error, key)
}

fn letter_of(
    group: &str,
    one: &PartitionBatch,
    stage: Stage,
    error: ValueError,
    key: Option<&'static str>,
) -> Vec<Row> {
    let chunks = dead_letter::encode(
        one,
        &[Letter { index: 0, stage, error, form: Form::default() }],
        group,
        None,
        1 << 20,
    );
    chunks.iter().flat_map(|chunk| rows_of(chunk, key)).collect()
}

pub(super) fn config(order: Order) -> VerifyConfig {
    VerifyConfig {
        client: Default::default(),
        source: "s".into(),
        destination: "d".into(),
        dead_letter: "t".into(),
        dead_letter_given: true,
        group: None,
        usual_group: "topicmill-s-d".into(),
        transform: NameEvent::kind(),
        protection: None,
        protect_letters: None,
        order,
        memory: 1 << 20,
        json: false,
    }
}

pub(super) async fn report_with(logs: &MemoryLogs, config: &VerifyConfig) -> Report {
    verify_logs(logs, config, |done, total| assert!(done <= total)).await.unwrap()
}

async fn report_of(logs: &MemoryLogs, order: Order) -> Report {
    report_with(logs, &config(order)).await
}

/// The counts that are not 0, in partition order.
async fn found(logs: &MemoryLogs) -> Vec<(Kind, u64)> {
    let report = report_of(logs, Order::Partition).await;
    assert_eq!(report.is_ok(), report.counts.total() == 0);
    let counts = Kind::ALL.into_iter().map(|kind| (kind, report.counts.of(kind)));
    counts.filter(|&(_, count)| count > 0).collect()
}

impl MemoryLogs {
    pub(super) fn rows(&mut self, topic: &str, partition: i32) -> &mut Vec<Row> {
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
    let places: Vec<_> = report.places.iter().map(|(kind, place)| (*kind, place.to_string())).collect();
    assert_eq!(places, [(Kind::Missing, "s[1]@5".to_owned())]);

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

/// The other pipeline fails on the same records, and on one that is fine here.
#[tokio::test]
async fn letters_of_other_pipelines_over_the_source_do_not_count() {
    let mut logs = transformed(1);
    let source = TopicPartition::new("s", 0);
    for offset in [7, 17, 50] {
        let row = row(0, offset);
        let one = batch(&source, offset, std::slice::from_ref(&row));
        let error = ValueError::new(ErrorClass::Syntax, "x");
        logs.rows("t", 0).extend(letter_of("other", &one, Stage::Transformation, error, row.0));
    }
    let with = |asked: Option<&str>, usual: &str| VerifyConfig {
        group: asked.map(str::to_owned),
        usual_group: usual.to_owned(),
        ..config(Order::Partition)
    };
    logs.committed = BTreeMap::from([(0, 100)]);
    for config in [with(Some("g"), "topicmill-s-d"), with(None, "g")] {
        let report = report_with(&logs, &config).await;
        assert!(report.is_ok() && report.hints.is_empty(), "{report}");
        assert_eq!(report.letters, 10);
    }
    let report = report_with(&logs, &with(Some("other"), "g")).await;
    assert_eq!((report.counts.of(Kind::Missing), report.counts.of(Kind::Phantom)), (8, 1), "{report}");
    // Nothing tells whose they are.
    let report = report_with(&logs, &with(None, "topicmill-s-d")).await;
    assert_eq!(report.counts.of(Kind::Duplicate), 2, "{report}");
    assert!(report.to_string().contains("hint: t has letters of several groups: say which"), "{report}");
}

/// The transformer has come to the record 60 and has committed 50.
fn half_way() -> MemoryLogs {
    let mut logs = transformed(1);
    let is_done =
        |row: &Row| row.1.as_ref().is_none_or(|value| !value.contains("last_name") || number(value) < 60);
    logs.rows("d", 0).truncate(54);
    assert!(logs.rows("d", 0).iter().all(is_done));
    logs.rows("t", 0).truncate(6);
    logs.committed = BTreeMap::from([(0, 50)]);
    logs
}

fn number(value: &str) -> u32 {
    let digits = value.split_once("\"R").unwrap().1;
    digits[..digits.find('"').unwrap()].parse().unwrap()
}

#[tokio::test]
async fn what_is_not_committed_is_behind_and_not_missing() {
    let mut logs = half_way();
    let with_group = VerifyConfig { group: Some("g".into()), ..config(Order::Partition) };
    let report = report_with(&logs, &with_group).await;
    assert!(report.is_ok(), "{report}");
    assert_eq!(report.behind.count, 40);
    assert!(report.to_string().contains("behind: s[0]@60–99 (40), not committed yet\n"), "{report}");
    assert!(report.verdict().ends_with("0 misrouted, 40 behind: ok"), "{report}");
    assert!(report.to_json().ends_with(r#""ok":true,"behind":40}"#), "{}", report.to_json());

    // What is committed must be there.
    logs.rows("d", 0).drain(20..22);
    logs.rows("t", 0).remove(4);
    let report = report_with(&logs, &with_group).await;
    assert_eq!((report.counts.of(Kind::Missing), report.counts.total(), report.behind.count), (3, 3, 40));
    for order in [Order::Key, Order::None] {
        let report = report_with(&logs, &VerifyConfig { order, ..with_group.clone() }).await;
        assert_eq!((report.counts.of(Kind::Missing), report.behind.count), (3, 40), "{order}: {report}");
    }
}

#[tokio::test]
async fn without_a_group_a_missing_end_is_asked_about() {
    let report = report_of(&half_way(), Order::Partition).await;
    assert_eq!(report.counts.of(Kind::Missing), 40);
    let asked = "missing: s[0]@60–99 (40), the end of the partition: is the transformer done?";
    assert!(report.to_string().contains(asked), "{report}");
}

#[tokio::test]
async fn a_group_that_has_committed_nothing_is_an_error() {
    let with_group = VerifyConfig { group: Some("g".into()), ..config(Order::Partition) };
    let error = verify_logs(&transformed(1), &with_group, |_, _| ()).await.unwrap_err();
    assert_eq!(error.to_string(), "the group g has committed nothing of the topic s");
}

#[tokio::test]
async fn places_are_ranges_and_not_all_of_them() {
    let mut logs = transformed(1);
    let again: Vec<Row> = logs.rows("d", 0)[10..40].to_vec();
    logs.rows("d", 0).splice(40..40, again);
    let report = report_of(&logs, Order::Partition).await;
    let duplicates = "duplicates: d[0]@40–69 (30), from s[0]@11–43\n";
    assert!(report.to_string().contains(duplicates), "{report}");

    // Every second one is missing, the letters among them: 7 is between 6 and 8.
    let mut logs = transformed(1);
    let mut at = 0;
    logs.rows("d", 0).retain(|_| {
        at += 1;
        at % 2 == 0
    });
    let report = report_of(&logs, Order::Partition).await;
    let text = report.to_string();
    assert_eq!(report.counts.of(Kind::Missing), 45);
    assert_eq!(text.lines().filter(|line| line.starts_with("missing: s[0]@")).count(), 10, "{text}");
    assert!(text.contains("missing: and 35 more\n"), "{text}");
}

/// The letter for the record 7 stands between what is missing on both sides.
#[tokio::test]
async fn a_letter_that_is_there_parts_what_is_missing() {
    let mut logs = transformed(1);
    logs.rows("d", 0).drain(5..9);
    let text = report_of(&logs, Order::Partition).await.to_string();
    assert!(text.contains("missing: s[0]@5–6 (2)\nmissing: s[0]@8–9 (2)\n"), "{text}");
    logs.rows("t", 0).remove(0);
    let text = report_of(&logs, Order::Partition).await.to_string();
    assert!(text.contains("missing: s[0]@5–9 (5)\n"), "{text}");
}

#[tokio::test]
async fn what_retention_took_from_the_source_cannot_be_checked() {
    let mut logs = transformed(2);
    logs.cut = 40;
    for order in [Order::Partition, Order::Key, Order::None] {
        let report = report_of(&logs, order).await;
        assert!(report.is_ok(), "{order}: {report}");
        assert_eq!(report.unchecked.count, 72, "{order}: {report}");
        let gone = "cannot be checked: d[0]@0–35 (36), made of records that the source no longer holds\n";
        assert!(report.to_string().contains(gone), "{order}: {report}");
        assert!(report.to_json().ends_with(r#""ok":true,"unchecked":72}"#), "{}", report.to_json());
    }
    logs.rows("d", 1).remove(60);
    let report = report_of(&logs, Order::Partition).await;
    assert_eq!((report.counts.of(Kind::Missing), report.counts.total()), (1, 1), "{report}");
}

#[tokio::test]
async fn where_everything_differs_another_transform_is_asked_about() {
    let logs = transformed(2);
    let transform = HashField::kind("sum", Default::default());
    let report = report_with(&logs, &VerifyConfig { transform, ..config(Order::Partition) }).await;
    assert!(report.to_string().contains("hint: nearly every record differs"), "{report}");
    let mut logs = transformed(2);
    logs.rows("d", 0)[40].1.as_mut().unwrap().push(' ');
    let report = report_of(&logs, Order::Partition).await;
    assert!(!report.is_ok() && report.hints.is_empty(), "{report}");
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
    let config = VerifyConfig { dead_letter_given: false, ..config(Order::Partition) };
    let error = verify_logs(&logs, &config, |_, _| ()).await.unwrap_err();
    assert_eq!(error.to_string(), "the topic d does not exist");
}

#[test]
fn the_json_has_exactly_these_keys() {
    let mut counts = super::findings::Counts::default();
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
