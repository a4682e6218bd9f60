//! `generate`: mock name events, as fast as the brokers take them or at a steady rate.

use std::io::Write;

use tokio_util::sync::CancellationToken;
pub(crate) use topicmill_generate::*;
use tracing::warn;

use crate::{
    config::GenerateConfig,
    console::progress::Progress,
    engine::native,
    exit::{Ended, Exit, Failure},
    run,
};

/// The command: generates until done or a signal, and prints the summary.
///
/// # Errors
/// As [`generate`], and when `out` does not take the output.
pub(crate) async fn command(config: &GenerateConfig, out: &mut impl Write) -> Result<(), Ended> {
    let stop = CancellationToken::new();
    run::signals::drain_on_signal(stop.clone());
    let client = native::Client::connect(&config.client).await?;
    let settings = &config.settings;
    match client.topic(&settings.topic).await? {
        None if !config.create_topics => {
            return Err(GenerateError::NoTopic { topic: settings.topic.clone() }.into());
        }
        Some(topic) if config.partitions_given && topic.partitions != settings.partitions => warn!(
            topic = %topic.name,
            partitions = topic.partitions,
            asked = settings.partitions,
            "the topic exists with another number of partitions than --partitions says, and keeps it"
        ),
        _ => {}
    }
    let mut progress = Progress::new("generate", "events", settings.count);
    let show = |events| progress.update(events, "");
    let summary = generate(&client, &config.client, settings, stop.cancelled(), show).await;
    progress.finish();
    Ok(writeln!(out, "{}; written to {}", summary?, settings.topic)?)
}

impl Failure for GenerateError {
    fn exit(&self) -> Exit {
        match self {
            GenerateError::Engine(error) => error.exit(),
            GenerateError::NoTopic { .. } | GenerateError::Refused { .. } | GenerateError::Thread(_) => {
                Exit::Failed
            }
        }
    }
}
