//! Administration: creating, growing, emptying and deleting topics, and describing their
//! configuration. Where a function takes `forced`, that is a fault's error code for the whole
//! request, or 0.

use std::sync::Arc;

use kafka_protocol::{
    error::ResponseError,
    messages::{
        ApiKey, CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse,
        DeleteRecordsRequest, DeleteRecordsResponse, DeleteTopicsRequest, DeleteTopicsResponse,
        DescribeConfigsRequest, DescribeConfigsResponse, TopicName,
        create_partitions_response::CreatePartitionsTopicResult,
        create_topics_request::CreatableTopic,
        create_topics_response::CreatableTopicResult,
        delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult},
        delete_topics_response::DeletableTopicResult,
        describe_configs_request::DescribeConfigsResource,
        describe_configs_response::{DescribeConfigsResourceResult, DescribeConfigsResult},
    },
    protocol::StrBytes,
};
use uuid::Uuid;

use super::{
    core::{Core, NODE},
    partition::Partition,
    refusal::Refusal,
    rules::{DEFAULT_AFTER_MAX_MS, DEFAULT_MAX_MESSAGE_BYTES},
    topics::Topic,
};

/// Creates topics.
pub fn create_topics(core: &Core, request: &CreateTopicsRequest, forced: i16) -> CreateTopicsResponse {
    let topics = request.topics.iter().map(|asked| {
        let result = CreatableTopicResult::default().with_name(asked.name.clone());
        let code = core.faults.meet_topic(ApiKey::CreateTopics, &asked.name, forced);
        if code != 0 {
            return result.with_error_code(code).with_num_partitions(-1).with_replication_factor(-1);
        }
        match create(core, asked, request.validate_only) {
            Ok(topic) => result
                .with_topic_id(topic.id)
                .with_num_partitions(topic.partitions.len() as i32)
                .with_replication_factor(1)
                .with_configs(Some(Vec::new())),
            Err(Refusal { error, message }) => result
                .with_error_code(error.code())
                .with_error_message(Some(StrBytes::from_string(message)))
                .with_num_partitions(-1)
                .with_replication_factor(-1),
        }
    });
    CreateTopicsResponse::default().with_topics(topics.collect())
}

fn create(core: &Core, asked: &CreatableTopic, validate_only: bool) -> Result<Arc<Topic>, Refusal> {
    let assigned = i32::try_from(asked.assignments.len()).unwrap_or(i32::MAX);
    let count = if assigned > 0 { assigned } else { asked.num_partitions };
    if assigned == 0 && !matches!(asked.replication_factor, -1 | 1) {
        let message = format!("replication factor {}: there is one broker", asked.replication_factor);
        return Err(Refusal { error: ResponseError::InvalidReplicationFactor, message });
    }
    let config = asked
        .configs
        .iter()
        .filter_map(|entry| Some((entry.name.to_string(), entry.value.as_ref()?.to_string())));
    core.topics.create(&asked.name, count, config.collect(), validate_only)
}

/// Grows topics.
pub fn create_partitions(
    core: &Core,
    request: &CreatePartitionsRequest,
    forced: i16,
) -> CreatePartitionsResponse {
    let results = request.topics.iter().map(|asked| {
        let result = CreatePartitionsTopicResult::default().with_name(asked.name.clone());
        let code = core.faults.meet_topic(ApiKey::CreatePartitions, &asked.name, forced);
        if code != 0 {
            return result.with_error_code(code);
        }
        match core.topics.grow(&asked.name, asked.count, request.validate_only) {
            Ok(()) => result,
            Err(Refusal { error, message }) => {
                result.with_error_code(error.code()).with_error_message(Some(StrBytes::from_string(message)))
            }
        }
    });
    CreatePartitionsResponse::default().with_results(results.collect())
}

/// Deletes topics, by name or since version 6 by id, and what groups have committed for them.
pub fn delete_topics(core: &Core, request: &DeleteTopicsRequest, forced: i16) -> DeleteTopicsResponse {
    let by_name = request.topic_names.iter().map(|name| (Some(name.clone()), Uuid::nil()));
    let by_either = request.topics.iter().map(|topic| (topic.name.clone(), topic.topic_id));
    let responses = by_name.chain(by_either).map(|(name, id)| {
        let found = core.topics.named(name.as_ref().map_or("", |name| name.as_str()), id);
        let result = DeletableTopicResult::default();
        let deleted = match forced {
            0 => found.map(|topic| delete_topic(core, &topic.name).unwrap_or(topic)).map_err(|e| e.code()),
            forced => Err(forced),
        };
        match deleted {
            Err(code) => result.with_name(name).with_topic_id(id).with_error_code(code),
            Ok(topic) => {
                let name = TopicName(StrBytes::from_string(topic.name.to_string()));
                result.with_name(Some(name)).with_topic_id(topic.id)
            }
        }
    });
    let responses = responses.collect();
    core.store.forget_deleted();
    DeleteTopicsResponse::default().with_responses(responses)
}

/// Deletes a topic and what groups have committed for it; readers that wait for its records look
/// again.
pub fn delete_topic(core: &Core, name: &str) -> Option<Arc<Topic>> {
    let topic = core.topics.delete(name)?;
    core.groups.forget_topic(name);
    core.store.wake();
    Some(topic)
}

/// Moves the starts of logs (KIP-107); offset -1 means the end.
pub fn delete_records(core: &Core, request: &DeleteRecordsRequest, forced: i16) -> DeleteRecordsResponse {
    let topics = request.topics.iter().map(|asked| {
        let topic = core.topics.get(&asked.name);
        let partitions = asked.partitions.iter().map(|part| {
            let partition = topic.as_ref().and_then(|topic| topic.partition(part.partition_index));
            let moved = match forced {
                0 => drop_below(partition, part.offset).map_err(|error| error.code()),
                forced => Err(forced),
            };
            DeleteRecordsPartitionResult::default()
                .with_partition_index(part.partition_index)
                .with_low_watermark(moved.unwrap_or(-1))
                .with_error_code(moved.err().unwrap_or(0))
        });
        DeleteRecordsTopicResult::default()
            .with_name(asked.name.clone())
            .with_partitions(partitions.collect())
    });
    DeleteRecordsResponse::default().with_topics(topics.collect())
}

fn drop_below(partition: Option<&Arc<Partition>>, offset: i64) -> Result<i64, ResponseError> {
    let partition = partition.ok_or(ResponseError::UnknownTopicOrPartition)?;
    partition.log().check_leader(-1)?;
    let offset = if offset == -1 { partition.log().end() } else { offset };
    partition.drop_below(offset)?;
    Ok(partition.log().start())
}

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

/// Where a value comes from, and how it is written; numbers of the protocol.
const DYNAMIC_TOPIC_CONFIG: i8 = 1;
const DEFAULT_CONFIG: i8 = 5;
const STRING_TYPE: i8 = 2;

/// How topics are configured unless told otherwise.
const TOPIC_DEFAULTS: [(&str, &str); 6] = [
    ("cleanup.policy", "delete"),
    ("compression.type", "producer"),
    ("message.timestamp.type", "CreateTime"),
    ("min.insync.replicas", "1"),
    ("retention.bytes", "-1"),
    ("retention.ms", "-1"),
];

/// Answers how topics and the broker are configured.
pub fn describe_configs(
    core: &Core,
    request: &DescribeConfigsRequest,
    forced: i16,
) -> DescribeConfigsResponse {
    let results = request.resources.iter().map(|resource| {
        let result = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        if forced != 0 {
            return result.with_error_code(forced);
        }
        let entries = match resource.resource_type {
            TOPIC => match core.topics.get(&resource.resource_name) {
                Some(topic) => topic_config(&topic),
                None => return result.with_error_code(ResponseError::UnknownTopicOrPartition.code()),
            },
            BROKER if resource.resource_name.as_str() == NODE.0.to_string() => broker_config(core),
            BROKER => return result.with_error_code(ResponseError::InvalidRequest.code()),
            _ => Vec::new(),
        };
        result.with_configs(entries.into_iter().filter(|entry| is_wanted(resource, entry)).collect())
    });
    DescribeConfigsResponse::default().with_results(results.collect())
}

fn is_wanted(resource: &DescribeConfigsResource, entry: &DescribeConfigsResourceResult) -> bool {
    resource.configuration_keys.as_ref().is_none_or(|keys| keys.contains(&entry.name))
}

fn topic_config(topic: &Topic) -> Vec<DescribeConfigsResourceResult> {
    let (max_message_bytes, after) =
        (DEFAULT_MAX_MESSAGE_BYTES.to_string(), DEFAULT_AFTER_MAX_MS.to_string());
    let before = i64::MAX.to_string();
    let numbers = [
        ("max.message.bytes", max_message_bytes.as_str()),
        ("message.timestamp.after.max.ms", after.as_str()),
        ("message.timestamp.before.max.ms", before.as_str()),
    ];
    let defaults = TOPIC_DEFAULTS.into_iter().chain(numbers);
    let defaults = defaults.filter(|(key, _)| !topic.config.contains_key(*key));
    let mut entries: Vec<_> = defaults.map(|(key, value)| entry(key, value, DEFAULT_CONFIG)).collect();
    entries.extend(topic.config.iter().map(|(key, value)| entry(key, value, DYNAMIC_TOPIC_CONFIG)));
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    entries
}

fn broker_config(core: &Core) -> Vec<DescribeConfigsResourceResult> {
    let max_message_bytes = DEFAULT_MAX_MESSAGE_BYTES.to_string();
    let max_request_bytes = core.max_request_bytes().to_string();
    [
        ("default.replication.factor", "1"),
        ("log.message.timestamp.type", "CreateTime"),
        ("message.max.bytes", &max_message_bytes),
        ("min.insync.replicas", "1"),
        ("socket.request.max.bytes", &max_request_bytes),
    ]
    .into_iter()
    .map(|(key, value)| entry(key, value, DEFAULT_CONFIG).with_read_only(true))
    .collect()
}

fn entry(name: &str, value: &str, source: i8) -> DescribeConfigsResourceResult {
    DescribeConfigsResourceResult::default()
        .with_name(StrBytes::from_string(name.to_owned()))
        .with_value(Some(StrBytes::from_string(value.to_owned())))
        .with_config_source(source)
        .with_config_type(STRING_TYPE)
}
