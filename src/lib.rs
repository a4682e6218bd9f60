//! topicmill reads a Kafka topic, transforms every record and writes the result to another topic.
//!
//! ```text
//!  source topic ──► Source ──► Strategy ──► Delivery ──► Sink ──► destination topic
//!                     ▲        transform       │           └────► dead letter topic
//!                     │                        ▼
//!                     └────── commit ◄────── Offsets            the Mill turns all of it
//! ```
//!
//! The unit is the [`PartitionBatch`](batch::PartitionBatch): a run of records of one partition,
//! in one buffer, in the encoding of record batch v2. It is read with its share of the memory
//! [`budget`], goes through a [`strategy`] to be transformed, and comes out as an
//! [`OutputBatch`](batch::OutputBatch) that [`delivery`] sends. Once that is acknowledged,
//! [`offsets`] lets the batch's offset be committed. The [`mill`] is the loop around it, and
//! [`run`] puts a mill between a source and a sink of one of the engines.
//!
//! Most of it is re-exported from the crates of the workspace, which ARCHITECTURE.md draws. To use
//! the library, start with [`transform::Transform`]; `examples/transform.rs` is an example. This runs it:
//!
//! ```no_run
//! use std::process::{ExitCode, Termination};
//! use topicmill::{cli::RunArgs, config::Config, exit::Ended, run, transform::{Transform, TransformKind}};
//!
//! async fn mill(make: fn() -> Box<dyn Transform>) -> Result<(), Ended> {
//!     let arguments = RunArgs::default().with("source", "words").with("destination", "loud_words");
//!     let config = Config::for_run_with(&arguments, TransformKind::custom(make))?;
//!     Ok(run::run(config).await?)
//! }
//!
//! # fn make() -> Box<dyn Transform> { unimplemented!() }
//! #[tokio::main]
//! async fn main() -> ExitCode {
//!     // With the message and the exit code that the program `topicmill` ends with.
//!     mill(make).await.map_or_else(Ended::report, |()| ExitCode::SUCCESS)
//! }
//! ```

#![forbid(unsafe_code)]

// What was typed, what it means, and the run that comes of it.
pub mod cli;
pub mod config;
pub mod run;

// The other commands.
pub mod bench;
pub mod broker;
pub mod check;
pub mod demo;
pub mod dry_run;
pub mod generate;
pub mod lag;
pub mod verify;

// What a process shows.
pub mod admin;
pub mod console;
pub mod exit;

// The crates of the workspace, under one name.
pub mod engine;
// The path of a batch, in its order.
pub use topicmill_mill::{backoff, choice, clock, cpu, health, metrics, sentences};
pub use topicmill_mill::{batch, budget, dead_letter, delivery, mill, offsets, strategy, transform};
pub use topicmill_records as records;
