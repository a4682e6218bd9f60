//! What a judge has found.

use std::fmt;

use super::Seen;
use crate::event::Place;

/// The most examples of each kind.
const EXAMPLES: usize = 5;

/// What may be wrong with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The event has been seen before.
    Twice,
    /// An event that should have come after it was seen before it.
    OutOfOrder,
    /// Key, value or time are not what they must be.
    Corrupt,
    /// No such event was written, or not to this partition, or it belongs to the other topic.
    Phantom,
    /// Its offset is not greater than that of the record before it.
    WentBack,
}

/// A record with which something is wrong.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What.
    pub fault: Fault,
    /// The topic.
    pub place: Place,
    /// The partition.
    pub partition: usize,
    /// The offset.
    pub offset: i64,
    /// The event's number within its partition, as far as it is known.
    pub seq: Option<u64>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {:?} {} offset {}", self.fault, self.place, self.partition, self.offset)?;
        self.seq.map_or(Ok(()), |seq| write!(f, ", event {seq}"))
    }
}

/// How many records are how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All that were seen.
    pub records: u64,
    /// Events that were not seen at all.
    pub lost: u64,
    /// Records of events that had been seen before.
    pub twice: u64,
    /// Records that came later than one that should have come after them.
    pub out_of_order: u64,
    /// Records with a wrong key, value or time.
    pub corrupt: u64,
    /// Records that should not be where they are.
    pub phantom: u64,
    /// Records that came with an offset below the last.
    pub went_back: u64,
}

#[derive(Debug, Default)]
pub(super) struct Findings {
    pub counts: Counts,
    pub examples: Vec<Finding>,
}

impl Findings {
    pub fn add(&mut self, fault: Fault, seen: &Seen, seq: Option<u64>) {
        *match fault {
            Fault::Twice => &mut self.counts.twice,
            Fault::OutOfOrder => &mut self.counts.out_of_order,
            Fault::Corrupt => &mut self.counts.corrupt,
            Fault::Phantom => &mut self.counts.phantom,
            Fault::WentBack => &mut self.counts.went_back,
        } += 1;
        if self.examples.iter().filter(|example| example.fault == fault).count() < EXAMPLES {
            let Seen { place, partition, offset, .. } = *seen;
            self.examples.push(Finding { fault, place, partition, offset, seq });
        }
    }
}
