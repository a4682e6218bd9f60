//! Properties of other clients, so that the engines can say what to use instead.

use super::super::table::{Property, Takes};

const BY_DEADLINE: &str = "writing is tried until delivery.timeout.ms; set that instead";

pub(in super::super) const ROWS: &[Property] = &[
    Property::new("retries", Takes::Integer, "How often a write is retried.").native_refuses(BY_DEADLINE),
    Property::new("message.send.max.retries", Takes::Integer, "How often a write is retried.")
        .native_refuses(BY_DEADLINE),
    Property::new("debug", Takes::Text, "The debug contexts of librdkafka."),
    Property::new("statistics.interval.ms", Takes::Integer, "How often librdkafka emits statistics."),
];
