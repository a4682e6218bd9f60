//! What a topic's settings do to the records that it is sent.

use std::time::{SystemTime, UNIX_EPOCH};

use topicmill_records::walk;

use super::*;

const HOUR_MS: i64 = 60 * 60 * 1000;

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// A batch of records with these timestamps, and keys where there is one.
fn batch_of(records: &[(i64, Option<&str>)], compression: Compression) -> Bytes {
    let mut writer = RecordWriter::new(1 << 20, 1 << 10);
    for (timestamp, key) in records {
        writer.push(*timestamp, key.map(str::as_bytes), Some(&[b"value"]), NO_HEADERS);
    }
    let [body] = writer.finish().try_into().expect("one batch");
    body.seal(ProducerStamp::NONE, compression)
}

fn topic_with(core: &Core, config: &[(&str, &str)]) -> Arc<Topic> {
    core.topics.create("a", 1, owned(config), false).unwrap()
}

/// The error code of a Produce request with this batch, and the numbers of the records to blame.
async fn produced(core: &Core, topic: &Topic, records: Bytes) -> (i16, Vec<i32>) {
    let answer = ask(core, 9, &produce_request(9, topic, records)).await;
    let part = &answer.responses[0].partition_responses[0];
    assert_eq!(part.record_errors.is_empty(), part.error_message.is_none());
    (part.error_code, part.record_errors.iter().map(|record| record.batch_index).collect())
}

#[tokio::test]
async fn timestamps_too_far_ahead_are_named_unless_the_topic_is_told_otherwise() {
    let core = core(1 << 20);
    let topic = topic_with(&core, &[]);
    let now = now_ms();
    let (well, bad) = ((now, None), (now + 2 * HOUR_MS, None));
    let invalid = ResponseError::InvalidTimestamp.code();
    for compression in Compression::ALL {
        let records = batch_of(&[well, bad, (0, None), bad], compression);
        assert_eq!(produced(&core, &topic, records).await, (invalid, vec![1, 3]), "{compression}");
        let records = batch_of(&[well, (0, None), (now + HOUR_MS / 2, None)], compression);
        assert_eq!(produced(&core, &topic, records).await, (0, vec![]), "{compression}");
    }
    let any = [("message.timestamp.after.max.ms", i64::MAX.to_string())];
    core.topics.configure("a", any.map(|(key, value)| (key.to_owned(), value)).into()).unwrap();
    let topic = core.topics.get("a").unwrap();
    assert_eq!(produced(&core, &topic, batch_of(&[bad], Compression::None)).await, (0, vec![]));
}

#[tokio::test]
async fn timestamps_too_far_back_are_named_where_the_topic_minds() {
    let core = core(1 << 20);
    let topic = topic_with(&core, &[("message.timestamp.before.max.ms", "3600000")]);
    let now = now_ms();
    // No timestamp at all is never too old.
    let records = batch_of(&[(now, None), (now - 2 * HOUR_MS, None), (-1, None)], Compression::Lz4);
    let invalid = ResponseError::InvalidTimestamp.code();
    assert_eq!(produced(&core, &topic, records).await, (invalid, vec![1]));
    let records = batch_of(&[(now - HOUR_MS / 2, None)], Compression::Lz4);
    assert_eq!(produced(&core, &topic, records).await, (0, vec![]));
}

#[tokio::test]
async fn a_compacted_topic_names_the_records_without_a_key() {
    let core = core(1 << 20);
    let topic = topic_with(&core, &[("cleanup.policy", "compact,delete")]);
    let invalid = ResponseError::InvalidRecord.code();
    for compression in Compression::ALL {
        let records = batch_of(&[(0, None), (0, Some("k")), (0, Some("")), (0, None)], compression);
        assert_eq!(produced(&core, &topic, records).await, (invalid, vec![0, 3]), "{compression}");
    }
    assert_eq!(topic.partitions[0].log().end(), 0);
    let records = batch_of(&[(0, Some("k")), (0, Some(""))], Compression::Zstd);
    assert_eq!(produced(&core, &topic, records).await, (0, vec![]));
}

#[tokio::test]
async fn a_topic_of_log_append_time_stamps_what_it_is_sent() {
    let core = core(1 << 20);
    let topic = topic_with(&core, &[("message.timestamp.type", "LogAppendTime")]);
    let before = now_ms();
    // However far from now the records' own timestamps are.
    let records = batch_of(&[(5, None), (before + 2 * HOUR_MS, None)], Compression::None);
    let answer = ask(&core, 9, &produce_request(9, &topic, records)).await;
    let stamped = answer.responses[0].partition_responses[0].log_append_time_ms;
    assert!((before..=now_ms()).contains(&stamped), "{before} {stamped}");
    let fetched = ask(&core, 12, &fetch_request(12, &topic, 0)).await;
    let records = fetched.responses[0].partitions[0].records.clone().unwrap();
    let header = BatchHeader::read(&records).unwrap();
    header.check_crc(&records).unwrap();
    assert!(header.is_log_append_time());
    let mut read = Vec::new();
    walk(&header, &records, HEADER_LEN, records.len(), 0, &mut read).unwrap();
    assert_eq!(read.iter().map(|record| record.timestamp).collect::<Vec<_>>(), [stamped; 2]);
    assert_eq!(topic.partitions[0].log().at_timestamp(before), Some((0, stamped)));
    // Only the broker may say that a timestamp is its own.
    let invalid = ResponseError::InvalidTimestamp.code();
    assert_eq!(produced(&core, &topic, records).await, (invalid, vec![0, 1]));
}

#[tokio::test]
async fn one_partition_refuses_while_the_others_of_its_request_take() {
    let core = core(1 << 20);
    let (small, wide) = (topic_with(&core, &[("max.message.bytes", "100")]), create(&core, "b"));
    let records = batch_of(&[(0, None); 20], Compression::None);
    let mut request = produce_request(9, &small, records.clone());
    request.topic_data.extend(produce_request(9, &wide, records).topic_data);
    let answer = ask(&core, 9, &request).await;
    let codes = answer.responses.iter().map(|topic| topic.partition_responses[0].error_code);
    assert_eq!(codes.collect::<Vec<_>>(), [ResponseError::MessageTooLarge.code(), 0]);
    assert_eq!((small.partitions[0].log().end(), wide.partitions[0].log().end()), (0, 20));
}

#[test]
fn settings_that_the_broker_would_have_to_act_on_are_refused() {
    let cases = [
        ("message.timestamp.type", "Sometime"),
        ("message.timestamp.after.max.ms", "-1"),
        ("message.timestamp.before.max.ms", "soon"),
        ("cleanup.policy", "compact,forget"),
        ("compression.type", "zstd"),
        ("max.message.bytes", "-1"),
    ];
    for (key, value) in cases {
        let refusal = Rules::read(&owned(&[(key, value)])).unwrap_err();
        assert_eq!(refusal.error, ResponseError::InvalidConfig, "{key}={value}");
    }
}
