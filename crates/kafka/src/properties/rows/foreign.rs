//! Properties of other clients, so that the engines can say what to use instead.

use super::super::table::{Counterpart, Property, Takes};

const BY_DEADLINE: &str = "writing is tried until delivery.timeout.ms; set that instead";
const NO_TRANSACTIONS: &str = "transactions are not available in this version";

pub(in super::super) const ROWS: &[Property] = &[
    Property::new("retries", Takes::Integer, "How often a write is retried.").native_refuses(BY_DEADLINE),
    Property::new("message.send.max.retries", Takes::Integer, "How often a write is retried.")
        .native_refuses(BY_DEADLINE),
    Property::new("transactional.id", Takes::Text, "The id of a transactional producer.")
        .native_refuses(NO_TRANSACTIONS)
        .librdkafka(Counterpart::Refuses(NO_TRANSACTIONS)),
    Property::new("transaction.timeout.ms", Takes::Integer, "How long a transaction may take.")
        .native_refuses(NO_TRANSACTIONS),
    Property::new("debug", Takes::Text, "The debug contexts of librdkafka."),
    Property::new("statistics.interval.ms", Takes::Integer, "How often librdkafka emits statistics."),
];
