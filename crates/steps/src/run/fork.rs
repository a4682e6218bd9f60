//! What is counted where a record becomes several, one of which fails.

use topicmill_mill::{
    metrics::{StepOutcome, StepTally},
    transform::ValueError,
};

use super::{Steps, item::Item, sink::Sink};

/// The counts of a step with several results and of those behind it. A record fails whole: none of its other
/// results is written, so none of them counts.
pub(super) struct Fork {
    /// The step.
    step: usize,
    /// Before the first result.
    start: Vec<StepTally>,
    /// Before the current result.
    before: Vec<StepTally>,
}

impl Steps {
    /// For the step at `step` with that many results; `None` where all that counts is the way of a single one.
    pub(super) fn fork(&self, step: usize, results: usize) -> Option<Fork> {
        let start = &self.tallies[step..];
        (results > 1 && self.plan.is_open_inside).then(|| Fork {
            step,
            start: start.to_vec(),
            before: start.to_vec(),
        })
    }

    /// Takes one result of the step of the pass at `at` through all that follows.
    pub(super) fn go_on(
        &mut self,
        at: usize,
        item: &Item<'_>,
        sink: &mut Sink<'_, '_>,
        fork: &mut Option<Fork>,
    ) -> Result<(), ValueError> {
        if let Some(fork) = fork {
            fork.before.copy_from_slice(&self.tallies[fork.step..]);
        }
        let step = sink.plan().passes[at].steps.start;
        self.tallies[step][StepOutcome::Out as usize] += 1;
        let done = self.pass(at + 1, item, sink);
        if let (Err(_), Some(fork)) = (&done, fork) {
            fork.leave_the_last(&mut self.tallies[fork.step..]);
        }
        done
    }
}

impl Fork {
    /// Takes back what the results before the last one have added.
    fn leave_the_last(&self, tallies: &mut [StepTally]) {
        for ((tally, start), before) in tallies.iter_mut().zip(&self.start).zip(&self.before) {
            for ((count, start), before) in tally.iter_mut().zip(start).zip(before) {
                *count = *start + (*count - *before);
            }
        }
    }
}
