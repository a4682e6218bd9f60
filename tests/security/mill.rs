//! The program, with properties and secrets.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use crate::{
    broker::{Kafka, Listener, USER},
    support::{self, Names, pause, wait},
};

/// How long anything may take that has no promise of its own.
pub const SOON: Duration = Duration::from_secs(60);

/// What the program is started with.
#[derive(Clone)]
pub struct Mill {
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

/// What a program said, and how it ended.
pub struct Said {
    pub code: i32,
    pub text: String,
}

impl Mill {
    pub fn new(arguments: &[&str]) -> Mill {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Mill { arguments, environment: Vec::new() }
    }

    /// `run` to the end offsets of now, through a listener of a broker that is trusted.
    pub fn through(kafka: &Kafka, listener: Listener, names: &Names) -> Mill {
        Mill::at(&kafka.address(listener), names)
            .set("security.protocol", if is_login(listener) { "sasl_ssl" } else { "ssl" })
            .set("ssl.ca.location", &kafka.authority.certificate)
    }

    /// The same at any address, with the properties that are set.
    pub fn at(brokers: &str, names: &Names) -> Mill {
        Mill::new(&[
            "run",
            "--until-caught-up",
            "--brokers",
            brokers,
            "--source",
            &names.source,
            "--destination",
            &names.destination,
            "--dead-letter",
            &names.dead_letter,
            "--group",
            &names.group,
            "--transform",
            "name-event",
            "--admin",
            "off",
        ])
    }

    /// Another command with the same arguments.
    pub fn command(mut self, name: &str) -> Mill {
        name.clone_into(&mut self.arguments[0]);
        self
    }

    /// The steps of this configuration instead of the transform.
    pub fn steps(mut self, config: &str) -> Mill {
        let place = self.arguments.iter().position(|argument| argument == "--transform").unwrap();
        self.arguments.splice(place..place + 2, ["--config".to_owned(), config.to_owned()]);
        self
    }

    /// Goes on until it is stopped, with an admin server.
    pub fn for_ever(mut self) -> Mill {
        self.arguments.retain(|argument| argument != "--until-caught-up");
        let place = self.arguments.iter().position(|argument| argument == "off").unwrap();
        "127.0.0.1:0".clone_into(&mut self.arguments[place]);
        self
    }

    pub fn with(mut self, arguments: &[&str]) -> Mill {
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// Sets a property by `-X`.
    pub fn set(self, property: &str, value: &str) -> Mill {
        self.with(&["-X", &format!("{property}={value}")])
    }

    /// Sets a secret property by its variable.
    pub fn secret(self, property: &str, value: &str) -> Mill {
        self.variable(&format!("TOPICMILL_KAFKA_{}", property.to_uppercase().replace('.', "_")), value)
    }

    pub fn variable(mut self, name: &str, value: &str) -> Mill {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Logs in as the user, by a mechanism with a password.
    pub fn login(self, mechanism: &str, password: &str) -> Mill {
        self.set("sasl.mechanism", mechanism).set("sasl.username", USER).secret("sasl.password", password)
    }

    /// Starts it.
    pub fn start(self) -> Running {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let mut command = support::command(&arguments);
        command.envs(self.environment).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let text = Arc::new(Mutex::new(String::new()));
        let out = gather(child.stdout.take().unwrap(), &text);
        let err = gather(child.stderr.take().unwrap(), &text);
        Running { child, text, gathering: vec![out, err] }
    }

    /// Runs it to its end.
    pub fn run(self) -> Said {
        self.start().end()
    }
}

fn is_login(listener: Listener) -> bool {
    matches!(listener, Listener::Login | Listener::Scram)
}

fn gather(from: impl Read + Send + 'static, text: &Arc<Mutex<String>>) -> thread::JoinHandle<()> {
    let text = Arc::clone(text);
    thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n') {
            let line = line.unwrap();
            *text.lock().unwrap() += &format!("{}\n", String::from_utf8_lossy(&line));
        }
    })
}

/// A program that runs.
pub struct Running {
    child: Child,
    text: Arc<Mutex<String>>,
    gathering: Vec<thread::JoinHandle<()>>,
}

impl Running {
    /// All that it has said so far.
    pub fn text(&self) -> String {
        self.text.lock().unwrap().clone()
    }

    /// Waits until it has said this; all that it has said so far.
    pub fn until_said(&self, part: &str) -> String {
        let start = Instant::now();
        loop {
            let text = self.text();
            if text.contains(part) {
                return text;
            }
            assert!(start.elapsed() < SOON, "{part:?} is not said within {SOON:?}:\n{text}");
            pause(Duration::from_millis(20));
        }
    }

    /// What a path of its admin server answers.
    pub fn get(&self, path: &str) -> String {
        let text = self.until_said("serving /metrics");
        let line = text.lines().find(|line| line.contains("serving /metrics")).unwrap();
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        let mut stream = TcpStream::connect(event["address"].as_str().unwrap()).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// What everyone on this machine sees of it.
    pub fn command_line(&self) -> Vec<u8> {
        std::fs::read(format!("/proc/{}/cmdline", self.child.id())).unwrap()
    }

    pub fn signal(&self, signal: &str) {
        support::signal(&self.child, signal);
    }

    /// Waits for its end.
    pub fn end(mut self) -> Said {
        let code = wait(&mut self.child, SOON);
        self.gathering.drain(..).for_each(|gathering| gathering.join().unwrap());
        Said { code, text: self.text() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Said {
    /// Fails unless it ended with this code and has said all of these.
    pub fn expect(self, code: i32, parts: &[&str]) -> Said {
        assert_eq!(self.code, code, "{}", self.text);
        for part in parts {
            assert!(self.text.contains(part), "{part:?} is not said:\n{}", self.text);
        }
        self
    }
}
