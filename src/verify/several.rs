//! Compares a partition that several partitions of the source write to, as those of a transform that chooses a
//! partition: what comes of each is in its order, and how they mix is nobody's business.

use super::{
    Origin,
    compare::Comparison,
    findings::{Actual, Findings},
    fingerprint::Fingerprint,
    index::Index,
    unordered::{compare_by_key, compare_unordered, middle, pair},
};
use crate::strategy::Order;

/// Compares what the `origins` should have led to, one after the other, with what is there; each actual record
/// comes with the hash of its key. Positions count through all origins.
pub(super) fn compare(origins: &[Origin], actual: Vec<(u64, Actual)>, order: Order) -> Findings {
    let sequence: Vec<Fingerprint> =
        origins.iter().flat_map(|origin| origin.expected.sequence.iter().copied()).collect();
    let is_cut = origins.iter().any(|origin| origin.is_cut);
    if order == Order::None {
        return compare_unordered(&sequence, actual.into_iter().map(|(_, actual)| actual).collect(), is_cut);
    }
    let (shares, strangers) = divide(origins, &sequence, actual);
    let mut findings = Findings::default();
    let mut places: Vec<(i64, bool)> =
        shares.iter().flatten().map(|(_, actual)| (actual.offset, true)).collect();
    places.sort_unstable();
    for (origin, share) in origins.iter().zip(shares) {
        let expected = &origin.expected;
        let found = if order == Order::Key {
            compare_by_key(&expected.sequence, &expected.keys, share, origin.is_cut)
        } else {
            let mut comparison = Comparison::new(&expected.sequence).after_a_cut(origin.is_cut);
            share.into_iter().for_each(|(_, actual)| comparison.push(actual));
            comparison.finish()
        };
        findings.absorb(found, |position| origin.first + position);
    }
    // Of a source that has lost its beginning, what came of that stands before most of the others.
    let from = if is_cut { middle(&places) } else { i64::MIN };
    let (unchecked, strangers): (Vec<Actual>, _) = strangers.into_iter().partition(|at| at.offset < from);
    unchecked.iter().for_each(|actual| findings.add_unchecked(actual.offset));
    let absent = findings.take_absent();
    pair(&mut findings, absent, strangers);
    findings
}

/// The records of each origin, and those of none. Equal ones may come of several origins: each goes to the one
/// in whose order it is next, as far as that can be told.
fn divide(
    origins: &[Origin],
    sequence: &[Fingerprint],
    actual: Vec<(u64, Actual)>,
) -> (Vec<Vec<(u64, Actual)>>, Vec<Actual>) {
    let index = Index::new(sequence);
    let mut frontiers: Vec<usize> = origins.iter().map(|origin| origin.first).collect();
    let mut shares: Vec<Vec<(u64, Actual)>> = origins.iter().map(|_| Vec::new()).collect();
    let mut strangers = Vec::new();
    for (key, actual) in actual {
        let candidates = frontiers.iter().zip(origins).enumerate().filter_map(|(at, (frontier, origin))| {
            let range = origin.first..origin.first + origin.expected.sequence.len();
            let near = index.near(sequence, &actual.fingerprint, *frontier);
            let distance = |position: usize| (position < *frontier, position.abs_diff(*frontier));
            let nearest = near.filter(|position| range.contains(position)).min_by_key(|at| distance(*at))?;
            Some((distance(nearest), at, nearest))
        });
        match candidates.min() {
            Some((_, at, position)) => {
                frontiers[at] = frontiers[at].max(position + 1);
                shares[at].push((key, actual));
            }
            None => strangers.push(actual),
        }
    }
    (shares, strangers)
}
