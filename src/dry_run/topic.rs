//! `dry-run --from-topic`: the transform on records of a topic, which stay where they are.

use std::{fmt::Write as _, io::Write};

use serde_json::{Map, Value, json};

use super::heading::heading;
use crate::{
    batch::PartitionBatch,
    config::FromTopicConfig,
    engine::native::Client,
    exit::{Ended, Exit},
    partitions,
    sample::{self, Amount, Begin, Wanted},
    transform::TransformKind,
    trial::{self, Outcome, Plain, Written},
};

/// Transforms the first records and shows what becomes of each: with `json` as one object, otherwise as a
/// line that names it and a line for each result.
///
/// # Errors
/// When the topic cannot be read, the transform breaks its contract, or `out` does not take the output.
pub(crate) async fn command(
    kind: &TransformKind,
    config: &FromTopicConfig,
    json: bool,
    out: &mut impl Write,
) -> Result<Exit, Ended> {
    let client = Client::connect(&config.client).await?;
    if let Some(destination) = &config.destination {
        partitions::tell(&client, kind, &config.topic, destination).await?;
    }
    let mut transform = kind.build();
    let mut shown = String::new();
    let wanted = Wanted {
        topic: &config.topic,
        begin: Begin::Earliest,
        amount: Amount::First(config.count),
        memory: config.memory,
    };
    let read = sample::read(&client, wanted, |batch| {
        let outcomes = trial::outcomes(transform.as_mut(), &batch).map_err(|breach| Ended {
            exit: Exit::Failed,
            message: format!("{}: the transform breaks its contract: {breach}", batch.origin),
        })?;
        for (index, outcome) in outcomes.iter().enumerate() {
            // Writing to a string does not fail.
            let _ = if json {
                writeln!(shown, "{}", object(&batch, index, outcome))
            } else {
                write!(shown, "{}", lines(&batch, index, outcome))
            };
        }
        Ok(())
    })
    .await;
    // What came before a failure helps to find it.
    out.write_all(shown.as_bytes())?;
    out.flush()?;
    read.map(|()| Exit::Done)
}

fn lines(batch: &PartitionBatch, index: usize, outcome: &Outcome) -> String {
    let at = format!("{}@{}", batch.origin, batch.records[index].offset);
    match outcome {
        Outcome::Written(all) if all.is_empty() => format!("{at}: filtered\n"),
        Outcome::Written(all) => {
            let read = Plain::of(&batch.records[index], &batch.buffer);
            all.iter().fold(String::new(), |mut text, written| {
                let value = text_of(written.record.value.as_deref());
                let _ = writeln!(text, "{at} {}: {value}", heading(written, &read));
                text
            })
        }
        Outcome::DeadLetter(error) => format!("{at}: dead letter: {error}\n"),
    }
}

fn object(batch: &PartitionBatch, index: usize, outcome: &Outcome) -> Value {
    let mut object = json!({
        "partition": batch.origin.partition,
        "offset": batch.records[index].offset,
    });
    match outcome {
        Outcome::Written(all) => {
            let output = |Written { place, record }: &Written| {
                let Plain { timestamp, key, value, .. } = record;
                json!({
                    "topic": place.topic.as_deref(),
                    "partition": place.partition,
                    "timestamp": timestamp,
                    "key": key.as_deref().map(lossy),
                    "value": value.as_deref().map(lossy),
                    "headers": headers_of(record),
                })
            };
            object["outputs"] = all.iter().map(output).collect();
        }
        Outcome::DeadLetter(error) => {
            object["dead_letter"] = json!({"class": error.class.as_str(), "message": error.message});
        }
    }
    object
}

/// The headers as an object; of several with a name the last one is the one that most readers take.
pub(super) fn headers_of(record: &Plain) -> Value {
    let headers = record.headers.iter();
    let pair = |(name, value): &(Vec<u8>, Option<Vec<u8>>)| (lossy(name), json!(value.as_deref().map(lossy)));
    Value::Object(headers.map(pair).collect::<Map<_, _>>())
}

pub(super) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn text_of(bytes: Option<&[u8]>) -> String {
    bytes.map_or("(null)".into(), lossy)
}
