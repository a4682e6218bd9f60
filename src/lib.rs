//! topicmill reads a Kafka topic, transforms every record and writes the result to another topic.
//!
//! ```text
//!  source topic ──► Source ──► Strategy ──► Delivery ──► Sink ──► destination topic
//!                     ▲        transform       │           └────► dead letter topic
//!                     │                        ▼
//!                     └────── commit ◄────── Offsets            the Mill turns all of it
//! ```
//!
//! Write a [`Transform`](transform::Transform) and run a [`Pipeline`] with it. This one runs on the embedded
//! broker of the crate `topicmill-broker`:
//!
//! ```
//! use std::{error::Error, time::Duration};
//!
//! use topicmill::{
//!     CancellationToken, Pipeline,
//!     transform::{ErrorClass, Output, Transform, ValueError, Values},
//! };
//! use topicmill_broker::{Broker, BrokerSettings};
//! # use std::collections::BTreeMap;
//! # use topicmill::batch::{OutputBatch, TopicPartition};
//! # use topicmill_kafka::{Client, Isolation, NativeSink, Reader};
//! # use topicmill_mill::{budget::Budget, engine::{ClientSettings, Sink, Troubles}};
//! # use topicmill_records::{NO_HEADERS, RecordWriter};
//!
//! /// Writes text in upper case; what is not text becomes a dead letter.
//! struct UpperCase;
//!
//! impl Transform for UpperCase {
//!     fn apply(&mut self, values: &Values<'_>, out: &mut Output<'_>) {
//!         for (index, value) in values.iter() {
//!             match std::str::from_utf8(value) {
//!                 Ok(text) => out.write(index, &[text.to_uppercase().as_bytes()]),
//!                 Err(error) => out.fail(index, ValueError::new(ErrorClass::Other, error.to_string())),
//!             }
//!         }
//!     }
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn Error>> {
//!     let listen = "127.0.0.1:0".parse()?;
//!     let broker = Broker::start(BrokerSettings { listen, memory: 64 << 20, partitions: 1 }).await?;
//!     let brokers = broker.address().to_string();
//!     broker.create_topic("words", 1, &[]).expect("a new topic");
//!     produce(&brokers, "words", [b"a stream", &b"to be milled"[..], b"\xff"]).await?;
//!
//!     let pipeline = Pipeline::builder()
//!         .brokers([brokers.as_str()])
//!         .source("words")
//!         .destination("loud_words")
//!         .group("shouting")
//!         .transform(|| UpperCase)
//!         .property("compression.type", "zstd")
//!         .build()?;
//!     let metrics = pipeline.metrics().clone();
//!     let stop = CancellationToken::new();
//!     let running = tokio::spawn(pipeline.run(stop.clone()));
//!     while metrics.records_written.get() < 2 {
//!         assert!(!running.is_finished(), "it runs until it is stopped");
//!         tokio::time::sleep(Duration::from_millis(10)).await;
//!     }
//!     stop.cancel();
//!     running.await??;
//!
//!     assert_eq!(consume(&brokers, "loud_words").await?, ["A STREAM", "TO BE MILLED"]);
//!     assert_eq!(metrics.dead_letter_total(), 1);
//!     assert_eq!(broker.offsets("loud_words_dead_letter", 0), Some((0, 1)));
//!     broker.stop().await;
//!     Ok(())
//! }
//! #
//! # fn settings(brokers: &str) -> ClientSettings {
//! #     let connect_timeout = Duration::from_secs(10);
//! #     ClientSettings { brokers: vec![brokers.to_owned()], properties: BTreeMap::new(), connect_timeout }
//! # }
//! #
//! # async fn produce(brokers: &str, topic: &str, values: [&[u8]; 3]) -> Result<(), Box<dyn Error>> {
//! #     let client = Client::connect(&settings(brokers)).await?;
//! #     let mut sink = NativeSink::new(&client, &settings(brokers), Troubles::default()).await?;
//! #     let mut writer = RecordWriter::new(1 << 20, 0);
//! #     values.iter().for_each(|value| writer.push(0, None, Some(&[*value]), NO_HEADERS));
//! #     let (destination, chunks) = (TopicPartition::new(topic, 0), writer.finish());
//! #     sink.send(OutputBatch { destination, chunks, ..OutputBatch::default() }).await?;
//! #     sink.close().await;
//! #     Ok(())
//! # }
//! #
//! # async fn consume(brokers: &str, topic: &str) -> Result<Vec<String>, Box<dyn Error>> {
//! #     let client = Client::connect(&settings(brokers)).await?;
//! #     let (partition, budget) = (TopicPartition::new(topic, 0), Budget::new(1 << 20));
//! #     let mut reader = Reader::new(&client, partition, 0, 2, Isolation::ReadCommitted, budget);
//! #     let mut values = Vec::new();
//! #     while let Some((batch, _)) = reader.next().await? {
//! #         let text = |span| String::from_utf8_lossy(batch.bytes(span).unwrap()).into_owned();
//! #         values.extend(batch.records.iter().map(|record| text(record.value)));
//! #     }
//! #     Ok(values)
//! # }
//! ```
//!
//! (`produce` and `consume` are in the source of this page.)
//!
//! A transform that is [registered](transform::registry) by name can be chosen and set on the command line as
//! well, by a `main` that calls [`program()`].
//!
//! The crates of the workspace that this one is put together from are drawn in ARCHITECTURE.md. The seam to
//! another engine than those here is `topicmill_mill::engine`.

#![forbid(unsafe_code)]
#![warn(unreachable_pub)]

// What was typed, what it means, and the run that comes of it.
mod cli;
mod config;
pub mod pipeline;
mod run;

// The other commands.
mod bench;
mod broker;
mod cases;
mod check;
mod demo;
mod diff;
mod dry_run;
mod generate;
mod lag;
mod sample;
mod trial;
mod verify;

// What a process shows.
mod admin;
mod console;
mod exact;
mod exit;
mod partitions;
mod program;

// The crates of the workspace, under one name.
mod engine;

pub use pipeline::Pipeline;
pub use program::program;
pub use tokio_util::sync::CancellationToken;
pub use topicmill_mill::{batch, health, metrics, transform};
/// Steps as a transform: [`Plan::kind`](steps::Plan::kind) is one for
/// [`transform_kind`](pipeline::PipelineBuilder::transform_kind).
pub use topicmill_steps as steps;

use topicmill_mill::{backoff, budget, choice, clock, cpu, dead_letter, delivery, mill, sentences, strategy};
use topicmill_records as records;

/// What the tests of this package need of the program; no part of the library, and without any promise.
#[doc(hidden)]
pub mod internal {
    pub use crate::{
        cli::{Cli, Command},
        config::{Config, ConfigError, DryRunConfig},
    };
    /// The program with these words, its name among them, instead of those of this process; its exit code.
    pub fn program<'a>(words: impl Iterator<Item = &'a str>) -> i32 {
        use clap::Parser as _;
        crate::program::command(Cli::parse_from(words)) as i32
    }
    /// The report of the command `verify` with these words, and whether all is as it should be.
    ///
    /// # Errors
    /// What is wrong with the words, or why nothing can be verified.
    pub async fn verify<'a>(words: impl Iterator<Item = &'a str>) -> Result<(String, bool), String> {
        use clap::Parser as _;
        let Command::Verify(args) = Cli::try_parse_from(words).map_err(|error| error.to_string())?.command
        else {
            return Err("it is not `verify`".to_owned());
        };
        let config = crate::config::VerifyConfig::new(&args).map_err(|error| error.to_string())?;
        let report = crate::verify::verify(&config, |_, _| {}).await.map_err(|error| error.to_string())?;
        Ok((report.to_string(), report.is_ok()))
    }
    /// The command `dry-run`.
    pub mod dry_run {
        pub use crate::dry_run::run;
    }
}
