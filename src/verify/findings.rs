//! What a comparison finds.

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
    /// The expected position that it stands for if it is counted as corrupt.
    pub position: Option<usize>,
}

/// The findings of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Records expected and not there.
    pub missing: u64,
    /// Records there once more.
    pub duplicates: u64,
    /// Records out of turn.
    pub reordered: u64,
    /// Records with wrong bytes.
    pub corrupt: u64,
    /// Records that nothing explains.
    pub phantom: u64,
    /// The first places of each kind.
    pub samples: Vec<Sample>,
    /// The records counted as corrupt or phantom.
    pub foreign: Vec<Foreign>,
    /// The records counted as missing.
    pub absent: Vec<(Fingerprint, usize)>,
}

impl Findings {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.missing + self.duplicates + self.reordered + self.corrupt + self.phantom == 0
    }

    /// Counts a finding and keeps its place if it is among the first of its kind.
    pub fn add(&mut self, kind: Kind, position: Option<usize>, offset: Option<i64>) {
        let count = self.count_mut(kind);
        *count += 1;
        if *count <= SAMPLES_MAX as u64 {
            self.samples.push(Sample { kind, position, offset });
        }
    }

    /// Counts a record that is nowhere expected: corrupt at `position`, or a phantom.
    pub fn add_foreign(&mut self, actual: Actual, position: Option<usize>) {
        let kind = if position.is_some() { Kind::Corrupt } else { Kind::Phantom };
        self.add(kind, position, Some(actual.offset));
        self.foreign.push(Foreign { actual, position });
    }

    /// Counts an expected record that is not there.
    pub fn add_missing(&mut self, fingerprint: Fingerprint, position: usize) {
        self.add(Kind::Missing, Some(position), None);
        self.absent.push((fingerprint, position));
    }

    /// Takes back what [`add`](Findings::add) counted, with its sample if it was kept.
    pub fn take_back(&mut self, kind: Kind, position: Option<usize>, offset: Option<i64>) {
        *self.count_mut(kind) -= 1;
        let sample = Sample { kind, position, offset };
        self.samples.retain(|kept| *kept != sample);
    }

    fn count_mut(&mut self, kind: Kind) -> &mut u64 {
        match kind {
            Kind::Missing => &mut self.missing,
            Kind::Duplicate => &mut self.duplicates,
            Kind::Reordered => &mut self.reordered,
            Kind::Corrupt => &mut self.corrupt,
            Kind::Phantom => &mut self.phantom,
        }
    }
}
