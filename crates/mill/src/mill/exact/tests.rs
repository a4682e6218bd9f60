//! How transactions are counted.

use tokio::time::sleep;

use super::{
    super::{
        simulation::*,
        tests::{end_of, exactly_once, world},
        *,
    },
    Ended, Step,
};
use crate::{
    engine::{ErrorKind, TransactionEnd},
    metrics::Exposition,
    strategy::{Order, StrategyKind},
};

/// Samples of the transactions that have ended, by their outcome, and of those that are open.
fn transactions(metrics: &Metrics) -> [u64; 4] {
    let text = metrics.render(Exposition::OpenMetrics);
    let sample = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map_or(0, |value| value.trim().parse().unwrap())
    };
    let ended = |outcome: &str| sample(&format!("topicmill_transactions_total{{outcome=\"{outcome}\"}}"));
    [ended("committed"), ended("aborted"), ended("fenced"), sample("topicmill_transactions_open")]
}

fn exact_world() -> Shared {
    let world = world();
    world.lock().unwrap().exact = true;
    world
}

#[test]
fn transactions_are_counted_by_how_they_end() {
    let at_first = Duration::from_millis(30);
    let fails = Mishap::FailWriter { partition: 1, for_ms: 50, writes: true };
    for (mishap, is_aborted) in [(Mishap::FailCommits(0), false), (fails, true)] {
        let world = exact_world();
        let (ended, metrics) = end_of(&world, &exactly_once(), at_first, mishap);
        ended.unwrap();
        let world = world.lock().unwrap();
        let [committed, aborted, fenced, open] = transactions(&metrics);
        assert_eq!((committed, aborted), (world.transactions as u64, world.aborts as u64));
        assert!(committed > 3 && (aborted > 0) == is_aborted, "{committed} {aborted}");
        assert_eq!((fenced, open), (0, 0));
    }
    let world = exact_world();
    let (ended, metrics) = end_of(&world, &exactly_once(), at_first, Mishap::TakeOver);
    assert!(ended.is_err());
    let [committed, aborted, fenced, open] = transactions(&metrics);
    assert_eq!((committed, aborted), (world.lock().unwrap().transactions as u64, 0));
    assert_eq!((fenced, open), (1, 0));
}

#[test]
fn two_transactions_are_open_while_one_ends_and_none_at_least_once() {
    let open = |settings: &MillSettings, world: &Shared| {
        in_virtual_time(async {
            let mill = stepped(world, settings, 1, false);
            let metrics = Arc::clone(&mill.metrics);
            let mut seen = std::collections::BTreeSet::new();
            let watching = async {
                loop {
                    seen.insert(transactions(&metrics)[3]);
                    sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::select! {
                ended = mill.run(CancellationToken::new()) => ended.result.unwrap(),
                () = watching => {}
            }
            seen.insert(transactions(&metrics)[3]);
            Vec::from_iter(seen)
        })
    };
    assert_eq!(open(&exactly_once(), &exact_world()), [0, 1, 2]);
    assert_eq!(open(&settings(StrategyKind::Pipeline, Order::Partition), &world()), [0]);
}

#[test]
fn a_commit_that_turns_out_to_have_succeeded_is_no_abort_unless_more_was_sent() {
    for is_more_sent in [false, true] {
        let world = exact_world();
        world.lock().unwrap().committed = (0..PARTITIONS).map(|partition| (partition, 0)).collect();
        let mut mill = mill(&world, &exactly_once());
        let assigned = world.lock().unwrap().assign(0..PARTITIONS);
        mill.take(SourceEvent::Assigned(assigned.clone())).unwrap();
        let send = |mill: &mut Mill<_, _>, offset| {
            let batch = batch(0, assigned[0].id, offset, offset + 1);
            let ticket = mill.offsets.begin(&batch, Permit::none()).unwrap();
            mill.sent(&ticket);
        };
        send(&mut mill, 0);
        mill.seal();
        if is_more_sent {
            send(&mut mill, 1);
        }
        let checkpoint = &mut mill.exact.as_mut().unwrap().checkpoint;
        let Step::Stake(sealed, _) = checkpoint.step(|_| true) else { panic!("{checkpoint:?}") };
        checkpoint.staked();
        assert_eq!(checkpoint.step(|_| true), Step::Commit(sealed));
        let error = EngineError::new(ErrorKind::Retriable, "no answer to a commit");
        let unknown = Ended::Commit(Duration::ZERO, Ok(TransactionEnd::Aborted(error)));
        mill.end_transaction(unknown).unwrap();
        mill.step();
        mill.end_transaction(Ended::Abort(Ok(Some(sealed)))).unwrap();
        mill.step();
        assert_eq!(transactions(&mill.metrics), [1, u64::from(is_more_sent), 0, 0]);
    }
}
