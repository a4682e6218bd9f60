//! The messages that members of a classic group exchange through the coordinator (KIP-429,
//! KIP-792).

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        ConsumerProtocolAssignment, ConsumerProtocolSubscription, TopicName, consumer_protocol_assignment,
        consumer_protocol_subscription,
    },
    protocol::Encodable,
};
use topicmill_mill::batch::TopicPartition;

use super::plan::Member;
use crate::text::{text, topic_name};

/// The newest version of both messages; members read a newer one as the newest they know.
const VERSION: i16 = 3;

/// Encodes what this member reads, what it owns, and since which generation.
pub(super) fn encode_subscription(topic: &str, owned: &BTreeSet<TopicPartition>, generation: i32) -> Bytes {
    let owned = by_topic(owned)
        .into_iter()
        .map(|(topic, partitions)| {
            consumer_protocol_subscription::TopicPartition::default()
                .with_topic(topic)
                .with_partitions(partitions)
        })
        .collect();
    let message = ConsumerProtocolSubscription::default()
        .with_topics(vec![text(topic)])
        .with_owned_partitions(owned)
        .with_generation_id(generation);
    with_version(&message)
}

/// Decodes a member's subscription; `None` when the bytes are malformed.
pub(super) fn decode_subscription(id: &str, instance: Option<&str>, mut bytes: &[u8]) -> Option<Member> {
    let bytes = &mut bytes;
    let version = bytes.try_get_i16().ok().filter(|version| *version >= 0)?;
    let topics = (0..length(bytes)?).map(|_| string(bytes)).collect::<Option<_>>()?;
    let user_data = nullable(bytes)?.unwrap_or_default();
    let owned = if version >= 1 { topic_partitions(bytes)? } else { BTreeSet::new() };
    let generation = match <[u8; 4]>::try_from(user_data) {
        _ if version >= 2 => bytes.try_get_i32().ok()?,
        // Before version 2 the sticky assignor's own data holds the generation, and nothing else.
        Ok(generation) => i32::from_be_bytes(generation),
        Err(_) => -1,
    };
    Some(Member { id: id.to_owned(), instance: instance.map(str::to_owned), topics, owned, generation })
}

/// The topics that a member of any client subscribes to; `None` when the bytes are malformed.
pub(crate) fn subscribed_topics(subscription: &[u8]) -> Option<BTreeSet<String>> {
    decode_subscription("", None, subscription).map(|member| member.topics.into_iter().collect())
}

/// Encodes a member's assignment.
pub(super) fn encode_assignment(partitions: &BTreeSet<TopicPartition>) -> Bytes {
    let assigned = by_topic(partitions)
        .into_iter()
        .map(|(topic, partitions)| {
            consumer_protocol_assignment::TopicPartition::default()
                .with_topic(topic)
                .with_partitions(partitions)
        })
        .collect();
    with_version(&ConsumerProtocolAssignment::default().with_assigned_partitions(assigned))
}

/// Decodes this member's assignment; no bytes mean no partitions. `None` when malformed.
pub fn decode_assignment(mut bytes: &[u8]) -> Option<BTreeSet<TopicPartition>> {
    let bytes = &mut bytes;
    if bytes.is_empty() {
        return Some(BTreeSet::new());
    }
    bytes.try_get_i16().ok().filter(|version| *version >= 0)?;
    topic_partitions(bytes)
}

fn with_version(message: &impl Encodable) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.extend_from_slice(&VERSION.to_be_bytes());
    message.encode(&mut bytes, VERSION).expect("all fields exist in this version");
    bytes.freeze()
}

/// The wire groups partitions by topic.
pub(super) fn by_topic<'a>(
    partitions: impl IntoIterator<Item = &'a TopicPartition>,
) -> BTreeMap<TopicName, Vec<i32>> {
    let mut topics: BTreeMap<TopicName, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        let topic = topic_name(&partition.topic);
        topics.entry(topic).or_default().push(partition.partition);
    }
    topics
}

// Read by hand: another member wrote these bytes, and a count in them must not size an allocation.

fn topic_partitions(bytes: &mut &[u8]) -> Option<BTreeSet<TopicPartition>> {
    let mut all = BTreeSet::new();
    for _ in 0..length(bytes)? {
        let topic = TopicPartition::new(string(bytes)?, 0);
        for _ in 0..length(bytes)? {
            all.insert(TopicPartition { partition: bytes.try_get_i32().ok()?, ..topic.clone() });
        }
    }
    Some(all)
}

fn length(bytes: &mut &[u8]) -> Option<u32> {
    u32::try_from(bytes.try_get_i32().ok()?).ok()
}

fn string(bytes: &mut &[u8]) -> Option<String> {
    let len = usize::try_from(bytes.try_get_i16().ok()?).ok()?;
    let text = bytes.split_off(..len)?;
    String::from_utf8(text.to_vec()).ok()
}

/// The outer `None` is for malformed, the inner one for null.
fn nullable<'a>(bytes: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    match bytes.try_get_i32().ok()? {
        -1 => Some(None),
        len => Some(Some(bytes.split_off(..usize::try_from(len).ok()?)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> BTreeSet<TopicPartition> {
        [("t", 0), ("t", 7), ("u", 1)].map(|(topic, number)| TopicPartition::new(topic, number)).into()
    }

    #[test]
    fn a_subscription_comes_back_as_it_was() {
        let member = decode_subscription("m", Some("i"), &encode_subscription("t", &some(), 5)).unwrap();
        assert_eq!((member.id.as_str(), member.instance.as_deref()), ("m", Some("i")));
        assert_eq!(member.topics, BTreeSet::from(["t".to_string()]));
        assert_eq!((member.owned, member.generation), (some(), 5));
    }

    #[test]
    fn an_assignment_comes_back_as_it_was() {
        assert_eq!(decode_assignment(&encode_assignment(&some())), Some(some()));
        assert_eq!(decode_assignment(&[]), Some(BTreeSet::new()));
    }

    #[test]
    fn a_newer_version_is_read_as_the_newest_known() {
        let mut bytes = BytesMut::from(&encode_subscription("t", &some(), 5)[..]);
        bytes[1] = 9;
        bytes.extend_from_slice(b"more");
        assert_eq!(decode_subscription("m", None, &bytes).unwrap().owned, some());
    }

    #[test]
    fn version_1_has_the_generation_in_its_user_data() {
        // Version 1, topics ["t"], user data (4 bytes, generation 6), no owned partitions.
        let bytes: &[u8] = &[0, 1, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 4, 0, 0, 0, 6, 0, 0, 0, 0];
        let member = decode_subscription("m", None, bytes).unwrap();
        assert_eq!((member.generation, member.owned.len()), (6, 0));
    }

    #[test]
    fn garbage_is_none() {
        // The last two bytes are the rack, which is not read.
        let whole = encode_subscription("t", &some(), 5);
        for len in 0..whole.len() - 2 {
            assert!(decode_subscription("m", None, &whole[..len]).is_none(), "{len} bytes");
        }
        assert!(decode_assignment(b"\0\x01garbage").is_none());
    }
}
