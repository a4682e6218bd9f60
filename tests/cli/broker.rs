//! `broker` tells where it listens, serves, and ends when it is told to.

use std::{
    io::{BufRead, BufReader},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
};

use super::program::Program;

#[test]
fn an_address_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = format!("error: cannot listen on {address}: ");
    Program::new(["broker", "--listen", &address]).run().expect(1, &[&said]);
}

/// Nothing is under way before a broker answers, so that nothing is waited for.
#[test]
fn a_run_without_a_broker_ends_at_the_first_signal() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_topicmill"))
        .args(["run", "--brokers", "127.0.0.1:1", "--connect-timeout", "2m", "--admin", "127.0.0.1:0"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    log.read_line(&mut line).unwrap();
    assert!(line.contains("serving /metrics"), "{line}");
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    // After the two minutes it would be 75.
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn it_serves_until_a_signal() {
    for signal in ["-TERM", "-INT"] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_topicmill"))
            .args(["broker", "--listen", "127.0.0.1:0", "--log-level", "off"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").expect("an address").to_owned();
        let connected = TcpStream::connect(address);
        let told = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        let status = child.wait().unwrap();
        assert!(connected.is_ok() && told.success());
        assert_eq!(status.code(), Some(0), "{signal}");
    }
}
