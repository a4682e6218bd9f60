//! topicmill reads a Kafka topic, transforms every record and writes the result to another topic.

pub mod cli;
pub mod config;
pub mod run;

// The road of a batch, in its order.
pub mod batch;
pub mod budget;
pub mod records;
pub mod transform;
pub mod dead_letter;
pub mod strategy;
pub mod offsets;
pub mod delivery;
pub mod mill;

// The edge.
pub mod engine;
pub mod broker;

// Around it.
pub mod admin;
pub mod backoff;
pub mod bench;
pub mod check;
pub mod console;
pub mod cpu;
pub mod demo;
pub mod dry_run;
pub mod exit;
pub mod generate;
pub mod lag;
pub mod metrics;
pub mod verify;
