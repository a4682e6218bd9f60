//! What the fuzz target of the group protocol calls: properties of bytes that someone else wrote. Only
//! built for fuzzing.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    note::Note,
    plan::{Member, Plan},
    protocol::{decode_assignment, decode_subscription, encode_assignment, encode_subscription},
};
use crate::settings::Assignor;

/// Reads what a member says of itself; what is understood comes back as it was.
///
/// # Panics
/// When it does not.
pub fn subscription(bytes: &[u8]) {
    let Some(Member { owned, generation, topics, .. }) = decode_subscription("m", None, bytes) else {
        return;
    };
    assert!(topics.iter().map(String::len).sum::<usize>() <= bytes.len());
    let topic = topics.first().map_or("t", String::as_str);
    let again = decode_subscription("m", None, &encode_subscription(topic, &owned, generation));
    let again = again.expect("it was written here");
    assert_eq!((again.topics, again.owned), (BTreeSet::from([topic.to_owned()]), owned));
    assert_eq!(again.generation, generation);
}

/// Reads what a member shall read; what is understood comes back as it was.
///
/// # Panics
/// When it does not.
pub fn assignment(bytes: &[u8]) {
    if let Some(partitions) = decode_assignment(bytes) {
        assert!(partitions.len() <= bytes.len() / 4);
        assert_eq!(decode_assignment(&encode_assignment(&partitions)), Some(partitions));
    }
}

/// Reads what stands beside a committed offset; what is understood comes back as it was.
///
/// # Panics
/// When it does not.
pub fn note(text: &str) {
    let note = Note::decode(text);
    assert_eq!(Note::decode(&note.encode()), note);
}

/// Shares the topics out among members who say `subscriptions` of themselves, with every assignor.
/// `counts` are the numbers of partitions of the first topics that any of them reads.
///
/// # Panics
/// When a partition goes to two members, to one that does not read it, or, with the assignors that
/// give everything at once, to nobody.
pub fn plan(subscriptions: &[&[u8]], counts: [u8; 4]) {
    let read = |(at, bytes): (usize, &&[u8])| decode_subscription(&format!("m{at}"), None, bytes);
    let members: Vec<Member> = subscriptions.iter().take(12).enumerate().filter_map(read).collect();
    let names: BTreeSet<&String> = members.iter().flat_map(|member| &member.topics).collect();
    let counts = counts.into_iter().map(|count| i32::from(count % 40));
    let topics: BTreeMap<String, i32> = names.into_iter().cloned().zip(counts).collect();
    let all: usize = topics.values().map(|count| *count as usize).sum();
    for assignor in [Assignor::Range, Assignor::RoundRobin, Assignor::CooperativeSticky] {
        let plan: Plan = assignor.assign(&members, &topics);
        assert_eq!(plan.len(), members.len(), "{assignor}: every member has a share");
        let mut given = BTreeSet::new();
        for member in &members {
            for partition in &plan[&member.id] {
                assert!(member.topics.contains(&*partition.topic), "{assignor}: it does not read it");
                assert!((0..topics[&*partition.topic]).contains(&partition.partition), "{assignor}");
                assert!(given.insert(partition), "{assignor}: {partition:?} has two owners");
            }
        }
        // Cooperative: what someone has yet to give up comes in the next rebalance.
        if assignor != Assignor::CooperativeSticky {
            assert_eq!(given.len(), all, "{assignor}: nobody has some of them");
        }
    }
}
