//! The program as whoever operates it meets it: stops, probes, metrics, logs, `lag`, and topics that
//! change while it runs.

mod isolation;
mod lag;
mod logs;
mod positions;
mod probes;
mod stop;
#[path = "../support/mod.rs"]
mod support;
mod topics;
