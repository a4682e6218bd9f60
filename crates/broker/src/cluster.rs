//! What the cluster says about itself: versions, features, metadata, coordinators.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use kafka_protocol::{
    error::ResponseError,
    messages::{
        ApiKey, ApiVersionsResponse, BrokerId, DescribeClusterResponse, FindCoordinatorRequest,
        FindCoordinatorResponse, MetadataRequest, MetadataResponse, TopicName,
        api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey},
        describe_cluster_response::DescribeClusterBroker,
        find_coordinator_response::Coordinator,
        metadata_response::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic},
    },
    protocol::StrBytes,
};

use super::{
    core::{CLUSTER_ID, Core, NODE},
    refusal::Refusal,
    topics::Topic,
    transactions::Version,
    versions::SUPPORTED,
};

/// The feature that says how producers speak of transactions (KIP-890).
const TRANSACTION_VERSION: StrBytes = StrBytes::from_static_str("transaction.version");

/// The versions that the broker speaks, and since version 3 its features (KIP-584), with an error
/// code or 0.
pub fn api_versions(core: &Core, version: i16, error: i16) -> ApiVersionsResponse {
    let keys = SUPPORTED.iter().map(|api| {
        ApiVersion::default()
            .with_api_key(api.key as i16)
            .with_min_version(api.advertised_min)
            .with_max_version(api.max)
    });
    let response = ApiVersionsResponse::default().with_error_code(error).with_api_keys(keys.collect());
    if version < 3 {
        return response;
    }
    let (spoken, epoch) = core.transactions.version();
    let level = match spoken {
        Version::One => 1,
        Version::Two => 2,
    };
    // Before version 4, clients do not understand a feature that may be absent (KIP-1022).
    let supported = SupportedFeatureKey::default().with_name(TRANSACTION_VERSION).with_max_version(2);
    let finalized = FinalizedFeatureKey::default()
        .with_name(TRANSACTION_VERSION)
        .with_max_version_level(level)
        .with_min_version_level(level);
    response
        .with_supported_features(if version < 4 { Vec::new() } else { vec![supported] })
        .with_finalized_features(vec![finalized])
        .with_finalized_features_epoch(epoch)
}

/// Describes topics, creating those that are missing where this is allowed.
pub fn metadata(
    core: &Core,
    request: &MetadataRequest,
    version: i16,
    local: SocketAddr,
    forced: i16,
) -> MetadataResponse {
    let may_create = version < 4 || request.allow_auto_topic_creation;
    let described = |topic: &Arc<Topic>| match core.faults.meet_topic(ApiKey::Metadata, &topic.name, forced) {
        0 => describe(topic),
        code => failed(&topic.name, code),
    };
    let topics = match &request.topics {
        None => core.topics.list().iter().map(described).collect(),
        Some(topics) if topics.is_empty() && version == 0 => {
            core.topics.list().iter().map(described).collect()
        }
        Some(topics) => topics
            .iter()
            .map(|asked| {
                let Some(name) = &asked.name else {
                    return match core.topics.by_id(asked.topic_id) {
                        Some(topic) => described(&topic),
                        None => MetadataResponseTopic::default()
                            .with_name(None)
                            .with_topic_id(asked.topic_id)
                            .with_error_code(ResponseError::UnknownTopicId.code()),
                    };
                };
                match find(core, name, may_create) {
                    Ok(topic) => described(&topic),
                    Err(error) => failed(name, error.code()),
                }
            })
            .collect(),
    };
    let (host, port) = core.advertised(local);
    let broker = MetadataResponseBroker::default().with_node_id(NODE).with_host(host).with_port(port);
    MetadataResponse::default()
        .with_brokers(vec![broker])
        .with_cluster_id(Some(StrBytes::from_static_str(CLUSTER_ID)))
        .with_controller_id(NODE)
        .with_topics(topics)
}

fn find(core: &Core, name: &str, may_create: bool) -> Result<Arc<Topic>, ResponseError> {
    if may_create {
        return core.topics.get_or_create(name).map_err(|Refusal { error, .. }| error);
    }
    core.topics.get(name).ok_or(ResponseError::UnknownTopicOrPartition)
}

/// The id of the leader where there is none.
const NOBODY: BrokerId = BrokerId(-1);

fn describe(topic: &Arc<Topic>) -> MetadataResponseTopic {
    let partitions = topic.partitions.iter().map(|partition| {
        let log = partition.log();
        let described = MetadataResponsePartition::default()
            .with_partition_index(partition.number)
            .with_leader_id(NODE)
            .with_leader_epoch(log.leader_epoch())
            .with_replica_nodes(vec![NODE])
            .with_isr_nodes(vec![NODE]);
        if !log.is_leaderless() {
            return described;
        }
        described
            .with_error_code(ResponseError::LeaderNotAvailable.code())
            .with_leader_id(NOBODY)
            .with_offline_replicas(vec![NODE])
    });
    MetadataResponseTopic::default()
        .with_name(Some(TopicName(StrBytes::from_string(topic.name.to_string()))))
        .with_topic_id(topic.id)
        .with_is_internal(matches!(&*topic.name, GROUPS_TOPIC | TRANSACTIONS_TOPIC))
        .with_partitions(partitions.collect())
}

fn failed(name: &str, error: i16) -> MetadataResponseTopic {
    MetadataResponseTopic::default()
        .with_name(Some(TopicName(StrBytes::from_string(name.to_owned()))))
        .with_error_code(error)
}

/// Where Kafka keeps what groups commit, and the state of transactions. Nothing is kept there here,
/// but clients expect them.
const GROUPS_TOPIC: &str = "__consumer_offsets";
const TRANSACTIONS_TOPIC: &str = "__transaction_state";

/// Answers that the one node coordinates everything, for several groups at once since version 4
/// (KIP-699). As in Kafka, the first to ask makes the topic that a coordinator keeps its state in.
pub fn find_coordinator(
    core: &Core,
    request: &FindCoordinatorRequest,
    version: i16,
    local: SocketAddr,
    forced: i16,
) -> FindCoordinatorResponse {
    const GROUP: i8 = 0;
    const TRANSACTION: i8 = 1;
    let kept_in = match request.key_type {
        _ if forced != 0 => Err(forced),
        GROUP => Ok(GROUPS_TOPIC),
        TRANSACTION => Ok(TRANSACTIONS_TOPIC),
        _ => Err(ResponseError::InvalidRequest.code()),
    };
    if let Ok(topic) = kept_in
        && core.topics.get(topic).is_none()
    {
        // Either there is one by now, or the partitions are used up.
        let _ = core.topics.create(topic, 1, BTreeMap::new(), false);
    }
    let error = kept_in.err().unwrap_or(0);
    let message = "only groups and transactions have a coordinator here";
    let message = (error != 0).then(|| StrBytes::from_static_str(message));
    let (host, port) = core.advertised(local);
    if version < 4 {
        return FindCoordinatorResponse::default()
            .with_error_code(error)
            .with_error_message(message)
            .with_node_id(NODE)
            .with_host(host)
            .with_port(port);
    }
    let coordinators = request.coordinator_keys.iter().map(|key| {
        Coordinator::default()
            .with_key(key.clone())
            .with_error_code(error)
            .with_error_message(message.clone())
            .with_node_id(NODE)
            .with_host(host.clone())
            .with_port(port)
    });
    FindCoordinatorResponse::default().with_coordinators(coordinators.collect())
}

/// Describes the one node.
pub fn describe_cluster(core: &Core, local: SocketAddr) -> DescribeClusterResponse {
    let (host, port) = core.advertised(local);
    let broker = DescribeClusterBroker::default().with_broker_id(NODE).with_host(host).with_port(port);
    DescribeClusterResponse::default()
        .with_cluster_id(StrBytes::from_static_str(CLUSTER_ID))
        .with_controller_id(NODE)
        .with_brokers(vec![broker])
}
