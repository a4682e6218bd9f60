//! How records are written.

use topicmill_mill::engine::PropertyError;
use topicmill_records::Compression;

use super::super::{
    draft::Draft,
    table::{Counterpart, Property, Takes},
    value::Value,
};
use crate::settings::ProduceCompression;

const COMPRESSIONS: &[&str] = &[
    SOURCE,
    Compression::None.as_str(),
    Compression::Gzip.as_str(),
    Compression::Snappy.as_str(),
    Compression::Lz4.as_str(),
    Compression::Zstd.as_str(),
];
const NO_TRANSACTIONS: &str = "transactions are for the engine `native`";
const SOURCE: &str = "source";

pub(in super::super) const ROWS: &[Property] = &[
    Property::new(
        "acks",
        Takes::Only(&["all", "-1"], "anything less may lose records"),
        "Always all: every in-sync replica acknowledges.",
    )
    .or(&["request.required.acks"])
    .default("all")
    .native(|_, _| Ok(())),
    Property::new(
        "enable.idempotence",
        Takes::Only(&["true"], "without it a retry may double or reorder records"),
        "Always true: retries neither duplicate nor reorder records.",
    )
    .default("true")
    .native(|_, _| Ok(())),
    Property::new(
        "compression.type",
        Takes::OneOf(COMPRESSIONS),
        "How output is compressed; source means as it arrived (none with the engine librdkafka).",
    )
    .or(&["compression.codec"])
    .default(SOURCE)
    .native(|to, value| {
        to.settings.produce.compression = match value.text {
            SOURCE => ProduceCompression::Source,
            _ => ProduceCompression::Fixed(value.parse()?),
        };
        Ok(())
    })
    // librdkafka hands records over without the compression that they arrived in.
    .librdkafka(Counterpart::By(|value| {
        Ok((value != SOURCE).then(|| ("compression.type", value.to_owned())))
    })),
    Property::new(
        "compression.level",
        Takes::Integer,
        "The compression level; needs a compression.type other than source.",
    )
    .native(level),
    Property::new("compression.gzip.level", Takes::Integer, "The same as compression.level.").native(level),
    Property::new("compression.zstd.level", Takes::Integer, "The same as compression.level.").native(level),
    Property::new("linger.ms", Takes::Integer, "How long a batch below batch.size waits for more records.")
        .or(&["queue.buffering.max.ms"])
        .default("0")
        .native(|to, value| value.millis(0, &mut to.settings.produce.linger)),
    Property::new(
        "batch.size",
        Takes::Integer,
        "The size in bytes up to which records are gathered into a batch.",
    )
    .default("500000")
    .native(|to, value| value.within(1, 512 << 20, &mut to.settings.produce.batch_size)),
    Property::new(
        "max.request.size",
        Takes::Integer,
        "The most bytes in a batch, unless a single record is larger.",
    )
    .or(&["message.max.bytes"])
    .default("1048576")
    .native(|to, value| value.within(1024, 512 << 20, &mut to.settings.produce.max_request_size))
    .librdkafka(Counterpart::Named("message.max.bytes")),
    Property::new(
        "delivery.timeout.ms",
        Takes::Integer,
        "How long writing a batch may take, retries included; one that may be in the log already is sent for as \
         long as it takes, so that its records are not written twice.",
    )
    .or(&["message.timeout.ms"])
    .default("120000")
    .native(|to, value| value.millis(1, &mut to.settings.produce.delivery_timeout))
    // The sink of that engine has a deadline of its own.
    .librdkafka(Counterpart::By(|value| match value.parse::<u64>() {
        Ok(1..) => Ok(None),
        _ => Err("is not a positive number of milliseconds"),
    })),
    Property::new(
        "max.in.flight.requests.per.connection",
        Takes::Integer,
        "How many batches of a partition are in flight at once, 1 to 5 (KIP-98).",
    )
    .or(&["max.in.flight"])
    .default("5")
    .native(|to, value| value.within(1, 5, &mut to.settings.produce.in_flight)),
    Property::new(
        "transactional.id",
        Takes::Text,
        "Exactly once: what transactional ids begin with, before group.instance.id; the group unless set.",
    )
    .native(|to, value| {
        to.settings.produce.transactional_id = Some(value.name()?);
        Ok(())
    })
    .librdkafka(Counterpart::Refuses(NO_TRANSACTIONS)),
    Property::new(
        "transaction.timeout.ms",
        Takes::Integer,
        "Exactly once: how long a transaction that nobody ends holds up readers.",
    )
    .default("10000")
    .native(|to, value| value.millis(1000, &mut to.settings.produce.transaction_timeout))
    .librdkafka(Counterpart::Refuses(NO_TRANSACTIONS)),
    Property::new("buffer.memory", Takes::Integer, "The most bytes that wait to be written.").librdkafka(
        Counterpart::By(|value| match value.parse::<u64>() {
            Ok(bytes @ 1..) => Ok(Some(("queue.buffering.max.kbytes", bytes.div_ceil(1024).to_string()))),
            _ => Err("is not a positive number of bytes"),
        }),
    ),
];

fn level(to: &mut Draft, value: &Value<'_>) -> Result<(), PropertyError> {
    to.settings.produce.compression_level = Some(value.parse()?);
    Ok(())
}
