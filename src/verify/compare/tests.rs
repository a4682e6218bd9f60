use proptest::prelude::*;

use super::*;
use crate::verify::findings::{Run, Unchecked};

fn fingerprint(content: u64) -> Fingerprint {
    Fingerprint { place: content / 1_000_000, content }
}

fn compare(expected: &[u64], actual: &[u64]) -> Findings {
    let expected: Vec<_> = expected.iter().map(|&content| fingerprint(content)).collect();
    let mut comparison = Comparison::new(&expected);
    for (offset, &content) in actual.iter().enumerate() {
        comparison.push(Actual { fingerprint: fingerprint(content), offset: offset as i64 });
    }
    comparison.finish()
}

/// Missing, duplicates, reordered, corrupt, phantom.
fn counts(expected: &[u64], actual: &[u64]) -> [u64; 5] {
    let found = compare(expected, actual).counts;
    [Kind::Missing, Kind::Duplicate, Kind::Reordered, Kind::Corrupt, Kind::Phantom].map(|kind| found.of(kind))
}

fn sequence(range: std::ops::Range<u64>) -> Vec<u64> {
    range.collect()
}

#[test]
fn a_chunk_written_again_is_duplicates_and_nothing_else() {
    let expected = sequence(0..1000);
    for (from, to, times) in [(80, 101, 1), (0, 1000, 1), (500, 900, 1), (300, 301, 1), (80, 101, 3)] {
        let mut actual = sequence(0..to);
        for _ in 0..times {
            actual.extend(from..to);
        }
        actual.extend(to..1000);
        assert_eq!(counts(&expected, &actual), [0, (to - from) * times, 0, 0, 0], "{from}..{to}");
    }
}

#[test]
fn a_crash_behind_a_gap_in_flight_is_duplicates_only() {
    // The replay starts at the committed offset, which is below what had been written.
    let mut actual = sequence(0..700);
    actual.extend(250..1000);
    assert_eq!(counts(&sequence(0..1000), &actual), [0, 450, 0, 0, 0]);
}

#[test]
fn gaps_are_missing_wherever_they_are() {
    let expected = sequence(0..1000);
    for (from, to) in [(0, 1), (0, 400), (500, 501), (300, 900), (999, 1000), (600, 1000), (0, 1000)] {
        let actual: Vec<_> = (0..from).chain(to..1000).collect();
        let found = compare(&expected, &actual);
        assert_eq!(found.counts.of(Kind::Missing), to - from, "{from}..{to}");
        assert_eq!(found.counts.total(), to - from);
        let absent: Vec<_> = found.absent.iter().map(|&(_, position)| position as u64).collect();
        assert_eq!(absent, sequence(from..to));
    }
}

#[test]
fn most_records_may_be_missing() {
    let actual: Vec<_> = (0..1000).step_by(10).collect();
    assert_eq!(counts(&sequence(0..1000), &actual), [900, 0, 0, 0, 0]);
}

#[test]
fn records_out_of_turn_count_as_few_as_possible() {
    let expected = sequence(0..1000);
    let moved = |from: usize, len: usize, to: usize| {
        let mut actual = sequence(0..1000);
        let chunk: Vec<_> = actual.drain(from..from + len).collect();
        actual.splice(to..to, chunk);
        counts(&expected, &actual)
    };
    assert_eq!(moved(100, 1, 101), [0, 0, 1, 0, 0]);
    assert_eq!(moved(100, 1, 700), [0, 0, 1, 0, 0]);
    assert_eq!(moved(700, 1, 100), [0, 0, 1, 0, 0]);
    assert_eq!(moved(100, 20, 400), [0, 0, 20, 0, 0]);
    assert_eq!(moved(400, 20, 100), [0, 0, 20, 0, 0]);
    assert_eq!(moved(0, 300, 700), [0, 0, 300, 0, 0]);
    let mut swapped = sequence(0..1000);
    swapped.swap(200, 800);
    assert_eq!(counts(&expected, &swapped), [0, 0, 2, 0, 0]);
    let mut two_early = sequence(0..1000);
    for from in [650, 600] {
        let record = two_early.remove(from);
        two_early.insert(100, record);
    }
    assert_eq!(counts(&expected, &two_early), [0, 0, 2, 0, 0]);
}

#[test]
fn wrong_bytes_and_strangers_are_told_apart_by_what_follows() {
    let expected = sequence(0..1000);
    for (at, len) in [(0, 1), (500, 1), (999, 1), (500, 60), (500, 300), (0, 1000)] {
        let mut wrong = expected.clone();
        wrong[at..at + len].iter_mut().for_each(|content| *content += 5000);
        assert_eq!(counts(&expected, &wrong), [0, 0, 0, len as u64, 0], "{len} at {at}");
        let mut more = expected.clone();
        more.splice(at..at, (0..len as u64).map(|i| 7_000_000 + i));
        assert_eq!(counts(&expected, &more), [0, 0, 0, 0, len as u64], "{len} at {at}");
    }
    assert_eq!(counts(&[], &[1, 2]), [0, 0, 0, 0, 2]);
    assert_eq!(counts(&[], &[]), [0; 5]);
}

#[test]
fn runs_name_position_and_offset() {
    let found = compare(&[10, 11, 12, 13], &[10, 11, 10, 11, 99_000_000, 12, 13]);
    assert_eq!(
        found.runs,
        [
            Run { kind: Kind::Duplicate, position: Some(0), offset: 2, len: 2 },
            Run { kind: Kind::Phantom, position: None, offset: 4, len: 1 },
        ]
    );
}

/// What `actual` has more and less than what a cut source is expected to give.
fn compare_after_a_cut(expected: &[u64], actual: &[u64]) -> (Findings, Option<Unchecked>) {
    let expected: Vec<_> = expected.iter().map(|&content| fingerprint(content)).collect();
    let mut comparison = Comparison::new(&expected).after_a_cut(true);
    for (offset, &content) in actual.iter().enumerate() {
        comparison.push(Actual { fingerprint: fingerprint(content), offset: offset as i64 });
    }
    let found = comparison.finish();
    let unchecked = found.unchecked;
    (found, unchecked)
}

#[test]
fn what_stands_before_what_a_cut_has_left_is_not_checked() {
    for cut in [0, 1, 20, 127, 128, 129, 500, 999, 1000] {
        let (found, unchecked) = compare_after_a_cut(&sequence(cut..1000), &sequence(0..1000));
        let last = cut as i64 - 1;
        let before = (cut > 0).then_some(Unchecked { first: 0, last, count: cut });
        assert_eq!((found.counts.total(), unchecked), (0, before), "{cut}");
    }
    // Some of what is gone was equal to something that is left.
    let mut actual = sequence(0..1000);
    actual[480] = 900;
    actual[499] = 501;
    let (found, unchecked) = compare_after_a_cut(&sequence(500..1000), &actual);
    assert_eq!((found.counts.total(), unchecked.map(|of| of.count)), (0, Some(500)));
}

#[test]
fn what_a_cut_has_left_is_checked() {
    let counts_of = |actual: &[u64]| {
        let found = compare_after_a_cut(&sequence(500..1000), actual).0;
        (found.counts, found.unchecked.map_or(0, |of| of.count))
    };
    let with = |kind, count| {
        let mut counts = crate::verify::findings::Counts::default();
        counts.add(kind, count);
        counts
    };
    let mut actual = sequence(0..1000);
    actual.drain(495..510);
    assert_eq!(counts_of(&actual), (with(Kind::Missing, 10), 495));
    let mut actual = sequence(0..1000);
    actual[700] = 90_000_000;
    assert_eq!(counts_of(&actual), (with(Kind::Corrupt, 1), 500));
    actual[700] = 700;
    actual.insert(800, 90_000_000);
    assert_eq!(counts_of(&actual), (with(Kind::Phantom, 1), 500));
    let actual: Vec<_> = (0..600).chain(550..1000).collect();
    assert_eq!(counts_of(&actual), (with(Kind::Duplicate, 50), 500));
}

#[test]
fn faults_in_one_partition_are_counted_each_by_its_kind() {
    let mut actual = sequence(0..5000);
    actual[100] = 100_000; // corrupt
    actual.swap(4000, 4001);
    actual.splice(3000..3000, 2900..3000); // a replay
    actual.drain(2000..2010);
    actual.insert(1000, 9_000_000); // a phantom
    assert_eq!(counts(&sequence(0..5000), &actual), [10, 100, 1, 1, 1]);
}

#[test]
fn identical_records_are_counted_not_told_apart() {
    assert_eq!(counts(&[7; 500], &[7; 500]), [0; 5]);
    assert_eq!(counts(&[7; 500], &[7; 490]), [10, 0, 0, 0, 0]);
    assert_eq!(counts(&[7; 500], &[7; 520]), [0, 20, 0, 0, 0]);
}

/// A sequence of few values, so that most records occur again and again.
fn few_values() -> impl Strategy<Value = Vec<u64>> {
    (2u64..6).prop_flat_map(|values| prop::collection::vec(0..values, 1..400))
}

/// A sequence of many values with the occasional repetition, as events are.
fn many_values() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(0u64..100_000, 400..900)
}

/// One thing that goes wrong; the numbers are taken modulo what there is.
#[derive(Clone, Debug)]
enum Fault {
    Drop(usize, usize),
    Replay(usize, usize),
    Swap(usize, usize),
    Corrupt(usize),
    Phantom(usize),
}

fn fault() -> impl Strategy<Value = Fault> {
    let number = any::<u16>().prop_map(usize::from);
    prop_oneof![
        (number.clone(), 1usize..50).prop_map(|(at, len)| Fault::Drop(at, len)),
        (number.clone(), 1usize..50).prop_map(|(at, len)| Fault::Replay(at, len)),
        (number.clone(), number.clone()).prop_map(|(a, b)| Fault::Swap(a, b)),
        number.clone().prop_map(Fault::Corrupt),
        number.prop_map(Fault::Phantom),
    ]
}

fn inject(actual: &mut Vec<u64>, fault: &Fault) {
    let len = actual.len();
    if len == 0 {
        return;
    }
    match *fault {
        Fault::Drop(at, count) => drop(actual.drain(at % len..(at % len + count).min(len))),
        Fault::Replay(at, count) => {
            let chunk = actual[at % len..(at % len + count).min(len)].to_vec();
            let end = at % len + chunk.len();
            actual.splice(end..end, chunk);
        }
        Fault::Swap(a, b) => actual.swap(a % len, b % len),
        Fault::Corrupt(at) => actual[at % len] += 500_000,
        Fault::Phantom(at) => actual.insert(at % (len + 1), 90_000_000 + at as u64),
    }
}

/// Of each value: how many are expected less how many there are.
fn balance(expected: &[u64], actual: &[u64]) -> std::collections::BTreeMap<u64, i64> {
    let mut balance = std::collections::BTreeMap::new();
    expected.iter().for_each(|value| *balance.entry(*value).or_insert(0) += 1);
    actual.iter().for_each(|value| *balance.entry(*value).or_insert(0) -= 1);
    balance
}

proptest! {
    #[test]
    fn a_faithful_copy_is_clean(expected in prop_oneof![few_values(), many_values()]) {
        prop_assert!(compare(&expected, &expected).counts.total() == 0);
    }

    #[test]
    fn whatever_differs_is_never_clean(
        expected in prop_oneof![few_values(), many_values()],
        faults in prop::collection::vec(fault(), 1..6),
    ) {
        let mut actual = expected.clone();
        faults.iter().for_each(|fault| inject(&mut actual, fault));
        let [missing, duplicates, reordered, corrupt, phantom] = counts(&expected, &actual);
        let clean = missing + duplicates + reordered + corrupt + phantom == 0;
        prop_assert_eq!(clean, expected == actual);
        // Every record is accounted for.
        let there = expected.len() as i64 - missing as i64 + duplicates as i64 + phantom as i64;
        prop_assert_eq!(there, actual.len() as i64);
        // What is nowhere expected is corrupt or phantom, and nothing else is.
        let known: std::collections::BTreeSet<_> = expected.iter().collect();
        let strangers = actual.iter().filter(|value| !known.contains(value)).count() as u64;
        prop_assert_eq!(corrupt + phantom, strangers);
        // No value can be lost or repeated unseen.
        let lost: i64 = balance(&expected, &actual).values().filter(|&&left| left > 0).sum();
        prop_assert!((missing + corrupt) as i64 >= lost);
    }

    #[test]
    fn one_fault_among_many_values_is_counted_exactly(expected in many_values(), fault in fault()) {
        let mut actual = expected.clone();
        inject(&mut actual, &fault);
        let changed = expected.len().abs_diff(actual.len()) as u64;
        let counted = counts(&expected, &actual);
        match fault {
            Fault::Drop(..) => prop_assert_eq!(counted, [changed, 0, 0, 0, 0]),
            Fault::Replay(..) => prop_assert_eq!(counted, [0, changed, 0, 0, 0]),
            Fault::Swap(..) if expected == actual => prop_assert_eq!(counted, [0; 5]),
            Fault::Swap(..) => prop_assert!((1..=4).contains(&counted[2]) && counted.iter().sum::<u64>() == counted[2]),
            Fault::Corrupt(..) => prop_assert_eq!(counted, [0, 0, 0, 1, 0]),
            Fault::Phantom(..) => prop_assert_eq!(counted, [0, 0, 0, 0, 1]),
        }
    }

    #[test]
    fn one_fault_among_few_values_is_counted_exactly_where_it_can_be(expected in few_values(), fault in fault()) {
        let mut actual = expected.clone();
        inject(&mut actual, &fault);
        let counted = counts(&expected, &actual);
        match fault {
            Fault::Corrupt(..) => prop_assert_eq!(counted, [0, 0, 0, 1, 0]),
            Fault::Phantom(..) => prop_assert_eq!(counted, [0, 0, 0, 0, 1]),
            // One record more or less: nothing else explains it.
            Fault::Drop(_, 1) => prop_assert_eq!(counted, [1, 0, 0, 0, 0]),
            Fault::Replay(_, 1) => prop_assert_eq!(counted, [0, 1, 0, 0, 0]),
            Fault::Swap(..) | Fault::Drop(..) | Fault::Replay(..) => {
                prop_assert_eq!(counted == [0; 5], expected == actual);
            }
        }
    }
}

#[test]
fn any_two_records_may_be_swapped() {
    let expected = sequence(0..300);
    for a in 0..300 {
        for b in a + 1..300 {
            let mut actual = expected.clone();
            actual.swap(a, b);
            let [missing, duplicates, reordered, corrupt, phantom] = counts(&expected, &actual);
            // Over a short distance, moving those in between explains it as well.
            assert!((1..=if b - a < 5 { 3 } else { 2 }).contains(&reordered), "{a} and {b}: {reordered}");
            assert_eq!([missing, duplicates, corrupt, phantom], [0; 4], "{a} and {b}");
        }
    }
}
