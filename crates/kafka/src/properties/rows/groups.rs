//! How a consumer group is joined.

use topicmill_mill::engine::OffsetReset;

use super::super::{
    table::{Counterpart, Property, Takes, Translation},
    value::{assignor_name, names},
};
use crate::settings::{Assignor, GroupProtocol};

const PROTOCOLS: [(&str, GroupProtocol); 2] =
    [("classic", GroupProtocol::Classic), ("consumer", GroupProtocol::Consumer)];
const PROTOCOL_NAMES: [&str; 2] = names(&PROTOCOLS);

const RESETS: [(&str, OffsetReset); 3] =
    [("earliest", OffsetReset::Earliest), ("latest", OffsetReset::Latest), ("none", OffsetReset::None)];
const RESET_NAMES: [&str; 3] = names(&RESETS);

pub(in super::super) const ROWS: &[Property] = &[
    Property::new("group.id", Takes::Text, "The consumer group.")
        .key("source", "group")
        .native_refuses("is set by `group`")
        .librdkafka(Counterpart::Apart),
    Property::new(
        "auto.offset.reset",
        Takes::OneOf(&RESET_NAMES),
        "Where a partition without a committed offset starts.",
    )
    .key("source", "auto_offset_reset")
    .native(|to, value| {
        let mut reset = OffsetReset::default();
        value.one_of(&RESETS, &mut reset)?;
        to.settings.group.offset_reset = Some(reset);
        Ok(())
    })
    .librdkafka(Counterpart::Apart),
    Property::new(
        "group.instance.id",
        Takes::Text,
        "The name of a static member, which keeps its partitions over a restart (KIP-345).",
    )
    .native(|to, value| {
        to.settings.group.instance_id = Some(value.name()?);
        Ok(())
    }),
    Property::new(
        "group.protocol",
        Takes::OneOf(&PROTOCOL_NAMES),
        "The group protocol: a member assigns the partitions, or the broker does (KIP-848).",
    )
    .default("classic")
    .native(|to, value| value.one_of(&PROTOCOLS, &mut to.settings.group.protocol)),
    Property::new(
        "partition.assignment.strategy",
        Takes::Text,
        "The assignors, preferred first: range, roundrobin, cooperative-sticky.",
    )
    .default("range,cooperative-sticky")
    .native(|to, value| value.assignors(&mut to.settings.group.assignors))
    .librdkafka(Counterpart::By(assignors)),
    Property::new(
        "session.timeout.ms",
        Takes::Integer,
        "How long a member may be silent before the group goes on without it.",
    )
    .default("45000")
    .native(|to, value| value.millis(1, &mut to.settings.group.session_timeout)),
    Property::new("heartbeat.interval.ms", Takes::Integer, "How often a member sends a heartbeat.")
        .default("3000")
        .native(|to, value| value.millis(1, &mut to.settings.group.heartbeat_interval)),
    Property::new("max.poll.interval.ms", Takes::Integer, "How long a rebalance may take.")
        .default("300000")
        .native(|to, value| value.millis(1, &mut to.settings.group.max_poll_interval)),
];

fn assignors(value: &str) -> Translation {
    let names: Vec<_> = value.split(',').map(assignor_name).collect();
    if names.iter().any(|name| Assignor::named(name).is_none()) {
        return Err("takes range, roundrobin or cooperative-sticky");
    }
    Ok(Some(("partition.assignment.strategy", names.join(","))))
}
