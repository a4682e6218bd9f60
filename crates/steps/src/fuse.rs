//! Which steps go together: those that can work on the same bytes are one pass, in which the value is located
//! once and spliced once.

use std::ops::Range;

use crate::{
    StepProblem,
    json::{Path, PathId, PathSet, Segment},
    step::{Action, OnMissing, Slot, Step},
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

/// Puts steps together as far as each of a pass does what it would do after those before it.
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

/// Whether `step` can work on the bytes that the others were given: whether it does there what it would do after
/// them.
fn fits(step: &Step, others: &[Step]) -> bool {
    others.iter().all(|other| match (&other.action, &step.action) {
        (Action::Keep(_), Action::Keep(_)) => false,
        (Action::Keep(kept), _) => fits_behind_keep(step, kept),
        (before, Action::Keep(kept)) => keep_fits_behind(before, step, kept),
        (before, _) => are_apart(&step.touches(), &changes(before)),
    })
}

/// What is other than it was after `action`, which is no `keep`.
pub(crate) fn changes(action: &Action) -> Vec<Path> {
    let mut changes = action.writes();
    if matches!(action, Action::Drop(_)) {
        changes.iter_mut().for_each(with_those_behind);
    }
    changes
}

/// Adds to an element what has another index once that is gone.
fn with_those_behind(dropped: &mut Path) {
    if let Some(last @ Segment::Index(_)) = dropped.segments.last_mut() {
        *last = Segment::AnyIndex;
    }
}

pub(crate) fn are_apart(some: &[Path], others: &[Path]) -> bool {
    some.iter().all(|path| others.iter().all(|other| !other.meets(path)))
}

fn fits_behind_keep(step: &Step, kept: &[Slot]) -> bool {
    // What has no parts is removed even on the way to what is kept. Then a reader no longer finds something of
    // the wrong type there, but nothing, or another value with the same key.
    if !step.reads().is_empty() {
        return false;
    }
    // What is gone anyway may be dropped.
    let may_be_gone = matches!(step.action, Action::Drop(_)) && step.on_missing == OnMissing::Skip;
    let is_same = |path: &Path| stays(path, kept) || (may_be_gone && !has_index(&path.segments));
    step.action.writes().iter().all(is_same)
}

/// Whether `keep`, a step that keeps this, does on the bytes that `before` was given what it would do after it.
fn keep_fits_behind(before: &Action, keep: &Step, kept: &[Slot]) -> bool {
    let changes = changes(before);
    let is_judged_the_same = |change: &Path, kept: &Path| {
        let (change_depth, kept_depth) = (change.segments.len(), kept.segments.len());
        // What is beneath it does not make it missing, nor does another value in its place.
        let stays = kept_depth < change_depth || (kept_depth == change_depth && before.is_in_place());
        stays || !change.meets(kept)
    };
    are_apart(&keep.reads(), &changes)
        && changes.iter().all(|change| kept.iter().any(|kept| covers(&kept.path, change)))
        && (keep.on_missing == OnMissing::Skip
            || changes.iter().all(|change| kept.iter().all(|kept| is_judged_the_same(change, &kept.path))))
}

/// Whether `path` leads to the same values when only these are kept. Where one of them leads into an array,
/// elements may be removed, so that no index says which it is.
fn stays(path: &Path, kept: &[Slot]) -> bool {
    kept.iter().any(|kept| covers(&kept.path, path) && !has_index(&path.segments[..kept.path.segments.len()]))
}

fn has_index(segments: &[Segment]) -> bool {
    segments.iter().any(|segment| matches!(segment, Segment::Index(_)))
}

/// Whether all that `inner` leads to is a value of `outer` or within one.
pub(crate) fn covers(outer: &Path, inner: &Path) -> bool {
    let covers = |outer: &Segment, inner: &Segment| match (outer, inner) {
        (Segment::AnyIndex, _) => true,
        (Segment::AnyKey, Segment::Key(_) | Segment::AnyKey) => true,
        (outer, inner) => outer == inner,
    };
    let (outer, inner) = (&outer.segments, &inner.segments);
    outer.len() <= inner.len() && outer.iter().zip(inner).all(|(outer, inner)| covers(outer, inner))
}
