//! The records that are absent, as ranges: lost, or behind what the group has committed.

use super::{expected::Expected, findings::Kind, fingerprint::Original, letters::LetterFinding};

/// Consecutive source records of a partition of which nothing is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    /// The offset of the first.
    pub first: i64,
    /// The offset of the last.
    pub last: i64,
    /// How many there are; offsets in between may belong to no record.
    pub count: u64,
    /// Whether nothing that is expected follows them.
    pub is_tail: bool,
}

/// The gaps in what is `expected` of a partition, of which the records at the positions `absent` are, and in the
/// letters about it, of which those that are `due` are expected: below `committed` they are missing, from there
/// on they are behind.
pub(super) fn gaps(
    expected: &Expected,
    absent: impl Iterator<Item = usize>,
    due: &[Original],
    letters: &[LetterFinding],
    committed: Option<i64>,
) -> (Vec<Gap>, Vec<Gap>) {
    // Outputs and letters in one order, that of the source records: a number and an offset each.
    let outputs = absent.map(|position| {
        let offset = expected.offset(position);
        (position + due.partition_point(|original| original.offset < offset), offset)
    });
    let letters = letters.iter().filter(|finding| finding.kind == Kind::Missing).map(|finding| {
        let before = due.partition_point(|original| original.offset < finding.offset);
        (before + expected.position_of(finding.offset), finding.offset)
    });
    let mut absent: Vec<(usize, i64)> = outputs.chain(letters).collect();
    absent.sort_unstable();
    let total = expected.outputs + due.len();
    let (mut missing, mut behind) = (Vec::<Gap>::new(), Vec::new());
    let mut previous = None;
    for (number, offset) in absent {
        let is_behind = committed.is_some_and(|committed| offset >= committed);
        let gaps = if is_behind { &mut behind } else { &mut missing };
        let is_tail = number + 1 == total;
        match gaps.last_mut() {
            Some(gap) if previous == Some((number.wrapping_sub(1), is_behind)) => {
                *gap = Gap { last: offset, count: gap.count + 1, is_tail, ..*gap };
            }
            _ => gaps.push(Gap { first: offset, last: offset, count: 1, is_tail }),
        }
        previous = Some((number, is_behind));
    }
    (missing, behind)
}
