//! `diff`: what a change of the configuration would do to real records. Both configurations transform the
//! same records of the source; nothing is written, and no group takes part.

mod allow;
mod compare;
mod mask;
mod report;
#[cfg(test)]
mod tests;

use std::{io::Write, sync::Arc};

pub(crate) use allow::Allowance;
pub(crate) use report::Report;

use crate::{
    batch::PartitionBatch,
    config::DiffConfig,
    console::progress::Progress,
    engine::native::Client,
    exit::{Ended, Exit, Failure},
    partitions,
    sample::{self, Wanted},
    transform::{Breach, Transform},
    trial,
};

/// A transform broke its contract.
#[derive(Debug, thiserror::Error)]
#[error("{partition}: the {which} transform breaks its contract: {breach}")]
pub(crate) struct BrokenContract {
    partition: String,
    which: &'static str,
    breach: Breach,
}

impl Failure for BrokenContract {}

/// The command: compares and prints the report; `Failed` when there are more differences than are allowed.
///
/// # Errors
/// When the source cannot be read, or `out` does not take the output.
pub(crate) async fn command(config: &DiffConfig, out: &mut impl Write) -> Result<Exit, Ended> {
    let client = Client::connect(&config.client).await?;
    for (transform, destination) in [&config.old, &config.new].into_iter().zip(&config.destinations) {
        if let Some(destination) = destination {
            partitions::tell(&client, transform, &config.source, destination).await?;
        }
    }
    let mut progress = Progress::new("diff", "records", None);
    let mut diff = Diff::new(config);
    let wanted =
        Wanted { topic: &config.source, begin: config.begin, amount: config.amount, memory: config.memory };
    let read = sample::read(&client, wanted, |batch| {
        diff.add(&batch)?;
        progress.update(diff.report.records, "");
        Ok::<_, Ended>(())
    })
    .await;
    progress.finish();
    read?;
    let Diff { report, .. } = diff;
    if config.json {
        writeln!(out, "{}", report.to_json())?;
    } else {
        write!(out, "{report}")?;
    }
    let exceeding = report.exceeding(&config.allow);
    for excess in &exceeding {
        if !config.json {
            writeln!(out, "not allowed: {excess}")?;
        }
    }
    out.flush()?;
    Ok(if exceeding.is_empty() { Exit::Done } else { Exit::Failed })
}

/// The two transforms, and what was found so far.
struct Diff {
    old: Box<dyn Transform>,
    new: Box<dyn Transform>,
    destinations: [Option<Arc<str>>; 2],
    report: Report,
}

impl Diff {
    fn new(config: &DiffConfig) -> Diff {
        let report = Report::new(&config.source, config.show_values);
        let destinations = config.destinations.clone();
        Diff { old: config.old.build(), new: config.new.build(), destinations, report }
    }

    fn add(&mut self, batch: &PartitionBatch) -> Result<(), BrokenContract> {
        let broken = |which, breach| BrokenContract { partition: batch.origin.to_string(), which, breach };
        let mut old = trial::outcomes(self.old.as_mut(), batch).map_err(|breach| broken("old", breach))?;
        let mut new = trial::outcomes(self.new.as_mut(), batch).map_err(|breach| broken("new", breach))?;
        for (outcomes, destination) in [&mut old, &mut new].into_iter().zip(&self.destinations) {
            outcomes.iter_mut().for_each(|outcome| outcome.resolve(destination.as_ref(), &batch.origin));
        }
        for (record, (old, new)) in batch.records.iter().zip(old.iter().zip(&new)) {
            self.report.add(&batch.origin, record.offset, old, new);
        }
        Ok(())
    }
}
