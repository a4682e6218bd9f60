//! Produce: record batches into the logs.

use std::time::{Duration, Instant};

use kafka_protocol::{
    error::ResponseError,
    messages::{
        ApiKey, ProduceRequest, ProduceResponse,
        produce_request::{PartitionProduceData, TopicProduceData},
        produce_response::{BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse},
    },
    protocol::StrBytes,
};

use super::{
    core::Core, log::Appended, rules::Refused, throttle::millis, topics::Topic, transactions::Asked,
};

/// Appends what a request carries; `forced` is a fault's error code for the whole of it, or 0. The
/// answer comes late when the rate is limited. Where there is a quota, it says how long the client
/// has to be quiet (KIP-219), which is returned as well.
pub async fn produce(
    core: &Core,
    request: ProduceRequest,
    version: i16,
    forced: i16,
) -> (ProduceResponse, Duration) {
    let forced = match request.acks {
        _ if forced != 0 => forced,
        -1..=1 => 0,
        _ => ResponseError::InvalidRequiredAcks.code(),
    };
    let named = request.topic_data.iter().map(|topic| topic.partition_data.len()).sum();
    core.seen.partitions(ApiKey::Produce, named);
    let asked = Asked { id: request.transactional_id.as_ref().map(|id| id.as_str()), version };
    core.transactions.settle(asked).await;
    let mut taken = 0;
    let mut responses = Vec::with_capacity(request.topic_data.len());
    for topic in request.topic_data {
        responses.push(produce_topic(core, topic, asked, forced, &mut taken));
    }
    let delay = core.disk.take(taken);
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    let throttle = core.quota.take(taken);
    let response = ProduceResponse::default().with_responses(responses);
    (response.with_throttle_time_ms(millis(throttle)), throttle)
}

fn produce_topic(
    core: &Core,
    data: TopicProduceData,
    asked: Asked<'_>,
    forced: i16,
    taken: &mut usize,
) -> TopicProduceResponse {
    let found = core.topics.named(&data.name, data.topic_id).map_err(|error| error.code());
    let name = found.as_ref().map_or(&*data.name.0, |topic| &topic.name);
    let code = core.faults.meet_topic(ApiKey::Produce, name, forced);
    let responses = data.partition_data.into_iter().map(|part| {
        let number = part.index;
        let response = PartitionProduceResponse::default().with_index(number).with_log_append_time_ms(-1);
        let failed = response.clone().with_base_offset(-1).with_log_start_offset(-1);
        let topic = match core.faults.meet_partition(ApiKey::Produce, name, number, code) {
            0 => found.as_ref().map_err(|code| *code),
            fault => Err(fault),
        };
        match topic.map(|topic| append(core, topic, part, asked, taken)) {
            Ok(Ok((appended, start))) => response
                .with_base_offset(appended.base_offset)
                .with_log_append_time_ms(appended.append_time)
                .with_log_start_offset(start),
            Ok(Err(refused)) => say(failed, refused),
            Err(code) => failed.with_error_code(code),
        }
    });
    let responses = responses.collect();
    TopicProduceResponse::default()
        .with_name(data.name)
        .with_topic_id(data.topic_id)
        .with_partition_responses(responses)
}

/// Names the records that are refused (KIP-467).
fn say(response: PartitionProduceResponse, refused: Refused) -> PartitionProduceResponse {
    let records = refused.records.into_iter().map(|(number, message)| {
        BatchIndexAndErrorMessage::default()
            .with_batch_index(number)
            .with_batch_index_error_message(Some(StrBytes::from_string(message)))
    });
    response
        .with_error_code(refused.error.code())
        .with_error_message(refused.message.map(StrBytes::from_static_str))
        .with_record_errors(records.collect())
}

fn append(
    core: &Core,
    topic: &Topic,
    data: PartitionProduceData,
    asked: Asked<'_>,
    taken: &mut usize,
) -> Result<(Appended, i64), Refused> {
    let partition = topic.partition(data.index).ok_or(ResponseError::UnknownTopicOrPartition)?;
    let records = data.records.unwrap_or_default();
    *taken += records.len();
    let appended = partition.admit(records, &topic.rules).and_then(|admitted| {
        let appended = if admitted.header.is_transactional() {
            core.transactions.append(partition, admitted, asked, Instant::now())
        } else {
            partition.append(admitted, false)
        };
        Ok(appended?)
    });
    let appended = appended.inspect_err(|refused| {
        tracing::debug!(
            topic = %topic.name, partition = data.index, error = %refused, "a record batch was refused"
        );
    })?;
    Ok((appended, partition.log().start()))
}
