//! The findings of a comparison.

use std::collections::HashSet;

use super::fingerprint::Fingerprint;

/// How many runs of each kind are kept; all findings are counted.
const RUNS_MAX: usize = 20;

/// A record of the destination: its identity and its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Actual {
    /// What it is.
    pub fingerprint: Fingerprint,
    /// Its offset in the destination.
    pub offset: i64,
}

/// How a record is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// It is expected and absent.
    Missing,
    /// It is there more than once; each further copy counts.
    Duplicate,
    /// It is there, but out of order.
    Reordered,
    /// Other bytes are in its place.
    Corrupt,
    /// It is there, but nothing like it is expected.
    Phantom,
    /// It is there, but expected in another partition, or another topic.
    Misrouted,
}

impl Kind {
    /// All kinds.
    pub(crate) const ALL: [Kind; 6] =
        [Kind::Missing, Kind::Duplicate, Kind::Reordered, Kind::Corrupt, Kind::Phantom, Kind::Misrouted];

    /// The name of the count of this kind.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Kind::Missing => "missing",
            Kind::Duplicate => "duplicates",
            Kind::Reordered => "reordered",
            Kind::Corrupt => "corrupt",
            Kind::Phantom => "phantom",
            Kind::Misrouted => "misrouted",
        }
    }
}

/// A run of findings of one kind; positions count the expected records of the partition from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// How the records are wrong.
    pub kind: Kind,
    /// The first expected record concerned, unless they are phantoms or misrouted.
    pub position: Option<usize>,
    /// The first offset in the destination.
    pub offset: i64,
    /// How many there are.
    pub len: usize,
}

impl Run {
    /// The place of the `at`-th of them.
    fn place(&self, at: usize) -> (Option<usize>, i64) {
        (self.position.map(|position| position + at), self.offset + at as i64)
    }
}

/// Records of the destination that belong to source records which are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unchecked {
    /// The first offset.
    pub first: i64,
    /// The last offset.
    pub last: i64,
    /// How many there are.
    pub count: u64,
}

/// A record that is expected nowhere in its partition; it may belong to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Foreign {
    /// The record.
    pub actual: Actual,
    /// What is expected in its place, and at which position, if it is counted as corrupt.
    pub instead_of: Option<(Fingerprint, usize)>,
}

/// How many findings there are of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts([u64; Kind::ALL.len()]);

impl Counts {
    /// How many of a kind.
    pub(crate) fn of(&self, kind: Kind) -> u64 {
        self.0[kind as usize]
    }

    /// How many in all.
    pub(crate) fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Counts `more` of a kind.
    pub(crate) fn add(&mut self, kind: Kind, more: u64) {
        self.0[kind as usize] += more;
    }
}

/// The findings of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    /// How many of each kind.
    pub counts: Counts,
    /// The first places of each kind but the missing ones, which are all in `absent`.
    pub runs: Vec<Run>,
    /// The records counted as corrupt or phantom.
    pub foreign: Vec<Foreign>,
    /// The records counted as missing.
    pub absent: Vec<(Fingerprint, usize)>,
    /// The records that nothing is left to compare with; they are no violation.
    pub unchecked: Option<Unchecked>,
}

impl Findings {
    /// Counts a record of the destination and keeps its place if it is among the first of its kind.
    pub(super) fn add(&mut self, kind: Kind, position: Option<usize>, offset: i64) {
        self.counts.add(kind, 1);
        self.keep(kind, position, offset);
    }

    fn keep(&mut self, kind: Kind, position: Option<usize>, offset: i64) {
        let mut of_kind = self.runs.iter_mut().filter(|run| run.kind == kind).rev();
        let last = of_kind.next();
        let kept = usize::from(last.is_some()) + of_kind.count();
        match last {
            Some(run) if run.place(run.len) == (position, offset) => run.len += 1,
            _ if kept < RUNS_MAX => self.runs.push(Run { kind, position, offset, len: 1 }),
            _ => {}
        }
    }

    /// Counts a record that nothing is left to compare with.
    pub(super) fn add_unchecked(&mut self, offset: i64) {
        self.join_unchecked(Some(Unchecked { first: offset, last: offset, count: 1 }));
    }

    fn join_unchecked(&mut self, more: Option<Unchecked>) {
        self.unchecked = match (self.unchecked, more) {
            (Some(one), Some(other)) => Some(Unchecked {
                first: one.first.min(other.first),
                last: one.last.max(other.last),
                count: one.count + other.count,
            }),
            (one, other) => one.or(other),
        };
    }

    /// Counts a record that is expected nowhere: corrupt if it is in the place of another.
    pub(super) fn add_foreign(&mut self, actual: Actual, instead_of: Option<(Fingerprint, usize)>) {
        let foreign = Foreign { actual, instead_of };
        self.add(foreign.kind(), foreign.position(), actual.offset);
        self.foreign.push(foreign);
    }

    /// Counts an expected record that is not there.
    pub(super) fn add_missing(&mut self, fingerprint: Fingerprint, position: usize) {
        self.counts.add(Kind::Missing, 1);
        self.absent.push((fingerprint, position));
    }

    /// Counts foreign records again for which `kind` knows better; what one of them replaced is
    /// missing.
    pub(super) fn reclassify(&mut self, mut kind: impl FnMut(&Foreign) -> Option<Kind>) {
        for foreign in std::mem::take(&mut self.foreign) {
            match kind(&foreign) {
                None => self.foreign.push(foreign),
                Some(kind) => {
                    let offset = foreign.actual.offset;
                    self.take_back(foreign.kind(), foreign.position(), offset);
                    self.add(kind, None, offset);
                    if let Some((fingerprint, position)) = foreign.instead_of {
                        self.add_missing(fingerprint, position);
                    }
                }
            }
        }
    }

    /// No longer counts foreign records that `may` be there; what one of them replaced is missing.
    pub(super) fn forgive(&mut self, mut may: impl FnMut(&Foreign) -> bool) {
        for foreign in std::mem::take(&mut self.foreign) {
            if !may(&foreign) {
                self.foreign.push(foreign);
                continue;
            }
            self.take_back(foreign.kind(), foreign.position(), foreign.actual.offset);
            if let Some((fingerprint, position)) = foreign.instead_of {
                self.add_missing(fingerprint, position);
            }
        }
    }

    /// Takes out what counts as missing, which then counts no more.
    pub(super) fn take_absent(&mut self) -> Vec<(Fingerprint, usize)> {
        self.counts.0[Kind::Missing as usize] -= self.absent.len() as u64;
        std::mem::take(&mut self.absent)
    }

    /// No longer counts the expected records at `positions` as missing.
    pub(super) fn found(&mut self, positions: &HashSet<usize>) {
        let before = self.absent.len();
        self.absent.retain(|(_, at)| !positions.contains(at));
        self.counts.0[Kind::Missing as usize] -= (before - self.absent.len()) as u64;
    }

    /// Adds the findings of a part, whose positions `position` maps to those of the whole.
    pub(super) fn absorb(&mut self, part: Findings, position: impl Fn(usize) -> usize) {
        for run in &part.runs {
            for (at, offset) in (0..run.len).map(|at| run.place(at)) {
                self.keep(run.kind, at.map(&position), offset);
            }
        }
        Kind::ALL.into_iter().for_each(|kind| self.counts.add(kind, part.counts.of(kind)));
        self.join_unchecked(part.unchecked);
        let foreign = part.foreign.into_iter();
        let moved = |(fingerprint, at)| (fingerprint, position(at));
        self.foreign.extend(foreign.map(|f| Foreign { instead_of: f.instead_of.map(moved), ..f }));
        self.absent.extend(part.absent.into_iter().map(moved));
    }

    /// Takes back what [`add`](Findings::add) counted, with its place if it was kept.
    pub(super) fn take_back(&mut self, kind: Kind, position: Option<usize>, offset: i64) {
        self.counts.0[kind as usize] -= 1;
        let of_it = |run: &Run| {
            let at = usize::try_from(offset - run.offset).ok()?;
            (run.kind == kind && at < run.len && run.place(at) == (position, offset)).then_some(at)
        };
        let Some((index, at)) = self.runs.iter().enumerate().find_map(|(i, run)| Some((i, of_it(run)?)))
        else {
            return;
        };
        let run = self.runs[index];
        let (position, offset) = run.place(at + 1);
        let parts = [Run { len: at, ..run }, Run { position, offset, len: run.len - at - 1, ..run }];
        self.runs.splice(index..=index, parts.into_iter().filter(|part| part.len > 0));
    }
}

impl Foreign {
    /// What it is counted as.
    pub(super) fn kind(&self) -> Kind {
        if self.instead_of.is_some() { Kind::Corrupt } else { Kind::Phantom }
    }

    fn position(&self) -> Option<usize> {
        self.instead_of.map(|(_, position)| position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(position: usize, offset: i64, len: usize) -> Run {
        Run { kind: Kind::Duplicate, position: Some(position), offset, len }
    }

    #[test]
    fn what_follows_is_one_run_until_it_is_taken_back_in_the_middle() {
        let mut findings = Findings::default();
        for (position, offset) in [(5, 10), (6, 11), (7, 12), (9, 13), (10, 14)] {
            findings.add(Kind::Duplicate, Some(position), offset);
        }
        assert_eq!(findings.runs, [run(5, 10, 3), run(9, 13, 2)]);
        findings.take_back(Kind::Duplicate, Some(6), 11);
        assert_eq!(findings.runs, [run(5, 10, 1), run(7, 12, 1), run(9, 13, 2)]);
        findings.take_back(Kind::Duplicate, Some(9), 13);
        assert_eq!((findings.runs[2], findings.counts.total()), (run(10, 14, 1), 3));
    }

    #[test]
    fn all_are_counted_and_the_first_runs_kept() {
        let mut findings = Findings::default();
        (0..100).for_each(|at| findings.add(Kind::Phantom, None, at * 2));
        assert_eq!((findings.counts.total(), findings.runs.len()), (100, RUNS_MAX));
        assert_eq!(findings.runs[RUNS_MAX - 1].offset, 2 * (RUNS_MAX as i64 - 1));
    }
}
