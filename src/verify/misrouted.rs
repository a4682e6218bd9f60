//! Separates records in the wrong partition from those that belong nowhere.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Partition, findings::Kind, fingerprint::Fingerprint};
use crate::batch::TopicPartition;

/// The records that no partition is missing; they may still be second copies of another
/// partition's.
pub(super) struct Strangers {
    all: HashSet<Fingerprint>,
    expected_in: HashSet<Fingerprint>,
}

/// Counts the foreign records of each partition that another one misses as misrouted, and no
/// longer as missing there.
pub(super) fn resolve(partitions: &mut BTreeMap<TopicPartition, Partition>) -> Strangers {
    // Again after each change: a record that was in another's place leaves a gap, which yet another
    // may fill.
    while partitions.len() > 1 && resolve_once(partitions) {}
    let foreign = partitions.values().flat_map(|partition| &partition.findings.foreign);
    Strangers {
        all: foreign.map(|foreign| foreign.actual.fingerprint).collect(),
        expected_in: HashSet::new(),
    }
}

fn resolve_once(partitions: &mut BTreeMap<TopicPartition, Partition>) -> bool {
    if partitions.values().all(|partition| partition.findings.foreign.is_empty()) {
        return false;
    }
    let mut absent: HashMap<Fingerprint, Vec<(TopicPartition, usize)>> = HashMap::new();
    for (number, partition) in partitions.iter() {
        for &(fingerprint, position) in &partition.findings.absent {
            absent.entry(fingerprint).or_default().push((number.clone(), position));
        }
    }
    let mut found: BTreeMap<TopicPartition, HashSet<usize>> = BTreeMap::new();
    for (number, partition) in partitions.iter_mut() {
        partition.findings.reclassify(|foreign| {
            let places = absent.get_mut(&foreign.actual.fingerprint)?;
            let place = places.iter().position(|(of, _)| of != number)?;
            let (of, position) = places.swap_remove(place);
            found.entry(of).or_default().insert(position);
            Some(Kind::Misrouted)
        });
    }
    for (number, positions) in &found {
        if let Some(partition) = partitions.get_mut(number) {
            partition.findings.found(positions);
        }
    }
    !found.is_empty()
}

impl Strangers {
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Notes which of them are expected in a partition, which is not the one they stand in.
    pub(super) fn look_up(&mut self, sequence: &[Fingerprint]) {
        let known = sequence.iter().filter(|fingerprint| self.all.contains(fingerprint));
        self.expected_in.extend(known);
    }

    /// Counts those that were found as misrouted. What had been taken for wrong bytes leaves a gap,
    /// which another of them may fill.
    pub(super) fn settle(&self, partitions: &mut BTreeMap<TopicPartition, Partition>) {
        let mut moved: HashMap<Fingerprint, usize> = HashMap::new();
        for partition in partitions.values_mut() {
            partition.findings.reclassify(|foreign| {
                let fingerprint = foreign.actual.fingerprint;
                self.expected_in.contains(&fingerprint).then(|| {
                    *moved.entry(fingerprint).or_default() += 1;
                    Kind::Misrouted
                })
            });
        }
        for partition in partitions.values_mut() {
            let mut found = HashSet::new();
            for (fingerprint, position) in &partition.findings.absent {
                if let Some(left) = moved.get_mut(fingerprint).filter(|left| **left > 0) {
                    *left -= 1;
                    found.insert(*position);
                }
            }
            partition.findings.found(&found);
        }
    }
}
