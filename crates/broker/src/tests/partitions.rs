//! Partitions in trouble, while the others of the same request are not.

use std::{pin::pin, time::Duration};

use futures_util::poll;

use super::*;

/// A topic of three partitions, each with one batch of three records.
fn three(core: &Core) -> Arc<Topic> {
    let topic = core.topics.create("a", 3, BTreeMap::new(), false).unwrap();
    for partition in &topic.partitions {
        put(partition, batch(3, NO_PRODUCER));
    }
    topic
}

/// One batch of three records for each of three partitions.
fn produce_all(topic: &Topic) -> ProduceRequest {
    let mut request = produce_request(9, topic, batch(3, NO_PRODUCER));
    let part = request.topic_data[0].partition_data[0].clone();
    request.topic_data[0].partition_data = (0..3).map(|number| part.clone().with_index(number)).collect();
    request
}

fn fetch_all(topic: &Topic, offset: i64) -> FetchRequest {
    let mut request = fetch_request(12, topic, offset);
    let part = request.topics[0].partitions[0].clone();
    request.topics[0].partitions = (0..3).map(|number| part.clone().with_partition(number)).collect();
    request
}

fn list_all(topic: &Topic, timestamp: i64) -> ListOffsetsRequest {
    let parts = (0..3).map(|number| {
        list_offsets_request::ListOffsetsPartition::default()
            .with_partition_index(number)
            .with_timestamp(timestamp)
    });
    let name = TopicName(StrBytes::from_string(topic.name.to_string()));
    let topic = list_offsets_request::ListOffsetsTopic::default().with_name(name);
    ListOffsetsRequest::default().with_topics(vec![topic.with_partitions(parts.collect())])
}

fn epochs_of_all(topic: &Topic, epoch: i32) -> OffsetForLeaderEpochRequest {
    let parts = (0..3).map(|number| {
        offset_for_leader_epoch_request::OffsetForLeaderPartition::default()
            .with_partition(number)
            .with_current_leader_epoch(-1)
            .with_leader_epoch(epoch)
    });
    let name = TopicName(StrBytes::from_string(topic.name.to_string()));
    let topic = offset_for_leader_epoch_request::OffsetForLeaderTopic::default().with_topic(name);
    OffsetForLeaderEpochRequest::default().with_topics(vec![topic.with_partitions(parts.collect())])
}

/// The error codes of three partitions for Produce, Fetch, ListOffsets and OffsetForLeaderEpoch.
async fn codes(core: &Core, topic: &Topic) -> [Vec<i16>; 4] {
    let produced = ask(core, 9, &produce_all(topic)).await;
    let fetched = ask(core, 12, &fetch_all(topic, 0)).await;
    let listed = ask(core, 7, &list_all(topic, -1)).await;
    let epochs = ask(core, 4, &epochs_of_all(topic, 0)).await;
    [
        produced.responses[0].partition_responses.iter().map(|part| part.error_code).collect(),
        fetched.responses[0].partitions.iter().map(|part| part.error_code).collect(),
        listed.topics[0].partitions.iter().map(|part| part.error_code).collect(),
        epochs.topics[0].partitions.iter().map(|part| part.error_code).collect(),
    ]
}

async fn leaders(core: &Core) -> Vec<(i16, i32, i32)> {
    let answer = ask(core, 9, &MetadataRequest::default().with_topics(None)).await;
    let parts = answer.topics[0].partitions.iter();
    parts.map(|part| (part.error_code, part.leader_id.0, part.leader_epoch)).collect()
}

#[tokio::test]
async fn a_partition_without_a_leader_takes_and_gives_nothing_and_the_others_do() {
    let core = core(1 << 20);
    let topic = three(&core);
    topic.partitions[1].change(|log| {
        log.set_leaderless(true);
        0
    });
    let (none, there) = (ResponseError::LeaderNotAvailable.code(), (0, 1, 0));
    assert_eq!(leaders(&core).await, [there, (none, -1, 1), there]);
    let not_leader = ResponseError::NotLeaderOrFollower.code();
    for codes in codes(&core, &topic).await {
        assert_eq!(codes, [0, not_leader, 0]);
    }
    topic.partitions[1].change(|log| {
        log.set_leaderless(false);
        0
    });
    assert_eq!(leaders(&core).await, [there, (0, 1, 2), there]);
    assert_eq!(codes(&core, &topic).await, [[0; 3]; 4]);
    let ends = topic.partitions.iter().map(|partition| partition.log().end());
    assert_eq!(ends.collect::<Vec<_>>(), [9, 6, 9]);
}

#[tokio::test]
async fn a_fetch_that_waits_is_told_at_once_that_the_leader_is_gone() {
    let core = core(1 << 20);
    let topic = three(&core);
    let waiting = fetch_all(&topic, 3).with_max_wait_ms(60_000).with_min_bytes(1);
    let mut answer = pin!(ask(&core, 12, &waiting));
    assert!(poll!(&mut answer).is_pending());
    topic.partitions[2].change(|log| {
        log.set_leaderless(true);
        0
    });
    let answer = tokio::time::timeout(Duration::from_secs(10), answer).await.expect("no 60 s");
    assert_eq!(answer.responses[0].partitions[2].error_code, ResponseError::NotLeaderOrFollower.code());
}

#[tokio::test]
async fn who_knows_another_leader_is_told_so() {
    let core = core(1 << 20);
    let topic = create(&core, "a");
    topic.partitions[0].change(|log| log.truncate(0));
    let cases = [
        (-1, 0),
        (0, ResponseError::FencedLeaderEpoch.code()),
        (1, 0),
        (2, ResponseError::UnknownLeaderEpoch.code()),
    ];
    for (known, code) in cases {
        let mut request = fetch_request(12, &topic, 0);
        request.topics[0].partitions[0].current_leader_epoch = known;
        let answer = ask(&core, 12, &request).await;
        assert_eq!(answer.responses[0].partitions[0].error_code, code, "{known}");
    }
}

#[tokio::test]
async fn a_truncation_takes_whole_batches_and_shows_in_the_epochs() {
    let core = core(1 << 20);
    let topic = three(&core);
    let log = &topic.partitions[0];
    put(log, batch(3, (9, 0, 0)));
    put(log, batch(3, (9, 0, 3)));
    let used = core.store.used();
    log.change(|log| log.truncate(7));
    assert_eq!(log.log().end(), 6);
    assert!(core.store.used() < used);
    // The producer's batch that was lost may come again, and is not a duplicate.
    put(log, batch(3, (9, 0, 3)));
    assert_eq!(log.log().end(), 9);
    let ends = |answer: OffsetForLeaderEpochResponse| {
        let part = &answer.topics[0].partitions[0];
        (part.leader_epoch, part.end_offset)
    };
    assert_eq!(ends(ask(&core, 4, &epochs_of_all(&topic, 0)).await), (0, 6));
    assert_eq!(ends(ask(&core, 4, &epochs_of_all(&topic, 1)).await), (1, 9));
    assert_eq!(ends(ask(&core, 4, &epochs_of_all(&topic, 2)).await), (-1, -1));
    let fetched = ask(&core, 12, &fetch_request(12, &topic, 6)).await;
    let records = fetched.responses[0].partitions[0].records.clone().unwrap();
    assert_eq!(BatchHeader::read(&records).unwrap().leader_epoch, 1);
}

#[tokio::test]
async fn an_open_transaction_holds_the_stable_offset_and_nothing_else() {
    let core = core(1 << 20);
    let topic = three(&core);
    put(&topic.partitions[0], batch(3, NO_PRODUCER));
    topic.partitions[0].change(|log| {
        log.hold_stable_offset(Some(3));
        0
    });
    for (isolation, size, end) in [(0, 2, 6), (1, 1, 3)] {
        let request = fetch_request(12, &topic, 0).with_isolation_level(isolation);
        let answer = ask(&core, 12, &request).await;
        let part = &answer.responses[0].partitions[0];
        assert_eq!((part.high_watermark, part.last_stable_offset), (6, 3));
        assert_eq!(part.records.as_ref().unwrap().len(), size * batch(3, NO_PRODUCER).len());
        let listed = ask(&core, 7, &list_all(&topic, -1).with_isolation_level(isolation)).await;
        assert_eq!(listed.topics[0].partitions[0].offset, end);
    }
    // Whoever waits for committed records gets them when the transaction ends.
    let waiting = fetch_request(12, &topic, 3).with_isolation_level(1);
    let waiting = waiting.with_max_wait_ms(60_000).with_min_bytes(1);
    let mut answer = pin!(ask(&core, 12, &waiting));
    assert!(poll!(&mut answer).is_pending());
    topic.partitions[0].change(|log| {
        log.hold_stable_offset(None);
        0
    });
    let answer = tokio::time::timeout(Duration::from_secs(10), answer).await.expect("no 60 s");
    assert_eq!(answer.responses[0].partitions[0].last_stable_offset, 6);
}

#[tokio::test]
async fn a_fault_of_a_partition_leaves_the_others_of_its_request_alone() {
    let core = core(1 << 20);
    let topic = three(&core);
    let code = ResponseError::NotEnoughReplicas.code();
    let apis = [ApiKey::Produce, ApiKey::Fetch, ApiKey::ListOffsets, ApiKey::OffsetForLeaderEpoch];
    let faults =
        apis.map(|api| core.faults.inject(Fault::always(api, FaultAction::Error(code)).on_partition("a", 2)));
    for _ in 0..2 {
        assert_eq!(codes(&core, &topic).await, [[0, 0, code]; 4]);
    }
    assert_eq!(topic.partitions[2].log().end(), 3, "nothing was appended");
    for fault in faults {
        core.faults.lift(fault);
    }
    assert_eq!(codes(&core, &topic).await, [[0; 3]; 4]);
    let seen = core.seen.of(ApiKey::Produce);
    assert_eq!((seen.requests, seen.partitions), (3, 9));
    let seen = core.seen.of(ApiKey::Fetch);
    assert_eq!((seen.requests, seen.partitions), (3, 9));
}

#[tokio::test]
async fn what_is_below_the_start_is_out_of_range_and_earliest_follows() {
    let core = core(1 << 20);
    let topic = three(&core);
    let name = || TopicName(StrBytes::from_static_str("a"));
    let part = delete_records_request::DeleteRecordsPartition::default().with_offset(2);
    let asked = delete_records_request::DeleteRecordsTopic::default().with_name(name());
    let request = DeleteRecordsRequest::default().with_topics(vec![asked.with_partitions(vec![part])]);
    let answer = ask(&core, 2, &request).await;
    assert_eq!(answer.topics[0].partitions[0].low_watermark, 2);
    let fetched = ask(&core, 12, &fetch_all(&topic, 1)).await;
    let codes = fetched.responses[0].partitions.iter().map(|part| part.error_code);
    assert_eq!(codes.collect::<Vec<_>>(), [ResponseError::OffsetOutOfRange.code(), 0, 0]);
    let listed = ask(&core, 7, &list_all(&topic, -2)).await;
    let starts = listed.topics[0].partitions.iter().map(|part| part.offset);
    assert_eq!(starts.collect::<Vec<_>>(), [2, 0, 0]);
}

#[tokio::test]
async fn a_topic_made_anew_has_another_id() {
    let core = core(1 << 20);
    let topic = three(&core);
    let waiting = fetch_request(13, &topic, 3).with_max_wait_ms(60_000).with_min_bytes(1);
    let mut answer = pin!(ask(&core, 13, &waiting));
    assert!(poll!(&mut answer).is_pending());
    crate::admin::delete_topic(&core, "a").unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(10), answer).await.expect("no 60 s");
    assert_eq!(answer.responses[0].partitions[0].error_code, ResponseError::UnknownTopicId.code());
    let anew = create(&core, "a");
    assert_ne!(anew.id, topic.id);
    let by_id = |id| metadata_request::MetadataRequestTopic::default().with_name(None).with_topic_id(id);
    let asked = MetadataRequest::default().with_topics(Some(vec![by_id(topic.id), by_id(anew.id)]));
    let answer = ask(&core, 12, &asked).await;
    assert_eq!(answer.topics[0].error_code, ResponseError::UnknownTopicId.code());
    assert_eq!((answer.topics[1].error_code, answer.topics[1].topic_id), (0, anew.id));
}
