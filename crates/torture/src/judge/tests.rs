//! The judge judged: it accepts what may happen, and catches each in-between that cheats.

use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::event::number;

const PARTITIONS: usize = 3;
const EVENTS: u64 = 120;

fn load() -> Load {
    Load { seed: 42, begin: 1_700_000_000_000, poison_permille: 30, refused_permille: 0 }
}

/// What is written for an event.
fn record(load: Load, partition: usize, seq: u64, offset: i64) -> Seen {
    let event = load.event(partition, seq);
    Seen {
        place: load.place(partition, seq),
        partition,
        offset,
        number: Some(number(partition, seq).into_bytes()),
        key: event.key.map(String::into_bytes),
        value: load.output(partition, seq).map(String::into_bytes),
        timestamp: Some(event.timestamp),
    }
}

/// What a faultless mill writes, a partition after the other.
fn faultless(load: Load) -> Vec<Seen> {
    let of = |partition| (0..EVENTS).map(move |seq| record(load, partition, seq, 0));
    (0..PARTITIONS).flat_map(of).collect()
}

fn seq(seen: &Seen) -> u64 {
    parse_number(seen.number.as_deref().unwrap()).unwrap().1
}

/// What the judge finds in these records, which get the offsets of a log.
fn judge(load: Load, order: Order, records: &[Seen]) -> Counts {
    let mut judge = Judge::new(load, order);
    for (offset, seen) in (0..).zip(records) {
        judge.see(&Seen { offset, ..seen.clone() }, EVENTS);
    }
    judge.finish(&[EVENTS; PARTITIONS])
}

/// The counts of a run with nothing wrong.
fn clean(records: u64) -> Counts {
    Counts { records, ..Counts::default() }
}

fn check(test: impl Fn(usize, usize)) {
    let places = (0..PARTITIONS * EVENTS as usize, 1..50_usize);
    TestRunner::new(Config::with_cases(64))
        .run(&places, |(at, length)| {
            test(at, length);
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_faultless_run_is_clean_in_every_order() {
    let records = faultless(load());
    for order in [Order::Partition, Order::Key, Order::None] {
        assert_eq!(judge(load(), order, &records), clean(records.len() as u64), "{order:?}");
    }
}

#[test]
fn a_replay_is_seen_twice_and_nothing_else() {
    let good = faultless(load());
    check(|at, length| {
        // It ends at `end` and begins again up to `length` records before, in the same partition.
        let end = at + 1;
        let begin = at.saturating_sub(length).max(at / EVENTS as usize * EVENTS as usize);
        let records = [&good[..end], &good[begin..]].concat();
        let found = judge(load(), Order::Partition, &records);
        let twice = (end - begin) as u64;
        assert_eq!(found, Counts { twice, ..clean(records.len() as u64) });
    });
}

#[test]
fn a_commit_before_the_output_loses_what_was_under_way_at_the_kill() {
    let good = faultless(load());
    check(|at, length| {
        let length = length.min(good.len() - at);
        let records = [&good[..at], &good[at + length..]].concat();
        assert_eq!(judge(load(), Order::Partition, &records).lost, length as u64);
    });
}

#[test]
fn one_dropped_record_is_missed_and_named() {
    let good = faultless(load());
    check(|at, _| {
        let mut judge = Judge::new(load(), Order::Partition);
        for (offset, seen) in (0..).zip(&good).filter(|&(offset, _)| offset != at as i64) {
            judge.see(&Seen { offset, ..seen.clone() }, EVENTS);
        }
        assert_eq!(judge.finish(&[EVENTS; PARTITIONS]).lost, 1);
        assert_eq!(judge.first_unseen(good[at].partition, EVENTS), Some(seq(&good[at])));
    });
}

#[test]
fn one_of_a_million_is_missed() {
    const MILLION: u64 = 1_000_000;
    let load = Load { poison_permille: 0, ..load() };
    let mut judge = Judge::new(load, Order::Partition);
    for seq in (0..MILLION).filter(|&seq| seq != 765_432) {
        judge.see(&record(load, 0, seq, seq as i64), MILLION);
    }
    assert_eq!(judge.finish(&[MILLION]), Counts { lost: 1, ..clean(MILLION - 1) });
}

#[test]
fn an_error_that_is_skipped_is_missed_in_the_dead_letters() {
    let good = faultless(load());
    let letters = good.iter().filter(|seen| seen.place == Place::DeadLetter).count();
    let records: Vec<_> = good.into_iter().filter(|seen| seen.place == Place::Destination).collect();
    assert!(letters > 0);
    assert_eq!(judge(load(), Order::Partition, &records).lost, letters as u64);
}

#[test]
fn a_record_that_comes_later_is_out_of_order() {
    let good = faultless(load());
    check(|at, length| {
        let mut records = good.clone();
        let later = (at + length).min(records.len() - 1);
        let moved = records.remove(at);
        records.insert(later, moved.clone());
        let between = &records[at..later];
        let same = |other: &Seen| (other.place, other.partition) == (moved.place, moved.partition);
        let found = judge(load(), Order::Partition, &records);
        assert_eq!(found.out_of_order, u64::from(between.iter().any(same)));
        assert_eq!((found.lost, found.twice), (0, 0));
        let found = judge(load(), Order::Key, &records);
        let same_key = |other: &Seen| same(other) && moved.key.is_some() && other.key == moved.key;
        assert_eq!(found.out_of_order, u64::from(between.iter().any(same_key)));
        assert_eq!(judge(load(), Order::None, &records), clean(records.len() as u64));
    });
}

#[test]
fn a_duplicate_is_seen_wherever_it_comes() {
    let good = faultless(load());
    check(|at, length| {
        let mut records = good.clone();
        records.insert((at + length).min(good.len()), good[at].clone());
        for order in [Order::Partition, Order::Key, Order::None] {
            let found = judge(load(), order, &records);
            assert_eq!((found.twice, found.lost, found.out_of_order), (1, 0, 0), "{order:?}");
        }
    });
}

/// An end that is answered without having been made: what the transaction wrote is never seen.
#[test]
fn a_transaction_that_is_said_to_be_committed_and_is_not_is_missed() {
    let good = faultless(load());
    check(|at, length| {
        let transaction = at / length;
        let chunks = good.chunks(length).enumerate();
        let records: Vec<_> = chunks
            .filter(|(number, _)| *number != transaction)
            .flat_map(|(_, chunk)| chunk.to_vec())
            .collect();
        let found = judge(load(), Order::Partition, &records);
        assert_eq!(found.lost, (good.len() - records.len()) as u64);
        assert!(found.lost > 0);
    });
}

#[test]
fn a_changed_record_is_corrupt_and_one_that_does_not_belong_is_a_phantom() {
    let good = faultless(load());
    check(|at, _| {
        let changed = |change: &dyn Fn(&mut Seen)| {
            let mut records = good.clone();
            change(&mut records[at]);
            judge(load(), Order::Partition, &records)
        };
        assert_eq!(changed(&|seen| seen.value.get_or_insert_default().push(b' ')).corrupt, 1);
        assert_eq!(changed(&|seen| seen.key = Some(b"?".to_vec())).corrupt, 1);
        let found = changed(&|seen| seen.partition = (seen.partition + 1) % PARTITIONS);
        assert_eq!((found.phantom, found.lost), (1, 1));
        let found = changed(&|seen| seen.number = None);
        assert_eq!((found.phantom, found.lost), (1, 1));
        let found = changed(&|seen| {
            seen.place = match seen.place {
                Place::Destination => Place::DeadLetter,
                Place::DeadLetter => Place::Destination,
            }
        });
        assert_eq!((found.phantom, found.lost), (1, 1));
        let timestamp = changed(&|seen| seen.timestamp = None);
        assert_eq!(timestamp.corrupt, u64::from(good[at].place == Place::Destination));
    });
}

#[test]
fn an_event_that_was_not_sent_yet_is_a_phantom() {
    let good = faultless(load());
    let mut judge = Judge::new(load(), Order::Partition);
    judge.see(&good[5], 5);
    assert_eq!(judge.counts().phantom, 1);
}

#[test]
fn a_reader_that_goes_back_is_noticed() {
    let good = faultless(load());
    let mut judge = Judge::new(load(), Order::Partition);
    let written: Vec<_> = good.into_iter().filter(|seen| seen.place == Place::Destination).collect();
    judge.see(&Seen { offset: 7, ..written[0].clone() }, EVENTS);
    judge.see(&Seen { offset: 7, ..written[1].clone() }, EVENTS);
    assert_eq!(judge.counts().went_back, 1);
}

#[test]
fn what_the_source_has_no_more_is_not_due_and_nothing_else() {
    let load = load();
    let good = faultless(load);
    let gone = |seen: &Seen| seen.partition == 1 && (20..50).contains(&seq(seen));
    let see = |judge: &mut Judge, of: &dyn Fn(&Seen) -> bool| {
        good.iter().filter(|seen| of(seen)).for_each(|seen| {
            let offset = 1000 * i64::from(seq(seen) >= 20) + seq(seen) as i64;
            judge.see(&Seen { offset, ..seen.clone() }, EVENTS);
        });
    };
    let mut judge = Judge::new(load, Order::Partition);
    see(&mut judge, &|seen| seen.partition != 1 || seq(seen) < 20);
    assert_eq!(judge.first_unseen(1, 50), Some(20));
    judge.excuse(1, 50);
    assert_eq!((judge.excused(), judge.accounted(1)), (30, 50));
    assert_eq!([30, 50, 60].map(|end| judge.first_unseen(1, end)), [None, None, Some(50)]);
    // Somebody had read five of them before.
    see(&mut judge, &|seen| seen.partition == 1 && (20..25).contains(&seq(seen)));
    assert_eq!((judge.excused(), judge.accounted(1)), (25, 50));
    see(&mut judge, &|seen| seen.partition == 1 && !gone(seen) && seq(seen) >= 20 && seq(seen) != 70);
    assert_eq!([30, EVENTS].map(|end| judge.first_unseen(1, end)), [None, Some(70)]);
    let counts = judge.finish(&[EVENTS; PARTITIONS]);
    assert_eq!((counts.lost, counts.twice, counts.out_of_order), (1, 0, 0), "{counts:?}");
}
