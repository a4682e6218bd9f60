//! `dry-run --from-topic`: the transform on records of a topic, which stay where they are.

use std::{fmt::Write as _, io::Write};

use serde_json::{Map, Value, json};

use crate::{
    batch::PartitionBatch,
    config::FromTopicConfig,
    engine::native::Client,
    exit::{Ended, Exit},
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
        Outcome::Written(all) => all.iter().fold(String::new(), |mut text, Written { place, record }| {
            let topic = place.topic.as_deref().unwrap_or("the destination");
            let partition = place.partition.map(|partition| format!("[{partition}]")).unwrap_or_default();
            let _ = writeln!(text, "{at} → {topic}{partition}: {}", text_of(record.value.as_deref()));
            text
        }),
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
                let Plain { timestamp, key, value, headers } = record;
                let headers = headers.iter().map(|(name, value)| {
                    (String::from_utf8_lossy(name).into_owned(), json!(value.as_deref().map(lossy)))
                });
                json!({
                    "topic": place.topic.as_deref(),
                    "partition": place.partition,
                    "timestamp": timestamp,
                    "key": key.as_deref().map(lossy),
                    "value": value.as_deref().map(lossy),
                    "headers": headers.collect::<Map<_, _>>(),
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

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn text_of(bytes: Option<&[u8]>) -> String {
    bytes.map_or("(null)".into(), lossy)
}
