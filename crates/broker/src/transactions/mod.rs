//! Transactions (KIP-98) and the one coordinator that there is.
//!
//! ```text
//!                 add, or a first record               end, a timeout, a new producer
//!   initialise        in version 2
//!  ───────────► Empty ────────────► Ongoing ────────────────────────────────► Prepare(outcome)
//!                 ▲                    ▲                                             │ the markers
//!                 │ initialise         │ the next one                                ▼ are written
//!                 └────────────────────┴────────────────────────────────── Complete(outcome)
//! ```
//!
//! `state` is this machine for one transactional id, pure. The coordinator here keeps all of them
//! behind one lock, which is held while markers are written: so a transaction's records, its end and
//! the records of the next come into each log in this order. A record whose transaction is open in
//! its log needs no coordinator, and one without a transaction never does. The lock comes before
//! those of logs and groups.

mod append;
mod controls;
mod coordinator;
mod describe;
mod markers;
mod offsets;
mod requests;
mod state;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod state_tests;

pub use self::{
    append::Asked,
    controls::TransactionSeen,
    coordinator::Transactions,
    describe::{describe, list},
    offsets::commit_offsets,
    requests::{add_offsets, add_partitions, end, initialise},
    state::{Marker, Outcome, Producer, Version},
};
