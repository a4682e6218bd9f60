//! Nodes of Apache Kafka that a test starts itself, so that it may kill, stop and move them: those
//! of the torture, which fail a test instead of returning an error.

use std::{
    ops::Deref,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::runtime::Runtime;
use topicmill_torture::{
    nodes::{self, NodesSettings, free_ports},
    proxy::{Proxy, Rules, Which},
};

use super::Cluster;

/// One at a time: three nodes are enough for a machine.
static TURN: Mutex<()> = Mutex::new(());

/// Some nodes; they end with this value, also when its test panics.
pub struct Nodes {
    pub cluster: Cluster,
    nodes: nodes::Nodes,
    _turn: MutexGuard<'static, ()>,
}

impl Deref for Nodes {
    type Target = nodes::Nodes;

    fn deref(&self) -> &nodes::Nodes {
        &self.nodes
    }
}

/// The way to a node whose connections can be cut.
pub struct Way {
    rules: Arc<Rules>,
    _proxy: Proxy,
}

impl Way {
    /// Closes every connection, wherever in a request or an answer it is.
    pub fn cut(&self) {
        self.rules.cut(&Which::default());
    }
}

impl Nodes {
    /// Starts three nodes.
    pub fn three() -> Nodes {
        Nodes::up(3, free_port(), &[])
    }

    /// Starts one node.
    pub fn one() -> Nodes {
        Nodes::up(1, free_port(), &[])
    }

    /// Starts one node that clients are told to reach through a proxy.
    pub fn behind_proxy() -> (Nodes, Way) {
        let port = free_port();
        let advertised = port + 10;
        let mut nodes = Nodes::up(1, port, &["--advertise", &advertised.to_string()]);
        let rules = Arc::new(Rules::default());
        let proxy = Proxy::start(advertised, 1, ([127, 0, 0, 1], port).into(), Arc::clone(&rules)).unwrap();
        nodes.cluster.brokers = proxy.address().to_string();
        (nodes, Way { rules, _proxy: proxy })
    }

    fn up(count: usize, port: u16, more: &[&str]) -> Nodes {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let more = more.iter().map(|&argument| argument.to_owned()).collect();
        let nodes = nodes::Nodes::up(settings("nodes", count, more), port).unwrap();
        let runtime = Arc::new(Runtime::new().unwrap());
        let brokers = nodes.bootstrap().to_owned();
        Nodes { cluster: Cluster { name: "nodes", brokers, runtime, embedded: None }, nodes, _turn: turn }
    }

    /// Starts all nodes again after all of them were killed: none answers before most are there.
    pub fn start_all(&self) {
        std::thread::scope(|scope| {
            for node in self.numbers() {
                scope.spawn(move || self.start(node).unwrap());
            }
        });
    }
}

/// How to start nodes that keep everything in `folder`, which is the tests' own.
pub fn settings(folder: &str, count: usize, more: Vec<String>) -> NodesSettings {
    let libs = std::env::var("TEST_KAFKA_LIBS").expect(
        "TEST_KAFKA_LIBS must name Kafka's jars, as scripts/test sets it: TEST_KAFKA_LIBS=$(scripts/kafka libs)",
    );
    NodesSettings {
        script: Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/kafka"),
        data: Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder),
        libs: Some(PathBuf::from(libs)),
        count,
        more,
    }
}

pub fn free_port() -> u16 {
    free_ports(rand::random).unwrap()
}
