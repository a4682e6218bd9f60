//! A running program whose log and admin server are looked at.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{Cluster, Names, command, pause, signal};

/// How long anything may take that has no promise of its own.
pub const SOON: Duration = Duration::from_secs(60);

/// A program that was started. It ends with this value.
pub struct Running {
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
    gathering: Vec<thread::JoinHandle<()>>,
}

impl Running {
    pub fn start(arguments: &[&str]) -> Running {
        Running::of(&mut command(arguments))
    }

    pub fn of(command: &mut Command) -> Running {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let said = Arc::default();
        let out = gather(child.stdout.take().unwrap(), &said);
        let err = gather(child.stderr.take().unwrap(), &said);
        Running { child, said, gathering: vec![out, err] }
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

    /// What it has said so far. `run` says all of it to standard error.
    pub fn lines(&self) -> Vec<String> {
        self.said.lock().unwrap().clone()
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

    /// All that a path of the admin server answers.
    pub fn answer(&self, path: &str) -> String {
        self.until_said("serving /metrics");
        let events = self.events();
        let serving = events.iter().find(|event| says(event, "serving /metrics")).unwrap();
        let mut stream = TcpStream::connect(serving["address"].as_str().unwrap()).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// The status and the body of it.
    pub fn get(&self, path: &str) -> (u16, String) {
        let answer = self.answer(path);
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

    /// What everyone on this machine sees of it.
    pub fn command_line(&self) -> Vec<u8> {
        std::fs::read(format!("/proc/{}/cmdline", self.child.id())).unwrap()
    }

    pub fn signal(&self, name: &str) {
        signal(&self.child, name);
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
        self.gathering.drain(..).for_each(|gathering| gathering.join().unwrap());
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

fn gather(from: impl Read + Send + 'static, said: &Arc<Mutex<Vec<String>>>) -> thread::JoinHandle<()> {
    let said = Arc::clone(said);
    thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n') {
            said.lock().unwrap().push(String::from_utf8_lossy(&line.unwrap()).into_owned());
        }
    })
}
