//! Nodes of Apache Kafka that a caller starts itself, so that it may kill, stop and move them.

use std::{
    fs, io,
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use thiserror::Error;

/// How long replicas may take to have everything again.
const REPLICATION: Duration = Duration::from_secs(120);

/// Kafka's tool that gives partitions other replicas.
const REASSIGN: &str = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand";

/// What a node whose disk is full may still print, in bytes.
const LAST_WORDS: u64 = 64 << 10;

/// Why nodes could not be moved as asked.
#[derive(Debug, Error)]
pub enum NodesError {
    /// `scripts/kafka` failed.
    #[error("scripts/kafka {arguments}: {output}")]
    Script {
        /// What it was called with.
        arguments: String,
        /// What it said.
        output: String,
    },
    /// A file or a process of a node is not there.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// No row of free ports was found.
    #[error("no free ports")]
    Ports,
    /// Replicas stay behind.
    #[error("replicas are behind after {REPLICATION:?}: {0}")]
    Behind(String),
}

/// How to start nodes.
#[derive(Clone, Debug)]
pub struct NodesSettings {
    /// `scripts/kafka`.
    pub script: PathBuf,
    /// Where everything is kept; what an earlier run left there is deleted.
    pub data: PathBuf,
    /// The folder with Kafka's jars; without one, the script fetches them.
    pub libs: Option<PathBuf>,
    /// How many nodes.
    pub count: usize,
    /// More arguments of `scripts/kafka up`.
    pub more: Vec<String>,
}

/// Some nodes; they end with this value.
#[derive(Debug)]
pub struct Nodes {
    settings: NodesSettings,
    /// The first node's port; the others follow.
    port: u16,
    bootstrap: String,
}

impl Nodes {
    /// Starts nodes.
    ///
    /// # Errors
    /// They do not start.
    pub fn up(settings: NodesSettings, port: u16) -> Result<Nodes, NodesError> {
        let at = |what: &Path| {
            let what = what.display().to_string();
            move |source| NodesError::Io { what, source }
        };
        fs::create_dir_all(&settings.data).map_err(at(&settings.data))?;
        let mut nodes = Nodes { settings, port, bootstrap: String::new() };
        // What a run that was killed left behind.
        nodes.script(&["down"])?;
        if let Some(libs) = &nodes.settings.libs {
            let link = nodes.settings.data.join("libs");
            // There may be none yet.
            let _ = fs::remove_file(&link);
            symlink(libs, &link).map_err(at(&link))?;
        }
        let (count, port) = (nodes.settings.count.to_string(), port.to_string());
        let mut arguments = vec!["up", "--nodes", &count, "--port", &port];
        arguments.extend(nodes.settings.more.iter().map(|argument| &**argument));
        nodes.bootstrap = nodes.script(&arguments)?.trim().to_owned();
        Ok(nodes)
    }

    /// The nodes' addresses, separated by commas.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// The nodes' numbers, from 1.
    pub fn numbers(&self) -> std::ops::RangeInclusive<usize> {
        1..=self.settings.count
    }

    /// Where a node keeps its logs.
    pub fn logs(&self, node: usize) -> PathBuf {
        self.settings.data.join(format!("nodes/{node}/log"))
    }

    /// Ends a node at once.
    ///
    /// # Errors
    /// The script fails.
    pub fn kill(&self, node: usize) -> Result<(), NodesError> {
        self.script(&["kill", &node.to_string()]).map(drop)
    }

    /// Starts a killed node again; it answers on return.
    ///
    /// # Errors
    /// The node does not start.
    pub fn start(&self, node: usize) -> Result<(), NodesError> {
        self.script(&["start", &node.to_string(), "--port", &self.port.to_string()]).map(drop)
    }

    /// Starts killed nodes again, all at once: none of them comes up before most of them are there.
    ///
    /// # Errors
    /// One does not start.
    pub fn start_all(&self, nodes: &[usize]) -> Result<(), NodesError> {
        thread::scope(|scope| {
            let starting: Vec<_> = nodes.iter().map(|&node| scope.spawn(move || self.start(node))).collect();
            starting.into_iter().try_for_each(|node| node.join().expect("nothing panics there"))
        })
    }

    /// Sends a signal to a node's process.
    ///
    /// # Errors
    /// The node does not run.
    pub fn signal(&self, node: usize, signal: Signal) -> Result<(), NodesError> {
        self.with_process(node, |pid| Ok(kill_process(pid, signal)?))
    }

    /// Fills a node's disk, as far as the node can tell: none of its files can grow beyond a few bytes more than
    /// what the node has said until now, so that it can still say why it ends. Only Linux can do that.
    ///
    /// # Errors
    /// The node does not run.
    pub fn fill_disk(&self, node: usize) -> Result<(), NodesError> {
        let said = self.said(node)?.len() as u64;
        self.with_process(node, |pid| limit_files(pid, said + LAST_WORDS))
    }

    /// Whether a node's process is there; as far as Linux can tell.
    ///
    /// # Errors
    /// It was never started.
    pub fn runs(&self, node: usize) -> Result<bool, NodesError> {
        // Of a process that has ended, and that nobody waits for, little is left but its number.
        let arguments = |pid: Pid| fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero()));
        self.with_process(node, |pid| Ok(arguments(pid).is_ok_and(|line| !line.is_empty())))
    }

    /// What a node has printed since it was started.
    ///
    /// # Errors
    /// It was never started.
    pub fn said(&self, node: usize) -> Result<String, NodesError> {
        let file = self.settings.data.join(format!("nodes/{node}/server.log"));
        let said =
            fs::read(&file).map_err(|source| NodesError::Io { what: format!("node {node}"), source })?;
        Ok(String::from_utf8_lossy(&said).into_owned())
    }

    fn with_process<T>(&self, node: usize, act: impl FnOnce(Pid) -> io::Result<T>) -> Result<T, NodesError> {
        let file = self.settings.data.join(format!("nodes/{node}/pid"));
        let number = fs::read_to_string(&file).and_then(|text| {
            let pid = text.trim().parse().ok().and_then(Pid::from_raw);
            pid.ok_or_else(|| io::ErrorKind::InvalidData.into())
        });
        number.and_then(act).map_err(|source| NodesError::Io { what: format!("node {node}"), source })
    }

    /// Runs one of Kafka's own tools on these nodes, named by its class; what it printed.
    ///
    /// # Errors
    /// The tool fails.
    pub fn tool(&self, class: &str, arguments: &[&str]) -> Result<String, NodesError> {
        self.script(&[&["tool", class, "--bootstrap-server", &self.bootstrap][..], arguments].concat())
    }

    /// Adds or deletes a property of all nodes while they run, by an option of Kafka's tool.
    ///
    /// # Errors
    /// The tool fails.
    pub fn configure(&self, option: &str, property: &str) -> Result<(), NodesError> {
        let brokers = ["--alter", "--entity-type", "brokers", "--entity-default"];
        let arguments = [&brokers[..], &[option, property]].concat();
        self.tool("kafka.admin.ConfigCommand", &arguments).map(drop)
    }

    /// Waits until every replica has everything.
    ///
    /// # Errors
    /// They do not within two minutes.
    pub fn wait_for_replicas(&self) -> Result<(), NodesError> {
        let behind = ["--describe", "--under-replicated-partitions"];
        self.replicated("org.apache.kafka.tools.TopicCommand", &behind, |said| said.trim().is_empty())
    }

    /// Waits until a tool says that replicas are as they should be.
    fn replicated(
        &self,
        class: &str,
        arguments: &[&str],
        is_done: impl Fn(&str) -> bool,
    ) -> Result<(), NodesError> {
        let start = Instant::now();
        loop {
            let said = self.tool(class, arguments)?;
            if is_done(&said) {
                return Ok(());
            }
            if start.elapsed() > REPLICATION {
                return Err(NodesError::Behind(said));
            }
            thread::sleep(Duration::from_millis(500));
        }
    }

    /// Leads every partition of `topics` by another node: partition 0 by the one after `first`.
    ///
    /// # Errors
    /// A tool fails.
    pub fn move_leaders(&self, topics: &[(&str, usize)], first: usize) -> Result<(), NodesError> {
        let file = self.assign(topics, first, self.settings.count)?;
        let elect = "org.apache.kafka.tools.LeaderElectionCommand";
        self.tool(elect, &["--election-type", "PREFERRED", "--path-to-json-file", &file]).map(drop)
    }

    /// Gives every partition of `topics` so many replicas, partition 0 beginning with the node after `first`, and
    /// waits until it has them.
    ///
    /// # Errors
    /// A tool fails, or it takes longer than two minutes.
    pub fn reassign(
        &self,
        topics: &[(&str, usize)],
        first: usize,
        replicas: usize,
    ) -> Result<(), NodesError> {
        self.assign(topics, first, replicas)?;
        self.replicated(REASSIGN, &["--list"], |said| said.contains("No partition reassignments found"))
    }

    /// Begins to give every partition so many replicas, in the order in which they are to lead; the file that says so.
    fn assign(&self, topics: &[(&str, usize)], first: usize, replicas: usize) -> Result<String, NodesError> {
        let count = self.settings.count;
        let mut moves = Vec::new();
        for &(topic, partitions) in topics {
            for partition in 0..partitions {
                let replicas = (0..replicas).map(|n| (first + partition + n) % count + 1);
                let replicas: Vec<usize> = replicas.collect();
                moves.push(serde_json::json!({"topic": topic, "partition": partition, "replicas": replicas}));
            }
        }
        let path = self.settings.data.join("moves.json");
        fs::write(&path, serde_json::json!({"version": 1, "partitions": moves}).to_string())
            .map_err(|source| NodesError::Io { what: path.display().to_string(), source })?;
        let file = path.display().to_string();
        self.tool(REASSIGN, &["--reassignment-json-file", &file, "--execute"])?;
        Ok(file)
    }

    fn script(&self, arguments: &[&str]) -> Result<String, NodesError> {
        let failed = |output: String| NodesError::Script { arguments: arguments.join(" "), output };
        let Output { status, stdout, stderr } = Command::new(&self.settings.script)
            .arg(arguments[0])
            .arg("--data")
            .arg(&self.settings.data)
            .args(&arguments[1..])
            .output()
            .map_err(|error| failed(error.to_string()))?;
        let shown = String::from_utf8_lossy(&stdout).into_owned();
        if status.success() {
            return Ok(shown);
        }
        Err(failed(format!("{}{shown}", String::from_utf8_lossy(&stderr))))
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        // A node that is stopped does not end before it goes on; one that is gone needs neither.
        for node in self.numbers() {
            let _ = self.kill(node);
        }
        let _ = self.script(&["down"]);
    }
}

/// From now on, a write of this process beyond so many bytes of a file fails.
#[cfg(target_os = "linux")]
fn limit_files(pid: Pid, bytes: u64) -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, prlimit};
    // The JVM ignores the signal that comes with such a write (SIGXFSZ).
    prlimit(Some(pid), Resource::Fsize, Rlimit { current: Some(bytes), maximum: None })?;
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn limit_files(_: Pid, _: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The first of a row of ports that nobody listens on, nor on those a thousand above, where
/// controllers are; below the range from which systems give ports to clients.
///
/// # Errors
/// There is none.
pub fn free_ports(random: impl FnMut() -> u16) -> Result<u16, NodesError> {
    let free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    std::iter::repeat_with(random)
        .take(100)
        .map(|random| 20_000 + 20 * (random % 400))
        .find(|first| (0..20).all(|n| free(first + n) && free(first + 1000 + n)))
        .ok_or(NodesError::Ports)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{io::Write, process::Stdio};

    use super::*;

    #[test]
    fn a_limit_of_files_holds_for_a_process_that_runs() {
        let file = std::env::temp_dir().join(format!("topicmill-limit-{}", std::process::id()));
        let output = fs::File::create(&file).unwrap();
        // It ignores the signal, as the JVM does.
        let mut writer = Command::new("sh");
        writer.args(["-c", "trap '' XFSZ; exec cat"]).stdin(Stdio::piped()).stdout(output);
        let mut writer = writer.spawn().unwrap();
        let pid = Pid::from_child(&writer);
        limit_files(pid, 10).unwrap();
        writer.stdin.take().unwrap().write_all(&[b'x'; 100]).unwrap();
        let status = writer.wait().unwrap();
        assert_eq!((status.code(), fs::read(&file).unwrap().len()), (Some(1), 10));
        fs::remove_file(&file).unwrap();
    }
}
