//! Produce: record batches into the logs.

use kafka_protocol::{
    error::ResponseError,
    messages::{
        ApiKey, ProduceRequest, ProduceResponse,
        produce_request::{PartitionProduceData, TopicProduceData},
        produce_response::{PartitionProduceResponse, TopicProduceResponse},
    },
};

use super::{core::Core, topics::Topic};

/// Appends what a request carries; `forced` is a fault's error code for all of it, or 0. The
/// answer comes late when the rate is limited.
pub async fn produce(core: &Core, request: ProduceRequest, forced: i16) -> ProduceResponse {
    let forced = match request.acks {
        _ if forced != 0 => forced,
        -1..=1 => 0,
        _ => ResponseError::InvalidRequiredAcks.code(),
    };
    let named = request.topic_data.iter().map(|topic| topic.partition_data.len()).sum();
    core.seen.partitions(ApiKey::Produce, named);
    let mut taken = 0;
    let mut responses = Vec::with_capacity(request.topic_data.len());
    for topic in request.topic_data {
        responses.push(produce_topic(core, topic, forced, &mut taken));
    }
    let delay = core.disk.take(taken);
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    ProduceResponse::default().with_responses(responses)
}

fn produce_topic(
    core: &Core,
    data: TopicProduceData,
    forced: i16,
    taken: &mut usize,
) -> TopicProduceResponse {
    let found = core.topics.named(&data.name, data.topic_id).map_err(|error| error.code());
    let name = found.as_ref().map_or(&*data.name.0, |topic| &topic.name);
    let code = core.faults.meet_topic(ApiKey::Produce, name, forced);
    let responses = data.partition_data.into_iter().map(|part| {
        let number = part.index;
        let response = PartitionProduceResponse::default().with_index(number).with_log_append_time_ms(-1);
        let appended = match core.faults.meet_partition(ApiKey::Produce, name, number, code) {
            0 => found.as_ref().map_err(|code| *code).and_then(|topic| append(topic, part, taken)),
            fault => Err(fault),
        };
        match appended {
            Ok((base_offset, start)) => response.with_base_offset(base_offset).with_log_start_offset(start),
            Err(code) => response.with_error_code(code).with_base_offset(-1).with_log_start_offset(-1),
        }
    });
    let responses = responses.collect();
    TopicProduceResponse::default()
        .with_name(data.name)
        .with_topic_id(data.topic_id)
        .with_partition_responses(responses)
}

fn append(topic: &Topic, data: PartitionProduceData, taken: &mut usize) -> Result<(i64, i64), i16> {
    let partition = topic.partition(data.index).ok_or(ResponseError::UnknownTopicOrPartition.code())?;
    let records = data.records.unwrap_or_default();
    *taken += records.len();
    let appended = partition.append(records, topic.max_message_bytes).map_err(|error| {
        tracing::debug!(
            topic = %topic.name, partition = data.index, %error, "a record batch was refused"
        );
        error.code()
    })?;
    Ok((appended.base_offset, partition.log().start()))
}
