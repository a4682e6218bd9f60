//! Describing and listing transactions (KIP-664).

use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use kafka_protocol::{
    error::ResponseError,
    messages::{
        DescribeTransactionsRequest, DescribeTransactionsResponse, ListTransactionsRequest,
        ListTransactionsResponse, ProducerId, TopicName, TransactionalId,
        describe_transactions_response::{TopicData, TransactionState},
        list_transactions_response::TransactionState as Listed,
    },
    protocol::StrBytes,
};

use super::state::{Participant, Phase, Transaction};
use crate::{core::Core, throttle::millis};

/// The states by name, as a filter may ask for them.
const STATES: [&str; 6] =
    ["Empty", "Ongoing", "PrepareCommit", "PrepareAbort", "CompleteCommit", "CompleteAbort"];

/// Describes transactional ids; `forced` is a fault's error code for each of them, or 0.
pub fn describe(
    core: &Core,
    request: &DescribeTransactionsRequest,
    forced: i16,
    now: Instant,
) -> DescribeTransactionsResponse {
    let all = core.transactions.lock();
    let described = request.transactional_ids.iter().map(|id| {
        let state = TransactionState::default().with_transactional_id(id.clone());
        match all.get(id) {
            _ if forced != 0 => state.with_error_code(forced),
            None => state.with_error_code(ResponseError::TransactionalIdNotFound.code()),
            Some(transaction) => one(state, transaction, now),
        }
    });
    DescribeTransactionsResponse::default().with_transaction_states(described.collect())
}

fn one(state: TransactionState, transaction: &Transaction, now: Instant) -> TransactionState {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for participant in transaction.participants() {
        let (topic, partition) = match participant {
            Participant::Partition(topic, number) => (&**topic, *number),
            // Where groups keep their offsets in Kafka.
            Participant::Group(_) => ("__consumer_offsets", 0),
        };
        topics.entry(topic).or_default().push(partition);
    }
    let topics = topics.into_iter().map(|(topic, partitions)| {
        let name = TopicName(StrBytes::from_string(topic.to_owned()));
        TopicData::default().with_topic(name).with_partitions(partitions)
    });
    let producer = transaction.producer();
    state
        .with_transaction_state(StrBytes::from_static_str(transaction.phase().name()))
        .with_transaction_timeout_ms(millis(transaction.timeout()))
        .with_transaction_start_time_ms(transaction.began().map_or(-1, |began| wall_ms(now - began)))
        .with_producer_id(ProducerId(producer.id))
        .with_producer_epoch(producer.epoch)
        .with_topics(topics.collect())
}

/// What the clock on the wall said `ago`, in milliseconds since the epoch.
fn wall_ms(ago: Duration) -> i64 {
    let then = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(ago);
    then.as_millis() as i64
}

/// Lists transactional ids, of some states, producers and ages (KIP-994) only if so asked; a pattern
/// of names (KIP-1152) is not supported and lists all.
pub fn list(
    core: &Core,
    request: &ListTransactionsRequest,
    forced: i16,
    now: Instant,
) -> ListTransactionsResponse {
    if forced != 0 {
        return ListTransactionsResponse::default().with_error_code(forced);
    }
    let unknown = request.state_filters.iter().filter(|name| !STATES.contains(&name.as_str()));
    let in_state = |phase: Phase| {
        let name = phase.name();
        request.state_filters.is_empty() || request.state_filters.iter().any(|wanted| wanted.as_str() == name)
    };
    let of_producer = |id: i64| {
        request.producer_id_filters.is_empty() || request.producer_id_filters.contains(&ProducerId(id))
    };
    let is_old = |transaction: &Transaction| match u64::try_from(request.duration_filter) {
        Err(_) => true,
        Ok(ms) => transaction.began().is_some_and(|began| now - began > Duration::from_millis(ms)),
    };
    let all = core.transactions.lock();
    let wanted = all.iter().filter(|(_, transaction)| {
        in_state(transaction.phase()) && of_producer(transaction.producer().id) && is_old(transaction)
    });
    let listed = wanted.map(|(id, transaction)| {
        Listed::default()
            .with_transactional_id(TransactionalId(StrBytes::from_string(id.to_owned())))
            .with_producer_id(ProducerId(transaction.producer().id))
            .with_transaction_state(StrBytes::from_static_str(transaction.phase().name()))
    });
    ListTransactionsResponse::default()
        .with_unknown_state_filters(unknown.cloned().collect())
        .with_transaction_states(listed.collect())
}
