//! The states of a transactional id, in virtual time.

use super::state::*;
use kafka_protocol::error::ResponseError;
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

const TIMEOUT: Duration = Duration::from_secs(60);

fn ready(transaction: &mut Transaction, expected: Option<Producer>, now: Instant) -> Producer {
    match transaction.initialise(expected, TIMEOUT, Version::Two, now, || 100) {
        Ok(Initialised::Ready(producer)) => producer,
        other => panic!("{other:?}"),
    }
}

fn partition(number: i32) -> Participant {
    Participant::Partition("a".into(), number)
}

fn begun(now: Instant) -> (Transaction, Producer) {
    let mut transaction = Transaction::new(7, now);
    let producer = ready(&mut transaction, None, now);
    transaction.add(producer, [partition(0)], now).unwrap();
    (transaction, producer)
}

fn end(
    transaction: &mut Transaction,
    producer: Producer,
    outcome: Outcome,
    version: Version,
) -> Result<Ended, ResponseError> {
    let ended = transaction.end(producer, outcome, version, Instant::now(), || 100);
    if matches!(ended, Ok(Ended::Decided(_))) {
        transaction.written(BTreeSet::new(), Instant::now());
    }
    ended
}

use Outcome::{Abort, Commit};
use ResponseError::*;

#[test]
fn a_producer_that_begins_again_fences_its_predecessor() {
    let now = Instant::now();
    let (mut transaction, first) = begun(now);
    assert_eq!(first, Producer { id: 7, epoch: 0 });
    let again = transaction.initialise(None, TIMEOUT, Version::Two, now, || 100);
    assert_eq!(again, Ok(Initialised::Aborting));
    let marker = transaction.marker().unwrap();
    assert_eq!((marker.outcome, marker.producer.epoch), (Abort, 1));
    let again = transaction.initialise(None, TIMEOUT, Version::Two, now, || 100);
    assert_eq!(again, Err(ConcurrentTransactions));
    transaction.written(BTreeSet::new(), now);
    let second = ready(&mut transaction, None, now);
    assert_eq!(second, Producer { id: 7, epoch: 2 });
    assert_eq!(transaction.add(first, [partition(1)], now), Err(ProducerFenced));
    for version in [Version::One, Version::Two] {
        assert_eq!(end(&mut transaction, first, Commit, version), Err(ProducerFenced));
    }
    let fenced = transaction.initialise(Some(first), TIMEOUT, Version::Two, now, || 100);
    assert_eq!(fenced, Err(ProducerFenced));
}

#[test]
fn in_version_1_the_epoch_stays_and_an_end_may_be_sent_again() {
    let (mut transaction, producer) = begun(Instant::now());
    assert_eq!(end(&mut transaction, producer, Commit, Version::One), Ok(Ended::Decided(producer)));
    assert_eq!(end(&mut transaction, producer, Commit, Version::One), Ok(Ended::Before(producer)));
    assert_eq!(end(&mut transaction, producer, Abort, Version::One), Err(InvalidTxnState));
    transaction.add(producer, [partition(0)], Instant::now()).unwrap();
    assert_eq!(end(&mut transaction, producer, Abort, Version::One), Ok(Ended::Decided(producer)));
    assert_eq!(end(&mut transaction, producer, Commit, Version::One), Err(InvalidTxnState));
}

#[test]
fn in_version_2_each_end_makes_an_epoch_and_a_late_one_is_refused() {
    let now = Instant::now();
    let (mut transaction, producer) = begun(now);
    let next = Producer { epoch: 1, ..producer };
    assert_eq!(end(&mut transaction, producer, Commit, Version::Two), Ok(Ended::Decided(next)));
    assert_eq!(end(&mut transaction, producer, Commit, Version::Two), Ok(Ended::Before(next)));
    assert_eq!(end(&mut transaction, producer, Abort, Version::Two), Err(InvalidTxnState));
    assert_eq!(end(&mut transaction, next, Commit, Version::Two), Err(InvalidTxnState));
    transaction.add(next, [partition(0)], now).unwrap();
    assert_eq!(end(&mut transaction, producer, Commit, Version::Two), Err(ProducerFenced));
    let third = Producer { epoch: 2, ..producer };
    assert_eq!(end(&mut transaction, next, Abort, Version::Two), Ok(Ended::Decided(third)));
    // Nothing was written, and yet the epoch moves on.
    let fourth = Producer { epoch: 3, ..producer };
    assert_eq!(end(&mut transaction, third, Abort, Version::Two), Ok(Ended::Decided(fourth)));
}

#[test]
fn while_the_end_is_written_nothing_else_begins() {
    let now = Instant::now();
    let (mut transaction, producer) = begun(now);
    transaction.add(producer, [partition(1)], now).unwrap();
    let ended = transaction.end(producer, Commit, Version::Two, now, || 100);
    let Ok(Ended::Decided(next)) = ended else { panic!("{ended:?}") };
    for _ in 0..2 {
        assert_eq!(transaction.phase().name(), "PrepareCommit");
        assert_eq!(transaction.add(next, [partition(0)], now), Err(ConcurrentTransactions));
        assert_eq!(transaction.verify(next, &partition(0)), Err(ConcurrentTransactions));
        let again = transaction.end(producer, Commit, Version::Two, now, || 100);
        assert_eq!(again, Err(ConcurrentTransactions));
        let other = transaction.end(producer, Abort, Version::Two, now, || 100);
        assert_eq!(other, Err(InvalidTxnState));
        transaction.written([partition(1)].into(), now);
    }
    transaction.written(BTreeSet::new(), now);
    assert_eq!(transaction.phase().name(), "CompleteCommit");
    transaction.add(next, [partition(0)], now).unwrap();
}

#[test]
fn a_commit_that_raced_the_coordinators_abort_is_told_so() {
    for (version, answer) in [(Version::One, ProducerFenced), (Version::Two, InvalidTxnState)] {
        let now = Instant::now();
        let (mut transaction, producer) = begun(now);
        assert_eq!(transaction.deadline(), Some(now + TIMEOUT));
        assert!(transaction.fence(version, now + TIMEOUT));
        assert_eq!(transaction.deadline(), None);
        transaction.written(BTreeSet::new(), now);
        assert_eq!(end(&mut transaction, producer, Commit, version), Err(answer));
        assert!(!transaction.fence(version, now), "there is none");
    }
}

#[test]
fn an_aborted_producer_goes_on_in_version_2() {
    let now = Instant::now();
    let (mut transaction, producer) = begun(now);
    transaction.fence(Version::Two, now);
    transaction.written(BTreeSet::new(), now);
    let next = Producer { epoch: 1, ..producer };
    assert_eq!(end(&mut transaction, producer, Abort, Version::Two), Ok(Ended::Before(next)));
    assert_eq!(ready(&mut transaction, Some(producer), now), next);
    assert_eq!(ready(&mut transaction, Some(next), now), Producer { epoch: 2, ..producer });
}

#[test]
fn a_producer_whose_epochs_are_used_up_gets_another_id() {
    let now = Instant::now();
    let last = Producer { id: 7, epoch: i16::MAX - 1 };
    let (mut transaction, _) = begun(now);
    transaction.age(0);
    let ended = transaction.end(last, Commit, Version::Two, now, || 100);
    let next = Producer { id: 100, epoch: 0 };
    assert_eq!(ended, Ok(Ended::Decided(next)));
    let marker = transaction.marker().unwrap();
    assert_eq!(marker.producer, Producer { id: 7, epoch: i16::MAX });
    transaction.written(BTreeSet::new(), now);
    assert_eq!(transaction.producer(), next);
    assert_eq!(end(&mut transaction, last, Commit, Version::Two), Ok(Ended::Before(next)));
    transaction.add(next, [partition(0)], now).unwrap();
    assert_eq!(end(&mut transaction, last, Commit, Version::Two), Err(InvalidProducerIdMapping));

    let (mut transaction, _) = begun(now);
    transaction.age(0);
    assert_eq!(end(&mut transaction, last, Commit, Version::One), Ok(Ended::Decided(last)));
    assert_eq!(ready(&mut transaction, Some(last), now), next);
    // It asks again, as it did not get the answer.
    assert_eq!(ready(&mut transaction, Some(last), now), next);
}

#[test]
fn what_was_not_added_is_not_a_part() {
    let now = Instant::now();
    let (transaction, producer) = begun(now);
    assert_eq!(transaction.verify(producer, &partition(0)), Ok(()));
    assert_eq!(transaction.verify(producer, &partition(1)), Err(TransactionAbortable));
    let another = Producer { id: 8, ..producer };
    assert_eq!(transaction.verify(another, &partition(0)), Err(InvalidProducerIdMapping));
}
