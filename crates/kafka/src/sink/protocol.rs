//! The versions of transactions, and what they ask of requests. Pure.

use kafka_protocol::protocol::StrBytes;

/// The version of transactions (`transaction.version`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Partitions are enlisted before they are produced to.
    First,
    /// Producing enlists them, and every end is followed by another epoch (KIP-890).
    Second,
}

impl Protocol {
    /// The highest version of a request in this version of transactions.
    pub fn cap(self, first: i16, second: i16) -> i16 {
        match self {
            Protocol::First => first,
            Protocol::Second => second,
        }
    }
}

/// What produce requests in a transaction have to name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mode {
    /// The transactional id.
    pub name: StrBytes,
    pub protocol: Protocol,
}
