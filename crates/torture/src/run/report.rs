//! The table at the end.

use std::{fmt::Write, time::Duration};

use crate::judge::{Counts, Finding};

/// What came of a fault.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub fault: String,
    pub delivery: &'static str,
    pub protocol: &'static str,
    /// How often it struck while work remained, and how often it was to.
    pub struck: (u64, u64),
    pub counts: Counts,
    /// The longest time that a partition with work to do did not go on.
    pub pause: Duration,
    /// The greatest memory of an instance, in bytes.
    pub memory: u64,
    /// The memory of the median minute at first and at last, in bytes, after a long trial.
    pub growth: Option<(u64, u64)>,
    /// Rare paths, and how often they were taken.
    pub sometimes: Vec<(String, u64)>,
    /// What is wrong; nothing when all is well.
    pub wrong: Vec<String>,
    pub examples: Vec<Finding>,
}

impl Row {
    pub fn is_well(&self) -> bool {
        self.wrong.is_empty()
    }
}

/// The table, as Markdown, and what is wrong below it.
pub(super) fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| fault | delivery | group protocol | struck | records | lost | twice | out of order | longest pause | \
         peak memory | rare paths | verdict |\n|---|---|---|---:|---:|---:|---:|---:|---:|---:|---|---|\n",
    );
    for row in rows {
        let Counts { records, lost, twice, out_of_order, .. } = row.counts;
        let growth =
            row.growth.map(|(first, last)| format!(" ({} at first, {} at last)", first >> 20, last >> 20));
        let sometimes: Vec<_> = row.sometimes.iter().map(|(name, count)| format!("{name} {count}")).collect();
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {records} | {lost} | {twice} | {out_of_order} | {:.1} s | {} MiB{} | {} | {} |",
            row.fault,
            row.delivery,
            row.protocol,
            row.struck.0,
            row.pause.as_secs_f64(),
            row.memory >> 20,
            growth.unwrap_or_default(),
            sometimes.join(", "),
            if row.is_well() { "kept" } else { "**broken**" },
        );
    }
    for row in rows.iter().filter(|row| !row.is_well()) {
        let _ = writeln!(text, "\n{}, {}, {}:\n", row.fault, row.delivery, row.protocol);
        for wrong in &row.wrong {
            let _ = writeln!(text, "- {wrong}");
        }
        for example in &row.examples {
            let _ = writeln!(text, "- {example}");
        }
    }
    text
}
