//! What producers ask of the coordinator: InitProducerId, AddPartitionsToTxn, AddOffsetsToTxn,
//! EndTxn.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use kafka_protocol::{
    error::ResponseError,
    messages::{
        AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnRequest,
        AddPartitionsToTxnResponse, ApiKey, EndTxnRequest, EndTxnResponse, InitProducerIdRequest,
        InitProducerIdResponse, ProducerId, TransactionalId,
        add_partitions_to_txn_request::AddPartitionsToTxnTopic,
        add_partitions_to_txn_response::{
            AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
        },
    },
};

use super::state::{Outcome, Participant, Producer, Version};
use crate::core::Core;

/// The longest that a transaction may be open, as Kafka's `transaction.max.timeout.ms`.
const MAX_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// No id, no epoch.
const NOBODY: Producer = Producer { id: -1, epoch: -1 };

/// Gives a producer its id: an idempotent one (KIP-98) a new one, or the next epoch of the one it has
/// (KIP-360), a transactional one that of its transactional id. `forced` is a fault's error code,
/// or 0.
pub fn initialise(
    core: &Core,
    request: &InitProducerIdRequest,
    version: i16,
    forced: i16,
    now: Instant,
) -> InitProducerIdResponse {
    let expected = Producer { id: request.producer_id.0, epoch: request.producer_epoch };
    let given = match &request.transactional_id {
        _ if forced != 0 => Err(forced),
        None => Ok(idempotent(core, expected)),
        Some(id) => {
            let given = transactional(core, id, expected, request.transaction_timeout_ms, now);
            given.map_err(|error| if version < 4 { before_fencing(error) } else { error.code() })
        }
    };
    let producer = given.unwrap_or(NOBODY);
    InitProducerIdResponse::default()
        .with_error_code(given.err().unwrap_or(0))
        .with_producer_id(ProducerId(producer.id))
        .with_producer_epoch(producer.epoch)
}

fn idempotent(core: &Core, current: Producer) -> Producer {
    if current.id >= 0 && (0..i16::MAX - 1).contains(&current.epoch) {
        return Producer { epoch: current.epoch + 1, ..current };
    }
    Producer { id: core.next_producer_id(), epoch: 0 }
}

fn transactional(
    core: &Core,
    id: &TransactionalId,
    expected: Producer,
    timeout_ms: i32,
    now: Instant,
) -> Result<Producer, ResponseError> {
    let expected = match expected {
        NOBODY => None,
        Producer { id: -1, .. } | Producer { epoch: -1, .. } => return Err(ResponseError::InvalidRequest),
        expected => Some(expected),
    };
    let timeout = Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0));
    if id.is_empty() {
        return Err(ResponseError::InvalidRequest);
    }
    if timeout.is_zero() || timeout > MAX_TIMEOUT {
        return Err(ResponseError::InvalidTransactionTimeout);
    }
    core.transactions.initialise(core, id, expected, timeout, now)
}

/// Adds partitions to transactions: one client's up to version 3, from then on several brokers', who
/// may only want to know whether they were added. `forced` is a fault's error code, or 0.
pub fn add_partitions(
    core: &Core,
    request: &AddPartitionsToTxnRequest,
    version: i16,
    forced: i16,
    now: Instant,
) -> AddPartitionsToTxnResponse {
    if version < 4 {
        let producer =
            Producer { id: request.v3_and_below_producer_id.0, epoch: request.v3_and_below_producer_epoch };
        let add = |participants| {
            let mut all = core.transactions.lock();
            let id = request.v3_and_below_transactional_id.as_str();
            let added = core.transactions.add(&mut all, id, producer, participants, now);
            added.map_err(|error| if version < 2 { before_fencing(error) } else { error.code() })
        };
        let results = add_topics(core, &request.v3_and_below_topics, forced, add);
        return AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(results);
    }
    let results = request.transactions.iter().map(|asked| {
        let producer = Producer { id: asked.producer_id.0, epoch: asked.producer_epoch };
        let add = |participants: Vec<Participant>| {
            let mut all = core.transactions.lock();
            let id = asked.transactional_id.as_str();
            let added = if asked.verify_only {
                all.get_mut(id).and_then(|transaction| {
                    participants.iter().try_for_each(|part| transaction.verify(producer, part))
                })
            } else {
                core.transactions.add(&mut all, id, producer, participants, now)
            };
            added.map_err(|error| error.code())
        };
        AddPartitionsToTxnResult::default()
            .with_transactional_id(asked.transactional_id.clone())
            .with_topic_results(add_topics(core, &asked.topics, forced, add))
    });
    AddPartitionsToTxnResponse::default().with_results_by_transaction(results.collect())
}

/// Adds all partitions or, if one of them is missing or meets a fault, none.
fn add_topics(
    core: &Core,
    topics: &[AddPartitionsToTxnTopic],
    forced: i16,
    add: impl FnOnce(Vec<Participant>) -> Result<(), i16>,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let mut participants = Vec::new();
    let mut failed = false;
    let mut code_of = |asked: &AddPartitionsToTxnTopic, number: i32| {
        let topic = core.topics.get(&asked.name);
        let code = core.faults.meet_topic(ApiKey::AddPartitionsToTxn, &asked.name, forced);
        let code = core.faults.meet_partition(ApiKey::AddPartitionsToTxn, &asked.name, number, code);
        let found = topic.filter(|topic| topic.partition(number).is_some());
        let code = match found {
            _ if code != 0 => code,
            None => ResponseError::UnknownTopicOrPartition.code(),
            Some(topic) => {
                participants.push(Participant::Partition(Arc::clone(&topic.name), number));
                0
            }
        };
        failed |= code != 0;
        code
    };
    let codes: Vec<Vec<i16>> = topics
        .iter()
        .map(|asked| asked.partitions.iter().map(|number| code_of(asked, *number)).collect())
        .collect();
    // Some are refused: the others are not attempted.
    let rest = if failed { Err(ResponseError::OperationNotAttempted.code()) } else { add(participants) };
    let rest = rest.err().unwrap_or(0);
    let results = topics.iter().zip(codes).map(|(asked, codes)| {
        let partitions = asked.partitions.iter().zip(codes).map(|(number, code)| {
            AddPartitionsToTxnPartitionResult::default()
                .with_partition_index(*number)
                .with_partition_error_code(if code == 0 { rest } else { code })
        });
        AddPartitionsToTxnTopicResult::default()
            .with_name(asked.name.clone())
            .with_results_by_partition(partitions.collect())
    });
    results.collect()
}

/// Adds a group's offsets to a transaction; `forced` is a fault's error code, or 0.
pub fn add_offsets(
    core: &Core,
    request: &AddOffsetsToTxnRequest,
    version: i16,
    forced: i16,
    now: Instant,
) -> AddOffsetsToTxnResponse {
    let producer = Producer { id: request.producer_id.0, epoch: request.producer_epoch };
    let group = Participant::Group(Arc::from(request.group_id.as_str()));
    let added = match forced {
        0 => {
            let mut all = core.transactions.lock();
            let added = core.transactions.add(&mut all, &request.transactional_id, producer, [group], now);
            added.map_err(|error| if version < 2 { before_fencing(error) } else { error.code() })
        }
        forced => Err(forced),
    };
    AddOffsetsToTxnResponse::default().with_error_code(added.err().unwrap_or(0))
}

/// Ends a transaction; since version 5 the answer says as whom the producer goes on (KIP-890).
/// `forced` is a fault's error code, or 0.
pub fn end(core: &Core, request: &EndTxnRequest, version: i16, forced: i16, now: Instant) -> EndTxnResponse {
    let producer = Producer { id: request.producer_id.0, epoch: request.producer_epoch };
    let outcome = if request.committed { Outcome::Commit } else { Outcome::Abort };
    let spoken = if version >= 5 { Version::Two } else { Version::One };
    let ended = match forced {
        0 => {
            let ended =
                core.transactions.end(core, &request.transactional_id, producer, outcome, spoken, now);
            ended.map_err(|error| if version < 2 { before_fencing(error) } else { error.code() })
        }
        forced => Err(forced),
    };
    let response = EndTxnResponse::default().with_error_code(ended.err().unwrap_or(0));
    if spoken == Version::One {
        return response;
    }
    let Producer { id, epoch } = ended.unwrap_or(NOBODY);
    response.with_producer_id(ProducerId(id)).with_producer_epoch(epoch)
}

/// The error code that clients know who do not know `ProducerFenced` yet (KIP-588).
fn before_fencing(error: ResponseError) -> i16 {
    match error {
        ResponseError::ProducerFenced => ResponseError::InvalidProducerEpoch.code(),
        error => error.code(),
    }
}
