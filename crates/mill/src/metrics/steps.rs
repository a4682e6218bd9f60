//! What each step of a transform does with records.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter},
};

/// What becomes of a record in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepOutcome {
    /// It came in.
    In,
    /// It went on, or a result of it.
    Out,
    /// It was passed over.
    Filtered,
    /// It got a topic.
    Routed,
    /// Something in it was protected.
    Protected,
    /// It failed.
    Failed,
}

impl StepOutcome {
    /// All of them, in the order in which they are declared.
    pub const ALL: [StepOutcome; 6] = [
        StepOutcome::In,
        StepOutcome::Out,
        StepOutcome::Filtered,
        StepOutcome::Routed,
        StepOutcome::Protected,
        StepOutcome::Failed,
    ];

    /// Its name in the metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            StepOutcome::In => "in",
            StepOutcome::Out => "out",
            StepOutcome::Filtered => "filtered",
            StepOutcome::Routed => "routed",
            StepOutcome::Protected => "protected",
            StepOutcome::Failed => "failed",
        }
    }
}

/// The numbers of records by outcome, in the order of [`StepOutcome::ALL`].
pub type StepTally = [u64; StepOutcome::ALL.len()];

/// The counts of all steps of a transform, which its instances share and add to once a batch.
#[derive(Debug, Default)]
pub struct StepCounts {
    steps: Vec<StepCount>,
}

#[derive(Debug)]
struct StepCount {
    name: &'static str,
    records: [AtomicU64; StepOutcome::ALL.len()],
}

impl StepCounts {
    /// For steps with these names, in their order.
    pub fn new(names: impl IntoIterator<Item = &'static str>) -> StepCounts {
        let step = |name| StepCount { name, records: Default::default() };
        StepCounts { steps: names.into_iter().map(step).collect() }
    }

    /// Adds what was done by the step at `index`, counted from 0.
    pub fn add(&self, index: usize, tally: &StepTally) {
        for (records, more) in self.steps[index].records.iter().zip(tally) {
            records.fetch_add(*more, Ordering::Relaxed);
        }
    }

    /// The records of the step at `index` with that outcome.
    pub fn get(&self, index: usize, outcome: StepOutcome) -> u64 {
        self.steps[index].records[outcome as usize].load(Ordering::Relaxed)
    }
}

/// Shows the counts of the steps that run; clones share it.
#[derive(Clone, Debug, Default)]
pub struct StepRecords {
    counts: Arc<Mutex<Option<Arc<StepCounts>>>>,
}

impl StepRecords {
    /// Shows these from now on.
    pub fn show(&self, counts: &Arc<StepCounts>) {
        *self.counts.lock() = Some(Arc::clone(counts));
    }
}

impl Collector for StepRecords {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Records by step of the transform, counted from 1, and by what became of them there";
        let mut family = encoder.encode_descriptor("step_records", help, None, MetricType::Counter)?;
        let counts = self.counts.lock().clone();
        for (index, step) in counts.iter().flat_map(|counts| counts.steps.iter().enumerate()) {
            for outcome in StepOutcome::ALL {
                let number = (index + 1).to_string();
                let labels = [("step", number.as_str()), ("name", step.name), ("outcome", outcome.as_str())];
                let records = step.records[outcome as usize].load(Ordering::Relaxed);
                ConstCounter::new(records).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_at_their_places() {
        let counts = StepCounts::new(["filter", "mask"]);
        for (at, outcome) in StepOutcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, at);
        }
        counts.add(1, &[5, 4, 0, 0, 3, 1]);
        counts.add(1, &[1, 1, 0, 0, 0, 0]);
        assert_eq!((counts.get(1, StepOutcome::In), counts.get(1, StepOutcome::Failed)), (6, 1));
        assert_eq!(counts.get(0, StepOutcome::In), 0);
    }
}
