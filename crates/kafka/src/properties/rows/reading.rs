//! How records are read.

use super::super::{
    table::{Counterpart, Property, Takes},
    value::names,
};
use crate::Isolation;

const ISOLATIONS: [(&str, Isolation); 2] =
    [("read_committed", Isolation::ReadCommitted), ("read_uncommitted", Isolation::ReadUncommitted)];
const ISOLATION_NAMES: [&str; 2] = names(&ISOLATIONS);

pub(in super::super) const ROWS: &[Property] = &[
    Property::new("fetch.min.bytes", Takes::Integer, "A broker answers a fetch once it has this many bytes.")
        .default("1")
        .native(|to, value| value.within(1, i32::MAX, &mut to.settings.fetch.min_bytes)),
    Property::new("fetch.wait.max.ms", Takes::Integer, "How long a broker waits for fetch.min.bytes.")
        .or(&["fetch.max.wait.ms"])
        .default("500")
        .native(|to, value| value.millis(0, &mut to.settings.fetch.max_wait)),
    Property::new("fetch.max.bytes", Takes::Integer, "The most bytes in a fetch response.")
        .default("8388608")
        .native(|to, value| value.within(1024, 512 << 20, &mut to.settings.fetch.max_bytes)),
    Property::new(
        "max.partition.fetch.bytes",
        Takes::Integer,
        "The most bytes of a partition in a fetch response.",
    )
    .or(&["fetch.message.max.bytes"])
    .default("4194304")
    .native(|to, value| value.within(1024, 512 << 20, &mut to.settings.fetch.max_partition_bytes)),
    Property::new(
        "isolation.level",
        Takes::OneOf(&ISOLATION_NAMES),
        "Whether records of uncommitted transactions are read.",
    )
    .default("read_committed")
    .native(|to, value| {
        let mut isolation = Isolation::default();
        value.one_of(&ISOLATIONS, &mut isolation)?;
        to.settings.fetch.isolation = Some(isolation);
        Ok(())
    }),
    Property::new("check.crcs", Takes::Boolean, "Always true: checksums are verified.")
        .default("true")
        .native(|_, value| value.must("true")),
    Property::new(
        "fetch.queue.backoff.ms",
        Takes::Integer,
        "How long fetching pauses when the queue is full.",
    ),
    Property::new(
        "enable.auto.commit",
        Takes::Boolean,
        "Always false: offsets are committed after their output is acknowledged.",
    )
    .or(&["auto.commit.enable"])
    .default("false")
    .native(|_, value| value.must("false"))
    .librdkafka(OFFSETS_FOLLOW),
    Property::new(
        "enable.auto.offset.store",
        Takes::Boolean,
        "Always false: offsets are committed after their output is acknowledged.",
    )
    .default("false")
    .native(|_, value| value.must("false"))
    .librdkafka(OFFSETS_FOLLOW),
];

/// The engine sets librdkafka's to `false`.
const OFFSETS_FOLLOW: Counterpart = Counterpart::By(|value| match value {
    "true" => Err("offsets are committed after their output is acknowledged; leave it out"),
    _ => Ok(None),
});
