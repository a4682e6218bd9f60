//! TxnOffsetCommit: a group's offsets that count when the transaction is committed (KIP-447).

use std::{sync::Arc, time::Instant};

use kafka_protocol::{
    error::ResponseError,
    messages::{TxnOffsetCommitRequest, TxnOffsetCommitResponse},
};

use super::state::{Participant, Producer};
use crate::core::Core;

/// Commits offsets in a transaction; since version 5 this adds the group to it. `forced` is a
/// fault's error code, or 0.
pub fn commit_offsets(
    core: &Core,
    request: &TxnOffsetCommitRequest,
    version: i16,
    forced: i16,
    now: Instant,
) -> TxnOffsetCommitResponse {
    let producer = Producer { id: request.producer_id.0, epoch: request.producer_epoch };
    let group = Participant::Group(Arc::from(request.group_id.as_str()));
    let id = request.transactional_id.as_str();
    // Held until the offsets are pending, so that no end can miss them.
    let mut all = core.transactions.lock();
    let known = match forced {
        0 if request.group_id.is_empty() => Err(ResponseError::InvalidGroupId.code()),
        0 => {
            let known = match version {
                5.. => core.transactions.add(&mut all, id, producer, [group], now),
                _ => all.get_mut(id).and_then(|transaction| transaction.verify(producer, &group)),
            };
            known.map_err(|error| as_known_to(version, error).code())
        }
        forced => Err(forced),
    };
    core.groups.commit_in_transaction(request, &core.topics, &core.faults, known, now)
}

/// The error that a client of this version understands.
fn as_known_to(version: i16, error: ResponseError) -> ResponseError {
    match error {
        ResponseError::ProducerFenced => ResponseError::InvalidProducerEpoch,
        ResponseError::TransactionAbortable if version < 4 => ResponseError::InvalidTxnState,
        error => error,
    }
}
