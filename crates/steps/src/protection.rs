//! The steps of a plan that protect something, apart from the others.

use std::sync::Arc;

use topicmill_mill::dead_letter::Protect;

use crate::{
    Given, Plan, Protector, StepProblem, StepTable,
    fuse::covers,
    json::Path,
    step::{Action, Slot, Step},
};

/// The steps of a plan that protect: `mask`, `redact`, `hash` and `hmac`.
///
/// A `hash` or `hmac` that is put beside protects nothing, unless the original is dropped later.
#[derive(Clone, Debug)]
pub struct Protection {
    pub(crate) stages: Arc<[Stage]>,
}

impl Protection {
    /// It, for dead letters.
    pub fn of_letters(&self) -> Protect {
        let protection = self.clone();
        // Letters are few: each gets its own.
        Protect::new(move |origin, record, out| {
            Protector::new(protection.clone()).protect(origin, record, out, |_| {})
        })
    }
}

/// A step that protects.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    /// It alone.
    pub(crate) plan: Arc<Plan>,
    /// Redacts the same, for what the step cannot do.
    pub(crate) instead: Arc<Plan>,
}

impl Plan {
    /// The steps that protect something; `None` if none does.
    ///
    /// # Errors
    /// When one works on what another step has made: then it cannot be told from a record as it was read what is
    /// protected.
    pub fn protection(&self) -> Result<Option<Protection>, StepProblem> {
        let mut stages = Vec::new();
        for step in &self.steps {
            let paths = self.protects(step);
            if paths.is_empty() {
                continue;
            }
            let touched = [step.reads(), step.action.writes()].concat();
            let makes = |earlier: &&Step| {
                let is_harmless = matches!(earlier.action, Action::Drop(_)) || is_protecting(&earlier.action);
                let meets = |path: &Path| touched.iter().any(|touched| touched.meets(path));
                !is_harmless && earlier.action.writes().iter().any(meets)
            };
            if let Some(earlier) = self.steps[..step.index].iter().find(makes) {
                let message = format!(
                    "protects what step {} ({}) has made, so it cannot be told from a record as it was read what \
                     is protected: put it before that step",
                    earlier.index + 1,
                    earlier.title
                );
                return Err(StepProblem { step: step.index, key: None, message });
            }
            stages.push(self.stage(step, &paths)?);
        }
        Ok((!stages.is_empty()).then(|| Protection { stages: stages.into() }))
    }

    /// The paths that a step protects.
    fn protects(&self, step: &Step) -> Vec<Path> {
        match &step.action {
            action if is_protecting(action) => protected(action).map(|slot| slot.path.clone()).collect(),
            Action::TokensTo { from, .. } => {
                let is_dropped = |later: &Step| match &later.action {
                    Action::Drop(slots) => {
                        later.when.is_none() && slots.iter().any(|slot| covers(&slot.path, &from.path))
                    }
                    _ => false,
                };
                let is_dropped = self.steps[step.index + 1..].iter().any(is_dropped);
                if is_dropped { vec![from.path.clone()] } else { Vec::new() }
            }
            _ => Vec::new(),
        }
    }

    fn stage(&self, step: &Step, paths: &[Path]) -> Result<Stage, StepProblem> {
        let own = &self.tables()[step.index];
        let paths = Given::List(paths.iter().map(Path::to_string).collect());
        let mut redact = StepTable::default().with("redact", paths);
        let alone = if is_protecting(&step.action) {
            // What is not there needs no protection.
            let settings = own.settings.iter().filter(|(key, _)| key != "on_missing");
            StepTable { settings: settings.cloned().collect() }
        } else {
            redact.settings.extend(own.settings.iter().filter(|(key, _)| key == "when").cloned());
            redact.clone()
        };
        redact.settings.retain(|(key, _)| key != "when");
        let compile = |table| {
            Plan::new(vec![table]).map(Arc::new).map_err(|problems| {
                let first = problems.into_iter().next();
                let message = first.map(|problem| problem.message).unwrap_or_default();
                StepProblem { step: step.index, key: None, message }
            })
        };
        Ok(Stage { plan: compile(alone)?, instead: compile(redact)? })
    }
}

/// Whether it protects values where they stand.
fn is_protecting(action: &Action) -> bool {
    matches!(action, Action::Mask(..) | Action::Redact(..) | Action::Tokens(..))
}

/// What an action protects where it stands.
pub(crate) fn protected(action: &Action) -> impl Iterator<Item = &Slot> {
    let slots = match action {
        Action::Mask(slots, _) | Action::Redact(slots, _) | Action::Tokens(slots, _) => &slots[..],
        _ => &[],
    };
    slots.iter()
}
