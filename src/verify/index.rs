//! Finds the positions of a fingerprint among the expected records: 4 bytes a record.

use std::ops::Range;

use super::fingerprint::Fingerprint;

/// How many positions are looked at on each side of the frontier.
const NEAR_MAX: usize = 64;

/// The positions of a sequence in the order of their fingerprints.
#[derive(Debug)]
pub(super) struct Index {
    positions: Vec<u32>,
}

impl Index {
    /// An index of `sequence`; every other call must get the same one.
    ///
    /// # Panics
    /// With more than `u32::MAX` records, whose fingerprints alone would be 64 GiB.
    pub(super) fn new(sequence: &[Fingerprint]) -> Index {
        let len = u32::try_from(sequence.len()).expect("a partition's records fit 32 bits");
        let mut positions: Vec<u32> = (0..len).collect();
        positions.sort_unstable_by_key(|&position| (sequence[position as usize], position));
        Index { positions }
    }

    /// Whether `fingerprint` occurs.
    pub(super) fn contains(&self, sequence: &[Fingerprint], fingerprint: &Fingerprint) -> bool {
        self.positions.binary_search_by_key(fingerprint, |&position| sequence[position as usize]).is_ok()
    }

    /// Whether `fingerprint` occurs at a position in `range`.
    pub(super) fn occurs(
        &self,
        sequence: &[Fingerprint],
        fingerprint: &Fingerprint,
        range: Range<usize>,
    ) -> bool {
        let of = |&position: &u32| (sequence[position as usize], position as usize);
        let at = self.positions.partition_point(|position| of(position) < (*fingerprint, range.start));
        self.positions.get(at).is_some_and(|position| of(position) < (*fingerprint, range.end))
    }

    /// The positions of `fingerprint` that are nearest to `frontier`: first those before it, the
    /// nearest first, then those from it on.
    pub(super) fn near<'a>(
        &'a self,
        sequence: &[Fingerprint],
        fingerprint: &Fingerprint,
        frontier: usize,
    ) -> impl Iterator<Item = usize> + use<'a> {
        let of = |&position: &u32| (sequence[position as usize], position as usize);
        let start = self.positions.partition_point(|position| of(position) < (*fingerprint, 0));
        let middle = self.positions.partition_point(|position| of(position) < (*fingerprint, frontier));
        let end = self.positions.partition_point(|position| of(position).0 <= *fingerprint);
        let before = self.positions[start..middle].iter().rev().take(NEAR_MAX);
        before.chain(self.positions[middle..end].iter().take(NEAR_MAX)).map(|&position| position as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_come_nearest_first() {
        let of = |content| Fingerprint { place: 0, content };
        let sequence: Vec<_> = [3, 1, 3, 2, 3, 1, 3].map(of).into();
        let index = Index::new(&sequence);
        let near = |content, frontier| index.near(&sequence, &of(content), frontier).collect::<Vec<_>>();
        assert_eq!(near(3, 4), [2, 0, 4, 6]);
        assert_eq!(near(1, 0), [1, 5]);
        assert_eq!(near(1, 7), [5, 1]);
        assert!(near(4, 2).is_empty());
        assert!(index.occurs(&sequence, &of(2), 2..4) && !index.occurs(&sequence, &of(2), 0..3));
        assert!(index.contains(&sequence, &of(2)) && !index.contains(&sequence, &of(0)));
    }
}
