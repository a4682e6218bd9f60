//! A running program whose log and admin server are looked at.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::{self, Cluster, Names, TestRecord, pause};

/// How long anything may take that has no promise of its own.
pub const SOON: Duration = Duration::from_secs(60);

pub struct Running {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    reading: Option<thread::JoinHandle<()>>,
}

impl Running {
    pub fn start(arguments: &[&str]) -> Running {
        let mut command = support::command(arguments);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (lines, stderr) = (Arc::clone(&log), BufReader::new(child.stderr.take().unwrap()));
        let reading = thread::spawn(move || {
            for line in stderr.lines() {
                lines.lock().unwrap().push(line.unwrap());
            }
        });
        Running { child, log, reading: Some(reading) }
    }

    /// `run` for these names, with an admin server.
    pub fn run(cluster: &Cluster, names: &Names, more: &[&str]) -> Running {
        Running::run_at("127.0.0.1:0", cluster, names, more)
    }

    pub fn run_at(admin: &str, cluster: &Cluster, names: &Names, more: &[&str]) -> Running {
        let at = |argument| if argument == "off" { admin } else { argument };
        let arguments: Vec<&str> = names.run(cluster, more).into_iter().map(at).collect();
        Running::start(&arguments)
    }

    pub fn lines(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    fn last_lines(&self) -> String {
        let lines = self.lines();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// The events of the log so far; fails when a line is not one.
    pub fn events(&self) -> Vec<Value> {
        let event = |line: &String| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        self.lines().iter().map(event).collect()
    }

    /// Waits until `done` is true of the events so far.
    pub fn until(&self, what: &str, limit: Duration, done: impl Fn(&[Value]) -> bool) {
        self.poll(what, limit, || done(&self.events()));
    }

    fn poll(&self, what: &str, limit: Duration, done: impl Fn() -> bool) {
        let start = Instant::now();
        while !done() {
            assert!(start.elapsed() < limit, "{what}: not within {limit:?}; the log:\n{}", self.last_lines());
            pause(Duration::from_millis(20));
        }
    }

    /// Waits until an event has this message.
    pub fn until_said(&self, message: &str) {
        self.until(message, SOON, |events| events.iter().any(|event| says(event, message)));
    }

    /// The status and the body of a path of the admin server.
    pub fn get(&self, path: &str) -> (u16, String) {
        self.until_said("serving /metrics");
        let events = self.events();
        let serving = events.iter().find(|event| says(event, "serving /metrics")).unwrap();
        let mut stream = TcpStream::connect(serving["address"].as_str().unwrap()).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// The sum of a metric's samples; `None` without any.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let (_, body) = self.get("/metrics");
        let is_of = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        let value = |line: &str| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap();
        body.lines().filter(is_of).map(value).reduce(|sum, value| sum + value)
    }

    pub fn until_metric(&self, name: &str, value: f64) {
        self.poll(&format!("{name} {value}"), SOON, || self.metric(name) == Some(value));
    }

    pub fn until_status(&self, path: &str, status: u16, part: &str) {
        self.poll(&format!("{path} {status} {part}"), SOON, || {
            let (shown, body) = self.get(path);
            shown == status && body.contains(part)
        });
    }

    pub fn signal(&self, signal: &str) {
        support::signal(&self.child, signal);
    }

    /// Waits for the end: the exit code, how long it took, and all that was said.
    pub fn end(mut self, limit: Duration) -> (i32, Duration, Vec<String>) {
        let start = Instant::now();
        let code = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status.code().unwrap_or(-1),
                None => assert!(start.elapsed() < limit, "it does not end:\n{}", self.last_lines()),
            }
            pause(Duration::from_millis(10));
        };
        let took = start.elapsed();
        self.reading.take().unwrap().join().unwrap();
        (code, took, self.lines())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn says(event: &Value, message: &str) -> bool {
    event["message"].as_str().is_some_and(|said| said.contains(message))
}

/// A record that the transform takes.
pub fn good(number: usize) -> TestRecord {
    TestRecord::value(format!(r#"{{"first_name":"f{number}","last_name":"l"}}"#))
}

/// One that it does not.
pub fn bad() -> TestRecord {
    TestRecord::value("not json")
}

pub fn goods(count: usize) -> Vec<TestRecord> {
    (0..count).map(good).collect()
}
