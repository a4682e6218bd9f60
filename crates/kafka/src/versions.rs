//! Which version of each request is used (KIP-35, KIP-511).

use std::collections::HashMap;

use kafka_protocol::{
    messages::{ApiKey, ApiVersionsResponse},
    protocol::VersionRange,
};

/// The versions that a broker offers, by request.
#[derive(Clone, Debug, Default)]
pub struct Versions {
    offered: HashMap<i16, VersionRange>,
    transaction_version: i16,
}

impl Versions {
    /// What a broker's answer says.
    pub fn new(response: &ApiVersionsResponse) -> Versions {
        let range = |v: &kafka_protocol::messages::api_versions_response::ApiVersion| VersionRange {
            min: v.min_version,
            max: v.max_version,
        };
        let transactions =
            response.finalized_features.iter().find(|f| f.name.as_str() == "transaction.version");
        Versions {
            offered: response.api_keys.iter().map(|v| (v.api_key, range(v))).collect(),
            transaction_version: transactions.map_or(0, |feature| feature.max_version_level),
        }
    }

    /// The version of transactions that the cluster has agreed on (KIP-584, KIP-890).
    pub fn transaction_version(&self) -> i16 {
        self.transaction_version
    }

    /// What the broker offers of a request.
    pub fn offered(&self, api: ApiKey) -> Option<VersionRange> {
        self.offered.get(&(api as i16)).copied()
    }

    /// The greatest version that both sides support.
    pub fn common(&self, api: ApiKey, ours: VersionRange) -> Option<i16> {
        let both = self.offered(api)?.intersect(&ours);
        (!both.is_empty()).then_some(both.max)
    }
}

/// The versions of a request that this program supports, `implemented` being those of its codec.
///
/// The limits keep one shape of each message: above them a request names topics by id, asks for
/// several keys at once or promises what is not done here, without a gain for this program.
pub fn ours(api: ApiKey, implemented: VersionRange) -> VersionRange {
    let max = match api {
        // 12 promises transactions that enlist partitions by producing (KIP-890): the sink asks for it itself.
        ApiKey::Produce => 11,
        // 13 names topics by id (KIP-516).
        ApiKey::Fetch => 12,
        // 9 asks for the end of what is in remote storage (KIP-1005).
        ApiKey::ListOffsets => 8,
        // 10 adds topic ids (KIP-516); 13 may tell the client to start over (KIP-1102).
        ApiKey::Metadata => 12,
        // 4 asks for several keys (KIP-699).
        ApiKey::FindCoordinator => 3,
        // 8 asks for several groups (KIP-709).
        ApiKey::OffsetFetch => 7,
        // 6 names topics by id or name.
        ApiKey::DeleteTopics => 5,
        // 6 reports a missing group by an error instead of the state `Dead` (KIP-1043).
        ApiKey::DescribeGroups => 5,
        _ => implemented.max,
    };
    VersionRange { min: implemented.min, max: max.min(implemented.max) }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::{messages::api_versions_response::ApiVersion, protocol::Message};

    use super::*;

    fn offering(min: i16, max: i16) -> Versions {
        let key = ApiVersion::default()
            .with_api_key(ApiKey::Fetch as i16)
            .with_min_version(min)
            .with_max_version(max);
        Versions::new(&ApiVersionsResponse::default().with_api_keys(vec![key]))
    }

    #[test]
    fn the_greatest_common_version_is_chosen() {
        let ours = ours(ApiKey::Fetch, kafka_protocol::messages::FetchRequest::VERSIONS);
        assert_eq!(offering(0, 11).common(ApiKey::Fetch, ours), Some(11));
        assert_eq!(offering(4, 17).common(ApiKey::Fetch, ours), Some(12));
        assert_eq!(offering(13, 17).common(ApiKey::Fetch, ours), None);
        assert_eq!(offering(0, 3).common(ApiKey::Fetch, ours), None);
        assert_eq!(offering(0, 11).common(ApiKey::Produce, ours), None);
    }
}
