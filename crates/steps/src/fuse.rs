//! Which steps go together: those that can work on the same bytes are one pass, in which the value is located
//! once and spliced once.

use std::ops::Range;

use crate::{
    StepProblem,
    json::{Path, PathId, PathSet, Segment},
    step::{Action, Slot, Step},
};

/// Steps that work on the same bytes.
#[derive(Debug)]
pub(crate) struct Pass {
    pub(crate) steps: Range<usize>,
    pub(crate) paths: PathSet,
    /// In `paths`, what `keep` does not keep.
    pub(crate) rest: Option<PathId>,
    pub(crate) work: Work,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Locate, and splice.
    Edits,
    /// One step, by jaq.
    Program,
    /// One step, a transform, by its index.
    Transform(usize),
}

/// Puts steps together as far as none of a pass reads or writes what one before it has written.
pub(crate) fn passes(steps: &mut [Step]) -> Result<Vec<Pass>, Vec<StepProblem>> {
    let mut passes = Vec::new();
    let mut start = 0;
    let mut transforms = 0;
    while start < steps.len() {
        let is_open = |step: &Step| step.action.is_open();
        let mut end = start + 1;
        if !is_open(&steps[start]) {
            while end < steps.len() && !is_open(&steps[end]) && fits(&steps[end], &steps[start..end]) {
                end += 1;
            }
        }
        let (paths, end) = locate_together(steps, start, end)?;
        let work = match steps[start].action {
            Action::Jq(_) => Work::Program,
            Action::Transform(_) => {
                transforms += 1;
                Work::Transform(transforms - 1)
            }
            _ => Work::Edits,
        };
        let has_rest = steps[start..end].iter().any(|step| matches!(step.action, Action::Keep(_)));
        let rest = has_rest.then(|| paths.len() - 1);
        passes.push(Pass { steps: start..end, paths, rest, work });
        start = end;
    }
    Ok(passes)
}

/// The set of the paths of these steps, or of fewer if that would be too large; and where they end.
fn locate_together(
    steps: &mut [Step],
    start: usize,
    mut end: usize,
) -> Result<(PathSet, usize), Vec<StepProblem>> {
    loop {
        let mut paths = Vec::new();
        steps[start..end].iter_mut().for_each(|step| step.bind(&mut paths));
        let kept = steps[start..end].iter().find_map(|step| match &step.action {
            Action::Keep(slots) => Some(slots.iter().map(|slot| slot.path.clone()).collect::<Vec<_>>()),
            _ => None,
        });
        let set = match kept {
            Some(kept) => PathSet::with_rest(&paths, &kept),
            None => PathSet::new(&paths),
        };
        match set {
            Ok(set) => return Ok((set, end)),
            Err(_) if end > start + 1 => end -= 1,
            Err(error) => {
                return Err(vec![StepProblem { step: start, key: None, message: error.to_string() }]);
            }
        }
    }
}

/// Whether `step` can work on the bytes that the others were given.
fn fits(step: &Step, others: &[Step]) -> bool {
    let (reads, writes) = (step.reads(), step.action.writes());
    others.iter().all(|other| {
        let written = other.action.writes();
        if let Action::Keep(kept) = &other.action {
            // All but what is kept is written. A step that drops what is gone anyway does no harm.
            let is_drop = matches!(step.action, Action::Drop(_)) && step.when.is_none();
            let is_same = |path: &Path| is_kept(path, kept) || (is_drop && writes.contains(path));
            return !matches!(step.action, Action::Keep(_)) && reads.iter().chain(&writes).all(is_same);
        }
        if let Action::Keep(kept) = &step.action {
            return written.iter().all(|path| is_kept(path, kept))
                && reads.iter().all(|path| written.iter().all(|written| !written.meets(path)));
        }
        reads.iter().chain(&writes).all(|path| written.iter().all(|written| !written.meets(path)))
    })
}

/// Whether all that `path` leads to is kept.
fn is_kept(path: &Path, kept: &[Slot]) -> bool {
    let covers = |kept: &Segment, own: &Segment| match (kept, own) {
        (Segment::AnyIndex, _) => true,
        (Segment::AnyKey, Segment::Key(_) | Segment::AnyKey) => true,
        (kept, own) => kept == own,
    };
    kept.iter().any(|kept| {
        let kept = &kept.path.segments;
        kept.len() <= path.segments.len() && kept.iter().zip(&path.segments).all(|(k, p)| covers(k, p))
    })
}
