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

impl Steps {
    /// Does the only step if it is a filter, and says whether it is.
    pub(super) fn filter(&mut self, plan: &Plan, values: &Values<'_>, out: &mut Output<'_>) -> bool {
        let ([pass], [step]) = (&plan.passes[..], &plan.steps[..]) else { return false };
        let (Action::Filter(condition), None) = (&step.action, &step.when) else { return false };
        let tally = &mut self.tallies[0];
        for index in 0..values.len() {
            let record = values.record(index);
            tally[StepOutcome::In as usize] += 1;
            match self.scratch.keeps(pass, step, condition, &record, values.origin()) {
                Ok(true) => {
                    tally[StepOutcome::Out as usize] += 1;
                    // A tombstone that is left out is passed on.
                    if let Some(value) = record.value {
                        out.write_inline(index, &[value]);
                    }
                }
                Ok(false) => {
                    tally[StepOutcome::Filtered as usize] += 1;
                    out.skip(index);
                }
                Err(error) => {
                    tally[StepOutcome::Failed as usize] += 1;
                    out.fail(index, step.error(error));
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
