//! `diff`: what a change of the configuration would do to real records. Both configurations transform the
//! same records of the source; nothing is written, and no group takes part.

mod allow;
mod compare;
mod mask;
mod report;
#[cfg(test)]
mod tests;

use std::io::Write;

pub(crate) use allow::Allowance;
pub(crate) use report::Report;

use crate::{
    batch::PartitionBatch,
    config::DiffConfig,
    console::progress::Progress,
    engine::native::Client,
    exit::{Ended, Exit, Failure},
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
    let is_allowed = report.exceeding(&config.allow).is_empty();
    for excess in report.exceeding(&config.allow) {
        if !config.json {
            writeln!(out, "not allowed: {excess}")?;
        }
    }
    out.flush()?;
    Ok(if is_allowed { Exit::Done } else { Exit::Failed })
}

/// The two transforms, and what was found so far.
struct Diff {
    old: Box<dyn Transform>,
    new: Box<dyn Transform>,
    report: Report,
}

impl Diff {
    fn new(config: &DiffConfig) -> Diff {
        let report = Report::new(&config.source, config.show_values);
        Diff { old: config.old.build(), new: config.new.build(), report }
    }

    fn add(&mut self, batch: &PartitionBatch) -> Result<(), BrokenContract> {
        let broken = |which, breach| BrokenContract { partition: batch.origin.to_string(), which, breach };
        let old = trial::outcomes(self.old.as_mut(), batch).map_err(|breach| broken("old", breach))?;
        let new = trial::outcomes(self.new.as_mut(), batch).map_err(|breach| broken("new", breach))?;
        for (record, (old, new)) in batch.records.iter().zip(old.iter().zip(&new)) {
            self.report.add(&batch.origin, record.offset, old, new);
        }
        Ok(())
    }
}
