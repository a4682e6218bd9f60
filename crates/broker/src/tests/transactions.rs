//! Transactions over the protocol's messages, in every version that is spoken.

use topicmill_records::{AbortedTransaction, AssembleSettings, Assembler};

use super::*;

mod offsets;
mod trouble;

use offsets::{commit, offsets};

const ID: &str = "id";

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn name(topic: &str) -> TopicName {
    TopicName(text(topic))
}

fn id() -> TransactionalId {
    TransactionalId(text(ID))
}

/// A producer as a client knows itself.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Me {
    id: i64,
    epoch: i16,
}

impl Me {
    fn next(self) -> Me {
        Me { epoch: self.epoch + 1, ..self }
    }

    fn of(id: ProducerId, epoch: i16) -> Me {
        Me { id: id.0, epoch }
    }
}

fn init(timeout_ms: i32) -> InitProducerIdRequest {
    InitProducerIdRequest::default().with_transactional_id(Some(id())).with_transaction_timeout_ms(timeout_ms)
}

async fn begin(core: &Core) -> Me {
    let answer = ask(core, 5, &init(60_000)).await;
    assert_eq!(answer.error_code, 0);
    Me::of(answer.producer_id, answer.producer_epoch)
}

/// A batch with one record, `value`.
fn one(me: Me, sequence: i32, value: &str) -> Bytes {
    transactional((me.id, me.epoch, sequence), value)
}

async fn produce(core: &Core, version: i16, topic: &Topic, records: Bytes) -> i16 {
    let request = produce_request(version, topic, records).with_transactional_id(Some(id()));
    ask(core, version, &request).await.responses[0].partition_responses[0].error_code
}

async fn add(core: &Core, version: i16, me: Me, topics: &[(&str, &[i32])]) -> Vec<i16> {
    let topics = topics.iter().map(|(topic, partitions)| {
        add_partitions_to_txn_request::AddPartitionsToTxnTopic::default()
            .with_name(name(topic))
            .with_partitions(partitions.to_vec())
    });
    let topics = topics.collect();
    let request = AddPartitionsToTxnRequest::default();
    let results = if version < 4 {
        let request = request
            .with_v3_and_below_transactional_id(id())
            .with_v3_and_below_producer_id(ProducerId(me.id))
            .with_v3_and_below_producer_epoch(me.epoch)
            .with_v3_and_below_topics(topics);
        ask(core, version, &request).await.results_by_topic_v3_and_below
    } else {
        let asked = add_partitions_to_txn_request::AddPartitionsToTxnTransaction::default()
            .with_transactional_id(id())
            .with_producer_id(ProducerId(me.id))
            .with_producer_epoch(me.epoch)
            .with_topics(topics);
        let mut answer = ask(core, version, &request.with_transactions(vec![asked])).await;
        answer.results_by_transaction.remove(0).topic_results
    };
    let parts = results.iter().flat_map(|topic| &topic.results_by_partition);
    parts.map(|part| part.partition_error_code).collect()
}

async fn end(core: &Core, version: i16, me: Me, committed: bool) -> Result<Me, ResponseError> {
    let request = EndTxnRequest::default()
        .with_transactional_id(id())
        .with_producer_id(ProducerId(me.id))
        .with_producer_epoch(me.epoch)
        .with_committed(committed);
    let answer = ask(core, version, &request).await;
    match ResponseError::try_from_code(answer.error_code) {
        Some(error) => Err(error),
        None if version < 5 => Ok(me),
        None => Ok(Me::of(answer.producer_id, answer.producer_epoch)),
    }
}

/// The values that a reader of committed records gets from `offset` on.
async fn committed(core: &Core, version: i16, topic: &Topic, offset: i64) -> Vec<String> {
    let request = fetch_request(version, topic, offset).with_isolation_level(1);
    let mut answer = ask(core, version, &request).await;
    let part = answer.responses.remove(0).partitions.remove(0);
    assert_eq!(part.error_code, 0);
    let aborted = part.aborted_transactions.unwrap_or_default().into_iter().map(|aborted| {
        AbortedTransaction { producer_id: aborted.producer_id.0, first_offset: aborted.first_offset }
    });
    let settings = AssembleSettings { read_committed: true, ..AssembleSettings::default() };
    let records = part.records.unwrap_or_default();
    let pieces = Assembler::new(records, offset, aborted.collect(), settings);
    let pieces: Vec<_> = pieces.map(|piece| piece.unwrap()).collect();
    let values = pieces.iter().flat_map(|piece| {
        piece.records.iter().map(|record| record.value.get(&piece.buffer).expect("a value").to_vec())
    });
    values.map(|value| String::from_utf8(value).unwrap()).collect()
}

#[tokio::test]
async fn version_1_adds_partitions_and_keeps_the_epoch() {
    for (added, ended, fetched) in [(0, 0, 4), (3, 4, 11), (3, 4, 12), (5, 2, 17)] {
        let core = core(1 << 20);
        let topic = create(&core, "a");
        let me = begin(&core).await;
        let invalid = ResponseError::InvalidTxnState.code();
        assert_eq!(produce(&core, 9, &topic, one(me, 0, "early")).await, invalid);
        let abortable = ResponseError::TransactionAbortable.code();
        assert_eq!(produce(&core, 11, &topic, one(me, 0, "early")).await, abortable);
        assert_eq!(add(&core, added, me, &[("a", &[0])]).await, [0]);
        assert_eq!(produce(&core, 9, &topic, one(me, 0, "first")).await, 0);
        assert_eq!(produce(&core, 9, &topic, one(me, 1, "second")).await, 0);
        assert_eq!(committed(&core, fetched, &topic, 0).await, [] as [String; 0]);
        assert_eq!(end(&core, ended, me, true).await, Ok(me));
        assert_eq!(committed(&core, fetched, &topic, 0).await, ["first", "second"]);
        assert_eq!(topic.partitions[0].log().end(), 3, "with the end of the transaction");
        assert_eq!(add(&core, added, me, &[("a", &[0])]).await, [0]);
        assert_eq!(produce(&core, 9, &topic, one(me, 2, "aborted")).await, 0);
        assert_eq!(end(&core, ended, me, false).await, Ok(me));
        assert_eq!(add(&core, added, me, &[("a", &[0])]).await, [0]);
        let before = topic.partitions[0].log().end();
        assert_eq!(produce(&core, 9, &topic, one(me, 0, "of another transaction")).await, 0);
        assert_eq!(topic.partitions[0].log().end(), before, "its numbers are those of a batch before");
        assert_eq!(produce(&core, 9, &topic, one(me, 3, "third")).await, 0);
        assert_eq!(end(&core, ended, me, true).await, Ok(me));
        for (offset, values) in [(0, &["first", "second", "third"][..]), (3, &["third"]), (4, &["third"])] {
            assert_eq!(committed(&core, fetched, &topic, offset).await, values, "{offset}");
        }
    }
}

#[tokio::test]
async fn version_2_adds_partitions_by_writing_and_makes_an_epoch_with_each_end() {
    let core = core(1 << 20);
    let topic = create(&core, "a");
    let me = begin(&core).await;
    assert_eq!(produce(&core, 12, &topic, one(me, 0, "first")).await, 0);
    let next = end(&core, 5, me, true).await.unwrap();
    assert_eq!(next, me.next());
    assert_eq!(end(&core, 5, me, true).await, Ok(next), "the answer was lost");
    let fenced = ResponseError::InvalidProducerEpoch.code();
    assert_eq!(produce(&core, 12, &topic, one(me, 1, "late")).await, fenced);
    assert_eq!(produce(&core, 13, &topic, one(next, 0, "aborted")).await, 0);
    assert_eq!(end(&core, 5, me, true).await, Err(ResponseError::ProducerFenced), "a late one");
    let third = end(&core, 5, next, false).await.unwrap();
    let out_of_order = ResponseError::OutOfOrderSequenceNumber.code();
    assert_eq!(produce(&core, 12, &topic, one(third, 1, "gap")).await, out_of_order);
    assert_eq!(produce(&core, 12, &topic, one(third, 0, "second")).await, 0);
    assert_eq!(end(&core, 5, third, true).await, Ok(third.next()));
    assert_eq!(committed(&core, 17, &topic, 0).await, ["first", "second"]);
}

#[tokio::test]
async fn an_end_that_comes_late_ends_the_next_transaction_in_version_1_and_none_in_version_2() {
    for (ended, answer) in [(4, Ok(())), (5, Err(ResponseError::ProducerFenced))] {
        let core = core(1 << 20);
        let topic = create(&core, "a");
        let me = begin(&core).await;
        assert_eq!(produce(&core, 12, &topic, one(me, 0, "first")).await, 0);
        // The answer to this was late as well: the client asked again over another connection.
        let next = end(&core, ended, me, true).await.unwrap();
        let sequence = if next == me { 1 } else { 0 };
        assert_eq!(produce(&core, 12, &topic, one(next, sequence, "half of the second")).await, 0);
        assert_eq!(end(&core, ended, me, true).await.map(|_| ()), answer);
        let torn = committed(&core, 12, &topic, 0).await.len() == 2;
        assert_eq!(torn, answer.is_ok());
        let aborted = end(&core, ended, next, false).await;
        assert_eq!(aborted.is_err(), torn, "{aborted:?}");
    }
}

#[tokio::test]
async fn who_has_no_transaction_open_is_refused() {
    let core = core(1 << 20);
    let topic = create(&core, "a");
    let me = begin(&core).await;
    let stranger = Me { id: me.id + 1, ..me };
    let mapping = ResponseError::InvalidProducerIdMapping.code();
    assert_eq!(produce(&core, 12, &topic, one(stranger, 0, "x")).await, mapping);
    assert_eq!(add(&core, 3, stranger, &[("a", &[0])]).await, [mapping]);
    let without_id = produce_request(12, &topic, one(me, 0, "x"));
    let answer = ask(&core, 12, &without_id).await;
    let code = answer.responses[0].partition_responses[0].error_code;
    assert_eq!(code, ResponseError::TransactionalIdAuthorizationFailed.code());
    // One that is missing keeps the others out.
    let codes = [ResponseError::OperationNotAttempted.code(), ResponseError::UnknownTopicOrPartition.code()];
    assert_eq!(add(&core, 3, me, &[("a", &[0, 1])]).await, codes);
    assert_eq!(end(&core, 4, me, true).await, Err(ResponseError::InvalidTxnState));
    // A record without a transaction, while one is open.
    assert_eq!(produce(&core, 12, &topic, one(me, 0, "x")).await, 0);
    let outside = batch(1, (me.id, me.epoch, 1));
    assert_eq!(produce(&core, 12, &topic, outside).await, ResponseError::InvalidTxnState.code());
    assert_eq!(topic.partitions[0].log().end(), 1);
}

#[tokio::test]
async fn a_producer_that_is_fenced_is_told_as_its_version_knows() {
    let core = core(1 << 20);
    let topic = create(&core, "a");
    let me = begin(&core).await;
    assert_eq!(produce(&core, 12, &topic, one(me, 0, "lost")).await, 0);
    let again = ask(&core, 5, &init(60_000)).await;
    assert_eq!(again.error_code, ResponseError::ConcurrentTransactions.code());
    let successor = begin(&core).await;
    assert_eq!(successor, me.next().next());
    let (fenced, epoch) = (ResponseError::ProducerFenced, ResponseError::InvalidProducerEpoch);
    assert_eq!(end(&core, 1, me, true).await, Err(epoch));
    assert_eq!(end(&core, 4, me, true).await, Err(fenced));
    assert_eq!(end(&core, 5, me, true).await, Err(fenced));
    assert_eq!(add(&core, 1, me, &[("a", &[0])]).await, [epoch.code()]);
    assert_eq!(add(&core, 3, me, &[("a", &[0])]).await, [fenced.code()]);
    assert_eq!(produce(&core, 12, &topic, one(me, 1, "zombie")).await, epoch.code());
    let goes_on = |version: i16| {
        let request = init(60_000).with_producer_id(ProducerId(me.id)).with_producer_epoch(me.epoch);
        let core = &core;
        async move { ask(core, version, &request).await.error_code }
    };
    assert_eq!((goes_on(3).await, goes_on(5).await), (epoch.code(), fenced.code()));
    for (timeout_ms, error) in [(0, 50), (15 * 60 * 1000 + 1, 50), (15 * 60 * 1000, 0)] {
        assert_eq!(ask(&core, 5, &init(timeout_ms)).await.error_code, error, "{timeout_ms}");
    }
    assert_eq!(committed(&core, 12, &topic, 0).await, [] as [String; 0]);
    assert_eq!(topic.partitions[0].log().end(), 2, "the record and the end of its transaction");
}

#[tokio::test]
async fn transactions_are_listed_and_described() {
    let core = core(1 << 20);
    let topic = create(&core, "a");
    let me = begin(&core).await;
    produce(&core, 12, &topic, one(me, 0, "first")).await;
    commit(&core, 5, &offsets(me, 1)).await;
    let other = TransactionalId(text("other"));
    let request = DescribeTransactionsRequest::default().with_transactional_ids(vec![id(), other]);
    let described = ask(&core, 0, &request).await.transaction_states;
    assert_eq!(described[0].transaction_state.as_str(), "Ongoing");
    assert_eq!((described[0].producer_id.0, described[0].transaction_timeout_ms), (me.id, 60_000));
    assert!(described[0].transaction_start_time_ms > 0);
    let topics: Vec<_> = described[0].topics.iter().map(|topic| topic.topic.as_str()).collect();
    assert_eq!(topics, ["__consumer_offsets", "a"]);
    assert_eq!(described[1].error_code, ResponseError::TransactionalIdNotFound.code());
    for (filter, found) in [(None, 1), (Some("Ongoing"), 1), (Some("Empty"), 0), (Some("Nonsense"), 0)] {
        let filters = filter.into_iter().map(text).collect();
        let listed = ask(&core, 1, &ListTransactionsRequest::default().with_state_filters(filters)).await;
        assert_eq!(listed.transaction_states.len(), found, "{filter:?}");
        assert_eq!(listed.unknown_state_filters.len(), usize::from(filter == Some("Nonsense")));
    }
}
