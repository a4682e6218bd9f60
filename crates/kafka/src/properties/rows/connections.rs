//! Reaching the cluster, and deadlines.

use topicmill_mill::engine::PropertyError;

use super::super::{
    draft::Draft,
    table::{Counterpart, Property, Takes},
    value::{Value, names},
};
use crate::settings::Family;

const FAMILIES: [(&str, Family); 3] = [("any", Family::Any), ("v4", Family::V4), ("v6", Family::V6)];
const FAMILY_NAMES: [&str; 3] = names(&FAMILIES);

pub(in super::super) const ROWS: &[Property] = &[
    Property::new("bootstrap.servers", Takes::Text, "Bootstrap brokers, HOST:PORT, separated by commas.")
        .or(&["metadata.broker.list"])
        .default("localhost:19092")
        .native_refuses("is set by `brokers`")
        .librdkafka(Counterpart::Apart),
    Property::new("client.id", Takes::Text, "The name of this client in the brokers' logs and quotas.")
        .default("topicmill")
        .native(|to, value| value.text(&mut to.settings.client_id)),
    Property::new("client.rack", Takes::Text, "The rack of this client, to read from a replica nearby."),
    Property::new(
        "broker.address.family",
        Takes::OneOf(&FAMILY_NAMES),
        "Which addresses of a name are tried, side by side.",
    )
    .default("any")
    .native(|to, value| value.one_of(&FAMILIES, &mut to.settings.family)),
    Property::new(
        "socket.connection.setup.timeout.ms",
        Takes::Integer,
        "How long a connection may take to become ready for requests.",
    )
    .default("10000")
    .native(|to, value| value.millis(1, &mut to.settings.connection_timeout)),
    Property::new("request.timeout.ms", Takes::Integer, "How long a broker may take to answer a request.")
        .default("30000")
        .native(request_timeout),
    Property::new(
        "socket.timeout.ms",
        Takes::Integer,
        "The same as request.timeout.ms to the native engine.",
    )
    .native(request_timeout),
    Property::new(
        "default.api.timeout.ms",
        Takes::Integer,
        "How long preparing a topic or reading offsets may take, retries included.",
    )
    .default("60000")
    .native(|to, value| value.millis(1, &mut to.settings.api_timeout)),
    Property::new("retry.backoff.ms", Takes::Integer, "The first pause before a request is retried.")
        .default("100")
        .native(|to, value| value.millis(1, &mut to.settings.retry.first)),
    Property::new("retry.backoff.max.ms", Takes::Integer, "The longest pause before a request is retried.")
        .default("1000")
        .native(|to, value| value.millis(1, &mut to.settings.retry.most)),
    Property::new("reconnect.backoff.ms", Takes::Integer, "The first pause before reconnecting to a broker.")
        .default("50")
        .native(|to, value| value.millis(1, &mut to.settings.reconnect.first)),
    Property::new(
        "reconnect.backoff.max.ms",
        Takes::Integer,
        "The longest pause before reconnecting to a broker.",
    )
    .default("1000")
    .native(|to, value| value.millis(1, &mut to.settings.reconnect.most)),
    Property::new(
        "metadata.max.age.ms",
        Takes::Integer,
        "How often the leaders of partitions are looked up again.",
    )
    .default("300000")
    .native(metadata_max_age),
    Property::new(
        "topic.metadata.refresh.interval.ms",
        Takes::Integer,
        "The same as metadata.max.age.ms to the native engine.",
    )
    .native(metadata_max_age),
    Property::new(
        "connections.max.idle.ms",
        Takes::Integer,
        "How long a connection is kept that nothing is asked on; 0 leaves that to the broker.",
    )
    .default("540000")
    .native(|to, value| value.millis(0, &mut to.settings.connections_max_idle)),
    Property::new("send.buffer.bytes", Takes::Integer, "The size of the socket's send buffer.")
        .librdkafka(Counterpart::Named("socket.send.buffer.bytes")),
    Property::new("receive.buffer.bytes", Takes::Integer, "The size of the socket's receive buffer.")
        .librdkafka(Counterpart::Named("socket.receive.buffer.bytes")),
    Property::new("socket.nagle.disable", Takes::Boolean, "Always true: requests are sent immediately.")
        .default("true")
        .native(|_, value| value.must("true")),
    Property::new(
        "allow.auto.create.topics",
        Takes::Boolean,
        "Always false: topics are created by `create` alone.",
    )
    .default("false")
    .native(|_, value| value.must("false")),
];

fn request_timeout(to: &mut Draft, value: &Value<'_>) -> Result<(), PropertyError> {
    value.millis(1, &mut to.settings.request_timeout)
}

fn metadata_max_age(to: &mut Draft, value: &Value<'_>) -> Result<(), PropertyError> {
    value.millis(1000, &mut to.settings.metadata_max_age)
}
