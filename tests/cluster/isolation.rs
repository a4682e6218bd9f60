//! A fault stays where it is: what the trouble of one partition, one broker or the whole cluster
//! may cost the rest. Thirty partitions on three nodes; `EVENTS` (3000000), `STALL_SECONDS` (30) and
//! `AWAY_SECONDS` (60) make it longer.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::Child,
    time::{Duration, Instant},
};

use super::support::{Cluster, Names, expect, nodes::Nodes, pause, setting, signal, start, wait};
use rustix::process::Signal;
use topicmill_kafka::OffsetAt;

const PARTITIONS: i32 = 30;

/// Whatever takes longer hangs; the machine may be slow.
const HANG: Duration = Duration::from_secs(120);

/// The memory that a program may take beyond its budget, in MiB.
const BEYOND_BUDGET: u64 = 64;

/// A transformer whose metrics are looked at.
struct Watched<'a> {
    cluster: &'a Cluster,
    names: &'a Names,
    mill: Child,
    port: u16,
}

impl<'a> Watched<'a> {
    fn start(cluster: &'a Cluster, names: &'a Names, more: &[&str]) -> Watched<'a> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let admin = format!("127.0.0.1:{port}");
        let mut arguments = names.run(cluster, more);
        let off = arguments.iter().position(|argument| *argument == "off").unwrap();
        arguments[off] = &admin;
        Watched { cluster, names, mill: start(&arguments), port }
    }

    /// The sum of a metric over its labels; 0 while it is not shown.
    fn metric(&self, name: &str) -> f64 {
        let page = get(self.port, "/metrics").unwrap_or_default();
        let series = page.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{') || rest.starts_with(' '))
        });
        series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    fn committed(&self) -> BTreeMap<i32, i64> {
        self.cluster.committed(&self.names.group, &self.names.source)
    }

    /// Waits until each partition has committed what it is to.
    fn wait_for(&mut self, goal: &BTreeMap<i32, i64>, what: &str) -> Duration {
        let began = Instant::now();
        loop {
            let committed = self.committed();
            let left: Vec<_> =
                goal.iter().filter(|(p, end)| committed.get(p).copied().unwrap_or(0) < **end).collect();
            if left.is_empty() {
                return began.elapsed();
            }
            assert!(began.elapsed() < HANG, "{what}: these do not get there: {left:?}");
            assert!(self.mill.try_wait().unwrap().is_none(), "{what}: the program ended");
            pause(Duration::from_millis(100));
        }
    }

    /// How often the assignment has changed. At the start it may grow more than once: positions
    /// come as each leader answers.
    fn rebalances(&self) -> f64 {
        self.metric("topicmill_rebalances_total")
    }

    /// Fails unless the trouble of others went by: no new start, no rebalance since there were so many.
    fn expect_undisturbed(&self, rebalances: f64) {
        assert_eq!(self.metric("topicmill_restarts_total"), 0.0);
        assert_eq!(self.rebalances(), rebalances);
    }

    /// The peak of its resident memory in MiB.
    fn peak_mib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.mill.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    }

    fn stop(&mut self) {
        signal(&self.mill, "-TERM");
        assert_eq!(wait(&mut self.mill, HANG), 0);
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        let _ = self.mill.kill();
        let _ = self.mill.wait();
    }
}

/// The body of a page that the program serves.
fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: topicmill\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer.split_once("\r\n\r\n")?.1.to_owned())
}

/// A topic with the nodes that hold each partition, such as `1:2`.
fn create(nodes: &Nodes, topic: &str, replicas: &[&str]) {
    let replicas = replicas.join(",");
    let create = ["--create", "--topic", topic, "--replica-assignment", &replicas];
    nodes.tool("org.apache.kafka.tools.TopicCommand", &create).unwrap();
}

/// Every partition on the first node or the second; Kafka wants equally many replicas of each.
fn on_two_nodes() -> Vec<&'static str> {
    (0..PARTITIONS).map(|partition| if partition % 2 == 0 { "1" } else { "2" }).collect()
}

/// The ends of the source's partitions.
fn ends(cluster: &Cluster, topic: &str) -> BTreeMap<i32, i64> {
    cluster.runtime.block_on(cluster.client().offsets(topic, OffsetAt::Latest)).unwrap()
}

fn fill(cluster: &Cluster, topic: &str, count: u64) {
    expect(&["generate", "--brokers", &cluster.brokers, "--topic", topic, "--count", &count.to_string()], 0);
}

/// A generator at `rate` events a second that is stopped in the end.
struct Generator(Child);

impl Generator {
    fn start(cluster: &Cluster, topic: &str, rate: u64) -> Generator {
        let (count, rate) = ((rate * 3600).to_string(), rate.to_string());
        let arguments = ["generate", "--brokers", &cluster.brokers, "--topic", topic];
        Generator(start(&[&arguments[..], &["--rate", &rate, "--count", &count]].concat()))
    }

    fn stop(mut self) {
        signal(&self.0, "-INT");
        assert_eq!(wait(&mut self.0, HANG), 0, "the generator");
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_destination_partition_without_a_leader_stops_no_other() {
    let nodes = Nodes::three();
    let names = Names::new("leaderless");
    let last = PARTITIONS - 1;
    let all = on_two_nodes();
    create(&nodes, &names.source, &all);
    create(&nodes, &names.dead_letter, &all);
    create(&nodes, &names.destination, &[&all[1..], &["3"]].concat());
    fill(&nodes.cluster, &names.source, setting("EVENTS", 3_000_000));
    nodes.kill(3).unwrap();

    let impatient = ["-X", "request.timeout.ms=5000", "-X", "delivery.timeout.ms=10000"];
    let mut mill = Watched::start(&nodes.cluster, &names, &impatient);
    let ends = ends(&nodes.cluster, &names.source);
    let others = ends.iter().filter(|(p, _)| **p != last).map(|(p, end)| (*p, *end)).collect();
    let took = mill.wait_for(&others, "the others");
    eprintln!("the other partitions are through after {took:?}");
    let rebalances = mill.rebalances();
    pause(Duration::from_secs(setting("STALL_SECONDS", 30)));
    mill.expect_undisturbed(rebalances);
    assert_eq!(mill.committed().get(&last).copied().unwrap_or(0), 0);

    nodes.start(3).unwrap();
    let took = mill.wait_for(&ends, "all");
    eprintln!("the partition is through {took:?} after its return; {} MiB at most", mill.peak_mib());

    // Once more while it is written: what the leader has, and gave no answer to, is not written twice.
    let generator = Generator::start(&nodes.cluster, &names.source, setting("RATE", 3000));
    expect_every_partition_to_go_on(&mut mill, "with a generator");
    nodes.kill(3).unwrap();
    pause(Duration::from_secs(setting("STALL_SECONDS", 30)));
    nodes.start(3).unwrap();
    expect_every_partition_to_go_on(&mut mill, "after the second return");
    generator.stop();
    let all = self::ends(&nodes.cluster, &names.source);
    mill.wait_for(&all, "at the end");
    mill.expect_undisturbed(rebalances);
    assert!(mill.peak_mib() <= 256 + BEYOND_BUDGET, "{} MiB", mill.peak_mib());
    mill.stop();
    names.expect_clean(&nodes.cluster, "partition");
}

#[test]
fn a_source_partition_without_a_leader_keeps_no_other_from_starting() {
    let nodes = Nodes::three();
    let names = Names::new("unread");
    let last = PARTITIONS - 1;
    let two = on_two_nodes();
    create(&nodes, &names.source, &[&two[1..], &["3"]].concat());
    create(&nodes, &names.destination, &two);
    create(&nodes, &names.dead_letter, &two);
    fill(&nodes.cluster, &names.source, 300_000);
    let all = ends(&nodes.cluster, &names.source);
    nodes.kill(3).unwrap();

    let mut mill = Watched::start(&nodes.cluster, &names, &[]);
    let others = all.iter().filter(|(p, _)| **p != last).map(|(p, end)| (*p, *end)).collect();
    let took = mill.wait_for(&others, "the others");
    eprintln!("the other partitions are through after {took:?}");
    let rebalances = mill.rebalances();
    let lag = ["lag", "--brokers", &nodes.cluster.brokers, "--group", &names.group, "--json"];
    let shown = expect(&lag, 0);
    let rows = shown.lines().filter(|line| line.contains(&format!("\"topic\":\"{}\"", names.source)));
    assert_eq!(rows.count(), PARTITIONS as usize, "{shown}");

    nodes.start(3).unwrap();
    let took = mill.wait_for(&all, "all");
    eprintln!("the partition is through {took:?} after its return");
    // That the partition itself joins those that are read is no rebalance.
    mill.expect_undisturbed(rebalances);
    mill.stop();
    names.expect_clean(&nodes.cluster, "partition");
}

/// Waits until every partition has committed more than it holds now.
fn expect_every_partition_to_go_on(mill: &mut Watched<'_>, what: &str) {
    let now = ends(mill.cluster, &mill.names.source);
    let further = now.into_iter().map(|(partition, end)| (partition, end + 1)).collect();
    let took = mill.wait_for(&further, what);
    eprintln!("{what}: every partition goes on after {took:?}");
}

/// Topics on all nodes, a generator and a transformer.
fn at_work(nodes: &Nodes, names: &Names, partitions: i32) -> Generator {
    for topic in [&names.source, &names.destination, &names.dead_letter] {
        nodes.cluster.create(topic, partitions, &[("min.insync.replicas", "2")]);
    }
    Generator::start(&nodes.cluster, &names.source, setting("RATE", 3000))
}

#[test]
fn a_broker_killed_or_silent_under_a_hundred_partitions_stops_only_its_own() {
    let nodes = Nodes::three();
    let names = Names::new("hundred");
    let generator = at_work(&nodes, &names, 100);
    let mut mill = Watched::start(&nodes.cluster, &names, &[]);
    expect_every_partition_to_go_on(&mut mill, "at the start");
    let rebalances = mill.rebalances();
    nodes.kill(3).unwrap();
    expect_every_partition_to_go_on(&mut mill, "without broker 3");
    nodes.start(3).unwrap();
    nodes.wait_for_replicas().unwrap();
    nodes.signal(2, Signal::STOP).unwrap();
    pause(Duration::from_secs(20));
    let silent = Instant::now();
    nodes.signal(2, Signal::CONT).unwrap();
    expect_every_partition_to_go_on(&mut mill, "after broker 2 stood still");
    assert!(silent.elapsed() < HANG);
    mill.expect_undisturbed(rebalances);
    generator.stop();
    let all = ends(&nodes.cluster, &names.source);
    mill.wait_for(&all, "at the end");
    mill.stop();
    names.expect_clean(&nodes.cluster, "partition");
}

#[test]
fn a_cluster_that_is_away_is_waited_for() {
    let nodes = Nodes::three();
    let (busy, idle) = (Names::new("busy"), Names::new("idle"));
    let generator = at_work(&nodes, &busy, PARTITIONS);
    let quiet = at_work(&nodes, &idle, PARTITIONS);
    let mut mills = [&busy, &idle].map(|names| Watched::start(&nodes.cluster, names, &[]));
    mills.iter_mut().for_each(|mill| expect_every_partition_to_go_on(mill, "at the start"));
    quiet.stop();
    nodes.numbers().for_each(|node| nodes.kill(node).unwrap());
    pause(Duration::from_secs(setting("AWAY_SECONDS", 60)));
    for mill in &mut mills {
        assert!(mill.mill.try_wait().unwrap().is_none(), "it does not give up");
        assert!(get(mill.port, "/livez").is_some(), "it is alive");
    }
    nodes.start_all();
    fill(&nodes.cluster, &idle.source, 30_000);
    mills.iter_mut().for_each(|mill| {
        let all = ends(mill.cluster, &mill.names.source);
        let took = mill.wait_for(&all, "after the return");
        eprintln!("what was there is through {took:?} after the cluster's return");
    });
    generator.stop();
    for mill in &mut mills {
        let all = ends(mill.cluster, &mill.names.source);
        mill.wait_for(&all, "at the end");
        mill.stop();
        let (found, _) = mill.names.verify(&nodes.cluster, "partition");
        for kind in ["missing", "corrupt", "phantom", "misrouted"] {
            assert_eq!(found[kind], 0, "{kind} in {found}");
        }
    }
}
