//! The steps of a plan that protect something, apart from the others.

use std::sync::Arc;

use topicmill_mill::dead_letter::Protect;

use crate::{
    Given, Plan, Protector, StepProblem, StepTable,
    depend::dependence,
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

/// What a step protects.
pub(crate) struct Protected {
    paths: Vec<Path>,
    /// The step by which this is done.
    pub(crate) by: usize,
}

impl Plan {
    /// The steps that protect something; `None` if none does.
    ///
    /// # Errors
    /// When one depends on what another step has made or changed: then it cannot be told from a record as it was
    /// read what is protected.
    pub fn protection(&self) -> Result<Option<Protection>, StepProblem> {
        let all: Vec<Option<Protected>> = self.steps.iter().map(|step| self.protects(step)).collect();
        let mut stages = Vec::new();
        for (step, own) in self.steps.iter().zip(&all) {
            let Some(own) = own else { continue };
            if let Some((earlier, does)) = dependence(step, &self.steps[..step.index], &all) {
                let message = format!(
                    "{does} what step {} ({}) has {}, so it cannot be told from a record as it was read what is \
                     protected: put it before that step",
                    earlier.index + 1,
                    earlier.title,
                    does.how()
                );
                return Err(StepProblem { step: step.index, key: None, message });
            }
            stages.push((own.by, self.stage(step, &own.paths)?));
        }
        stages.sort_by_key(|(by, _)| *by);
        let stages: Arc<[Stage]> = stages.into_iter().map(|(_, stage)| stage).collect();
        Ok((!stages.is_empty()).then_some(Protection { stages }))
    }

    fn protects(&self, step: &Step) -> Option<Protected> {
        match &step.action {
            action if is_protecting(action) => {
                let paths = protected(action).map(|slot| slot.path.clone()).collect();
                Some(Protected { paths, by: step.index })
            }
            Action::TokensTo { from, tokens } => {
                let drops = |later: &&Step| match &later.action {
                    Action::Drop(slots) => {
                        later.when.is_none() && slots.iter().any(|slot| covers(&slot.path, &from.path))
                    }
                    _ => false,
                };
                let is_own = tokens.token.1.sites.path == from.path;
                let drop = self.steps[step.index + 1..].iter().find(drops);
                let by = match drop {
                    // Until it is dropped, other steps see it as it is. A condition, though, is about the record
                    // as this step sees it.
                    Some(drop) if !is_own && step.when.is_none() => drop.index,
                    Some(_) => step.index,
                    None if is_own => step.index,
                    None => return None,
                };
                Some(Protected { paths: vec![from.path.clone()], by })
            }
            _ => None,
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
pub(crate) fn is_protecting(action: &Action) -> bool {
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
