//! Nodes of Apache Kafka that a test starts itself, so that it may kill, stop and move them.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::runtime::Runtime;

use super::{Cluster, pause, proxy::Proxy};

/// One at a time: three nodes are enough for a machine.
static TURN: Mutex<()> = Mutex::new(());

/// Some nodes; they end with this value, also when its test panics.
pub struct Nodes {
    pub cluster: Cluster,
    count: usize,
    data: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

impl Nodes {
    /// Starts three nodes.
    pub fn three() -> Nodes {
        let ports = free_ports();
        Nodes::up(3, &["--port", &ports.to_string()])
    }

    /// Starts one node.
    pub fn one() -> Nodes {
        let port = free_ports();
        Nodes::up(1, &["--port", &port.to_string()])
    }

    /// Where a node keeps its logs.
    pub fn logs(&self, node: usize) -> PathBuf {
        self.data.join(format!("nodes/{node}/log"))
    }

    /// Starts one node that clients are told to reach through a proxy.
    pub fn behind_proxy() -> (Nodes, Proxy) {
        let port = free_ports();
        let advertised = port + 10;
        let mut nodes = Nodes::up(1, &["--port", &port.to_string(), "--advertise", &advertised.to_string()]);
        let proxy = Proxy::start(&nodes.cluster.runtime, advertised, (Ipv4Addr::LOCALHOST, port).into());
        nodes.cluster.brokers = format!("127.0.0.1:{advertised}");
        (nodes, proxy)
    }

    fn up(count: usize, arguments: &[&str]) -> Nodes {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let data = Path::new(env!("CARGO_TARGET_TMPDIR")).join("nodes");
        fs::create_dir_all(&data).unwrap();
        // What a test that was killed left behind.
        script(&data, &["down"]);
        let libs = std::env::var("TEST_KAFKA_LIBS").expect(
            "TEST_KAFKA_LIBS must name Kafka's jars, as scripts/test sets it: TEST_KAFKA_LIBS=$(scripts/kafka libs)",
        );
        let _ = fs::remove_file(data.join("libs"));
        symlink(libs, data.join("libs")).unwrap();
        let runtime = Arc::new(Runtime::new().unwrap());
        let cluster = Cluster { name: "nodes", brokers: String::new(), runtime, embedded: None };
        let mut nodes = Nodes { cluster, count, data, _turn: turn };
        let number = count.to_string();
        let up = [&["up", "--nodes", &number], arguments].concat();
        nodes.cluster.brokers = nodes.script(&up).trim().to_owned();
        nodes
    }

    /// The nodes' numbers, from 1.
    pub fn numbers(&self) -> std::ops::RangeInclusive<usize> {
        1..=self.count
    }

    /// SIGKILL.
    pub fn kill(&self, node: usize) {
        self.script(&["kill", &node.to_string()]);
    }

    /// Starts a killed node again; it answers on return.
    pub fn start(&self, node: usize) {
        let port = self.cluster.brokers.split(',').next().unwrap().rsplit(':').next().unwrap();
        self.script(&["start", &node.to_string(), "--port", port]);
    }

    /// Starts all nodes again after all of them were killed: none answers before most are there.
    pub fn start_all(&self) {
        std::thread::scope(|scope| {
            for node in self.numbers() {
                scope.spawn(move || self.start(node));
            }
        });
    }

    /// SIGSTOP, SIGCONT or the like.
    pub fn signal(&self, node: usize, signal: &str) {
        let pid = fs::read_to_string(self.data.join(format!("nodes/{node}/pid"))).unwrap();
        assert!(Command::new("kill").args([signal, pid.trim()]).status().unwrap().success());
    }

    /// Runs one of Kafka's own tools on these nodes; what it printed.
    pub fn tool(&self, class: &str, arguments: &[&str]) -> String {
        let class = format!("org.apache.kafka.tools.{class}");
        let brokers = ["--bootstrap-server", &self.cluster.brokers];
        self.script(&[&["tool", &class], &brokers[..], arguments].concat())
    }

    /// Waits until every replica has everything.
    pub fn wait_for_replicas(&self) {
        let start = Instant::now();
        loop {
            let behind = self.tool("TopicCommand", &["--describe", "--under-replicated-partitions"]);
            if behind.trim().is_empty() {
                return;
            }
            assert!(start.elapsed() < Duration::from_secs(120), "replicas stay behind: {behind}");
            pause(Duration::from_millis(500));
        }
    }

    /// Leads every partition of `topics` by another node.
    pub fn move_leaders(&self, topics: &[(&str, i32)], first: usize) {
        let mut moves = Vec::new();
        for &(topic, partitions) in topics {
            for partition in 0..partitions as usize {
                let replicas: Vec<usize> =
                    (0..self.count).map(|n| (first + partition + n) % self.count + 1).collect();
                moves.push(serde_json::json!({"topic": topic, "partition": partition, "replicas": replicas}));
            }
        }
        let file = self.data.join("moves.json");
        fs::write(&file, serde_json::json!({"version": 1, "partitions": moves}).to_string()).unwrap();
        let file = file.to_str().unwrap();
        self.tool("reassign.ReassignPartitionsCommand", &["--reassignment-json-file", file, "--execute"]);
        self.tool("LeaderElectionCommand", &["--election-type", "PREFERRED", "--path-to-json-file", file]);
    }

    fn script(&self, arguments: &[&str]) -> String {
        script(&self.data, arguments)
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        // A panic in here would hide the one that is under way.
        for node in self.numbers() {
            let _ = script_output(&self.data, &["kill", &node.to_string()]);
        }
        let _ = script_output(&self.data, &["down"]);
    }
}

/// Runs scripts/kafka; what it printed.
fn script(data: &Path, arguments: &[&str]) -> String {
    let output = script_output(data, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{arguments:?}: {errors}{shown}");
    shown.into_owned()
}

fn script_output(data: &Path, arguments: &[&str]) -> Output {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/kafka");
    Command::new(program).arg(arguments[0]).arg("--data").arg(data).args(&arguments[1..]).output().unwrap()
}

/// The first of a row of ports that nobody listens on, with those of the controllers a thousand
/// above; below the range from which systems give ports to clients.
fn free_ports() -> u16 {
    let free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    (0..100)
        .map(|_| 20_000 + 20 * rand::random_range(0..400))
        .find(|first| (0..20).all(|n| free(first + n) && free(first + 1000 + n)))
        .expect("free ports")
}
