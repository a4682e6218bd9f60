//! The judge: knows what must have been written, and says what is wrong with what was.
//!
//! It is a function of the records that a reader sees, in the order in which the reader sees them;
//! it knows no client and no clock.

mod findings;
mod lane;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use findings::Findings;
pub use findings::{Counts, Fault, Finding};
use lane::{Lane, Sight};

use crate::event::{Load, Place, parse_number};

/// Which records must have kept their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// All of a partition.
    Partition,
    /// Those of a key.
    Key,
    /// None.
    None,
}

/// A record, as a reader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The topic it is in.
    pub place: Place,
    /// The partition it is in.
    pub partition: usize,
    /// Its offset there.
    pub offset: i64,
    /// The header with its number.
    pub number: Option<Vec<u8>>,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Its time, in milliseconds.
    pub timestamp: Option<i64>,
}

/// A sequence that must be complete and in order, within a topic and a partition.
type LaneId = (Place, usize, Option<u64>);

/// Judges what one reader sees.
#[derive(Debug)]
pub struct Judge {
    load: Load,
    order: Order,
    lanes: HashMap<LaneId, Lane>,
    offsets: BTreeMap<(Place, usize), i64>,
    distinct: BTreeMap<usize, u64>,
    /// Up to where the source has no more of a partition, and how many events before that are not due.
    excused: BTreeMap<usize, (u64, u64)>,
    findings: Findings,
}

impl Judge {
    /// A judge of the output of `load`.
    pub fn new(load: Load, order: Order) -> Judge {
        Judge {
            load,
            order,
            lanes: HashMap::new(),
            offsets: BTreeMap::new(),
            distinct: BTreeMap::new(),
            excused: BTreeMap::new(),
            findings: Findings::default(),
        }
    }

    /// Takes note of a record. `sent` is how many events of the partition may have been written to
    /// the source by now.
    pub fn see(&mut self, seen: &Seen, sent: u64) {
        self.findings.counts.records += 1;
        let before = self.offsets.insert((seen.place, seen.partition), seen.offset);
        if before.is_some_and(|before| before >= seen.offset) {
            self.findings.add(Fault::WentBack, seen, None);
        }
        let number = seen.number.as_deref().and_then(parse_number);
        let Some((partition, seq)) = number.filter(|&(partition, seq)| {
            partition == seen.partition && seq < sent && self.load.place(partition, seq) == seen.place
        }) else {
            return self.findings.add(Fault::Phantom, seen, None);
        };
        if !self.is_intact(seen, seq) {
            self.findings.add(Fault::Corrupt, seen, Some(seq));
        }
        let id = self.lane(seen.place, partition, seq);
        let (load, order) = (self.load, self.order);
        let lane = self.lanes.entry(id).or_default();
        let sight = lane.see(seq, |seq| is_member(load, order, id, seq));
        match sight {
            Sight::Twice => self.findings.add(Fault::Twice, seen, Some(seq)),
            Sight::Late if is_ordered(load, order, id) => {
                self.findings.add(Fault::OutOfOrder, seen, Some(seq))
            }
            Sight::Next | Sight::Early(_) | Sight::Late => {}
        }
        if sight != Sight::Twice {
            *self.distinct.entry(partition).or_default() += 1;
            if let Some((start, count)) = self.excused.get_mut(&partition).filter(|(start, _)| seq < *start) {
                debug_assert!(*count > 0, "below {start}");
                *count = count.saturating_sub(1);
            }
        }
    }

    /// What has been found so far; `lost` is 0.
    pub fn counts(&self) -> Counts {
        self.findings.counts
    }

    /// How many events of a partition have been seen, or are not due.
    pub fn accounted(&self, partition: usize) -> u64 {
        let seen = self.distinct.get(&partition).copied().unwrap_or(0);
        seen + self.excused.get(&partition).map_or(0, |(_, count)| *count)
    }

    /// The source has no events of a partition before `start` any more: those that have not been seen are not due.
    /// They may come all the same, as somebody may have read them before.
    pub fn excuse(&mut self, partition: usize, start: u64) {
        let count = self.unseen(partition, start);
        self.excused.insert(partition, (start, count));
    }

    /// How many events are not due and have not been seen.
    pub fn excused(&self) -> u64 {
        self.excused.values().map(|(_, count)| count).sum()
    }

    /// How many of the first `end` events of a partition have not been seen.
    pub fn unseen(&self, partition: usize, end: u64) -> u64 {
        self.ids(partition)
            .map(|id| match self.lanes.get(&id) {
                Some(lane) => lane.unseen(end, |seq| is_member(self.load, self.order, id, seq)),
                None => Lane::default().unseen(end, |seq| is_member(self.load, self.order, id, seq)),
            })
            .sum()
    }

    /// The first event of a partition below `end` that is due and has not been seen.
    pub fn first_unseen(&self, partition: usize, end: u64) -> Option<u64> {
        let start = self.excused.get(&partition).map_or(0, |(start, _)| *start);
        let empty = Lane::default();
        let first = |id| {
            let lane = self.lanes.get(&id).unwrap_or(&empty);
            lane.first_unseen(start..end, |seq| is_member(self.load, self.order, id, seq))
        };
        self.ids(partition).filter_map(first).min()
    }

    /// What is found in the end, when so many events of each partition were written to the source.
    pub fn finish(&self, written: &[u64]) -> Counts {
        let unseen = written.iter().enumerate().map(|(partition, &end)| self.unseen(partition, end));
        let lost = unseen.sum::<u64>().saturating_sub(self.excused());
        Counts { lost, ..self.findings.counts }
    }

    /// Some of what was found, for people to look into.
    pub fn examples(&self) -> &[Finding] {
        &self.findings.examples
    }

    fn is_intact(&self, seen: &Seen, seq: u64) -> bool {
        let event = self.load.event(seen.partition, seq);
        let value = self.load.output(seen.partition, seq);
        // A dead letter has the time at which it was written.
        let time = seen.place == Place::DeadLetter || seen.timestamp == Some(event.timestamp);
        time && seen.key.as_deref() == event.key.as_deref().map(str::as_bytes)
            && seen.value.as_deref() == value.as_deref().map(str::as_bytes)
    }

    fn lane(&self, place: Place, partition: usize, seq: u64) -> LaneId {
        let key = match self.order {
            Order::Partition | Order::None => None,
            Order::Key => self.load.key(partition, seq),
        };
        (place, partition, key)
    }

    fn ids(&self, partition: usize) -> impl Iterator<Item = LaneId> {
        let keys: Vec<Option<u64>> = match self.order {
            Order::Partition | Order::None => vec![None],
            Order::Key => std::iter::once(None).chain(Load::keys().map(Some)).collect(),
        };
        Place::ALL
            .into_iter()
            .flat_map(move |place| keys.clone().into_iter().map(move |key| (place, partition, key)))
    }
}

fn is_member(load: Load, order: Order, (place, partition, key): LaneId, seq: u64) -> bool {
    load.place(partition, seq) == place && (order != Order::Key || load.key(partition, seq) == key)
}

/// Records without a key have no order of their own, nor have dead letters among which are some that the
/// destination refused: those are written once it has done so.
fn is_ordered(load: Load, order: Order, (place, _, key): LaneId) -> bool {
    if place == Place::DeadLetter && load.refused_permille > 0 {
        return false;
    }
    match order {
        Order::Partition => true,
        Order::Key => key.is_some(),
        Order::None => false,
    }
}
