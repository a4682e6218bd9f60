//! The requests that the broker answers, and the versions of each.

use kafka_protocol::messages::ApiKey;

/// An api and the versions of it that the broker speaks.
#[derive(Clone, Copy, Debug)]
pub struct Api {
    /// Which one.
    pub key: ApiKey,
    /// The oldest version that is answered.
    pub min: i16,
    /// The oldest version that is claimed.
    pub advertised_min: i16,
    /// The newest version.
    pub max: i16,
}

const fn api(key: ApiKey, min: i16, max: i16) -> Api {
    Api { key, min, advertised_min: min, max }
}

/// All that the broker speaks.
pub const SUPPORTED: &[Api] = &[
    // librdkafka compresses only for a broker that claims version 0, as Kafka 4 does (KAFKA-18659).
    Api { key: ApiKey::Produce, min: 3, advertised_min: 0, max: 13 },
    api(ApiKey::Fetch, 4, 17),
    api(ApiKey::ListOffsets, 1, 10),
    api(ApiKey::Metadata, 0, 13),
    api(ApiKey::OffsetCommit, 2, 9),
    api(ApiKey::OffsetFetch, 1, 9),
    api(ApiKey::FindCoordinator, 0, 6),
    api(ApiKey::JoinGroup, 0, 9),
    api(ApiKey::Heartbeat, 0, 4),
    api(ApiKey::LeaveGroup, 0, 5),
    api(ApiKey::SyncGroup, 0, 5),
    api(ApiKey::DescribeGroups, 0, 6),
    api(ApiKey::ListGroups, 0, 5),
    api(ApiKey::ApiVersions, 0, 4),
    api(ApiKey::CreateTopics, 2, 7),
    api(ApiKey::DeleteTopics, 1, 6),
    api(ApiKey::DeleteRecords, 0, 2),
    api(ApiKey::InitProducerId, 0, 5),
    api(ApiKey::OffsetForLeaderEpoch, 2, 4),
    // From version 4 on it is what brokers ask the coordinator (KIP-890).
    api(ApiKey::AddPartitionsToTxn, 0, 5),
    api(ApiKey::AddOffsetsToTxn, 0, 4),
    api(ApiKey::EndTxn, 0, 5),
    api(ApiKey::TxnOffsetCommit, 0, 5),
    api(ApiKey::DescribeConfigs, 1, 4),
    api(ApiKey::CreatePartitions, 0, 3),
    api(ApiKey::DeleteGroups, 0, 2),
    api(ApiKey::OffsetDelete, 0, 0),
    api(ApiKey::DescribeCluster, 0, 1),
    api(ApiKey::DescribeTransactions, 0, 0),
    api(ApiKey::ListTransactions, 0, 2),
    // What follows version 0 has no frames of the protocol (KIP-152), but librdkafka wants it claimed.
    Api { key: ApiKey::SaslHandshake, min: 1, advertised_min: 0, max: 1 },
    api(ApiKey::SaslAuthenticate, 0, 2),
];
