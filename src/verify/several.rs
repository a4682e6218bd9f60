//! Compares a partition that several partitions of the source write to, as those of a transform that chooses a
//! partition: what comes of each is in its order, and how they mix is nobody's business.

use std::ops::Range;

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

/// The records of each origin, and those of none. Equal ones may come of several origins: each goes to the one in
/// whose order it stands after the record before, or before the record after. That is the next one at first, and
/// any at all where an origin was read again: then only the record after tells.
fn divide(
    origins: &[Origin],
    sequence: &[Fingerprint],
    actual: Vec<(u64, Actual)>,
) -> (Vec<Vec<(u64, Actual)>>, Vec<Actual>) {
    let index = Index::new(sequence);
    let ranges: Vec<Range<usize>> =
        origins.iter().map(|origin| origin.first..origin.first + origin.expected.sequence.len()).collect();
    // The origin and the position nearest to where each origin should go on, and how far from there.
    let fits = |fingerprint: &Fingerprint, due: &[usize]| {
        let of = |(at, (range, due)): (usize, (&Range<usize>, &usize))| {
            let near = index.near(sequence, fingerprint, *due).filter(|position| range.contains(position));
            near.map(|position| (position.abs_diff(*due), at, position)).min()
        };
        ranges.iter().zip(due).enumerate().filter_map(of).min()
    };
    let mut due: Vec<usize> = ranges.iter().map(|range| range.end.saturating_sub(1)).collect();
    let mut backwards: Vec<_> = (actual.iter().rev())
        .map(|(_, actual)| {
            let fit = fits(&actual.fingerprint, &due);
            if let Some((_, at, position)) = fit {
                due[at] = position.saturating_sub(1);
            }
            fit
        })
        .collect();
    let mut due: Vec<usize> = ranges.iter().map(|range| range.start).collect();
    let mut shares: Vec<Vec<(u64, Actual)>> = origins.iter().map(|_| Vec::new()).collect();
    let mut strangers = Vec::new();
    for (key, actual) in actual {
        let fit = match (fits(&actual.fingerprint, &due), backwards.pop().flatten()) {
            (Some(after), Some(before)) if before.2.abs_diff(due[before.1]) == after.0 => Some(before),
            (Some(after), _) if after.0 == 0 => Some(after),
            (after, before) => after.into_iter().chain(before).min(),
        };
        match fit {
            Some((_, at, position)) => {
                due[at] = position + 1;
                shares[at].push((key, actual));
            }
            None => strangers.push(actual),
        }
    }
    (shares, strangers)
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng, rngs::StdRng};

    use super::{
        super::{expected::Expected, findings::Kind},
        *,
    };

    /// What three origins lead to, with a record in forty that all of them have, read in turn; now and then one is
    /// read again from some records before.
    fn replayed(rng: &mut StdRng) -> (Vec<Vec<u64>>, Vec<u64>) {
        let unique = |origin: u64, at: u64| 1000 + origin * 10_000 + at;
        let expected: Vec<Vec<u64>> =
            (0..3)
                .map(|origin| {
                    (0..500)
                        .map(|at| {
                            if rng.random_ratio(1, 40) { rng.random_range(0..20) } else { unique(origin, at) }
                        })
                        .collect()
                })
                .collect();
        let (mut next, mut written) = ([0; 3], Vec::new());
        while let Some(left) = (0..3).filter(|at| next[*at] < 500).max_by_key(|_| rng.random::<u32>()) {
            let count = rng.random_range(1..40).min(500 - next[left]);
            written.extend_from_slice(&expected[left][next[left]..][..count]);
            next[left] += count;
            if rng.random_ratio(1, 10) {
                next[left] -= rng.random_range(0..60).min(next[left]);
            }
        }
        (expected, written)
    }

    #[test]
    fn what_is_read_again_is_twice_there_and_in_order() {
        let mut others = 0;
        for seed in 0..200 {
            let (expected, written) = replayed(&mut StdRng::seed_from_u64(seed));
            let fingerprint = |content: u64| Fingerprint { place: content, content };
            let mut first = 0;
            let origins: Vec<Origin> = (expected.iter())
                .map(|contents| {
                    let mut origin =
                        Origin { number: 0, first, expected: Expected::default(), is_cut: false };
                    origin.expected.sequence = contents.iter().map(|content| fingerprint(*content)).collect();
                    first += contents.len();
                    origin
                })
                .collect();
            let actual = written
                .iter()
                .zip(0..)
                .map(|(content, offset)| (0, Actual { offset, fingerprint: fingerprint(*content) }));
            let found = compare(&origins, actual.collect(), Order::Partition);
            others += found.counts.total() - found.counts.of(Kind::Duplicate);
            assert!(found.counts.of(Kind::Duplicate) >= (written.len() - 1500) as u64, "seed {seed}");
        }
        // Where equal ones follow one another, nothing tells whose they are.
        assert!(others <= 1, "{others} of {} records", 200 * 1500);
    }
}
