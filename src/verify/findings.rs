//! What a comparison finds.

use std::collections::HashSet;

use super::fingerprint::Fingerprint;

/// How many places of a kind are kept; all are counted.
const SAMPLES_MAX: usize = 10;

/// A record of the destination: what it is and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Actual {
    /// What it is.
    pub fingerprint: Fingerprint,
    /// Its offset in the destination.
    pub offset: i64,
}

/// How a record is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// It is expected and not there.
    Missing,
    /// It is there more than once; each further one counts.
    Duplicate,
    /// It is there, but not in its turn.
    Reordered,
    /// Its place is taken by other bytes.
    Corrupt,
    /// It is there and nothing that is expected.
    Phantom,
    /// It is there, but expected in another partition.
    Misrouted,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 6] =
        [Kind::Missing, Kind::Duplicate, Kind::Reordered, Kind::Corrupt, Kind::Phantom, Kind::Misrouted];

    /// The name of the count of this kind.
    pub const fn as_str(self) -> &'static str {
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

/// Where a finding is: positions count the expected records of the partition from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// How the record is wrong.
    pub kind: Kind,
    /// The expected record concerned, unless it is a phantom.
    pub position: Option<usize>,
    /// The offset in the destination, unless it is missing.
    pub offset: Option<i64>,
}

/// A record that is nowhere expected in its partition; it may belong to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// The record.
    pub actual: Actual,
    /// What is expected in its place, and at which position, if it is counted as corrupt.
    pub instead_of: Option<(Fingerprint, usize)>,
}

/// How many findings there are of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([u64; Kind::ALL.len()]);

impl Counts {
    /// How many of a kind.
    pub fn of(&self, kind: Kind) -> u64 {
        self.0[kind as usize]
    }

    /// How many in all.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Counts `more` of a kind.
    pub fn add(&mut self, kind: Kind, more: u64) {
        self.0[kind as usize] += more;
    }
}

/// The findings of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// How many of each kind.
    pub counts: Counts,
    /// The first places of each kind.
    pub samples: Vec<Sample>,
    /// The records counted as corrupt or phantom.
    pub foreign: Vec<Foreign>,
    /// The records counted as missing.
    pub absent: Vec<(Fingerprint, usize)>,
}

impl Findings {
    /// Counts a finding and keeps its place if it is among the first of its kind.
    pub fn add(&mut self, kind: Kind, position: Option<usize>, offset: Option<i64>) {
        self.counts.add(kind, 1);
        if self.counts.of(kind) <= SAMPLES_MAX as u64 {
            self.samples.push(Sample { kind, position, offset });
        }
    }

    /// Counts a record that is nowhere expected: corrupt if it stands in the place of another.
    pub fn add_foreign(&mut self, actual: Actual, instead_of: Option<(Fingerprint, usize)>) {
        let foreign = Foreign { actual, instead_of };
        self.add(foreign.kind(), foreign.position(), Some(actual.offset));
        self.foreign.push(foreign);
    }

    /// Counts an expected record that is not there.
    pub fn add_missing(&mut self, fingerprint: Fingerprint, position: usize) {
        self.add(Kind::Missing, Some(position), None);
        self.absent.push((fingerprint, position));
    }

    /// Counts foreign records anew for which `kind` knows better; what one stood for is missing.
    pub fn reclassify(&mut self, mut kind: impl FnMut(&Foreign) -> Option<Kind>) {
        for foreign in std::mem::take(&mut self.foreign) {
            match kind(&foreign) {
                None => self.foreign.push(foreign),
                Some(kind) => {
                    let offset = Some(foreign.actual.offset);
                    self.take_back(foreign.kind(), foreign.position(), offset);
                    self.add(kind, None, offset);
                    if let Some((fingerprint, position)) = foreign.instead_of {
                        self.add_missing(fingerprint, position);
                    }
                }
            }
        }
    }

    /// Takes back that the expected records at `positions` are missing.
    pub fn found(&mut self, positions: &HashSet<usize>) {
        self.absent.retain(|(_, at)| !positions.contains(at));
        positions.iter().for_each(|&at| self.take_back(Kind::Missing, Some(at), None));
    }

    /// Adds the findings of a part, whose positions `position` maps to those of the whole.
    pub fn absorb(&mut self, part: Findings, position: impl Fn(usize) -> usize) {
        for kind in Kind::ALL {
            let kept = self.samples.iter().filter(|sample| sample.kind == kind).count();
            let samples = part.samples.iter().filter(|sample| sample.kind == kind);
            let more = samples.take(SAMPLES_MAX.saturating_sub(kept));
            let more: Vec<_> = more.map(|s| Sample { position: s.position.map(&position), ..*s }).collect();
            self.samples.extend(more);
        }
        Kind::ALL.into_iter().for_each(|kind| self.counts.add(kind, part.counts.of(kind)));
        let foreign = part.foreign.into_iter();
        let moved = |(fingerprint, at)| (fingerprint, position(at));
        self.foreign.extend(foreign.map(|f| Foreign { instead_of: f.instead_of.map(moved), ..f }));
        self.absent.extend(part.absent.into_iter().map(moved));
    }

    /// Takes back what [`add`](Findings::add) counted, with its sample if it was kept.
    pub fn take_back(&mut self, kind: Kind, position: Option<usize>, offset: Option<i64>) {
        self.counts.0[kind as usize] -= 1;
        let sample = Sample { kind, position, offset };
        self.samples.retain(|kept| *kept != sample);
    }
}

impl Foreign {
    /// What it is counted as.
    pub fn kind(&self) -> Kind {
        if self.instead_of.is_some() { Kind::Corrupt } else { Kind::Phantom }
    }

    fn position(&self) -> Option<usize> {
        self.instead_of.map(|(_, position)| position)
    }
}
