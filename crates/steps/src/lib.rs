//! The steps: filter, edit, protect and route JSON records, on their bytes where possible and by jq
//! where not.
//!
//! ```text
//!  [[step]] tables ──► steps ──► Plan: passes ──► Steps: a transform for each thread
//! ```
//!
//! A pass is a run of steps each of which does to the value as the pass gets it what it would do after those before
//! it: none reads or writes what an earlier one of them has written or moved. A record's value is located once for
//! all of them, and its changes are made in one splice; every other byte stays as it was. A pass that needs nothing
//! of the value does not look at it.

#![forbid(unsafe_code)]

pub mod json;
pub mod expr;

// From what is written to what is done.
mod table;
mod kind;
mod reader;
mod step;
mod fuse;
mod plan;
mod depend;
mod protection;
mod run;

pub use plan::{Plan, StepReport};
pub use protection::Protection;
pub use run::{Protector, Steps};
pub use step::check_topic;
pub use table::{Given, StepProblem, StepTable};
