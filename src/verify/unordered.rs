//! Comparisons that ask for less than the order of a whole partition.

use super::{
    compare::Comparison,
    findings::{Actual, Findings, Kind},
    fingerprint::{Fingerprint, key_hash},
};

/// Compares without any order: each expected record must be there once. Where the source is `cut`,
/// what is not expected may belong to records that are gone if it comes before most of the others,
/// and an equal one if it comes before them all.
pub(super) fn compare_unordered(expected: &[Fingerprint], mut actual: Vec<Actual>, cut: bool) -> Findings {
    let mut findings = Findings::default();
    let mut order: Vec<usize> = (0..expected.len()).collect();
    order.sort_unstable_by_key(|&position| (expected[position], position));
    // Of equal ones the first is the expected one; of a cut source the last, as those before may
    // belong to records that are gone.
    let offset = |actual: &Actual| if cut { -actual.offset } else { actual.offset };
    actual.sort_unstable_by_key(|actual| (actual.fingerprint, offset(actual)));
    let mut absent = Vec::new();
    let mut surplus = Vec::new();
    let mut places = Vec::new();
    let mut actual = actual.into_iter().peekable();
    let mut last = None;
    let same_as = |last: Option<(Fingerprint, usize)>, extra: &Actual| {
        last.filter(|(of, _)| *of == extra.fingerprint).map(|(_, position)| position)
    };
    for position in order {
        let wanted = expected[position];
        while let Some(extra) = actual.next_if(|next| next.fingerprint < wanted) {
            surplus.push((same_as(last, &extra), extra));
        }
        match actual.next_if(|next| next.fingerprint == wanted) {
            Some(there) => {
                last = Some((wanted, position));
                places.extend(cut.then_some((there.offset, true)));
            }
            None => absent.push((wanted, position)),
        }
    }
    surplus.extend(actual.map(|extra| (same_as(last, &extra), extra)));
    let mut foreign = Vec::new();
    let [equal_from, strange_from] = if cut {
        places.extend(surplus.iter().map(|(same_as, extra)| (extra.offset, same_as.is_some())));
        [beginning(&mut places), middle(&places)]
    } else {
        [0; 2]
    };
    for (same_as, extra) in surplus {
        match same_as {
            Some(_) if extra.offset < equal_from => findings.add_unchecked(extra.offset),
            None if extra.offset < strange_from => findings.add_unchecked(extra.offset),
            Some(position) => findings.add(Kind::Duplicate, Some(position), extra.offset),
            None => foreign.push(extra),
        }
    }
    pair(&mut findings, absent, foreign);
    findings
}

/// The offset that best separates `places`, each an offset and whether what is there is expected,
/// into those that are not and those that are. Sorts them.
fn beginning(places: &mut [(i64, bool)]) -> i64 {
    places.sort_unstable();
    let mut out_of_place = places.iter().filter(|(_, expected)| !expected).count();
    let mut best = (out_of_place, 0);
    for &(offset, expected) in &*places {
        if expected {
            out_of_place += 1;
        } else {
            out_of_place -= 1;
        }
        if out_of_place <= best.0 {
            best = (out_of_place, offset + 1);
        }
    }
    best.1
}

/// The offset behind which half of what is expected lies, for sorted places.
pub(super) fn middle(places: &[(i64, bool)]) -> i64 {
    let expected: Vec<i64> = places.iter().filter(|(_, expected)| *expected).map(|(at, _)| *at).collect();
    expected.get(expected.len() / 2).copied().unwrap_or(i64::MAX)
}

/// A record that is nowhere expected stands for a missing one with its key and timestamp.
pub(super) fn pair(findings: &mut Findings, mut absent: Vec<(Fingerprint, usize)>, mut foreign: Vec<Actual>) {
    absent.sort_unstable();
    foreign.sort_unstable_by_key(|actual| (actual.fingerprint.place, actual.offset));
    let mut foreign = foreign.into_iter().peekable();
    for (wanted, position) in absent {
        while let Some(stranger) = foreign.next_if(|next| next.fingerprint.place < wanted.place) {
            findings.add_foreign(stranger, None);
        }
        match foreign.next_if(|next| next.fingerprint.place == wanted.place) {
            Some(stranger) => findings.add_foreign(stranger, Some((wanted, position))),
            None => findings.add_missing(wanted, position),
        }
    }
    foreign.for_each(|stranger| findings.add_foreign(stranger, None));
}

/// Compares the records of each key in their order; `keys` are the hashes of the expected keys,
/// and each actual record comes with its own. Records without a key have no order.
pub(super) fn compare_by_key(
    expected: &[Fingerprint],
    keys: &[u64],
    actual: Vec<(u64, Actual)>,
    cut: bool,
) -> Findings {
    let mut order: Vec<usize> = (0..expected.len()).collect();
    order.sort_by_key(|&position| keys[position]);
    let sequence: Vec<_> = order.iter().map(|&position| expected[position]).collect();
    let mut actual = actual;
    actual.sort_by_key(|&(key, _)| key);
    let mut findings = Findings::default();
    let (mut start, mut rest) = (0, &actual[..]);
    while start < order.len() || !rest.is_empty() {
        let wanted = order.get(start).map(|&position| keys[position]);
        let there = rest.first().map(|&(key, _)| key);
        let key = wanted.into_iter().chain(there).min().expect("one of them has records left");
        let end = start + order[start..].iter().take_while(|&&position| keys[position] == key).count();
        let (group, after) = rest.split_at(rest.partition_point(|&(of, _)| of <= key));
        let group = group.iter().map(|&(_, actual)| actual);
        let found = if key == key_hash(None) {
            compare_unordered(&sequence[start..end], group.collect(), cut)
        } else {
            let mut comparison = Comparison::new(&sequence[start..end]).after_a_cut(cut);
            group.for_each(|actual| comparison.push(actual));
            comparison.finish()
        };
        findings.absorb(found, |position| order[start + position]);
        (start, rest) = (end, after);
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprints(contents: &[u64]) -> Vec<Fingerprint> {
        contents.iter().map(|&content| Fingerprint { place: content / 100, content }).collect()
    }

    fn actual(contents: &[u64]) -> Vec<Actual> {
        let all = fingerprints(contents).into_iter().enumerate();
        all.map(|(offset, fingerprint)| Actual { fingerprint, offset: offset as i64 }).collect()
    }

    fn counts(found: &Findings) -> [u64; 5] {
        let all = Kind::ALL.map(|kind| found.counts.of(kind));
        [all[0], all[1], all[2], all[3], all[4]]
    }

    #[test]
    fn without_order_only_the_number_of_each_counts() {
        let compare = |expected: &[u64], there: &[u64]| {
            counts(&compare_unordered(&fingerprints(expected), actual(there), false))
        };
        assert_eq!(compare(&[3, 1, 2, 1], &[1, 1, 2, 3]), [0; 5]);
        assert_eq!(compare(&[3, 1, 2, 1], &[1, 2, 3]), [1, 0, 0, 0, 0]);
        assert_eq!(compare(&[3, 1, 2], &[1, 1, 1, 2, 3, 3]), [0, 3, 0, 0, 0]);
        assert_eq!(compare(&[3, 1, 2], &[1, 50, 3]), [0, 0, 0, 1, 0]);
        assert_eq!(compare(&[3, 1, 2], &[1, 500, 3]), [1, 0, 0, 0, 1]);
        assert_eq!(compare(&[], &[7]), [0, 0, 0, 0, 1]);
    }

    #[test]
    fn each_key_has_its_own_order() {
        // The key is the ten's digit.
        let key = |content: &u64| key_hash(Some(&(content / 10).to_le_bytes()));
        let compare = |expected: &[u64], there: &[u64]| {
            let keys: Vec<_> = expected.iter().map(key).collect();
            let there = there.iter().map(key).zip(actual(there)).collect();
            compare_by_key(&fingerprints(expected), &keys, there, false)
        };
        let expected = [10, 20, 11, 21, 12, 22];
        assert!(compare(&expected, &expected).counts.total() == 0);
        assert!(compare(&expected, &[20, 10, 11, 12, 21, 22]).counts.total() == 0);
        let found = compare(&expected, &[10, 20, 22, 11, 21, 12]);
        assert_eq!(counts(&found), [0, 0, 1, 0, 0]);
        let found = compare(&expected, &[10, 20, 21, 12, 22]);
        assert_eq!((counts(&found), found.absent[0].1), ([1, 0, 0, 0, 0], 2));
        assert_eq!(counts(&compare(&expected, &[10, 20, 11, 21, 12, 22, 30])), [0, 0, 0, 0, 1]);
    }

    #[test]
    fn what_stands_before_what_a_cut_has_left_is_not_checked() {
        let compare = |expected: &[u64], there: &[u64]| {
            let found = compare_unordered(&fingerprints(expected), actual(there), true);
            (counts(&found), found.unchecked.map_or(0, |unchecked| unchecked.count))
        };
        let left = [7, 8, 9, 10];
        assert_eq!(compare(&left, &[5, 7, 6, 9, 8, 10]), ([0; 5], 2));
        assert_eq!(compare(&left, &[5, 7, 6, 9, 8, 10, 500]), ([0, 0, 0, 0, 1], 2));
        assert_eq!(compare(&left, &[5, 6, 7, 9, 10]), ([1, 0, 0, 0, 0], 2));
        assert_eq!(compare(&[], &[5, 6]), ([0; 5], 2));
        // One that is gone was equal to one that is left; a copy that comes later is one too many.
        assert_eq!(compare(&left, &[8, 6, 7, 8, 9, 10]), ([0; 5], 2));
        assert_eq!(compare(&left, &[6, 7, 8, 9, 10, 8]), ([0, 1, 0, 0, 0], 1));
    }

    #[test]
    fn records_without_a_key_have_no_order() {
        let keys = [key_hash(None); 3];
        let there = actual(&[3, 1, 2]).into_iter().map(|actual| (key_hash(None), actual)).collect();
        assert!(compare_by_key(&fingerprints(&[1, 2, 3]), &keys, there, false).counts.total() == 0);
    }
}
