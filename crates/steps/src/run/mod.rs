//! The steps at work: each record goes through the passes, and what comes out at the end is written.
//!
//! A record may become several in the middle, so a pass calls the next one for each of its results. What a pass
//! makes lives in buffers that are given back when the next passes are done; in the long run nothing is
//! allocated.

mod item;
mod scratch;
mod topics;
mod act;
mod edit;
mod filter;
mod fork;
mod open;
mod protect;
mod sink;

use std::sync::Arc;

use topicmill_mill::{
    metrics::{StepOutcome, StepTally},
    transform::{Output, Transform, ValueError, Values},
};

pub use self::protect::Protector;

use self::{
    act::Outcome,
    item::{Draft, Item},
    scratch::Scratch,
    sink::{Pending, Sink, Way},
};
use crate::{
    Plan,
    fuse::{Pass, Work},
};

/// The steps of a [`Plan`] as a transform, for one thread.
pub struct Steps {
    plan: Arc<Plan>,
    scratch: Scratch,
    transforms: Vec<Box<dyn Transform>>,
    /// What each step has done in this batch.
    tallies: Vec<StepTally>,
    pending: Pending,
}

impl Steps {
    /// The steps of this plan.
    pub fn new(plan: Arc<Plan>) -> Steps {
        Steps {
            scratch: Scratch::default(),
            transforms: plan.transforms.iter().map(|kind| kind.build()).collect(),
            tallies: vec![StepTally::default(); plan.steps.len()],
            pending: Pending::default(),
            plan,
        }
    }

    /// Takes each record through all passes.
    fn apply_all(&mut self, plan: &Plan, values: &Values<'_>, out: &mut Output<'_>) {
        let way = match (plan.is_open, plan.is_open_inside) {
            (false, _) => Way::AtMostOne,
            (true, false) => Way::Several,
            (true, true) => Way::SeveralOrNone,
        };
        let destination = plan.partitions.destination();
        let origin = values.origin();
        for index in 0..values.len() {
            let record = values.record(index);
            let mut sink = Sink::new(out, index, way, origin, plan, destination.as_ref());
            match self.pass(0, &Item::of(&record), &mut sink) {
                Ok(()) => sink.finish(&mut self.pending),
                Err(error) => {
                    self.pending.clear();
                    out.fail(index, error);
                }
            }
        }
    }

    /// Takes a record, or one of its results, through the passes from the one at `at` on.
    fn pass(&mut self, at: usize, item: &Item<'_>, sink: &mut Sink<'_, '_>) -> Result<(), ValueError> {
        let Some(pass) = sink.plan().passes.get(at) else {
            sink.put(item, &mut self.pending);
            return Ok(());
        };
        match pass.work {
            Work::Edits => self.edit(at, item, sink),
            Work::Program => self.program(at, item, sink),
            Work::Transform(index) => self.transform(at, index, item, sink),
        }
    }

    /// Does the steps of a pass, and all that follows.
    fn edit(&mut self, at: usize, item: &Item<'_>, sink: &mut Sink<'_, '_>) -> Result<(), ValueError> {
        let plan = sink.plan();
        let pass = &plan.passes[at];
        let mut draft = Draft::new(item);
        let kept = self.steps_of(pass, &mut draft, sink);
        let result = match kept {
            Ok(true) if self.scratch.edits.is_empty() => self.pass(at + 1, &draft.item(None), sink),
            Ok(true) if at + 1 == plan.passes.len() && self.put_in_pieces(&draft, sink) => Ok(()),
            Ok(true) => {
                let mut value = self.scratch.buffer();
                self.scratch.edits.splice(item.value.unwrap_or_default(), &mut value);
                let result = self.pass(at + 1, &draft.item(Some(&value)), sink);
                self.scratch.give_back(value);
                result
            }
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
        self.scratch.give_back_all(draft);
        result
    }

    /// Gives the result of the last pass away without having put its pieces together, if that can be done.
    fn put_in_pieces(&mut self, draft: &Draft<'_>, sink: &mut Sink<'_, '_>) -> bool {
        let value = draft.before.value.unwrap_or_default();
        sink.takes_pieces()
            && self.scratch.edits.in_pieces(value, |pieces| sink.put_pieces(&draft.item(None), pieces))
    }

    /// Whether the record goes on after the steps of a pass.
    fn steps_of(
        &mut self,
        pass: &Pass,
        draft: &mut Draft<'_>,
        sink: &Sink<'_, '_>,
    ) -> Result<bool, ValueError> {
        self.scratch.begin();
        for step in &sink.plan().steps[pass.steps.clone()] {
            let outcome = self.scratch.act(pass, step, draft, sink.origin());
            let tally = &mut self.tallies[step.index];
            tally[StepOutcome::In as usize] += 1;
            match outcome {
                Ok(Outcome::Filtered) => {
                    tally[StepOutcome::Filtered as usize] += 1;
                    return Ok(false);
                }
                Ok(Outcome::Done) => tally[StepOutcome::Out as usize] += 1,
                Ok(Outcome::Protected) => {
                    tally[StepOutcome::Out as usize] += 1;
                    tally[StepOutcome::Protected as usize] += 1;
                }
                Ok(Outcome::Routed) => {
                    tally[StepOutcome::Out as usize] += 1;
                    tally[StepOutcome::Routed as usize] += 1;
                }
                Err(error) => {
                    tally[StepOutcome::Failed as usize] += 1;
                    return Err(step.error(error));
                }
            }
        }
        Ok(true)
    }
}

impl Transform for Steps {
    fn apply(&mut self, values: &Values<'_>, out: &mut Output<'_>) {
        let plan = Arc::clone(&self.plan);
        if !self.filter(&plan, values, out) {
            self.apply_all(&plan, values, out);
        }
        for (index, tally) in self.tallies.iter_mut().enumerate() {
            plan.counts.add(index, &std::mem::take(tally));
        }
    }
}

impl std::fmt::Debug for Steps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Steps").field(&self.plan).finish()
    }
}

#[cfg(test)]
mod tests;
