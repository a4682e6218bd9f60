//! Names as the protocol's messages hold them.

use kafka_protocol::{
    messages::{GroupId, TopicName},
    protocol::StrBytes,
};

/// A copy of `text`.
pub fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// A topic's name.
pub fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

/// A group's name.
pub fn group_id(name: &str) -> GroupId {
    GroupId(text(name))
}
