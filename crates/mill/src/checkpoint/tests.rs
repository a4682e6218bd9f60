use proptest::prelude::*;

use super::*;
use crate::batch::{AssignmentId, TopicPartition};

#[test]
fn a_commit_under_way_is_waited_for_before_an_abort() {
    let mut checkpoint = Checkpoint::default();
    checkpoint.seal(TransactionNumber(0), Vec::new());
    assert_eq!(checkpoint.step(|_| false), Step::Stake(TransactionNumber(0), Vec::new()));
    assert_eq!(checkpoint.step(|_| true), Step::Wait, "the stake is not held");
    checkpoint.staked();
    assert_eq!(checkpoint.step(|_| false), Step::Wait);
    assert_eq!(checkpoint.step(|_| true), Step::Commit(TransactionNumber(0)));
    assert!(checkpoint.fail() && !checkpoint.fail() && !checkpoint.is_open());
    assert_eq!(checkpoint.step(|_| true), Step::Wait);
    checkpoint.committed();
    assert_eq!(checkpoint.step(|_| true), Step::Abort);
    assert_eq!(checkpoint.step(|_| true), Step::Wait);
    assert!(checkpoint.aborted(None).is_empty() && checkpoint.is_idle());
}

#[test]
fn an_abort_tells_whether_a_commit_without_an_answer_has_succeeded() {
    let offset = || Offset {
        partition: TopicPartition::new("source", 0),
        assignment: AssignmentId(1),
        next: 90,
        leader_epoch: -1,
    };
    for (committed, holds) in [(Some(1), true), (Some(2), false), (None, false)] {
        let mut checkpoint = Checkpoint::default();
        checkpoint.seal(TransactionNumber(1), vec![offset()]);
        checkpoint.step(|_| true);
        checkpoint.staked();
        assert_eq!(checkpoint.step(|_| true), Step::Commit(TransactionNumber(1)));
        checkpoint.not_committed();
        assert!(!checkpoint.is_landing(), "nothing waits for acknowledgements any more");
        checkpoint.fail();
        assert_eq!(checkpoint.step(|_| true), Step::Abort);
        let offsets = checkpoint.aborted(committed.map(TransactionNumber));
        assert_eq!(offsets, if holds { vec![offset()] } else { Vec::new() }, "{committed:?}");
        assert!(checkpoint.is_idle() && checkpoint.aborted(Some(TransactionNumber(1))).is_empty());
    }
}

#[test]
fn a_stake_under_way_is_waited_for_before_an_abort() {
    let mut checkpoint = Checkpoint::default();
    checkpoint.seal(TransactionNumber(0), Vec::new());
    assert_eq!(checkpoint.step(|_| true), Step::Stake(TransactionNumber(0), Vec::new()));
    assert!(checkpoint.fail());
    assert_eq!(checkpoint.step(|_| true), Step::Wait);
    checkpoint.staked();
    assert_eq!(checkpoint.step(|_| true), Step::Abort);
}

proptest! {
    /// Whatever the order of events: no transaction is committed before it has landed, before the one ahead of it
    /// was, twice, or after an abort; and nothing is sent while one is wanted.
    #[test]
    fn transactions_end_in_order(events in prop::collection::vec((0u8..6, any::<bool>()), 1..80)) {
        let mut checkpoint = Checkpoint::default();
        let (mut open, mut landed, mut under_way) = (0u64, 0u64, None::<Step>);
        let (mut dead_below, mut held) = (0, None);
        for (event, yes) in events {
            match event {
                0 if checkpoint.is_idle() => {
                    checkpoint.seal(TransactionNumber(open), Vec::new());
                    open += 1;
                }
                1 => landed = open,
                2 => drop(checkpoint.fail()),
                3 if under_way.is_some() => match under_way.take() {
                    Some(Step::Commit(_)) if yes => drop(checkpoint.committed()),
                    Some(Step::Stake(transaction, _)) if yes => {
                        checkpoint.staked();
                        held = Some(transaction);
                    }
                    Some(Step::Stake(..)) if landed % 2 == 0 => checkpoint.again(),
                    Some(Step::Stake(..) | Step::Commit(_)) => {
                        checkpoint.not_committed();
                        checkpoint.fail();
                    }
                    _ => {
                        checkpoint.aborted(None);
                        open += 1;
                        (landed, dead_below) = (open, open);
                    }
                },
                _ => {}
            }
            let step = checkpoint.step(|transaction| transaction.0 < landed);
            match &step {
                Step::Wait => continue,
                Step::Stake(transaction, _) => {
                    prop_assert!(checkpoint.is_open());
                    prop_assert_eq!(transaction.0 + 1, open, "only the last that was sealed");
                    held = None;
                }
                Step::Commit(transaction) => {
                    prop_assert!(checkpoint.is_open());
                    prop_assert_eq!(held, Some(*transaction), "with its offsets");
                    prop_assert_eq!(transaction.0 + 1, open, "only the last that was sealed");
                    prop_assert!(transaction.0 < landed && transaction.0 >= dead_below);
                }
                Step::Abort => prop_assert!(!checkpoint.is_open()),
            }
            prop_assert!(under_way.is_none(), "one at a time");
            under_way = Some(step);
        }
    }
}
