//! Faults on real nodes of Apache Kafka, three for most, with every engine at work beside a
//! generator: brokers killed, stopped and led away from, connections cut. `ROUNDS` (1 unless set)
//! and `RATE` (2000 events a second) make it harder.

mod isolation;
#[path = "../support/mod.rs"]
mod support;

use std::{
    process::Child,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use support::{Cluster, Names, engines, nodes::Nodes, pause, setting, signal, start, wait};
use topicmill_kafka::OffsetAt;

/// A program that gets nowhere for as long hangs; a machine with three brokers may be slow.
const HANG: Duration = Duration::from_secs(60);

const PARTITIONS: i32 = 3;

fn rounds() -> usize {
    setting("ROUNDS", 1) as usize
}

/// A generator and a transformer of every engine, all of them running.
struct Work<'a> {
    cluster: &'a Cluster,
    generator: Child,
    mills: Vec<(&'static str, Names, Child)>,
}

impl<'a> Work<'a> {
    /// Creates topics that need two replicas of three for a write, and starts everything.
    fn start(cluster: &'a Cluster, what: &str, replicas: &str, more: &[&str]) -> Work<'a> {
        let durable = [("min.insync.replicas", replicas)];
        let source = Names::new(what).source;
        cluster.create(&source, PARTITIONS, &durable);
        let rate = setting("RATE", 2000);
        // It is stopped before; a test that is killed leaves no generator behind for ever.
        let (count, rate) = ((rate * 3600).to_string(), rate.to_string());
        let generator = ["generate", "--brokers", &cluster.brokers, "--topic", &source];
        let generator = start(&[&generator[..], &["--rate", &rate, "--count", &count]].concat());
        let mut work = Work { cluster, generator, mills: Vec::new() };
        for engine in engines() {
            let names = Names { source: source.clone(), ..Names::new(what) };
            cluster.create(&names.destination, PARTITIONS, &durable);
            cluster.create(&names.dead_letter, PARTITIONS, &durable);
            let arguments = [&["--engine", engine, "--commit-interval", "200ms"], more].concat();
            let mill = start(&names.run(cluster, &arguments));
            work.mills.push((engine, names, mill));
        }
        work.expect_progress("at the start");
        work
    }

    /// Fails unless every engine commits everything that the source holds now, and more.
    fn expect_progress(&mut self, when: &str) {
        let now = self.source_end();
        let start = Instant::now();
        self.wait_for(now + 1, when);
        eprintln!("{when}: everything up to event {now} and more is committed after {:?}", start.elapsed());
    }

    /// Waits until every engine has committed so many events.
    fn wait_for(&mut self, events: i64, when: &str) {
        let start = Instant::now();
        for (engine, names, mill) in &mut self.mills {
            loop {
                let done = committed(self.cluster, names);
                if done >= events {
                    break;
                }
                assert!(start.elapsed() < HANG, "{engine} {when}: {done} of {events} events are committed");
                assert!(mill.try_wait().unwrap().is_none(), "{engine} {when}: the program ended");
                pause(Duration::from_millis(50));
            }
        }
    }

    fn source_end(&self) -> i64 {
        let offsets = self.cluster.client();
        let ends = offsets.offsets(&self.mills[0].1.source, OffsetAt::Latest);
        self.cluster.runtime.block_on(ends).unwrap().values().sum()
    }

    /// Ends everything in good order: nothing may be missing or out of order.
    fn finish(mut self) {
        signal(&self.generator, "-INT");
        assert_eq!(wait(&mut self.generator, HANG), 0, "the generator");
        let events = self.source_end();
        self.wait_for(events, "at the end");
        for (engine, names, mill) in &mut self.mills {
            signal(mill, "-TERM");
            assert_eq!(wait(mill, HANG), 0, "{engine}");
            let (found, _) = names.verify(self.cluster, "partition");
            eprintln!("{engine}: {events} events, {} duplicates", found["duplicates"]);
            for kind in ["missing", "reordered", "corrupt", "phantom", "misrouted"] {
                assert_eq!(found[kind], 0, "{engine}: {kind} in {found}");
            }
        }
    }
}

/// A test that failed leaves no program behind.
impl Drop for Work<'_> {
    fn drop(&mut self) {
        for child in self.mills.iter_mut().map(|(_, _, mill)| mill).chain([&mut self.generator]) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The events below the group's committed offsets.
fn committed(cluster: &Cluster, names: &Names) -> i64 {
    cluster.committed(&names.group, &names.source).values().sum()
}

/// With each broker go leaders, and with one of them the group's coordinator, with one the controller.
#[test]
fn each_broker_killed_in_turn_costs_nothing() {
    let nodes = Nodes::three();
    let mut work = Work::start(&nodes.cluster, "killed", "2", &[]);
    for _ in 0..rounds() {
        for node in nodes.numbers() {
            nodes.kill(node).unwrap();
            work.expect_progress(&format!("without broker {node}"));
            nodes.start(node).unwrap();
            work.expect_progress(&format!("after the return of broker {node}"));
            nodes.wait_for_replicas().unwrap();
        }
    }
    work.finish();
}

#[test]
fn leaders_that_move_cost_nothing() {
    let nodes = Nodes::three();
    let mut work = Work::start(&nodes.cluster, "moved", "2", &[]);
    let partitions = PARTITIONS as usize;
    let mut topics = vec![(work.mills[0].1.source.clone(), partitions), ("__consumer_offsets".into(), 8)];
    topics.extend(work.mills.iter().map(|(_, names, _)| (names.destination.clone(), partitions)));
    let topics: Vec<(&str, usize)> = topics.iter().map(|(topic, count)| (&**topic, *count)).collect();
    for first in 0..3 * rounds() {
        nodes.move_leaders(&topics, first).unwrap();
        work.expect_progress("after a move");
    }
    work.finish();
}

/// A stopped broker keeps its connections and answers nothing; what it was sent, it does later.
#[test]
fn a_broker_that_stands_still_costs_nothing() {
    let nodes = Nodes::three();
    let timeouts = ["-X", "request.timeout.ms=2000"];
    let mut work = Work::start(&nodes.cluster, "still", "2", &timeouts);
    for round in 0..rounds() {
        // Shorter than the time after which its leaders are elected anew, and longer.
        for (number, seconds) in [6, 15].into_iter().enumerate() {
            let node = (2 * round + number) % 3 + 1;
            nodes.signal(node, Signal::STOP).unwrap();
            pause(Duration::from_secs(seconds));
            nodes.signal(node, Signal::CONT).unwrap();
            work.expect_progress(&format!("after broker {node} stood still"));
        }
    }
    work.finish();
}

#[test]
fn connections_cut_all_the_time_cost_nothing() {
    let (nodes, proxy) = Nodes::behind_proxy();
    let mut work = Work::start(&nodes.cluster, "cut", "1", &[]);
    for _ in 0..15 * rounds() {
        pause(Duration::from_millis(rand::random_range(500..1500)));
        proxy.cut();
    }
    work.expect_progress("after the last cut");
    work.finish();
}
