//! A filter alone: it changes nothing, so that nothing has to be kept of a record.

use topicmill_mill::{
    batch::TopicPartition,
    metrics::StepOutcome,
    transform::{Output, RecordView, ValueError, Values},
};

use super::{Steps, act::NO_VALUE, scratch::Scratch};
use crate::{
    Plan,
    expr::Meta,
    fuse::Pass,
    step::{Action, Bound, Step},
};

/// The records that are judged before any of them is written: while the processor waits for what one of them is,
/// it goes on with the next ones, which it would have to begin anew for each writing that it did not foresee.
const AT_ONCE: usize = 64;

impl Steps {
    /// Does the only step if it is a filter, and says whether it is.
    pub(super) fn filter(&mut self, plan: &Plan, values: &Values<'_>, out: &mut Output<'_>) -> bool {
        let ([pass], [step]) = (&plan.passes[..], &plan.steps[..]) else { return false };
        let (Action::Filter(condition), None) = (&step.action, &step.when) else { return false };
        let tally = &mut self.tallies[0];
        let mut errors = Vec::new();
        for start in (0..values.len()).step_by(AT_ONCE) {
            let indexes = start..values.len().min(start + AT_ONCE);
            let mut keeps = [false; AT_ONCE];
            for (index, keeps) in indexes.clone().zip(&mut keeps) {
                match self.scratch.keeps(pass, step, condition, &values.record(index), values.origin()) {
                    Ok(holds) => *keeps = holds,
                    Err(error) => errors.push((index, error)),
                }
            }
            tally[StepOutcome::In as usize] += indexes.len() as u64;
            tally[StepOutcome::Failed as usize] += errors.len() as u64;
            let mut errors = errors.drain(..).peekable();
            for (index, keeps) in indexes.zip(keeps) {
                if let Some((_, error)) = errors.next_if(|(failed, _)| *failed == index) {
                    out.fail(index, step.error(error));
                } else if keeps {
                    tally[StepOutcome::Out as usize] += 1;
                    // A tombstone that is left out is passed on.
                    if let Some(value) = values.record(index).value {
                        out.write_inline(index, &[value]);
                    }
                } else {
                    tally[StepOutcome::Filtered as usize] += 1;
                    out.skip(index);
                }
            }
        }
        true
    }
}

impl Scratch {
    fn keeps(
        &mut self,
        pass: &Pass,
        step: &Step,
        condition: &Bound,
        record: &RecordView<'_>,
        origin: &TopicPartition,
    ) -> Result<bool, ValueError> {
        let doc = match record.value {
            Some(value) => value,
            None if step.needs_value() => return Ok(true),
            None => NO_VALUE,
        };
        self.begin();
        if step.acts_on_value {
            self.locate(pass, doc)?;
        }
        let RecordView { offset, timestamp, key, headers, .. } = *record;
        let meta =
            Meta { topic: &origin.topic, partition: origin.partition, offset, timestamp, key, headers };
        self.holds(pass, condition, doc, &meta)
    }
}
