//! Whether a step that protects something protects the same of a record as it was read: only then can it be told
//! from the source, and for a dead letter, what is protected. It may protect more, of what is dropped before.

use std::{fmt, slice::from_ref};

use crate::{
    expr::Around,
    fuse::{are_apart, changes, covers},
    json::{Path, Segment},
    protection::{Protected, is_protecting},
    step::{Action, Bound, Slot, Step},
};

/// What a step does with what an earlier one has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dependence {
    Protects,
    DependsOn,
}

impl Dependence {
    /// What the earlier one has done with it.
    pub(crate) fn how(self) -> &'static str {
        match self {
            Dependence::Protects => "made",
            Dependence::DependsOn => "changed",
        }
    }
}

impl fmt::Display for Dependence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Dependence::Protects => "protects",
            Dependence::DependsOn => "depends on",
        })
    }
}

/// The first of the `earlier` steps that `step`, which protects something, depends on. `all` is what each step
/// protects.
pub(crate) fn dependence<'s>(
    step: &Step,
    earlier: &'s [Step],
    all: &[Option<Protected>],
) -> Option<(&'s Step, Dependence)> {
    let when = step.when.as_ref();
    let seen = when.map(Bound::reads).unwrap_or_default();
    let touched = step.touches();
    let is_seen = |reads: &dyn Fn(&Around) -> bool| when.is_some_and(|when| reads(when.expr.around()));
    let of = |other: &Step| {
        let action = &other.action;
        let depends = match action {
            Action::Filter(_) | Action::Route { .. } => false,
            Action::Header { name, .. } => is_seen(&|around| around.header(name)),
            Action::Key { .. } => is_seen(&Around::key),
            Action::Drop(_) | Action::Keep(_) => {
                removes(action, &seen) || touched.iter().any(|path| moves(action, path))
            }
            // It does the same to a record as it was read, unless that has more for it: then it may fail there,
            // and redact instead, which the condition would see.
            action if is_protecting(action) => {
                let has_more = |first: &Step| removes(&first.action, &action.writes());
                !are_apart(&seen, &action.writes()) && earlier[..other.index].iter().any(has_more)
            }
            action if !are_apart(&touched, &action.writes()) => return Some(Dependence::Protects),
            // Where it is done at once, the condition would see that.
            Action::TokensTo { from, .. } => {
                let is_done = all[other.index].as_ref().is_some_and(|own| own.by == other.index);
                is_done && !are_apart(&seen, from_ref(&from.path))
            }
            _ => false,
        };
        depends.then_some(Dependence::DependsOn)
    };
    earlier.iter().find_map(|other| Some((other, of(other)?)))
}

/// Whether a `drop` or a `keep` may change what stands at one of these paths.
fn removes(action: &Action, paths: &[Path]) -> bool {
    match action {
        Action::Drop(_) => !are_apart(paths, &changes(action)),
        Action::Keep(kept) => !paths.iter().all(|path| kept.iter().any(|kept| is_read_the_same(path, kept))),
        _ => false,
    }
}

/// Whether what a reader finds at `path` is the same if this is kept. On a longer way `keep` removes what has no
/// parts, and may so uncover another value with the same key.
fn is_read_the_same(path: &Path, kept: &Slot) -> bool {
    matches!(kept.path.segments[..], [Segment::Key(_) | Segment::AnyKey]) && covers(&kept.path, path)
}

/// Whether an index in `path` is that of another element after a `drop` or a `keep`.
fn moves(action: &Action, path: &Path) -> bool {
    match action {
        Action::Drop(slots) => slots.iter().any(|slot| match slot.path.segments.split_last() {
            Some((Segment::Index(gone), array)) => {
                let array = Path { segments: array.to_vec() };
                let is_behind = |own: &Segment| matches!(own, Segment::Index(own) if own >= gone);
                path.segments.get(array.segments.len()).is_some_and(is_behind) && array.meets(path)
            }
            _ => false,
        }),
        Action::Keep(kept) => {
            let first = path.segments.iter().position(|segment| matches!(segment, Segment::Index(_)));
            first.is_some_and(|first| {
                let array = Path { segments: path.segments[..first].to_vec() };
                !kept.iter().any(|kept| covers(&kept.path, &array))
            })
        }
        _ => false,
    }
}
